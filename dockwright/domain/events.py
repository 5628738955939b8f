"""What happens in a build, one event at a time: the build's truth (DESIGN, "append-only event log")."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

Kind = Literal["log", "step", "stage", "status"]
Stream = Literal["stdout", "stderr"]


class Event(NamedTuple):
    """One event, before the journal has given it its `seq`.

    kind    "log" a line of text; "step" an instruction changed its state; "stage" a stage did; "status" the build did
    stage   the stage in which it happened, none for a status
    step    the step's name as BuildKit shows it, for logs and steps
    stream  which stream of the step's process a log line came from
    text    what a person reads, one line without its newline
    data    what a program reads: for a step {"index", "state", "cached", "seconds"}, for a stage {"status", "seconds"}
    at      seconds since the epoch, UTC
    """

    kind: Kind
    text: str
    at: float
    stage: str | None = None
    step: str | None = None
    stream: Stream | None = None
    data: Mapping[str, Any] | None = None


def event_of(document: Mapping[str, Any]) -> Event:
    """From the JSON document that is made of a stored event. Without its time, which nothing that shows it looks at."""
    return Event(at=0.0, **{name: document[name] for name in Event._fields if name != "at"})


Sink = Callable[[Event], None]
"""Takes each event in its order. Called from the build's threads: a sink locks what it must."""
