"""A folder as an archive to send: what its build needs and no more, and the same folder as the same bytes each time."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from gzip import GzipFile
from pathlib import Path
from typing import IO, Self

from dockwright.docker import compose
from dockwright.errors import DiskFull, SourceChanged, UnsafeSource, UsageError
from dockwright.insight import context as contexts
from dockwright.insight import ignore
from dockwright.insight.context import Walk
from dockwright.sources import bounds
from dockwright.stages.asked import SERVICE, find_dockerfile

LEVEL = 4
"""Of compression: half as long as the usual 6, and hardly larger."""
CHUNK = 1 << 18


@dataclass(frozen=True, slots=True)
class Packed:
    """An archive in a file that has no name, and is gone when its `with` ends."""

    archive: IO[bytes]
    digest: str
    """SHA-256 in hexadecimal."""
    size: int
    """Bytes, as it is sent."""
    files: int
    unpacked: int
    """Bytes, as the files have them."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.archive.close()

    def chunks(self) -> Iterator[bytes]:
        self.archive.seek(0)
        while chunk := self.archive.read(CHUNK):
            yield chunk


def pack(root: Path, service: str | None = None) -> Packed:
    """`service`: of a folder with a compose file.

    Raises `NoDockerfile`, `UnsafeSource`, `SourceTooLarge`, `SourceChanged` or `DiskFull`.
    """
    walk, own = _wanted(root, service)
    for file in own:
        bounds.check_own(root, file)
    bounds.check_size(walk.files, walk.bytes, "The context")
    bounds.check_links(root, walk.links)
    paths = {entry[0] for entry in walk.entries}
    more = {os.path.relpath(path, root) for file in own if file.is_file() for path in (file, file.resolve())}
    with _translated(), ExitStack() as failing:
        archive = failing.enter_context(tempfile.TemporaryFile(prefix="dockwright-"))
        _write(root, sorted(paths | more), archive)
        archive.seek(0)
        digest = hashlib.file_digest(archive, "sha256").hexdigest()
        failing.pop_all()
        return Packed(archive=archive, digest=digest, size=archive.tell(), files=walk.files, unpacked=walk.bytes)


def _wanted(root: Path, service: str | None) -> tuple[Walk, list[Path]]:
    """The context, and the files that the build itself reads, which need not be among what goes on to the builder."""
    if (not (root / "Dockerfile").is_file() or service not in {None, SERVICE}) and compose.find_files(root):
        # Which folders its services are built from, and what else it reads, is told by a tool that need not be here.
        return contexts.walk(root, ignore.parse_rules(".git\n")), []
    dockerfile = find_dockerfile(root, None)
    own = [dockerfile, root / f"{dockerfile.name}.dockerignore", root / ".dockerignore"]
    return contexts.walk(root, ignore.load_rules(root, dockerfile)), own


def _write(root: Path, paths: list[str], archive: IO[bytes]) -> None:
    with (
        GzipFile(filename="", mode="wb", compresslevel=LEVEL, fileobj=archive, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT, encoding="utf-8") as tar,
    ):
        for path in paths:
            _add(tar, root, path)


def _add(tar: tarfile.TarFile, root: Path, path: str) -> None:
    """Whose it is, and who else may read it, is this machine's own affair."""
    facts = os.lstat(root / path)
    entry = tarfile.TarInfo(path)
    entry.mtime = int(facts.st_mtime)
    entry.mode = 0o755 if facts.st_mode & 0o100 else 0o644
    if stat.S_ISDIR(facts.st_mode):
        entry.type, entry.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(entry)
    elif stat.S_ISLNK(facts.st_mode):
        entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(root / path)
        tar.addfile(entry)
    elif stat.S_ISREG(facts.st_mode):
        with (root / path).open("rb") as content:
            entry.size = os.fstat(content.fileno()).st_size
            tar.addfile(entry, content)
    elif stat.S_ISSOCK(facts.st_mode):
        tar.addfile(entry)  # an empty file, as the builder makes of it
    else:
        raise UnsafeSource(f"{path} is a device or a pipe", remedy="Leave it out: name it in .dockerignore")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise _changed(f"{error.filename} vanished") from error
    except PermissionError as error:
        raise UsageError(
            f"{error.filename} may not be read, and the build would need it",
            remedy="Give yourself the right to read it, or name it in .dockerignore",
        ) from error
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DiskFull(
                f"The disk that holds {tempfile.gettempdir()} is full", remedy="Free some, or set TMPDIR to another"
            ) from error
        if error.errno is None:  # what tarfile says of a file that has become shorter
            raise _changed("A file became shorter") from error
        raise


def _changed(what: str) -> SourceChanged:
    return SourceChanged(f"{what} while it was packed", remedy="Build again when nothing writes to the folder")
