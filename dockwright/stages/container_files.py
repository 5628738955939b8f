"""A container's files against the source's, by content, executable bit and owner.

It needs nothing inside the container, not even a shell: the engine hands out the files as a tar stream, and tells what
changed since the container was made.
"""

from __future__ import annotations

import stat
import tarfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from dockwright.docker.engine import Engine
from dockwright.docker.layers import Sought, Written, digest_of, last_written
from dockwright.domain.plan import CopyMapping
from dockwright.errors import EngineError, NotFound
from dockwright.stages.real_paths import RealPaths, mount_over

if TYPE_CHECKING:
    from dockwright.insight.copies import Copies

PERMISSIONS = 0o777
EXECUTABLE = 0o111
DELETED = 2
"""As the engine counts the kinds of changes; 0 is modified, 1 added."""
MAX_LOOKED_AT = 200
"""Changed paths below places that cannot be compared, of which each is asked for by itself."""


What: TypeAlias = Literal["missing", "content", "mode", "owner"]


class Found(NamedTuple):
    """A file or link as the container has it."""

    digest: str
    mode: int
    uid: int
    gid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    path: str
    what: What
    is_own: bool
    """The container changed it since it was made; else its image holds it so."""
    text: str
    """The difference in words: `its mode is 0644, not 0755`."""
    hidden_by: str | None = None
    """The mount that shows something else than the image holds there: `the volume data`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    differences: tuple[Difference, ...]
    unverifiable: tuple[tuple[str, str], ...]
    """Paths of files that a step of the build wrote after their COPY, with the reason."""
    changed_elsewhere: tuple[str, ...]
    """Files that nothing of the source can be compared with, and that the container changed since it was made."""


def compare(
    engine: Engine, container: str, image: str, copies: Copies, mounts: Sequence[Mapping[str, Any]], scratch: Path
) -> Comparison:
    """What of the source's files is not in the container as it should be.

    A file that differs although the container has not changed it was written again while the image was built. If that
    was a `RUN`, there is nothing to compare it with; if it was the `COPY` itself, the image holds other bytes.
    `mounts` as the engine tells them of the container: below one, neither the image nor what the container changed is
    seen. `scratch` is a folder for the image's layers, which are looked into only then.
    """
    wanted = {mapping.destination: mapping for mapping in copies.mappings}
    real = RealPaths(engine, container)
    found = files_in(engine, container, {*wanted, *copies.either.values()}, real)
    suspects = _suspects(wanted, found, copies, _Owners(engine, container))
    changes = engine.changes(container) if suspects or copies.unverifiable else {}
    covers = {place: mount_over((place, real.of(place).path), mounts) for place in suspects}
    own = {place for place in suspects if covers[place] is None and _is_changed(place, real, changes)}
    doubted = {place: copies.doubts[one.path] for place, one in suspects.items() if one.path in copies.doubts}
    rest = {
        place
        for place, one in suspects.items()
        # Of one in doubt the image can tell more where a RUN came after it, or where it may not be the image's at all.
        if place not in own and (place not in doubted or covers[place] or one.path in copies.run_after)
    }
    written = last_written(engine, image, {place: _sought(place, real) for place in rest}, scratch)
    hidden = {
        place
        for place in rest
        if covers[place] and place in written and _is_hidden(suspects[place], found.get(place), written[place])
    }
    reasons = doubted | {place: f"written again by {one.by}" for place, one in written.items() if one.is_by_run}
    reasons = {place: reason for place, reason in reasons.items() if place not in own | hidden}
    return Comparison(
        differences=tuple(
            Difference(
                path=place,
                what=one.what,
                is_own=place in own,
                text=one.text,
                hidden_by=covers[place] if place in hidden else None,
            )
            for place, one in sorted(suspects.items())
            if place not in reasons
        ),
        unverifiable=tuple(sorted(reasons.items())),
        changed_elsewhere=_changed_elsewhere(engine, container, changes, real, copies, wanted.keys() | suspects.keys()),
    )


class _Suspect(NamedTuple):
    """A file that is not in the container as the source has it."""

    path: str
    """Where the Dockerfile puts it."""
    what: What
    text: str


def _suspects(
    wanted: Mapping[str, CopyMapping], found: Mapping[str, Found], copies: Copies, ids: _Owners
) -> dict[str, _Suspect]:
    """By where they are in the container."""
    suspects = {}
    for path, mapping in wanted.items():
        place = path if path in found else copies.either.get(path, path)
        difference = _difference(mapping, found.get(place), ids)
        if difference is not None:
            suspects[place] = _Suspect(path, *difference)
    return suspects


def _difference(mapping: CopyMapping, found: Found | None, ids: _Owners) -> tuple[What, str] | None:
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


def _is_changed(place: str, real: RealPaths, changes: Mapping[str, int]) -> bool:
    """It, a folder above it that is gone or was put there anew, or a link that leads to it."""
    way = real.of(place)
    paths = {place, way.path}
    above = {str(folder) for path in paths for folder in PurePosixPath(path).parents}
    if not real.folder(place.rpartition("/")[0]).is_folder:
        # Whatever became of the folder, of links that led there as well.
        return not changes.keys().isdisjoint(above)
    return not changes.keys().isdisjoint(paths | way.links) or any(changes.get(folder, 0) for folder in above)


def _sought(place: str, real: RealPaths) -> Sought:
    way = real.of(place)
    return Sought(frozenset({place, way.path}), way.links)


def _is_hidden(suspect: _Suspect, found: Found | None, written: Written) -> bool:
    """What is mounted there, and not the image, is another than the source."""
    if suspect.what in {"mode", "owner"}:
        return not written.is_by_run
    return written.digest is not None and (found is None or found.digest != written.digest)


def _changed_elsewhere(
    engine: Engine,
    container: str,
    changes: Mapping[str, int],
    real: RealPaths,
    copies: Copies,
    compared: Collection[str],
) -> tuple[str, ...]:
    """At or below the places that nothing can be compared with; what the app has added there counts for nothing."""
    folders = {str(above) for path in changes for above in PurePosixPath(path).parents}
    places = {way.path for path, _ in copies.unverifiable for way in (real.of(path), real.folder(path))}
    changed = [
        path
        for path, kind in sorted(changes.items())
        if kind in {0, DELETED} and path not in folders and _is_below(path, places)
    ]
    if changed:
        known = {real.of(path).path for path in compared}
        changed = [path for path in changed if path not in known]
    gone = [path for path in changed if changes[path] == DELETED]
    modified = [path for path in changed if changes[path] != DELETED][:MAX_LOOKED_AT]
    return tuple(sorted([*gone, *files_in(engine, container, modified)]))


def _is_below(path: str, places: Iterable[str]) -> bool:
    return any(path == place or path.startswith(f"{place.rstrip('/')}/") for place in places)


# --- what the engine hands out -------------------------------------------------------------------------------------


def files_in(
    engine: Engine, container: str, wanted: Collection[str], real: RealPaths | None = None
) -> dict[str, Found]:
    """The wanted files and links as the container has them; one that is not there is not in the answer.

    `real` learns of the folders that are seen on the way.
    """
    real = real or RealPaths(engine, container)
    found: dict[str, Found] = {}
    above = _all_above(wanted)
    pending = [*_asked_for(wanted)]
    while pending:
        asked = pending.pop()
        hard: dict[str, str] = {}
        seen: dict[str, str] = {}
        # Texts rather than paths: there are tens of thousands of them.
        start = asked.rpartition("/")[0] + "/"
        for archive, member in _members(engine, container, asked, real):
            name = member.name.removeprefix("./")
            path = start + name
            if path in above and (member.issym() or member.isdir()):
                seen[name] = member.linkname
            if path not in wanted or member.isdir():
                continue
            if member.islnk():
                hard[path] = start + member.linkname.removeprefix("./")
            else:
                found[path] = _found(archive, member)
        # A hard link has no content of its own in a tar stream: it names the file that came before it.
        for path, first in hard.items():
            if first not in found and first not in wanted:
                found |= files_in(engine, container, {first}, real)
            found |= {path: found[first]} if first in found else {}
        real.learn(start, seen)
        # Of a link the stream has the link alone; "/." behind it means what it leads to.
        pending += [f"{start}{name}/." for name, target in seen.items() if target]
    return {path: facts for path, facts in found.items() if path in wanted}


def _members(
    engine: Engine, container: str, asked: str, real: RealPaths
) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Of the engine's tar stream; nothing where there is no such file or folder."""
    try:
        with engine.archive(container, asked) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                yield archive, member
    except NotFound:
        return
    except EngineError:
        # A file where a folder should be, or a link that leads to itself, is an error to the engine.
        if real.folder(asked.removesuffix("/.")).is_folder:
            raise


def _all_above(wanted: Iterable[str]) -> set[str]:
    above: set[str] = set()
    level = {path.rpartition("/")[0] for path in wanted}
    while level := {folder for folder in level if folder} - above:
        above |= level
        level = {folder.rpartition("/")[0] for folder in level}
    return above


def _asked_for(wanted: Collection[str]) -> Iterator[str]:
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
    return Found(digest_of(archive, member), kind | member.mode, member.uid, member.gid)


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
