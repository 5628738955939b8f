"""What the runner does whatever a stage, or the machine, does to it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockwright import pipeline, settings
from dockwright.domain.build import BuildRequest, History
from dockwright.domain.events import Event
from dockwright.domain.product import LiveState
from dockwright.domain.source import FolderSource
from dockwright.errors import PathNotFound
from dockwright.process import Cancel
from dockwright.stages.context import StageContext

NOBODY = 65534


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that every user may look into, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def as_plain_user(open_folder: Path) -> Iterator[None]:
    """The rights of root would remove anything."""
    before = os.geteuid()
    if before == 0:
        os.chown(open_folder, NOBODY, -1)
        os.seteuid(NOBODY)
    yield
    os.seteuid(before)


def _context(root: Path, events: list[Event], source: Path) -> StageContext:
    request = BuildRequest(
        build_id=1,
        client="local",
        project="app",
        project_id=1,
        name="App",
        description="",
        source=FolderSource(path=str(source)),
        until="fetch",
    )
    return StageContext(
        request=request,
        settings=settings.load({"DOCKWRIGHT_HOME": str(root)}, root / "none"),
        history=History(),
        workspace=root / "workspace",
        sink=events.append,
        cancel=Cancel(),
    )


def _run(ctx: StageContext) -> pipeline.Outcome:
    return pipeline.run(ctx, LiveState, lambda _: None)


@pytest.mark.usefixtures("as_plain_user")
def test_a_workspace_that_cannot_be_removed_is_told_and_fails_no_build(open_folder: Path) -> None:
    locked = open_folder / "workspace" / "locked"
    locked.mkdir(parents=True)
    (locked / "file").touch()
    locked.chmod(0o500)
    events: list[Event] = []
    outcome = _run(_context(open_folder, events, open_folder))
    locked.chmod(0o700)
    assert outcome.error is None and outcome.tree is not None
    assert any("could not be removed" in event.text and "dockwright cleanup" in event.text for event in events)


def test_an_undo_that_fails_keeps_no_other_from_being_undone(tmp_path: Path) -> None:
    events: list[Event] = []
    ctx = _context(tmp_path, events, tmp_path / "missing")
    undone: list[str] = []

    def fail() -> None:
        raise OSError("the disk went away")

    ctx.on_failure += [lambda: undone.append("first"), fail, lambda: undone.append("last")]
    outcome = _run(ctx)
    assert isinstance(outcome.error, PathNotFound)
    assert undone == ["last", "first"]
    assert any("the disk went away" in event.text for event in events)
