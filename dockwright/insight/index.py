"""The digests of the context's files, remembered, so that what did not change need not be read again.

A file whose path, size, mtime, ctime, inode and mode are as they were holds what it held, unless it changed within the
moment of the last look (`Walk.racy`): those, and only those that differ, are read.
"""

from __future__ import annotations

import hashlib
import os
import stat
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from dockwright.errors import SourceChanged, UsageError
from dockwright.insight.context import Entry, Walk

Facts: TypeAlias = tuple[int, int, int, int, int, str]
"""Size in bytes, mtime and ctime in nanoseconds, inode, st_mode, SHA-256 in hexadecimal.

The digest is of a file's content or of a link's target; a folder, a pipe and a device have "".
"""

_MAGIC = b"dockwright index 2\n"
_CHUNK = 1 << 20
_NO_DIGEST = "0" * 64


@dataclass(frozen=True, slots=True)
class Index:
    files: Mapping[str, Facts]
    """By path, sorted."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Targets of the links among them."""
    racy: frozenset[str] = frozenset()
    """Paths whose stat must not be trusted the next time."""


EMPTY = Index({})


def update(
    root: Path | str, walk: Walk, previous: Index | None = None, check: Callable[[], None] = lambda: None
) -> Index:
    """Digests of all that the walk found; reads only what is not known from `previous`.

    `check` is called now and then while files are read, and ends it by raising: reading gigabytes takes its time.

    Raises `SourceChanged` for a file that vanishes or changes while it is read, `UsageError` for one that may not be.
    """
    known = previous or EMPTY
    old_files, old_links, old_racy = known.files, known.links, known.racy
    files: dict[str, Facts] = {}
    links: dict[str, str] = {}
    base = os.path.join(os.fspath(root), "")
    for entry in walk.entries:
        path, mode, size, mtime, ctime, inode = entry
        old = old_files.get(path)
        if old is not None and old[:5] == (size, mtime, ctime, inode, mode) and path not in old_racy:
            files[path] = old
            if path in old_links:
                links[path] = old_links[path]
            continue
        digest, target = _digest(base + path, entry, check)
        files[path] = (size, mtime, ctime, inode, mode, digest)
        if target is not None:
            links[path] = target
    return Index(files, links, walk.racy)


def suspicious(previous: Index, new: Index) -> list[str]:
    """Paths whose content differs although path, size, mtime and mode are equal: BuildKit would not send them again."""
    return [
        path
        for path, facts in new.files.items()
        if (old := previous.files.get(path)) is not None
        and old[5] != facts[5]
        and (old[0], old[1], old[4]) == (facts[0], facts[1], facts[4])
    ]


def digest_text(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _digest(path: str, entry: Entry, check: Callable[[], None]) -> tuple[str, str | None]:
    """The digest, and the target of a link."""
    mode = entry[1]
    try:
        if stat.S_ISLNK(mode):
            target = os.readlink(path)
            return digest_text(target), target
        if not stat.S_ISREG(mode):
            return "", None
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            return digest_text(""), None
        return _digest_file(path, entry, check), None
    except FileNotFoundError as error:
        raise _changed(entry[0], "vanished") from error
    except PermissionError as error:
        raise UsageError(
            f"{entry[0]} may not be read, and the build would need it",
            remedy="Give yourself the right to read it, or name it in .dockerignore",
        ) from error


def _digest_file(path: str, entry: Entry, check: Callable[[], None]) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        sha, read = hashlib.sha256(), 0
        while chunk := os.read(descriptor, _CHUNK):
            check()
            sha.update(chunk)
            read += len(chunk)
        facts = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if read != entry[2] or (facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino) != entry[2:]:
        raise _changed(entry[0], "changed")
    return sha.hexdigest()


def _changed(path: str, what: str) -> SourceChanged:
    return SourceChanged(f"{path} {what} while it was read", remedy="Build again when nothing writes to the source")


def save(index: Index, path: Path) -> None:
    """Writes it in one step: a reader sees the old file or the new one."""
    from tempfile import NamedTemporaryFile

    body = _pack(index)
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(_MAGIC + hashlib.sha256(body).digest() + body)
            file.close()
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def load(path: Path) -> Index | None:
    """None where there is no index, or none that was written here in full."""
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    start = len(_MAGIC) + 32
    body = content[start:]
    if not content.startswith(_MAGIC) or hashlib.sha256(body).digest() != content[len(_MAGIC) : start]:
        return None
    return _unpack(body)


def _pack(index: Index) -> bytes:
    """Columns rather than rows: they are read back without a step of Python for each number."""
    rows = [facts[:5] for facts in index.files.values()]
    columns = [array("Q", (row[place] % 2**64 for row in rows)) for place in range(5)]
    digests = "".join(facts[5] or _NO_DIGEST for facts in index.files.values())
    texts = "\0".join([*index.files, *index.links, *index.links.values(), *sorted(index.racy)])
    header = array("Q", (len(index.files), len(index.links), len(index.racy)))
    parts = [header.tobytes(), *(column.tobytes() for column in columns)]
    return b"".join([*parts, bytes.fromhex(digests), texts.encode("utf-8", "surrogateescape")])


def _unpack(body: bytes) -> Index:
    count, links, racy = array("Q", body[:24])
    width, at = 8 * count, 24
    columns = [array("q" if place in (1, 2) else "Q", body[at + place * width :][:width]) for place in range(5)]
    at += 5 * width
    digests = body[at : at + 32 * count].hex()
    text = body[at + 32 * count :].decode("utf-8", "surrogateescape")
    texts = text.split("\0") if text else []
    split_digests = [digests[place : place + 64] for place in range(0, 64 * count, 64)]
    shown = ["" if digest == _NO_DIGEST else digest for digest in split_digests]
    files = dict(zip(texts[:count], zip(*columns, shown, strict=True), strict=True))
    names, targets = texts[count : count + links], texts[count + links : count + 2 * links]
    return Index(files, dict(zip(names, targets, strict=True)), frozenset(texts[count + 2 * links :][:racy]))
