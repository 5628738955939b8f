"""Uploaded archives: what is let in, and what is refused with a reason and without a trace."""

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from dockwright.errors import DockwrightError, InvalidArchive, SourceTooLarge, UnsafeSource
from dockwright.process import Cancel
from dockwright.sources import upload


def _member(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(content), 0o644, 1_700_000_000
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def _link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    return _member(name, type=kind, linkname=target)


@pytest.fixture
def pack(tmp_path: Path) -> Callable[..., Path]:
    def make(*members: tuple[tarfile.TarInfo, bytes]) -> Path:
        path = tmp_path / "source.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            for info, content in members:
                tar.addfile(info, io.BytesIO(content))
        return path

    return make


def _unpack(archive: Path, tmp_path: Path) -> Path:
    target = tmp_path / "tree"
    target.mkdir()
    return upload.unpack(archive, target, Cancel())


def test_files_folders_and_links_come_out_as_they_were(pack: Callable[..., Path], tmp_path: Path) -> None:
    archive = pack(
        _member("./", type=tarfile.DIRTYPE, mode=0o755),
        _member("./Dockerfile", b"FROM scratch\n"),
        _member("./bin/run", b"#!/bin/sh\n", mode=0o4777),
        _member("./empty", type=tarfile.DIRTYPE),
        _link("./current", "bin/run"),
        _link("./deep/up", "../empty"),
        _link("./same", "Dockerfile", tarfile.LNKTYPE),
    )
    assert upload.check(archive).files == 6
    root = _unpack(archive, tmp_path)
    assert root == tmp_path / "tree"
    assert (root / "Dockerfile").read_text() == (root / "same").read_text() == "FROM scratch\n"
    assert (root / "bin/run").stat().st_mode & 0o7777 == 0o755
    assert (root / "Dockerfile").stat().st_mode & 0o7777 == 0o644
    assert (root / "Dockerfile").stat().st_mtime == 1_700_000_000
    assert os.readlink(root / "current") == "bin/run"
    assert (root / "deep/up").resolve() == root / "empty"


def test_the_only_folder_at_the_top_is_the_root(pack: Callable[..., Path], tmp_path: Path) -> None:
    archive = pack(_member("app-1.0/Dockerfile", b"FROM scratch\n"), _member("app-1.0/a/b", b"b"))
    assert _unpack(archive, tmp_path) == tmp_path / "tree/app-1.0"


def test_a_time_before_the_epoch_or_in_the_future_is_none(pack: Callable[..., Path], tmp_path: Path) -> None:
    archive = pack(_member("old", b"1", mtime=-5), _member("new", b"2", mtime=2**34))
    root = _unpack(archive, tmp_path)
    assert (root / "old").stat().st_mtime == 0
    assert (root / "new").stat().st_mtime <= (tmp_path / "tree").stat().st_mtime + 60


@pytest.mark.parametrize(
    ("members", "error", "match"),
    [
        ([_member("/etc/passwd", b"x")], UnsafeSource, "absolute"),
        ([_member("a/../../x", b"x")], UnsafeSource, r'"\.\."'),
        ([_member("a/../x", b"x")], UnsafeSource, r'"\.\."'),
        ([_link("a", "/etc/passwd")], UnsafeSource, "leads out"),
        ([_link("a", "../x")], UnsafeSource, "leads out"),
        ([_link("a/b", "../../x")], UnsafeSource, "leads out"),
        ([_link("a", "b/../..")], UnsafeSource, "leads out"),
        # `d/e/up` is the root, so `out` leads above it, though its text does not.
        ([_link("d/e/up", "../.."), _link("out", "d/e/up/../x")], UnsafeSource, "leads out"),
        ([_link("a", "b"), _link("b", "c/../../x")], UnsafeSource, "leads out"),
        ([_link("a", "sub"), _member("a/file", b"x")], UnsafeSource, "below 'a'"),
        ([_member("a", b"x"), _member("a/file", b"x")], UnsafeSource, "below 'a'"),
        ([_link("a", "/etc/passwd", tarfile.LNKTYPE)], UnsafeSource, "absolute"),
        ([_link("a", "../x", tarfile.LNKTYPE)], UnsafeSource, r'"\.\."'),
        ([_link("a", "b"), _link("c", "a", tarfile.LNKTYPE)], UnsafeSource, "hard link"),
        ([_link("a", "later", tarfile.LNKTYPE), _member("later")], UnsafeSource, "hard link"),
        ([_member("null", type=tarfile.CHRTYPE)], UnsafeSource, "device"),
        ([_member("disk", type=tarfile.BLKTYPE)], UnsafeSource, "device"),
        ([_member("pipe", type=tarfile.FIFOTYPE)], UnsafeSource, "device or a pipe"),
        ([_member("a", b"1"), _member("./a", b"2")], InvalidArchive, "twice"),
        ([_member("x" * 5000, b"1")], UnsafeSource, "too long"),
        ([], InvalidArchive, "empty"),
        ([_member("zeros", b"\0" * 3_000_000)], SourceTooLarge, "200 times"),
    ],
)
def test_what_may_not_be_in_it(
    members: list[tuple[tarfile.TarInfo, bytes]],
    error: type[DockwrightError],
    match: str,
    pack: Callable[..., Path],
    tmp_path: Path,
) -> None:
    with pytest.raises(error, match=match) as raised:
        upload.check(pack(*members))
    assert raised.value.remedy


def test_links_in_a_circle_harm_nobody(pack: Callable[..., Path], tmp_path: Path) -> None:
    archive = pack(_member("file", b"x"), _link("a", "b"), _link("b", "a"), _link("self", "self/x"))
    upload.check(archive)
    assert sorted(path.name for path in _unpack(archive, tmp_path).iterdir()) == ["a", "b", "file", "self"]


def test_more_files_than_may_be(pack: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dockwright.sources.bounds.MAX_FILES", 3)
    with pytest.raises(SourceTooLarge, match="4 files"):
        upload.check(pack(*[_member(f"f{number}") for number in range(4)]))


def _tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def _broken() -> dict[str, bytes]:
    good = gzip.compress(_tar(_member("Dockerfile", os.urandom(20_000))))
    many_headers = b"".join(
        tarfile.TarInfo.create_pax_global_header({"comment": str(number)}) for number in range(3000)
    )
    huge_header = tarfile.TarInfo("x")
    huge_header.type, huge_header.size = tarfile.XHDTYPE, 2**40
    negative = tarfile.TarInfo("x")
    negative.size = -1024
    return {
        "nothing": b"",
        "text": b"this is no archive",
        "zip": b"PK\x03\x04" + b"\0" * 100,
        "no tar": gzip.compress(os.urandom(5000)),
        "cut off": good[:-5000],
        "checksum": good[:-8] + b"\0" * 8,
        "a bit": good[:9000] + bytes([good[9000] ^ 0xFF]) + good[9001:],
        "garbage behind": good + b"garbage",
        "headers of headers": gzip.compress(many_headers + _tar(_member("a"))),
        "a header of a terabyte": gzip.compress(huge_header.tobuf(tarfile.GNU_FORMAT) + b"\0" * 10_000),
        "a size below nought": gzip.compress(negative.tobuf(tarfile.GNU_FORMAT) + b"\0" * 10_000),
        "a NUL in a name": gzip.compress(_tar(_member("x", pax_headers={"path": "a\0b"}))),
    }


@pytest.mark.parametrize("name", _broken())
def test_what_is_no_archive(name: str, tmp_path: Path) -> None:
    path = tmp_path / "source.tar.gz"
    path.write_bytes(_broken()[name])
    with pytest.raises((InvalidArchive, UnsafeSource)) as raised:
        upload.check(path)
    assert raised.value.remedy and "\0" not in raised.value.message


def test_a_bomb_is_given_up_early(tmp_path: Path) -> None:
    """A gigabyte of zeros in a megabyte: as much is unpacked as its own size allows, and no more."""
    path = tmp_path / "bomb.tar.gz"
    info = tarfile.TarInfo("zeros")
    info.size = 10**9
    block = b"\0" * (1 << 20)
    with gzip.open(path, "wb", compresslevel=1) as packed:
        packed.write(info.tobuf())
        for _ in range(40):
            packed.write(block)
    with pytest.raises(SourceTooLarge, match="unpacked"):
        upload.check(path)
