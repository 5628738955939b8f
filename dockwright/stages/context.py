"""What every stage is handed beside its input."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockwright.domain.build import BuildRequest, History, StageName
from dockwright.domain.builder import SHARED, Builder
from dockwright.domain.events import Event, Sink, Stream
from dockwright.domain.redaction import NO_SECRETS, Redactor
from dockwright.process import Cancel
from dockwright.settings import Settings

if TYPE_CHECKING:
    from dockwright.domain.product import LiveState


@dataclass(slots=True, kw_only=True)
class StageContext:
    """One build's world. A stage reads it, reports through it, and registers what must be undone or finished."""

    request: BuildRequest
    settings: Settings
    history: History
    builder: Builder = SHARED
    """Where the image is built. It is tested, and runs, on the host's engine."""
    live: LiveState | None = None
    """What is live, handed in by the runner when the deploy stage begins."""
    workspace: Path
    """A folder of this build's own, removed in every outcome. Made when first needed: `make_workspace`."""
    sink: Sink
    """It takes secrets out by itself."""
    redact: Redactor = NO_SECRETS
    """For what must be without them before it comes to the sink."""
    cancel: Cancel
    is_ours: Callable[[], bool] = lambda: True
    """Whether this process still has the build: what goes by the build's number may be another attempt's by now."""
    stage: StageName = "fetch"
    """The stage that runs now; the runner sets it."""
    on_success: list[Callable[[], None]] = field(default_factory=list)
    """Called in order once the whole pipeline has succeeded: the old version is stopped here."""
    on_failure: list[Callable[[], None]] = field(default_factory=list)
    """Called in reverse order when a stage fails or the build is interrupted: the traffic goes back here."""

    def make_workspace(self, name: str) -> Path:
        path = self.workspace / name
        path.mkdir(parents=True, exist_ok=False)
        return path

    def log(self, text: str, *, step: str | None = None, stream: Stream | None = None) -> None:
        self.sink(Event("log", text, time.time(), self.stage, step, stream))

    def step(self, step: str, text: str, **data: Any) -> None:
        """`data`: {"index", "state": "started"|"done"|"failed", "cached", "seconds"}."""
        self.sink(Event("step", text, time.time(), self.stage, step, None, data))
