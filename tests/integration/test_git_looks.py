"""What Git is told, and what a work tree can make it do; with the real Git and a real HTTP server."""

from __future__ import annotations

import base64
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dockwright.domain.source import GitSource, source_to_json, url_without_credentials
from dockwright.errors import GitUnreachable
from dockwright.process import Cancel
from dockwright.sources import git
from dockwright.sources.detect import source_key


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "file").write_text("one")
    _git(folder, "init", "--quiet")
    _git(folder, "add", "file")
    _git(folder, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message=one")
    return folder


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_looking_at_a_folder_starts_none_of_the_programs_that_its_git_names(repository: Path, tmp_path: Path) -> None:
    trap, mark = tmp_path / "trap", tmp_path / "sprung"
    trap.write_text(f"#!/bin/sh\ntouch {mark}\ncat\n")
    trap.chmod(0o755)
    for name in ("core.fsmonitor", "filter.evil.clean", "filter.evil.process", "gpg.program"):
        _git(repository, "config", name, str(trap))
    _git(repository, "config", "log.showSignature", "true")
    _git(repository, "config", "filter.evil.required", "true")
    (repository / ".gitattributes").write_text("file filter=evil\n")
    (repository / "file").write_text("two")
    _, is_dirty = git.describe(repository, Cancel())
    assert is_dirty
    assert not mark.exists()


def test_a_changed_submodule_is_a_change_and_its_programs_are_not_started_either(
    repository: Path, tmp_path: Path
) -> None:
    outer, mark = tmp_path / "outer", tmp_path / "sprung"
    outer.mkdir()
    _git(outer, "init", "--quiet")
    _git(outer, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(repository), "sub")
    _git(outer, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message=one")
    _git(outer / "sub", "config", "core.fsmonitor", f"touch {mark}; false")
    assert git.describe(outer, Cancel())[1] is False
    (outer / "sub" / "file").write_text("two")
    assert git.describe(outer, Cancel())[1] is True
    assert not mark.exists()


def test_a_folder_whose_git_is_none_is_outside_git(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    assert git.head_of(tmp_path) is None


def test_no_file_but_a_commit_is_taken_for_the_revision(repository: Path, tmp_path: Path) -> None:
    assert git.head_of(repository) == _git(repository, "rev-parse", "HEAD").strip()
    (tmp_path / "secret").write_text("a secret of this machine")
    (repository / ".git" / "HEAD").write_text("ref: ../../secret\n")
    assert git.head_of(repository) is None
    (repository / ".git" / "HEAD").write_bytes(b"\xff\xfe")
    assert git.head_of(repository) is None


@pytest.fixture
def refusing_server() -> Iterator[tuple[str, list[str]]]:
    """Its address, and the credentials that it was given."""
    given: list[str] = []

    class Refusal(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given.append(self.headers.get("Authorization", ""))
            self.send_error(403)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusal)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"127.0.0.1:{server.server_port}", given
    server.shutdown()
    server.server_close()


def test_credentials_of_a_url_reach_its_server_and_no_argument_list_and_no_message(
    refusing_server: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, given = refusing_server
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    trace = tmp_path / "trace"
    monkeypatch.setenv("GIT_TRACE", str(trace))  # each process that Git starts, with its arguments
    source = GitSource(url=f"http://me:p%40ss@word@{address}/app.git")
    with pytest.raises(GitUnreachable) as raised:
        git.fetch(source, tmp_path / "checkout", Cancel())
    assert set(given) == {"Basic " + base64.b64encode(b"me:p@ss@word").decode()}
    for text in (raised.value.message, raised.value.remedy, trace.read_text()):
        assert address in text
        assert "word" not in text and "p%40ss" not in text


def test_credentials_are_not_stored() -> None:
    source = GitSource(url="https://me:to/ken@example.org/a.git".replace("/ken", "%2Fken"), ref="v1")
    assert source_to_json(source) == {"kind": "git", "url": "https://example.org/a.git", "ref": "v1"}
    assert source_key(source) == "git:https://example.org/a.git"
    assert url_without_credentials("ssh://git@example.org/a") == "ssh://git@example.org/a"
