"""Uploaded archives (tar.gz): where they are kept, and a way into a folder that nothing in them can lead out of.

An archive is read as a stream, once to check it when it comes and once more to unpack it for each build, under the same
rules: bounded in bytes, files and expansion while it is read; only files, folders and links; no path and no link that
leaves the tree; nothing below a link; nothing twice.
"""

from __future__ import annotations

import errno
import os
import tarfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from gzip import GzipFile
from pathlib import Path
from typing import IO

from dockwright.errors import InvalidArchive, SourceTooLarge, UnsafeSource
from dockwright.process import Cancel
from dockwright.settings import Settings
from dockwright.sources import bounds

CHUNK = 1 << 18
MAX_HEADER = 1 << 20
"""A header names a file; one of gigabytes would be read into memory."""
MAX_LINKS = 40
"""As many links as the kernel follows."""
MAX_STEPS = 2_000_000
"""From folder to folder, while all links are followed."""
MAX_PATH = 4000
"""Characters of a path or a link, about as many as Linux takes."""


@dataclass(slots=True)
class Contents:
    """What an archive holds."""

    files: int = 0
    bytes: int = 0


def folder(settings: Settings) -> Path:
    return settings.storage_path / "sources"


def archive_path(settings: Settings, digest: str) -> Path:
    """`digest`: SHA-256 in hexadecimal of the archive."""
    return folder(settings) / f"{digest}.tar.gz"


def check(archive: Path) -> Contents:
    """Reads the whole archive and writes nothing. Raises `InvalidArchive`, `UnsafeSource` or `SourceTooLarge`."""
    contents = Contents()
    with _translated():
        for member, content in _members(archive):
            contents.files += 1
            contents.bytes += member.size if content is not None else 0
    if not contents.files:
        raise InvalidArchive("The archive is empty", remedy="Put the source into it: tar czf source.tar.gz -C FOLDER .")
    return contents


def unpack(archive: Path, target: Path, cancel: Cancel) -> Path:
    """Into the empty folder `target`. Returns the tree's root: the only folder at the top, where there is one.

    Raises as `check` does. Files belong to this process and are read-only for others; who could run them still can.
    """
    with _translated():
        for member, content in _members(archive):
            cancel.check()
            _write(member, content, target / _clean(member.name), target)
    top = list(target.iterdir())
    return top[0] if len(top) == 1 and top[0].is_dir() and not top[0].is_symlink() else target


def _write(member: tarfile.TarInfo, content: IO[bytes] | None, path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if member.isdir():
        path.mkdir(exist_ok=True)
    elif member.issym():
        path.symlink_to(member.linkname)
    elif member.islnk():
        os.link(target / _clean(member.linkname), path)
    else:
        assert content is not None
        with path.open("xb") as file:
            while chunk := content.read(CHUNK):
                file.write(chunk)
        path.chmod(0o755 if member.mode & 0o100 else 0o644)
        at = min(max(0.0, float(member.mtime)), time.time())
        os.utime(path, (at, at))


# --- reading --------------------------------------------------------------------------------------------------------


def _members(archive: Path) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """Each member that was found good, and the content of a file; the root itself is left out."""
    rules = _Rules()
    with archive.open("rb") as raw, GzipFile(fileobj=raw) as unpacked:
        stream = _Bounded(unpacked, archive.stat().st_size)
        with tarfile.open(fileobj=stream, mode="r:", errorlevel=2, encoding="utf-8") as tar:  # type: ignore[call-overload]
            while (member := tar.next()) is not None:
                tar.members.clear()  # a list of all of them would take a gigabyte
                if rules.take(member):
                    yield member, tar.extractfile(member) if member.isreg() else None
        stream.drain()
    rules.check_links()


class _Bounded:
    """What comes out of the decompressor: forward only, and no more of it than an archive of this size may hold."""

    def __init__(self, stream: GzipFile, packed_bytes: int) -> None:
        self._stream = stream
        self._most = max(bounds.FREE_EXPANSION, packed_bytes * bounds.MAX_EXPANSION)

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_HEADER:
            raise InvalidArchive("A header of the archive is too large", remedy="Make it with: tar czf")
        content = self._stream.read(size)
        place = self._stream.tell()
        if place > self._most:
            raise SourceTooLarge(
                f"The archive becomes more than {bounds.MAX_EXPANSION} times as large when it is unpacked",
                remedy="Leave out files of nothing but repeated bytes; make them in the Dockerfile instead",
            )
        bounds.check_size(0, place, "The archive")
        return content

    def tell(self) -> int:
        return self._stream.tell()

    def seek(self, place: int) -> int:
        while (missing := place - self._stream.tell()) > 0:
            if not self.read(min(missing, CHUNK)):
                break
        if place < self._stream.tell():
            raise InvalidArchive("The archive's files lie within each other", remedy="Make it with: tar czf")
        return self._stream.tell()

    def drain(self) -> None:
        """To the end, where the checksum is."""
        while self.read(CHUNK):
            pass


class _Rules:
    """What has been seen of an archive, and what may still come."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._folders: set[str] = set()
        self._links: dict[str, str] = {}
        self._steps = 0

    def take(self, member: tarfile.TarInfo) -> bool:
        """False for the tree's root. Raises `UnsafeSource`, `InvalidArchive` or `SourceTooLarge`."""
        if max(len(member.name), len(member.linkname)) > MAX_PATH:
            raise UnsafeSource(f"The path {_shown(member.name)} is too long", remedy="Give it a shorter one")
        path = _clean(member.name)
        if not (member.isdir() or member.isreg() or member.issym() or member.islnk()):
            raise UnsafeSource(
                f"{_shown(path)} is a device or a pipe", remedy="A source holds files, folders and links: leave it out"
            )
        if path == ".":
            if not member.isdir():
                raise InvalidArchive("The root of the archive is no folder", remedy="Make it with: tar czf")
            return False
        self._check_place(path, member)
        if member.isdir():
            self._folders.add(path)
        elif member.issym():
            self._links[path] = member.linkname
        else:
            self._files.add(path)
        # A sparse file is a few bytes of the archive: no expansion of it is seen in the stream.
        if member.issparse():
            raise UnsafeSource(f"{_shown(path)} is a sparse file", remedy="Make the archive without --sparse")
        bounds.check_size(len(self._files) + len(self._links) + len(self._folders), member.size, "The archive")
        return True

    def _check_place(self, path: str, member: tarfile.TarInfo) -> None:
        parts = path.split("/")
        above = ["/".join(parts[:count]) for count in range(1, len(parts))]
        for one in above:
            if one in self._links or one in self._files:
                raise UnsafeSource(
                    f"{_shown(path)} lies below {_shown(one)}, which is no folder",
                    remedy="Pack the folder itself rather than a link to it",
                )
        is_taken = path in self._files or path in self._links or (path in self._folders and not member.isdir())
        if is_taken:
            raise InvalidArchive(f"{_shown(path)} is in the archive twice", remedy="Make it anew with: tar czf")
        self._folders.update(above)
        if member.islnk() and _clean(member.linkname) not in self._files:
            raise UnsafeSource(
                f"{_shown(path)} is a hard link to {_shown(member.linkname)}, no file that came before it",
                remedy="Make the archive with: tar --hard-dereference -czf",
            )

    def check_links(self) -> None:
        """When all of them are known: one may lead through another."""
        for link in self._links:
            if self._links[link].startswith("/") or not self._stays_inside(link):
                raise UnsafeSource(
                    f"The link {_shown(link)} leads out of the source, to {_shown(self._links[link])}",
                    remedy="Replace it with what it points at, or leave it out",
                )

    def _stays_inside(self, link: str) -> bool:
        """As the kernel would follow it, from folder to folder and from link to link."""
        place = link.split("/")[:-1]
        to_go = self._links[link].split("/")[::-1]
        followed = 0
        while to_go and followed <= MAX_LINKS:  # links in a circle lead nowhere
            self._take_step()
            part = to_go.pop()
            if part == ".." and not place:
                return False
            if part == "..":
                place.pop()
            elif part not in {"", "."}:
                place.append(part)
            target = self._links.get("/".join(place)) if part not in {"", ".", ".."} else None
            if target is not None:
                if target.startswith("/"):
                    return False
                followed += 1
                place.pop()
                to_go += target.split("/")[::-1]
        return True

    def _take_step(self) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise UnsafeSource("The archive's links are too entangled", remedy="Pack files rather than links to them")


def _clean(name: str) -> str:
    """A path below the tree, without "." and with "/" between its parts. Raises `UnsafeSource`."""
    if name.startswith("/"):
        raise UnsafeSource(f"The path {_shown(name)} is absolute", remedy="Pack it from within: tar czf … -C FOLDER .")
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise UnsafeSource(
            f'The path {_shown(name)} goes up with ".."', remedy="Pack it from within: tar czf … -C FOLDER ."
        )
    if "\0" in name:
        raise UnsafeSource(f"The path {_shown(name)} holds a NUL byte", remedy="Give it another name")
    return "/".join(parts) or "."


def _shown(name: str) -> str:
    return repr(name if len(name) <= 200 else f"{name[:200]}…")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except EOFError as error:
        raise InvalidArchive("The archive ends before its end", remedy="Send it once more, as a whole") from error
    except OSError as error:
        if error.errno in {errno.ENAMETOOLONG, errno.EILSEQ, errno.EEXIST, errno.EINVAL}:
            raise UnsafeSource(
                f"{_shown(str(error.filename))} cannot be a file here: {error.strerror}", remedy="Give it another name"
            ) from error
        if error.errno is not None:
            raise
        raise _damaged(error) from error
    except (tarfile.TarError, zlib.error, ValueError, OverflowError, RecursionError) as error:
        raise _damaged(error) from error


def _damaged(error: Exception) -> InvalidArchive:
    return InvalidArchive(
        f"This is no tar.gz archive, or a damaged one: {error}",
        remedy="Make it with: tar czf source.tar.gz -C FOLDER .",
    )
