"""A folder as the archive that a server gets: what a build needs, and the same bytes for the same folder."""

from __future__ import annotations

import os
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from dockwright.cli.packing import pack
from dockwright.errors import NoDockerfile, UnsafeSource
from dockwright.process import Cancel
from dockwright.sources import upload

FILES = {"Dockerfile": "FROM busybox\n", "app/main.py": "print()", "app/run.sh": "exit", "notes/secret": "mine"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "shop"
    for path, text in FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
        os.utime(root / path, (1_700_000_000, 1_700_000_000))
    (root / "app/run.sh").chmod(0o700)
    (root / "app/link").symlink_to("main.py")
    (root / "empty").mkdir()
    return root


def sent(root: Path, target: Path) -> Path:
    """As the server unpacks it, which refuses all that is not as it should be."""
    target.mkdir()
    archive = target / "archive"
    with pack(root) as packed:
        archive.write_bytes(b"".join(packed.chunks()))
    (target / "tree").mkdir()
    return upload.unpack(archive, target / "tree", Cancel())


def digest_of(root: Path) -> str:
    with pack(root) as packed:
        return packed.digest


def paths(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def test_the_server_unpacks_what_was_packed(root: Path, tmp_path: Path) -> None:
    tree = sent(root, tmp_path / "there")
    assert paths(tree) == paths(root)
    assert (tree / "app/main.py").read_text() == FILES["app/main.py"]
    assert os.readlink(tree / "app/link") == "main.py"
    assert [oct((tree / path).stat().st_mode & 0o777) for path in ("app/run.sh", "app/main.py")] == ["0o755", "0o644"]
    assert (tree / "app/main.py").stat().st_mtime == 1_700_000_000
    with pack(root) as packed:
        assert (packed.files, packed.unpacked) == (5, sum(map(len, FILES.values())))


def test_the_same_folder_is_the_same_bytes_wherever_and_whenever(root: Path, tmp_path: Path) -> None:
    first = digest_of(root)
    moved = root.rename(tmp_path / "elsewhere")
    (moved / "app/main.py").touch(0o600)
    os.utime(moved / "app/main.py", (1_700_000_000, 1_700_000_000))
    assert digest_of(moved) == first
    (moved / "app/main.py").write_text("print(1)")
    assert digest_of(moved) != first


def test_what_is_ignored_stays_here_but_for_what_the_build_itself_reads(root: Path, tmp_path: Path) -> None:
    (root / ".dockerignore").write_text("*\n!app\napp/run.sh\n")
    tree = sent(root, tmp_path / "there")
    assert paths(tree) == {"Dockerfile", ".dockerignore", "app", "app/main.py", "app/link"}


def test_the_dockerfiles_own_ignore_file_goes_along(root: Path, tmp_path: Path) -> None:
    (root / "Dockerfile.dockerignore").write_text("notes\nempty\nDockerfile*\n")
    tree = sent(root, tmp_path / "there")
    assert paths(tree) == paths(root) - {"notes", "notes/secret", "empty"}


def test_a_dockerfile_that_is_a_link_comes_with_its_file(root: Path, tmp_path: Path) -> None:
    (root / ".dockerignore").write_text("*\n")
    (root / "Dockerfile").rename(root / "notes/Dockerfile")
    (root / "Dockerfile").symlink_to("notes/Dockerfile")
    tree = sent(root, tmp_path / "there")
    assert (tree / "Dockerfile").read_text() == FILES["Dockerfile"]


def test_names_that_are_no_text(root: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"odd\xff name")
    (root / name).write_text("any")
    long = "x" * 200
    (root / long / long).mkdir(parents=True)
    (root / long / long / "deep").write_text("any")
    assert paths(sent(root, tmp_path / "there")) == paths(root)


def test_a_compose_file_has_contexts_of_its_own(root: Path, tmp_path: Path) -> None:
    (root / "Dockerfile").rename(root / "app/Dockerfile")
    (root / "compose.yaml").write_text("services: {app: {build: app}}\n")
    (root / ".dockerignore").write_text("app\n")
    (root / ".git").mkdir()
    (root / ".git/HEAD").write_text("ref: refs/heads/main\n")
    assert paths(sent(root, tmp_path / "there")) == paths(root) - {".git", ".git/HEAD"}


def test_nothing_tells_whose_it_was(root: Path) -> None:
    with pack(root) as packed, BytesIO(b"".join(packed.chunks())) as archive, tarfile.open(fileobj=archive) as tar:
        assert {(one.uid, one.gid, one.uname, one.gname) for one in tar} == {(0, 0, "", "")}


def test_refused_before_anything_is_sent(root: Path) -> None:
    os.mkfifo(root / "pipe")
    with pytest.raises(UnsafeSource, match="pipe"):
        pack(root)
    (root / "pipe").unlink()
    (root / "out").symlink_to("../../elsewhere")
    with pytest.raises(UnsafeSource, match="out"):
        pack(root)
    (root / "Dockerfile").unlink()
    with pytest.raises(NoDockerfile):
        pack(root)
