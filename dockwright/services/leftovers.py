"""Folders that nobody needs any more: of builds that have ended, and of projects that are gone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import or_, select

from dockwright.db.tables import Build, Project
from dockwright.domain.transitions import FINISHED
from dockwright.services.names import number_of
from dockwright.services.state import State


@dataclass(frozen=True, slots=True)
class Leftover:
    path: Path

    @property
    def size(self) -> int:
        """In bytes on the disk; what a link leads to is not ours."""
        total = 0
        for folder, _, files in os.walk(self.path):
            for name in files:
                with suppress(FileNotFoundError):
                    total += os.lstat(os.path.join(folder, name)).st_blocks * 512
        return total

    def remove(self) -> None:
        shutil.rmtree(self.path)


def folders(state: State) -> Iterator[Leftover]:
    yield from _workspaces(state)
    yield from _contexts(state)


def _workspaces(state: State) -> Iterator[Leftover]:
    """Of builds that no longer run, and of a `verify` whose process was killed. Those of other clients' builds stay."""
    folder = state.settings.workspace_dir
    found = {path: path.name.split("-") for path in sorted(folder.iterdir())} if folder.is_dir() else {}
    numbers = {path: number_of(words[1]) for path, words in found.items() if len(words) > 1}
    with state.session() as session:
        others = or_(Build.client_id != state.client_id, Build.status.not_in(FINISHED))
        known = [number for number in numbers.values() if number is not None]
        needed = set(session.scalars(select(Build.id).where(Build.id.in_(known), others)))
    for path, number in numbers.items():
        kind = found[path][0]
        if number is None:
            continue
        if (kind == "build" and number not in needed) or (kind == "verify" and not Path(f"/proc/{number}").exists()):
            yield Leftover(path)


def _contexts(state: State) -> Iterator[Leftover]:
    """What is remembered of projects that are gone: `CLIENT.PROJECT.SERVICE` (`stages.staging`)."""
    folder = state.settings.home / "contexts"
    found = sorted(folder.glob(f"{state.client}.*")) if folder.is_dir() else []
    with state.session() as session:
        slugs = set(session.scalars(select(Project.slug).where(Project.client_id == state.client_id)))
    for path in found:
        _, project, *_ = [*path.name.split("."), ""]
        if project not in slugs:
            yield Leftover(path)
