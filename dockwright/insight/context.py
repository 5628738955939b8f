"""Walks the context: every file, link and folder that the builder gets, with the facts that tell whether it changed.

Nothing is read here, only looked at. A walk of 20,000 files takes about a tenth of a second, because "nothing changed"
must cost a walk and no more; so entries are plain tuples, and folders in which nothing can be taken in are not entered.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

from dockwright.errors import PathNotFound, SourceChanged, UsageError
from dockwright.insight.ignore import Rules

Entry: TypeAlias = tuple[str, int, int, int, int, int]
"""Path with "/" between its parts, st_mode, size in bytes, mtime and ctime in nanoseconds, inode.

A folder has 0 but for its path and mode: what else changes on it says nothing of its content.
"""

_TYPE = 0o170000
"""The bits of st_mode that tell a file from a folder; `stat.S_ISDIR` and its like take a while for thousands."""
_KINDS = "QQqqQ"
"""Of the numbers of an entry, as `array` names them."""
_NUMBER = 8
"""Bytes of each."""
RACY_NS = 50_000_000
"""A file touched this short a time before the walk may change again without its times telling."""
RACY_WHOLE_SECONDS_NS = 2_000_000_000
"""The same, where the file system keeps times in whole seconds."""


@dataclass(frozen=True)
class Walk:
    columns: bytes
    """All that was seen, as `pack` has it: a few large things rather than a hundred thousand small ones."""
    started_ns: int
    """Clock at its beginning, nanoseconds since the epoch."""

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """Sorted by path."""
        return tuple(zip(self._paths, *map(self._column, range(len(_KINDS))), strict=True))

    @cached_property
    def files(self) -> int:
        """Files and links, folders not counted."""
        return len([1 for mode in self._column(0) if mode & _TYPE != stat.S_IFDIR])

    @cached_property
    def bytes(self) -> int:
        each = zip(self._column(0), self._column(1), strict=True)
        return sum([size for mode, size in each if mode & _TYPE == stat.S_IFREG])

    @cached_property
    def links(self) -> list[str]:
        each = zip(self._paths, self._column(0), strict=True)
        return [path for path, mode in each if mode & _TYPE == stat.S_IFLNK]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal over all that was seen. Trust an old one only where `is_racy` was false."""
        return hashlib.sha256(self.columns).hexdigest()

    @cached_property
    def racy(self) -> frozenset[str]:
        """Paths of files that changed so shortly before the walk that a later edit could keep every stat."""
        recent = self.started_ns - RACY_WHOLE_SECONDS_NS
        limit = self.started_ns - RACY_NS
        return frozenset(
            entry[0]
            for entry in self.entries
            if entry[4] > recent and (entry[4] > limit or entry[4] % 1_000_000_000 == 0)
        )

    @property
    def is_racy(self) -> bool:
        return bool(self.racy)

    @cached_property
    def _count(self) -> int:
        return int.from_bytes(self.columns[:_NUMBER], sys.byteorder)

    def _column(self, place: int) -> array[int]:
        width = _NUMBER * self._count
        start = _NUMBER + place * width
        return array(_KINDS[place], self.columns[start : start + width])

    @cached_property
    def _paths(self) -> list[str]:
        text = self.columns[_NUMBER + len(_KINDS) * _NUMBER * self._count :]
        return text.decode("utf-8", "surrogateescape").split("\0") if self._count else []


def pack(entries: Sequence[Entry]) -> bytes:
    """How many there are, then mode, size, mtime, ctime and inode of each as a column of numbers, then the paths."""
    paths, *numbers = zip(*entries, strict=True) if entries else ((),)
    columns = [array(kind, column).tobytes() for kind, column in zip(_KINDS, numbers, strict=False)]
    text = "\0".join(paths).encode("utf-8", "surrogateescape")
    return b"".join([len(paths).to_bytes(_NUMBER, sys.byteorder), *columns, text])


def walk(root: Path | str, rules: Rules | None = None) -> Walk:
    """All that the builder gets from `root` under `rules`.

    Raises `PathNotFound`, `UsageError` for a folder that may not be read, `SourceChanged` when something vanishes
    meanwhile. Links are not followed. Sockets count as the empty files that the builder makes of them.
    """
    started_ns = time.time_ns()
    rules = rules or Rules()
    entries: list[Entry] = []
    base = os.path.join(os.fspath(root), "")
    if not os.path.isdir(base):
        raise PathNotFound(f"There is no folder {root}", remedy="Give the path of a folder that exists")
    try:
        if rules.has_exceptions:
            _Sifting(base, rules, entries).folder("", [])
        else:
            _walk_plain(base, rules, entries)
    except FileNotFoundError as error:
        raise SourceChanged(
            f"{error.filename} vanished while the context was read", remedy="Build again when nothing writes to it"
        ) from error
    except PermissionError as error:
        raise UsageError(
            f"{error.filename} may not be read, and the build would need it",
            remedy="Give yourself the right to read it, or name it in .dockerignore",
        ) from error
    entries.sort()
    return Walk(pack(entries), started_ns)


def _walk_plain(base: str, rules: Rules, entries: list[Entry]) -> None:
    """Without exceptions a folder that is left out need not be entered."""
    excludes = rules.excludes if rules.patterns else None
    pending = [""]
    while pending:
        prefix = pending.pop()
        # By the folder's descriptor, from which the kernel has less of a way to each file.
        with _opened(base + prefix) as folder, os.scandir(folder) as found:
            for item in found:
                path = prefix + item.name
                if excludes is not None and excludes(path):
                    continue
                facts = item.stat(follow_symlinks=False)
                mode = facts.st_mode
                if mode & 0o170000 == 0o040000:
                    entries.append((path, mode, 0, 0, 0, 0))
                    pending.append(path + "/")
                elif mode & 0o170000 == 0o140000:
                    entries.append(_socket(path, facts))
                else:
                    entries.append((path, mode, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino))


@contextmanager
def _opened(folder: str) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    except OSError as error:
        # Of a file that is looked at from there only the name is known.
        error.filename = os.path.join(folder, str(error.filename))
        raise
    finally:
        os.close(descriptor)


class _Sifting:
    """A walk under rules with exceptions: folders that are left out are entered where an exception may match below."""

    def __init__(self, base: str, rules: Rules, entries: list[Entry]) -> None:
        self.base = base
        self.rules = rules
        self.entries = entries
        self.waiting: list[Entry] = []
        """Folders above that are left out, and come in with the first thing below that is taken in."""

    def folder(self, prefix: str, above: list[bool]) -> None:
        with os.scandir(self.base + prefix) as found:
            items = list(found)
        for item in items:
            path = prefix + item.name
            is_out, matched = self.rules.judge(path, above)
            if item.is_dir(follow_symlinks=False):
                self._below(path, item, is_out, matched)
            elif not is_out:
                self._take(_entry(path, item.stat(follow_symlinks=False)))

    def _below(self, path: str, item: os.DirEntry[str], is_out: bool, matched: list[bool]) -> None:
        if is_out and not self.rules.may_hold_exceptions(path):
            return
        own = (path, item.stat(follow_symlinks=False).st_mode, 0, 0, 0, 0)
        if is_out:
            self.waiting.append(own)
        else:
            self._take(own)
        self.folder(path + "/", matched)
        if self.waiting and self.waiting[-1] is own:
            self.waiting.pop()

    def _take(self, entry: Entry) -> None:
        self.entries.extend(self.waiting)
        self.waiting.clear()
        self.entries.append(entry)


def _entry(path: str, facts: os.stat_result) -> Entry:
    if stat.S_ISSOCK(facts.st_mode):
        return _socket(path, facts)
    return (path, facts.st_mode, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino)


def _socket(path: str, facts: os.stat_result) -> Entry:
    """The builder drops the type of a socket, which leaves an empty file."""
    mode = stat.S_IFREG | stat.S_IMODE(facts.st_mode)
    return (path, mode, 0, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino)
