"""Where a path of a container really is: links on its way followed, and what is mounted over it.

An image's layers and the engine's list of changes name files by where they are; a Dockerfile names them as it likes
(`COPY tool /bin/tool`, where /bin is a link to /usr/bin).
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from dockwright.docker.engine import Engine
from dockwright.errors import EngineError, NotFound

_MOST_LINKS = 255
_FOLDER = ""
_NAME_SHOWN = 12
_ANONYMOUS = 64
"""Characters of the name that the engine gives a volume which nobody has named."""


class Way(NamedTuple):
    path: str
    """Without a link in it."""
    links: frozenset[str]
    """That were followed to it."""
    is_folder: bool
    """Something is there, and it is a folder."""


class RealPaths:
    """Of one container. Each folder is looked at once."""

    def __init__(self, engine: Engine, container: str) -> None:
        self._engine, self._container = engine, container
        self._seen: dict[str, str | None] = {"": _FOLDER}
        self._folders: dict[str, Way] = {}
        self._told: list[tuple[str, Mapping[str, str]]] = []

    def learn(self, folder: str, below: Mapping[str, str]) -> None:
        """What was seen of a folder anyway: path from it on → where that leads, "" for a folder.

        Asking takes the engine some milliseconds, and there may be thousands of folders.
        """
        self._told.append((folder, below))

    def of(self, path: str) -> Way:
        """Of a file: its own last part is left as it is, link or not."""
        folder, _, name = path.rpartition("/")
        way = self.folder(folder)
        return Way(f"{way.path.rstrip('/')}/{name}", way.links, is_folder=False)

    def folder(self, path: str) -> Way:
        told, self._told = self._told, []
        for folder, below in told:
            start = self._follow(folder).path.rstrip("/")
            self._seen |= {f"{start}/{name}": target for name, target in below.items()}
        if path not in self._folders:
            self._folders[path] = self._follow(path)
        return self._folders[path]

    def _follow(self, path: str) -> Way:
        rest = path.split("/")[::-1]
        here, links, followed = "", set[str](), 0
        while rest:
            part = rest.pop()
            if part in {"", "."}:
                continue
            if part == "..":
                here = here.rpartition("/")[0]
                continue
            target = self._look(f"{here}/{part}")
            if target == _FOLDER:
                here = f"{here}/{part}"
                continue
            links |= {f"{here}/{part}"} if target else set()
            followed += 1
            if target is None or followed > _MOST_LINKS:
                return Way("/".join([here, part, *rest[::-1]]), frozenset(links), is_folder=False)
            here = "" if target.startswith("/") else here
            rest.extend(target.split("/")[::-1])
        return Way(here or "/", frozenset(links), is_folder=True)

    def _look(self, path: str) -> str | None:
        """Where a link leads; nothing for a folder, None for all else."""
        if path not in self._seen:
            self._seen[path] = self._ask(path)
        return self._seen[path]

    def _ask(self, path: str) -> str | None:
        try:
            member = self._first(path, lambda _: True)
        except EngineError:
            # A link that leads to itself is an error to the engine; the folder that it lies in tells of it.
            folder, _, name = path.rpartition("/")
            member = self._first(f"{folder}/.", lambda one: one.name.removeprefix("./") == name)
        if member is None or not (member.issym() or member.isdir()):
            return None
        return member.linkname if member.issym() else _FOLDER

    def _first(self, path: str, is_wanted: Callable[[tarfile.TarInfo], bool]) -> tarfile.TarInfo | None:
        try:
            with self._engine.archive(self._container, path) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
                return next(filter(is_wanted, tar), None)
        except NotFound:
            return None


def mount_over(places: Iterable[str], mounts: Iterable[Mapping[str, Any]]) -> str | None:
    """What the nearest mount over a file is called, of those that the engine tells of a container.

    `places`: the file's paths, real or not.
    """
    over = [one for one in mounts if any(_is_below(place, str(one["Destination"])) for place in places)]
    if not over:
        return None
    nearest = max(over, key=lambda one: len(one["Destination"]))
    if nearest["Type"] != "volume":
        return f"the host's {nearest['Source']}" if nearest["Type"] == "bind" else f"the {nearest['Type']} mount"
    name = str(nearest["Name"])
    return f"the volume {name[:_NAME_SHOWN] if len(name) == _ANONYMOUS else name}"


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")
