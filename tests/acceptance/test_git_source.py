"""Git repositories, at any ref: resolved to the full commit, which the image and the proof carry."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from commandline import Home, get
from pages import DOCKERFILE, PAGES

Folder = Callable[..., Path]


@dataclass
class Repository:
    """Two commits, a tag on the first, a branch of its own, and a folder below."""

    root: Path
    first: str = ""
    second: str = ""
    side: str = ""

    def git(self, *arguments: str) -> str:
        who = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(self.root), *who, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, path: str = "index.html", text: str | None = None) -> str:
        if text is not None:
            (self.root / path).write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", f"change {path}")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(folder: Folder) -> Repository:
    pages = {**PAGES, "below/Dockerfile": DOCKERFILE, "below/index.html": "below", "below/extra": "x"}
    made = Repository(folder("repo", pages))
    made.git("init", "-q", "-b", "main")
    made.first = made.commit()
    made.git("tag", "v1.0")
    made.git("tag", "-a", "v1.0-signed", "-m", "annotated")
    made.git("checkout", "-q", "-b", "feature/side")
    made.side = made.commit(text="side")
    made.git("checkout", "-q", "main")
    made.second = made.commit(text="second")
    return made


REFS = {
    "none": ("", "second", "second"),
    "branch": ("#main", "second", "second"),
    "branch with a slash": ("#feature/side", "side", "side"),
    "full name of a branch": ("#refs/heads/main", "second", "second"),
    "tag": ("#v1.0", "first", "first"),
    "annotated tag": ("#v1.0-signed", "first", "first"),
    "full commit": ("#{first}", "first", "first"),
    "short commit": ("#{first:.8}", "first", "first"),
    "folder below": ("#main:below", "second", "below"),
    "folder below at no ref": ("#:below", "second", "below"),
    "folder below at a commit": ("#{first}:below", "first", "below"),
}


@pytest.mark.parametrize(("ref", "commit", "page"), REFS.values(), ids=REFS.keys())
def test_ref_is_resolved_to_its_commit(ref: str, commit: str, page: str, home: Home, repository: Repository) -> None:
    url = f"file://{repository.root}{ref.format(first=repository.first)}"
    build = home.build(url, "--until", "build")
    revision = getattr(repository, commit)
    assert home.rows("SELECT revision FROM builds") == [{"revision": revision}]
    image = home.run("image", "show", build["services"][0]["image"], "--json").json
    assert image["labels"]["org.opencontainers.image.revision"] == revision
    assert image["commit_sha"] == revision
    command = ["docker", "run", "--rm", build["services"][0]["image"], "cat", "/www/index.html"]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == page
    home.assert_nothing_left()


def test_local_path_with_a_ref(home: Home, repository: Repository) -> None:
    """Without a ref the path is the folder as it lies there; with one it is the repository."""
    build = home.build(f"{repository.root}#v1.0")
    assert get(build["deployment_url"]) == (200, "first")
    proof = home.run("verify", f"{repository.root}#v1.0", "--json").json
    assert proof["ok"] and proof["revision"] == proof["built_revision"] == repository.first
    assert proof["files_checked"] >= 3
    assert home.rows("SELECT tag FROM docker_images") == [{"tag": "v1.0"}]


def test_two_commits_of_a_repository(home: Home, repository: Repository) -> None:
    """A checkout has the commit's time on every file: what differs may look the same to BuildKit."""
    url = f"file://{repository.root}"
    one = home.build(f"{url}#{repository.first}")
    two = home.build(f"{url}#main")
    assert one["project"] == two["project"] and one["deployment_url"] == two["deployment_url"]
    assert get(two["deployment_url"]) == (200, "second")
    proof = home.run("verify", f"{url}#main", "--json").json
    assert proof["ok"] and proof["built_revision"] == repository.second
    again = home.build(f"{url}#{repository.first}")
    assert again["services"][0]["reused"] and get(again["deployment_url"]) == (200, "first")
    assert home.run("verify", one["project"], "--json").json["built_revision"] == repository.first


def test_branch_that_moved_is_fetched_again(home: Home, repository: Repository) -> None:
    url = f"file://{repository.root}#main"
    assert get(home.build(url)["deployment_url"]) == (200, "second")
    repository.commit(text="third")
    build = home.build(url)
    assert not build["services"][0]["reused"] and get(build["deployment_url"]) == (200, "third")


def test_commit_that_changes_nothing_is_a_match(home: Home, repository: Repository) -> None:
    url = f"file://{repository.root}"
    home.build(f"{url}#main:below")
    later = repository.commit("readme", "not below")
    again = home.build(f"{url}#main:below")
    assert again["services"][0]["reused"] and again["proof"]["ok"]
    assert (again["proof"]["revision"], again["proof"]["built_revision"]) == (later, repository.second)


def test_uncommitted_edit_is_built_and_called_dirty(home: Home, repository: Repository) -> None:
    (repository.root / "index.html").write_text("uncommitted")
    build = home.build(repository.root)
    assert get(build["deployment_url"]) == (200, "uncommitted")
    image = home.run("image", "show", build["services"][0]["image"], "--json").json
    assert image["labels"]["org.opencontainers.image.revision"] == f"{repository.second}-dirty"


def test_git_arguments_reach_the_dockerfiles_that_declare_them(home: Home, repository: Repository) -> None:
    recipe = "FROM busybox\nARG GIT_COMMIT\nARG BUILD_DATE\nRUN echo $GIT_COMMIT $BUILD_DATE > /facts\n"
    commit = repository.commit("Dockerfile", recipe)
    at = repository.git("log", "-1", "--format=%cd", "--date=format-local:%Y-%m-%dT%H:%M:%SZ")
    service = home.build(f"file://{repository.root}", "--until", "build")["services"][0]
    command = ["docker", "run", "--rm", service["image"], "cat", "/facts"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert commit.startswith(told[0]) and len(told[0]) >= 7
    assert told[1] == at
    assert home.build(f"file://{repository.root}", "--until", "build")["services"][0]["reused"]


@pytest.mark.parametrize("ref", ["nosuch", "0123456", "f" * 40, "v9", "refs/heads/nosuch", "--upload-pack=x", "a b"])
def test_unknown_ref(ref: str, home: Home, repository: Repository) -> None:
    error = home.fail("build", f"file://{repository.root}#{ref}", code=2)
    assert error["code"] == "git_ref_not_found" and ref in error["message"] and error["stage"] == "fetch"
    home.assert_nothing_left()


@pytest.mark.parametrize(
    "url",
    ["file:///no/such/repository", "http://127.0.0.1:9/x.git", "git://127.0.0.1:9/x.git", "ssh://git@127.0.0.1:9/x"],
)
def test_repository_out_of_reach(url: str, home: Home) -> None:
    error = home.fail("build", f"{url}#main", code=3)
    assert error["code"] == "git_unreachable" and url.partition("@")[2] in error["message"]
    home.assert_nothing_left()


def test_password_in_a_url_is_told_to_nobody(home: Home) -> None:
    answer = home.run("build", "http://user:hunter2@127.0.0.1:9/x.git", "--json", code=3)
    assert "hunter2" not in answer.stdout + answer.stderr
    # Nor did it stand anywhere before the project was taken back: SQLite leaves removed rows where they were.
    kept = {path: path.read_bytes() for path in home.path.rglob("*") if path.is_file()}
    assert home.path / "dockwright.db" in kept
    assert [path for path, content in kept.items() if b"hunter2" in content] == []


@pytest.mark.parametrize("url", ["ext::sh -c touch% /tmp/dockwright-owned", "ftp://127.0.0.1/x.git"])
def test_url_that_would_start_a_program(url: str, home: Home) -> None:
    home.run("build", f"{url}#main", "--json", code=None)
    assert not Path("/tmp/dockwright-owned").exists()
    assert home.fail("build", f"{url}#main", code=3)["code"] == "git_unreachable"


@pytest.mark.parametrize("target", ["/etc/passwd", "../../outside", "below/../../outside"])
def test_repository_with_a_link_out_of_it(target: str, home: Home, repository: Repository) -> None:
    (repository.root / "way-out").symlink_to(target)
    repository.commit()
    error = home.fail("build", f"file://{repository.root}", code=2)
    assert error["code"] == "unsafe_source" and "way-out" in error["message"]
    home.assert_nothing_left()


@pytest.mark.parametrize("below", ["..", "../..", "below/../..", "/etc", "nosuch", "index.html", "link"])
def test_folder_that_is_not_below_the_repository(below: str, home: Home, repository: Repository) -> None:
    (repository.root / "link").symlink_to("/etc")
    repository.commit()
    error = home.fail("build", f"file://{repository.root}#main:{below}", code=2)
    assert error["code"] == "unsafe_source" and below in error["message"]
    home.assert_nothing_left()


def test_dockerfile_that_is_a_link_out_of_the_repository(home: Home, repository: Repository) -> None:
    (repository.root / "Dockerfile").unlink()
    (repository.root / "Dockerfile").symlink_to("/etc/hostname")
    repository.commit()
    assert home.fail("build", f"file://{repository.root}", code=2)["code"] == "unsafe_source"


def test_ignored_link_out_of_the_repository_is_no_harm(home: Home, repository: Repository) -> None:
    (repository.root / "way-out").symlink_to("/etc/passwd")
    repository.commit(".dockerignore", "way-out\n")
    assert home.build(f"file://{repository.root}", "--until", "build")["status"] == "succeeded"
