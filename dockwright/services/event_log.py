"""A build's events as they are sent to watchers: read in their order, and each made a JSON document once.

It reads through one connection of its own, whatever builds are watched, so that no watcher waits for the transactions
of a request. Its callers look to it that one thread reads at a time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from dockwright.domain.transitions import FINISHED, Status
from dockwright.services.state import State

_json = json.JSONEncoder(separators=(",", ":")).encode
"""Of one value at a time: a dictionary of them takes over twice as long, and all of a log's lines go through here."""


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
    """Its methods raise `DatabaseError` where the database is away, and can be called again then."""

    def __init__(self, state: State) -> None:
        self._state = state.apart(state.client_id)

    def head(self, build_id: int) -> Head | None:
        """None where there is no such build any more. The last move is one transaction with the last event."""
        rows = self._ask(
            "SELECT status, (SELECT MAX(seq) FROM build_events WHERE build_id = builds.id) FROM builds WHERE id = ?",
            (build_id,),
        )
        return Head(cast("Status", rows[0][0]), rows[0][1] or 0) if rows else None

    def read(self, build_id: int, after: int, upto: int) -> list[WatchedEvent]:
        """The events numbered above `after` and not above `upto`, in their order."""
        rows = self._ask(
            "SELECT seq, at, kind, stage, step, stream, text, data FROM build_events"
            " WHERE build_id = ? AND seq > ? AND seq <= ? ORDER BY seq",
            (build_id, after, upto),
        )
        return [WatchedEvent(row[0], row[2], _document(*row)) for row in rows]

    def _ask(self, sql: str, parameters: Sequence[int]) -> list[Any]:
        connection = self._state.connection
        try:
            with connection.lock:
                return connection.execute(sql, parameters).fetchall()
        except Exception as error:
            translated = connection.translated(error)
            if translated is not None:
                raise translated from error
            raise

    def close(self) -> None:
        self._state.close()


def _document(
    seq: int, at: str, kind: str, stage: str | None, step: str | None, stream: str | None, text: str, data: str | None
) -> str:
    return (
        f'{{"seq":{seq},"at":"{_rfc3339(at)}","kind":{_json(kind)},"stage":{_json(stage)},"step":{_json(step)}'
        f',"stream":{_json(stream)},"text":{_json(text)},"data":{"null" if data is None else _json(json.loads(data))}}}'
    )


def _rfc3339(at: str) -> str:
    """From `2026-01-31 12:00:00.123456`, which PostgreSQL writes without zeros at its end, and with `+00` behind it."""
    whole, _, fraction = at.removesuffix("+00").partition(".")
    return f"{whole.replace(' ', 'T', 1)}.{fraction:0<6}Z"
