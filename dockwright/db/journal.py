"""A build's own story, in plain SQL: moved, told, finished.

`builds` and `build_events` are written here, in `queue.py`, and where a command's build is born (`build_rows.py`). It
speaks DB-API because SQLAlchemy takes longer to import (156 ms measured) than BuildKit takes for a build of which
nothing changed (110 ms); every other table but `docker_images` and `build_artifacts` goes through SQLAlchemy.
"""

from __future__ import annotations

import _thread
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from dockwright.db import metrics
from dockwright.db.connection import Connection, transaction
from dockwright.db.metrics import Sample
from dockwright.db.stored import storable, timestamp
from dockwright.domain.build import STAGE_NAMES
from dockwright.domain.events import Event
from dockwright.domain.redaction import NO_SECRETS, Redactor
from dockwright.domain.transitions import ACTIVE, STATUS_OF_STAGE, Status, sources_of
from dockwright.errors import Canceled, DatabaseError, DiskFull, LeaseLost
from dockwright.process import Cancel

LEASE_SECONDS = 10.0
"""How long a build is its worker's without a heartbeat."""
HEARTBEAT_SECONDS = 1.0
"""How often the lease is renewed, and a cancel looked for."""
FLUSH_SECONDS = 0.2
"""How long an event may wait for others before it is written with them."""
PATIENCE_SECONDS = 20.0
"""How long a build waits for a database that is away before it gives up."""
PROGRESS: dict[str, int] = dict(zip(STAGE_NAMES, (0, 2, 4, 8, 62, 75, 78, 82, 92), strict=True))
"""How much of a build is behind it when a stage begins, in percent; within the build stage it goes with the steps."""


class Journal:
    """Writes one build's events and moves its status. Its methods may be called from any thread.

    Every write begins by renewing the lease of this very attempt, in the same transaction: a worker that has lost the
    build, be it only for a moment of sleep, can write nothing any more.
    """

    def __init__(
        self,
        connection: Connection,
        build_id: int,
        *,
        cancel: Cancel,
        attempt: int = 1,
        watch: Callable[[Event], None] | None = None,
        written: Callable[[int], None] | None = None,
        redact: Redactor = NO_SECRETS,
    ) -> None:
        """`written` is told the build's id after each write; `redact` takes what is secret out of every text."""
        self.build_id = build_id
        self._connection = connection
        self.cancel = cancel
        self._attempt = attempt
        self._watch, self._written, self._redact = watch, written, redact
        self._lock = connection.lock
        self._waiting: list[Event] = []
        self._seq = 0
        self._status: Status = "building"
        self._progress = _Progress()
        self._stop = threading.Event()
        self._has_ended = threading.Event()

    def __enter__(self) -> Journal:
        self._seq = last_seq(self._connection, self.build_id)
        # A build begins meanwhile: `threading.Thread` would make it wait until the thread runs.
        _thread.start_new_thread(self._run, ())
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._has_ended.wait()

    def sink(self, event: Event) -> None:
        """Takes an event: keeps it for the next write, moves the status with the stage, and shows it to the watcher."""
        if self._redact:
            event = _without_secrets(event, self._redact)
        with self._lock:
            self._waiting.append(event)
            self._progress.take(event)
            if self._watch is not None:
                self._watch(event)
            if event.kind == "stage" and event.data and event.data["status"] == "running":
                self.enter(event.stage or "")

    def enter(self, stage: str) -> None:
        """The build comes to a stage. Raises `LeaseLost` if it is not this worker's any more."""
        new = STATUS_OF_STAGE[stage]
        if new == self._status:
            self._persist(lambda: self._write([], {"stage": stage}))
        else:
            self._move(new, {"stage": stage})

    def finish(self, status: Status, columns: Mapping[str, Any], samples: Sequence[Sample] = ()) -> None:
        """The last move; `columns` are written with it, and `samples` added to the metrics."""
        ended = {"completed_at": timestamp(time.time()), "lease_until": None, "progress": 100}
        self._move(status, {**columns, **ended}, samples)

    def renew(self) -> None:
        """Raises `LeaseLost` if the build is not this worker's any more."""
        self._persist(lambda: self._write([], {}))

    def is_ours(self) -> bool:
        """Whether the build is still this worker's. Where the database cannot tell, it may be another's."""
        try:
            self.renew()
        except (LeaseLost, DatabaseError):
            return False
        return True

    def flush(self) -> None:
        with self._lock:
            if self._waiting:
                self._write([], {})

    def _move(self, new: Status, columns: Mapping[str, Any], samples: Sequence[Sample] = ()) -> None:
        sources = sources_of(new)
        assert self._status in sources, f"a build cannot go from {self._status} to {new}"
        # Written in one transaction with the events so far, so that a reader never sees one without the other.
        event = Event("status", new, time.time(), data={"status": new})
        # `new` is among the sources: the connection may have broken when the move was made already. A build that is
        # queued is nobody's, also where it can be ended from there.
        ours = [status for status in (*sources, new) if status != "queued"]
        self._persist(lambda: self._write([event], {"status": new, **columns}, ours, samples))
        self._status = new
        if self._watch is not None:
            self._watch(event)

    def _persist(self, write: Callable[[], None]) -> None:
        """A database that is away for a moment ends no build. Raises `DatabaseError` when it stays away."""
        patience = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with self._lock:
                    return write()
            except DatabaseError:
                if time.monotonic() >= patience:
                    raise
            time.sleep(0.5)

    def _write(
        self,
        events: Sequence[Event],
        columns: Mapping[str, Any],
        sources: Sequence[Status] = tuple(ACTIVE),
        samples: Sequence[Sample] = (),
    ) -> None:
        """The row and the events that wait, and `events` behind them. Raises `LeaseLost`, and nothing is written."""
        values = {"progress": self._progress.percent, **columns}
        sets = ", ".join(f"{name} = ?" for name in values)
        if "lease_until" not in values:
            sets += f", lease_until = {self._connection.after(LEASE_SECONDS)}"
        marks = ", ".join("?" * len(sources))
        told = [*self._waiting, *events]
        with transaction(self._connection):
            row = self._connection.execute(
                f"UPDATE builds SET {sets} WHERE id = ? AND attempt = ? AND status IN ({marks})"
                " RETURNING cancel_requested_at",
                (*values.values(), self.build_id, self._attempt, *sources),
            ).fetchone()
            if row is None:
                self._lose()
            insert_events(self._connection, self.build_id, self._seq, told)
            if samples:
                metrics.add(self._connection, samples)
        self._seq += len(told)
        self._waiting.clear()
        if told and self._written is not None:
            self._written(self.build_id)
        if row[0] is not None:
            self.cancel.set(Canceled(f"Build {self.build_id} was canceled", remedy="Start it again when you like"))

    def _lose(self) -> NoReturn:
        lost = LeaseLost(f"Build {self.build_id} was ended by another process", remedy="Start it again")
        self.cancel.set(lost)
        raise lost

    def _run(self) -> None:
        try:
            self._beat()
        finally:
            self._has_ended.set()

    def _beat(self) -> None:
        beat_at = time.monotonic() + HEARTBEAT_SECONDS
        while not self._stop.wait(FLUSH_SECONDS):
            try:
                if time.monotonic() >= beat_at:
                    beat_at = time.monotonic() + HEARTBEAT_SECONDS
                    with self._lock:
                        self._write([], {})
                else:
                    self.flush()
            except (DiskFull, DatabaseError):
                continue  # what could not be written waits on; the build hears of it at its next stage or its end
            except LeaseLost:
                return  # the cancel has been set


class _Progress:
    """How far the build is, as a number that never falls."""

    def __init__(self) -> None:
        self.percent = 0
        self._done: set[str] = set()

    def take(self, event: Event) -> None:
        if event.kind == "stage" and event.stage:
            self.percent = max(self.percent, PROGRESS[event.stage])
        elif event.kind == "step" and event.step and event.data and event.data.get("state") == "done":
            self._done.add(event.step)
            share = _share_of_steps(event.step)
            begin, end = PROGRESS["build"], PROGRESS["test"]
            self.percent = max(self.percent, min(end - 1, begin + int((end - begin) * share)))


def _share_of_steps(name: str) -> float:
    """How far a step is along its Dockerfile: `[stage 3/7] RUN …` is 3/7; nought for what has no number."""
    number, slash, rest = name.partition("] ")[0].rpartition(" ")[2].lstrip("[").partition("/")
    return int(number) / int(rest) if slash and number.isdigit() and rest.isdigit() and int(rest) else 0.0


def _without_secrets(event: Event, redact: Redactor) -> Event:
    """A status event's text is a word of ours."""
    text = event.text if event.kind == "status" else redact(event.text)
    step = None if event.step is None else redact(event.step)
    return event._replace(text=text, step=step, data=redact.document(event.data))


def last_seq(connection: Connection, build_id: int) -> int:
    last = "SELECT COALESCE(MAX(seq), 0) FROM build_events WHERE build_id = ?"
    return int(connection.execute(last, (build_id,)).fetchone()[0])


def insert_events(connection: Connection, build_id: int, seq: int, events: Sequence[Event]) -> None:
    """Behind event number `seq`, in the transaction that has just moved or renewed the build's row."""
    rows = [
        (
            build_id,
            seq + number,
            timestamp(event.at),
            event.kind,
            event.stage,
            None if event.step is None else storable(event.step),
            event.stream,
            storable(event.text),
            None if event.data is None else json.dumps(event.data),
        )
        for number, event in enumerate(events, 1)
    ]
    # A row that is there already was written by this attempt, whose connection broke before it heard of it.
    connection.executemany(
        "INSERT INTO build_events (build_id, seq, at, kind, stage, step, stream, text, data)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (build_id, seq) DO NOTHING",
        rows,
    )
