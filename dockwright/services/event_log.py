"""A build's events as they are sent to watchers: read in their order, and each made a JSON document once.

It reads through one connection of its own, whatever builds are watched, so that no watcher waits for the transactions
of a request. Its callers look to it that one thread reads at a time.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple, cast

from dockwright.domain.transitions import FINISHED, Status
from dockwright.services.state import State


class WatchedEvent(NamedTuple):
    seq: int
    kind: str
    document: str
    """One line of ASCII: JSON with `seq, at, kind, stage, step, stream, text, data`."""


class Head(NamedTuple):
    """How far a build is."""

    status: Status
    last: int
    """The number of its newest event; 0 where there is none."""

    @property
    def is_finished(self) -> bool:
        """No event comes after `last`."""
        return self.status in FINISHED


class EventLog:
    def __init__(self, state: State) -> None:
        self._state = state.apart(state.client_id)

    def head(self, build_id: int) -> Head | None:
        """None where there is no such build any more. The last move is one transaction with the last event."""
        connection = self._state.connection
        with connection.lock:
            row = connection.execute(
                "SELECT status, (SELECT MAX(seq) FROM build_events WHERE build_id = builds.id)"
                " FROM builds WHERE id = ?",
                (build_id,),
            ).fetchone()
        return None if row is None else Head(cast("Status", row[0]), row[1] or 0)

    def read(self, build_id: int, after: int, upto: int) -> list[WatchedEvent]:
        """The events numbered above `after` and not above `upto`, in their order."""
        connection = self._state.connection
        with connection.lock:
            rows = connection.execute(
                "SELECT seq, at, kind, stage, step, stream, text, data FROM build_events"
                " WHERE build_id = ? AND seq > ? AND seq <= ? ORDER BY seq",
                (build_id, after, upto),
            ).fetchall()
        return [WatchedEvent(row[0], row[2], _document(*row)) for row in rows]

    def close(self) -> None:
        self._state.close()


def _document(
    seq: int, at: str, kind: str, stage: str | None, step: str | None, stream: str | None, text: str, data: str | None
) -> str:
    event: dict[str, Any] = {"seq": seq, "at": _rfc3339(at), "kind": kind, "stage": stage, "step": step}
    event |= {"stream": stream, "text": text, "data": None if data is None else json.loads(data)}
    return json.dumps(event)


def _rfc3339(at: str) -> str:
    """Both databases write `2026-01-31 12:00:00.123456`, and PostgreSQL `+00` behind it."""
    return at.replace(" ", "T", 1).removesuffix("+00") + "Z"
