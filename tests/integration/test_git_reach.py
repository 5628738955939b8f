"""Where a server's Git goes and how much it brings, with the real Git and a real Git server over HTTP."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from servers import free_port

from dockwright import settings
from dockwright.domain.build import BuildRequest, History
from dockwright.domain.source import GitSource
from dockwright.errors import GitUnreachable, NotAllowedError, SourceTooLarge
from dockwright.process import Cancel
from dockwright.sources import bounds, git, reach
from dockwright.stages.context import StageContext
from dockwright.stages.fetch import fetch

HERE = frozenset({"127.0.0.1"})


class GitServer(ThreadingHTTPServer):
    """`git http-backend` for the repositories of a folder; what stands in `moved` is sent elsewhere."""

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.root = root
        self.asked: list[str] = []
        self.moved: dict[str, str] = {}
        self.holds_back = threading.Event()
        """Set for a server that sends two thirds of a pack, and then nothing more until it is cleared."""

    def url(self, name: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.server_port}/{name}"


class _Answers(BaseHTTPRequestHandler):
    server: GitServer

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        self.server.asked.append(f"{self.headers['Host'].partition(':')[0]} {path}")
        for old, new in self.server.moved.items():
            if path.startswith(old):
                self.send_response(301)
                self.send_header("Location", new + self.path.removeprefix(old))
                self.end_headers()
                return
        self._run_backend(path, query)

    do_POST = do_GET  # noqa: N815

    def _run_backend(self, path: str, query: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        env = {
            **os.environ,
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        answer = subprocess.run(["git", "http-backend"], env=env, input=body, capture_output=True, check=True).stdout
        head, _, content = answer.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if b"PACK" in content and self.server.holds_back.is_set():
            self.wfile.write(content[: 2 * len(content) // 3])
            while self.server.holds_back.is_set():
                time.sleep(0.02)
            return
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitServer]:
    """With a repository `app.git` of one file of 3 MB."""
    monkeypatch.setenv("no_proxy", "*")
    root = tmp_path / "repositories"
    folder = root / "app.git"
    folder.mkdir(parents=True)
    _git(folder, "init", "--quiet")
    (folder / "file").write_bytes(os.urandom(3_000_000))
    _git(folder, "add", "file")
    _git(folder, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message=one")
    with GitServer(root) as found:
        threading.Thread(target=found.serve_forever, args=(0.01,), daemon=True).start()
        yield found
        found.holds_back.clear()
        found.shutdown()


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def _stage(tmp_path: Path, *, is_remote: bool, **environ: str) -> StageContext:
    home = tmp_path / "home"
    return StageContext(
        request=BuildRequest(
            build_id=1,
            client="c",
            project="p",
            project_id=1,
            name="P",
            description="",
            source=GitSource(url=""),
            is_remote=is_remote,
        ),
        settings=settings.load({"DOCKWRIGHT_HOME": str(home), **environ}, home / "none"),
        history=History(),
        workspace=tmp_path / "workspace",
        sink=lambda _: None,
        cancel=Cancel(),
    )


def test_a_build_of_the_api_reaches_no_private_host_but_those_that_the_operator_names(
    server: GitServer, tmp_path: Path
) -> None:
    source = GitSource(url=server.url("app.git"))
    with pytest.raises(NotAllowedError) as raised:
        fetch(_stage(tmp_path / "refused", is_remote=True), source)
    assert "GIT_PRIVATE_HOSTS" in raised.value.remedy and "127.0.0.1" in raised.value.remedy
    assert server.asked == []
    allowed = _stage(tmp_path / "allowed", is_remote=True, GIT_PRIVATE_HOSTS="git.internal, 127.0.0.1")
    assert (fetch(allowed, source).root / "file").stat().st_size == 3_000_000
    own = fetch(_stage(tmp_path / "own", is_remote=False), source)
    assert own.revision == _git(server.root / "app.git", "rev-parse", "HEAD")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/app.git",
        "http://localhost:{port}/app.git",
        "http://2130706433:{port}/app.git",
        "http://0x7f.1:{port}/app.git",
        "http://0:{port}/app.git",
        "http://[::1]:{port}/app.git",
        "http://[::ffff:127.0.0.1]:{port}/app.git",
        "http://example.org@127.0.0.1:{port}/app.git",
        "http://①②⑦.0.0.1:{port}/app.git",
        "git://127.0.0.1:{port}/app.git",
        "ssh://127.0.0.1:{port}/app.git",
        "git@127.0.0.1:app.git",
        "http://169.254.169.254/latest/meta-data/",
        "https://10.0.0.1/app.git",
        "https://[fd00::1]/app.git",
        "https://[64:ff9b::a00:1]/app.git",
        "https://224.0.0.1/app.git",
    ],
)
def test_a_private_address_is_refused_however_it_is_written(url: str, server: GitServer, tmp_path: Path) -> None:
    source = GitSource(url=url.format(port=server.server_port))
    with pytest.raises(NotAllowedError):
        git.fetch(source, tmp_path / "checkout", Cancel(), frozenset())
    assert server.asked == []


def test_one_private_address_among_those_of_a_name_is_one_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in ("93.184.216.34", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(NotAllowedError):
        reach.reach("https://repo.example/a.git", frozenset(), Path("none"))
    found.pop()
    way = reach.reach("https://repo.example/a.git", frozenset(), Path("none"))
    assert "repo.example:443:93.184.216.34" in way.config.values()
    way = reach.reach("git://repo.example/a.git", frozenset(), Path("none"))
    assert way.config == {"url.git://93.184.216.34:9418/.insteadOf": "git://repo.example/"}


@pytest.mark.parametrize("scheme", ["http", "git"])
def test_git_goes_to_the_address_that_was_looked_at(
    scheme: str, server: GitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is known to nobody but the lookup, and its address is taken for one of the internet."""
    monkeypatch.setattr(reach, "is_public", lambda _: True)
    monkeypatch.setattr(reach, "_is_own", lambda _: False)
    url = server.url("app.git", "repo.example") if scheme == "http" else f"git://repo.example:{free_port()}/app.git"
    known = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: known)
    if scheme == "http":
        git.fetch(GitSource(url=url), tmp_path / "checkout", Cancel(), frozenset())
        assert (tmp_path / "checkout" / "file").exists()
        assert {asked.partition(" ")[0] for asked in server.asked} == {"repo.example"}
    else:
        with pytest.raises(GitUnreachable) as raised:
            git.fetch(GitSource(url=url), tmp_path / "checkout", Cancel(), frozenset())
        assert "127.0.0.1" in raised.value.message, "the address, not the name, was asked, where nobody listens"


def test_a_redirect_is_followed_to_where_it_may_lead_and_not_elsewhere(server: GitServer, tmp_path: Path) -> None:
    server.moved = {
        "/old": "/app.git",
        "/away": server.url("app.git", "localhost"),
        "/round": "/round",
        "/page": "/login?next=",
    }
    git.fetch(GitSource(url=server.url("old")), tmp_path / "moved", Cancel(), HERE)
    assert (tmp_path / "moved" / "file").exists()
    with pytest.raises(NotAllowedError):
        git.fetch(GitSource(url=server.url("away")), tmp_path / "away", Cancel(), HERE)
    assert [asked for asked in server.asked if asked.startswith("localhost")] == []
    for name in ("round", "page"):
        with pytest.raises(GitUnreachable):
            git.fetch(GitSource(url=server.url(name)), tmp_path / name, Cancel(), HERE)


# --- how much ------------------------------------------------------------------------------------------------------


def test_what_is_too_large_is_let_go_while_it_comes(
    server: GitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server goes on for ever: waited for to its end, it would be the deadline that ends the fetch."""
    monkeypatch.setattr(bounds, "MAX_BYTES", 1_000_000)
    server.holds_back.set()
    with pytest.raises(SourceTooLarge):
        git.fetch(GitSource(url=server.url("app.git")), tmp_path / "checkout", Cancel(time.monotonic() + 20))


def _bomb(folder: Path, depth: int) -> None:
    """A few hundred bytes: each tree holds the one below ten times."""
    (folder / "file").write_text("x")
    blob = _git(folder, "hash-object", "-w", "file")
    tree = _tree(folder, f"100644 blob {blob}")
    for _ in range(depth):
        tree = _tree(folder, f"040000 tree {tree}")
    commit = _git(folder, "-c", "user.name=a", "-c", "user.email=a@b", "commit-tree", tree, "-m", "bomb")
    _git(folder, "update-ref", "refs/heads/bomb", commit)


def _tree(folder: Path, entry: str) -> str:
    listed = "".join(f"{entry}\t{number}\n" for number in range(10))
    return subprocess.run(
        ["git", "mktree"], cwd=folder, check=True, capture_output=True, text=True, input=listed
    ).stdout.strip()


@pytest.mark.parametrize("most", ["MAX_FILES", "MAX_BYTES"])
def test_a_small_repository_that_becomes_large_is_refused_before_a_file_is_written(
    most: str, server: GitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _bomb(server.root / "app.git", 9 if most == "MAX_FILES" else 3)
    monkeypatch.setattr(bounds, most, 2_000 if most == "MAX_FILES" else 9_000)
    monkeypatch.setattr(git._Growing, "check", _only_canceled)
    with pytest.raises(SourceTooLarge):
        git.fetch(GitSource(url=server.url("app.git"), ref="bomb"), tmp_path / "checkout", Cancel())
    assert {path.name for path in (tmp_path / "checkout").iterdir()} == {".git"}


_only_canceled: Callable[[git._Growing], None] = lambda growing: growing._cancel.check()  # noqa: E731
