"""A folder's compose files as compose itself understands them, for a look before any build.

What is built, published and needed is told by `docker compose config`, which `up` and `build` go by; where in the files
a thing stands is told by reading them. Where the plug-in is not installed, what is read in the first file has to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dockwright.docker import compose as plugin
from dockwright.errors import ComposeFileWrong, ToolMissing
from dockwright.insight.compose import references
from dockwright.insight.compose_file import ComposeFile, ServiceBuild, builds, read_compose, understood
from dockwright.insight.findings import Finding, found
from dockwright.process import Cancel
from dockwright.services.survey import Folder, units_of

_MOST_FILES = 50


@dataclass(frozen=True, kw_only=True)
class Composed:
    folder: Folder
    """With the units that are built."""
    refused: Finding | None = None
    """What compose says of files that it cannot read."""
    is_whole: bool = True
    """Nothing that counts stands in files which were not read."""
    inactive: frozenset[str] = frozenset()
    """Services of the units that only a profile starts which is not active."""


def composed(folder: Folder, workspace: Path, cancel: Cancel) -> Composed:
    """`workspace`: where Dockerfiles that stand in a compose file are written."""
    files = plugin.find_files(folder.root)
    if not files:
        return Composed(folder=folder)
    try:
        document = plugin.config(files, is_trusted=True, cancel=cancel)
    except ToolMissing:  # `doctor` tells that it is not there
        return Composed(folder=folder, is_whole=_is_alone(folder, files))
    except ComposeFileWrong as error:
        refused = found("compose_invalid", f"{files[0].name}:1", error.message, error.remedy)
        return Composed(folder=folder, refused=refused, is_whole=_is_alone(folder, files))
    parts = list(_parts(folder, files))
    compose = understood(document, parts, str(folder.root)) if parts else _without_lines(document, folder)
    inactive = [one for part in parts for one in builds(part) if _is_inactive(part, one.service, compose)]
    units = units_of(folder.root, [*builds(compose), *inactive], _Inline(workspace).path)
    return Composed(
        folder=replace(folder, compose=compose, units=units),
        inactive=frozenset(one.service for one in inactive),
    )


def _is_alone(folder: Folder, files: tuple[Path, ...]) -> bool:
    return len(files) == 1 and not (isinstance(folder.compose, ComposeFile) and folder.compose.includes)


def _is_inactive(part: ComposeFile, service: str, compose: ComposeFile) -> bool:
    return service not in compose.services and bool(part.services[service].get("profiles"))


def _without_lines(document: dict[str, Any], folder: Folder) -> ComposeFile:
    """Compose reads what we cannot."""
    name = folder.compose_files[0].name
    empty = ComposeFile(path=name, services={}, lines={}, values={})
    return understood(document, [empty], str(folder.root))


# --- the files as they are written ------------------------------------------------------------------------------------


def _parts(folder: Folder, files: tuple[Path, ...]) -> Iterator[ComposeFile]:
    """The folder's own files, and those that they include or extend; not what cannot be read here."""
    values = folder.compose.values if isinstance(folder.compose, ComposeFile) else {}
    pending, seen = list(files), set[Path]()
    while pending and len(seen) < _MOST_FILES:
        file = pending.pop(0).resolve()
        if file in seen or not file.is_file():
            continue
        seen.add(file)
        part = read_compose(file.read_text(encoding="utf-8", errors="replace"), folder.place(file), values)
        if isinstance(part, ComposeFile):
            yield part
            named = references({"include": part.includes, "services": part.services})
            pending += [file.parent / path for path, is_compose in named if is_compose]


class _Inline:
    """Dockerfiles that stand in a compose file, each in a file of its own."""

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace
        self._paths: dict[str, Path] = {}

    def path(self, build: ServiceBuild) -> Path:
        """The same for the same text: services may share it."""
        text = build.inline or ""
        if text not in self._paths:
            path = self._workspace / str(len(self._paths)) / "Dockerfile"
            path.parent.mkdir()
            path.write_text(text, encoding="utf-8", errors="surrogateescape")
            self._paths[text] = path
        return self._paths[text]
