"""A container's files against the source's, by content, executable bit and owner.

It needs nothing inside the container, not even a shell: the engine hands out the files as a tar stream, and tells what
changed since the container was made.
"""

from __future__ import annotations

import hashlib
import stat
import tarfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal, NamedTuple

from dockwright.docker.engine import Engine
from dockwright.docker.layers import last_writers
from dockwright.domain.plan import CopyMapping
from dockwright.errors import NotFound

if TYPE_CHECKING:
    from dockwright.insight.copies import Copies

PERMISSIONS = 0o777
EXECUTABLE = 0o111
DELETED = 2
"""As the engine counts the kinds of changes; 0 is modified, 1 added."""
MAX_LOOKED_AT = 200
"""Changed paths below places that cannot be compared, of which each is asked for by itself."""


class Found(NamedTuple):
    """A file or link as the container has it."""

    digest: str
    mode: int
    uid: int
    gid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    path: str
    what: Literal["missing", "content", "mode", "owner"]
    is_own: bool
    """The container changed it since it was made; else its image holds it so."""
    text: str
    """The difference in words: `its mode is 0644, not 0755`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    differences: tuple[Difference, ...]
    unverifiable: tuple[tuple[str, str], ...]
    """Paths of files that a step of the build wrote after their COPY, with the reason."""
    changed_elsewhere: tuple[str, ...]
    """Files that nothing of the source can be compared with, and that the container changed since it was made."""


def compare(engine: Engine, container: str, image: str, copies: Copies, scratch: Path) -> Comparison:
    """What of the source's files is not in the container as it should be.

    A file that differs although the container has not changed it was written again while the image was built. If that
    was a `RUN`, there is nothing to compare it with; if it was the `COPY` itself, the image holds other bytes.
    `scratch` is a folder for the image's layers, which are looked into only then.
    """
    wanted = {mapping.destination: mapping for mapping in copies.mappings}
    found = files_in(engine, container, {*wanted, *copies.either.values()})
    ids = _Owners(engine, container)
    suspects: dict[str, tuple[str, str, str]] = {}
    for path, mapping in wanted.items():
        place = path if path in found else copies.either.get(path, path)
        difference = _difference(mapping, found.get(place), ids)
        if difference is not None:
            suspects[place] = (path, *difference)
    changes = engine.changes(container) if suspects or copies.unverifiable else {}
    own = {place for place in suspects if _is_changed(place, changes)}
    doubted = {
        place: copies.doubts[path]
        for place, (path, *_) in suspects.items()
        if place not in own and path in copies.doubts
    }
    reasons = doubted | _rewritten(engine, image, suspects.keys() - own - doubted.keys(), scratch)
    return Comparison(
        differences=tuple(
            Difference(path=place, what=what, is_own=place in own, text=text)  # type: ignore[arg-type]
            for place, (_, what, text) in sorted(suspects.items())
            if place not in reasons
        ),
        unverifiable=tuple(sorted(reasons.items())),
        changed_elsewhere=_changed_elsewhere(engine, container, changes, copies, wanted.keys() | suspects.keys()),
    )


def _difference(mapping: CopyMapping, found: Found | None, ids: _Owners) -> tuple[str, str] | None:
    if found is None:
        return "missing", "it is not there"
    if found.digest != mapping.digest:
        return "content", "its content differs"
    if mapping.owner is not None and (owner := ids.of(mapping.owner)) not in {None, (found.uid, found.gid)}:
        assert owner is not None
        return "owner", f"it belongs to {found.uid}:{found.gid}, not {owner[0]}:{owner[1]} (--chown={mapping.owner})"
    # What else a mode has may be the builder's doing; whether a file can be executed decides whether an app starts.
    bits = PERMISSIONS if mapping.is_mode_set else EXECUTABLE
    is_known = stat.S_ISREG(mapping.mode) and mapping.mode & PERMISSIONS
    if is_known and (found.mode ^ mapping.mode) & bits:
        return "mode", f"its mode is {found.mode & PERMISSIONS:04o}, not {mapping.mode & PERMISSIONS:04o}"
    return None


def _is_changed(place: str, changes: Mapping[str, int]) -> bool:
    """It, or a folder above it that is gone or was put there anew."""
    return place in changes or any(changes.get(str(above), 0) for above in PurePosixPath(place).parents)


def _rewritten(engine: Engine, image: str, places: Collection[str], scratch: Path) -> dict[str, str]:
    """Those that a step of the build other than a COPY wrote last, with the reason that names it."""
    if not places:
        return {}
    writers = last_writers(engine, image, places, scratch)
    return {
        place: f"written again by {writer}"
        for place, writer in writers.items()
        if not writer.startswith(("COPY ", "ADD "))
    }


def _changed_elsewhere(
    engine: Engine, container: str, changes: Mapping[str, int], copies: Copies, compared: Collection[str]
) -> tuple[str, ...]:
    """At or below the places that nothing can be compared with; what the app has added there counts for nothing."""
    folders = {str(above) for path in changes for above in PurePosixPath(path).parents}
    places = tuple(path for path, _ in copies.unverifiable)
    changed = [
        path
        for path, kind in sorted(changes.items())
        if kind in {0, DELETED} and path not in folders and path not in compared and _is_below(path, places)
    ]
    gone = [path for path in changed if changes[path] == DELETED]
    modified = [path for path in changed if changes[path] != DELETED][:MAX_LOOKED_AT]
    return tuple(sorted([*gone, *files_in(engine, container, modified)]))


def _is_below(path: str, places: Iterable[str]) -> bool:
    return any(path == place or path.startswith(f"{place.rstrip('/')}/") for place in places)


# --- what the engine hands out -------------------------------------------------------------------------------------


def files_in(engine: Engine, container: str, wanted: Collection[str]) -> dict[str, Found]:
    """The wanted files and links as the container has them; one that is not there is not in the answer."""
    found: dict[str, Found] = {}
    for folder in _folders(wanted):
        links: dict[str, str] = {}
        try:
            with engine.archive(container, folder) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
                # Texts rather than paths: there are tens of thousands of them.
                start = folder.rstrip("/").rpartition("/")[0] + "/"
                for member in archive:
                    path = start + member.name
                    if path not in wanted or member.isdir():
                        continue
                    if member.islnk():
                        links[path] = start + member.linkname
                    else:
                        found[path] = _found(archive, member)
        except NotFound:
            continue
        # A hard link has no content of its own in a tar stream: it names the file that came before it.
        for path, first in links.items():
            if first not in found and first not in wanted:
                found |= files_in(engine, container, {first})
            found |= {path: found[first]} if first in found else {}
    return {path: facts for path, facts in found.items() if path in wanted}


def _folders(wanted: Collection[str]) -> Iterator[str]:
    """The fewest paths to ask for: the files' folders, without those below another; never the whole root."""
    by_folder: dict[str, list[str]] = defaultdict(list)
    for path in wanted:
        by_folder[str(PurePosixPath(path).parent)].append(path)
    taken: list[str] = []
    for folder in sorted(by_folder):
        if folder == "/":
            yield from by_folder[folder]
        elif not any(folder.startswith(f"{above}/") for above in taken):
            taken.append(folder)
            yield folder


def _found(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Found:
    kind = stat.S_IFLNK if member.issym() else stat.S_IFREG
    return Found(_digest_of(archive, member), kind | member.mode, member.uid, member.gid)


def _digest_of(archive: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    if member.issym():
        return hashlib.sha256(member.linkname.encode(errors="surrogateescape")).hexdigest()
    content = archive.extractfile(member)
    if content is None:
        return ""
    digest = hashlib.sha256()
    while block := content.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


class _Owners:
    """What `--chown=user:group` means in this container, by its own /etc/passwd and /etc/group."""

    def __init__(self, engine: Engine, container: str) -> None:
        self._engine, self._container = engine, container
        self._tables: dict[str, dict[str, list[str]]] = {}
        self._known: dict[str, tuple[int, int] | None] = {}

    def of(self, owner: str) -> tuple[int, int] | None:
        """None where a name stands for nobody there."""
        if owner not in self._known:
            self._known[owner] = self._look_up(owner)
        return self._known[owner]

    def _look_up(self, owner: str) -> tuple[int, int] | None:
        user, _, group = owner.partition(":")
        row = None if user.isdigit() else self._table("/etc/passwd").get(user)
        uid = user if user.isdigit() else row[2] if row else ""
        if not group:
            gid = row[3] if row else uid
        else:
            found = self._table("/etc/group").get(group)
            gid = group if group.isdigit() else found[2] if found else ""
        return (int(uid), int(gid)) if uid.isdigit() and gid.isdigit() else None

    def _table(self, path: str) -> dict[str, list[str]]:
        if path not in self._tables:
            lines = self._read(path).decode("utf-8", "replace").splitlines()
            rows = [line.split(":") for line in lines]
            self._tables[path] = {row[0]: row for row in rows if len(row) >= 4}
        return self._tables[path]

    def _read(self, path: str) -> bytes:
        try:
            with self._engine.archive(self._container, path) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
                for member in tar:
                    content = tar.extractfile(member) if member.isfile() else None
                    return content.read(1 << 20) if content else b""
        except NotFound:
            return b""
        return b""
