"""The states of a build, and the only moves between them (DESIGN, "Words").

A move that is not in the table is a bug, so it raises `AssertionError`; the database guards the same table with
`UPDATE … WHERE status IN (…)`, which `sources_of` gives.
"""

from __future__ import annotations

from typing import Literal

Status = Literal["queued", "building", "testing", "deploying", "deployed", "succeeded", "failed", "canceled"]

_MOVES: dict[Status, frozenset[Status]] = {
    "queued": frozenset({"building", "canceled", "failed"}),
    "building": frozenset({"testing", "deploying", "succeeded", "failed", "canceled", "queued"}),
    "testing": frozenset({"deploying", "succeeded", "failed", "canceled", "queued"}),
    "deploying": frozenset({"deployed", "succeeded", "failed", "canceled", "queued"}),
    "deployed": frozenset(),
    "succeeded": frozenset(),
    "failed": frozenset(),
    "canceled": frozenset(),
}

ACTIVE: frozenset[Status] = frozenset({"building", "testing", "deploying"})
FINISHED: frozenset[Status] = frozenset(status for status, moves in _MOVES.items() if not moves)

STATUS_OF_STAGE: dict[str, Status] = {
    "fetch": "building",
    "generate": "building",
    "plan": "building",
    "build": "building",
    "test": "testing",
    "scan": "testing",
    "push": "deploying",
    "deploy": "deploying",
    "verify": "deploying",
}


def is_allowed(old: Status, new: Status) -> bool:
    return new in _MOVES[old]


def sources_of(new: Status) -> tuple[Status, ...]:
    """The states from which a build may come to `new`."""
    sources = tuple(status for status, moves in _MOVES.items() if new in moves)
    assert sources, f"no build can become {new}"
    return sources
