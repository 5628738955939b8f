"""Takes builds from the queue and runs them, one after another; and puts right what dead workers have left.

`Worker.run_next` is what the embedded threads and Celery's tasks both call: a claim, and the same runner as the CLI's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import structlog

from dockwright.db import queue
from dockwright.db.queue import Claim, Limits, Reaper
from dockwright.db.stored import timestamp
from dockwright.docker.engine import Engine
from dockwright.domain.events import Event
from dockwright.errors import (
    DatabaseError,
    DiskFull,
    DockwrightError,
    EngineUnreachable,
    LeaseLost,
    Stopping,
    UnreachableError,
)
from dockwright.process import Cancel, identity
from dockwright.queue.runner import run_claimed
from dockwright.services import recovery
from dockwright.services.build import request_of
from dockwright.services.state import State

log = structlog.get_logger()

REAP_SECONDS = 2.0
"""How often dead workers are looked for."""


Tell = Callable[[Claim, str, dict[str, Any]], None]
"""Told a build's state as Celery names them (BUILDING, SUCCESS, FAILURE, REVOKED), with what requirement 001 puts
beside it."""


class Worker:
    """The builds that this process runs. Its methods may be called from any thread."""

    def __init__(self, state: State, tell: Tell = lambda *_: None) -> None:
        self._tell = tell
        settings = state.settings
        self._limits = Limits(
            overall=settings.max_workers, client=settings.client_max_workers, builder=settings.builder_max_workers
        )
        self._identity = identity()
        self._lock = threading.Lock()
        self._running: dict[int, Cancel] = {}
        self._owed: list[tuple[Claim, bool]] = []
        """Builds that could not be given back, the database being away, and whether each was a loss."""
        self._is_stopping = False
        self._has_lost_engine = False

    @property
    def running(self) -> tuple[int, ...]:
        return tuple(self._running)

    def stop(self) -> None:
        """Claims nothing more, and ends what runs: those builds go back to the queue."""
        with self._lock:
            self._is_stopping = True
            for cancel in self._running.values():
                cancel.set(Stopping("The server is stopping", remedy="The build begins anew when it is back"))

    def run_next(self, own: State) -> bool:
        """Claims a build and runs it to its end; false where there was none to claim. Raises `DatabaseError`.

        `own` is the calling thread's, apart from others: whoever claims must not wait for one that writes a large log.
        """
        self.give_back_owed(own)
        if self._is_stopping or (self._has_lost_engine and not self._engine_answers()):
            return False
        claim = queue.claim(own.connection, self._identity, self._limits)
        if claim is None:
            return False
        own.bus.written(claim.build_id)
        with structlog.contextvars.bound_contextvars(build=claim.build_id, client=claim.client_id):
            self._run(own.of_client(claim.client_id), claim)
        own.bus.written(claim.build_id)
        own.bus.queued(claim.build_id)  # there is room for another
        return True

    def _run(self, state: State, claim: Claim) -> None:
        started = time.monotonic()
        try:
            document = self._run_claimed(state, claim)
        except LeaseLost as error:
            log.warning("build.lease_lost", reason=error.message)
        except (EngineUnreachable, DatabaseError, DiskFull, Stopping) as error:
            log.warning("build.given_back", reason=error.message)
            self._has_lost_engine |= isinstance(error, EngineUnreachable)
            self._give_back(state, claim, not isinstance(error, Stopping))
        except Exception as error:
            log.exception("build.crashed")
            _fail(state, claim, error)
        else:
            self._end(state, claim, document, time.monotonic() - started)

    def _end(self, state: State, claim: Claim, document: dict[str, Any], seconds: float) -> None:
        """One that is to be repeated has not been ended by the runner."""
        error = document["error"]
        if self._give_back(state, claim, error is not None and error["code"] != Stopping.code):
            log.warning("build.given_back", reason=error["message"])
            self._has_lost_engine = not self._is_stopping
            return
        log.info("build.ended", status=document["status"], seconds=round(seconds, 3))
        self._tell(claim, *_task_state(claim, document))

    def _give_back(self, state: State, claim: Claim, is_loss: bool) -> bool:
        """Whether there was something to give back. What cannot be now is when the database is there again; should this
        process have ended by then, the reaper sees that."""
        try:
            return queue.give_back(state.connection, claim, is_loss=is_loss)
        except (DatabaseError, DiskFull):
            with self._lock:
                self._owed.append((claim, is_loss))
            raise

    def give_back_owed(self, own: State) -> None:
        """Raises `DatabaseError` or `DiskFull`, and then is to be called again."""
        while self._owed:
            with self._lock:
                owed = self._owed.pop() if self._owed else None
            if owed is not None:
                self._give_back(own, *owed)

    def _run_claimed(self, state: State, claim: Claim) -> dict[str, Any]:
        cancel = Cancel(time.monotonic() + (claim.timeout_seconds or state.settings.timeout_seconds))
        with self._lock:
            self._running[claim.build_id] = cancel
            if self._is_stopping:
                cancel.set(Stopping("The server is stopping", remedy="The build begins anew when it is back"))
        try:
            if claim.attempt > 1:
                recovery.clean_up_before(state, claim.build_id, _tell_of_recovery, cancel)
            return run_claimed(state, request_of(state, claim), cancel, self._watch(claim), state.bus.written)
        finally:
            with self._lock:
                del self._running[claim.build_id]

    def _engine_answers(self) -> bool:
        """Asked only after it has been away: the builds that wait must not be begun, and lost, one after another."""
        try:
            Engine().ping()
        except EngineUnreachable:
            return False
        self._has_lost_engine = False
        return True

    def _watch(self, claim: Claim) -> Callable[[Event], None]:
        def watch(event: Event) -> None:
            if event.kind == "stage" and event.data and event.data["status"] == "running":
                log.info("build.stage", stage=event.stage, attempt=claim.attempt)
                told = {"build_id": claim.build_id, "project_id": claim.project_id, "stage": event.stage}
                self._tell(claim, "BUILDING", {**told, "status": event.text})

        return watch


def _tell_of_recovery(text: str) -> None:
    log.info("recovered", what=text)


def _task_state(claim: Claim, document: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    told = {"build_id": claim.build_id, "project_id": claim.project_id}
    if document["error"] is None:
        return "SUCCESS", {**told, "status": "completed", "deployment_url": document["deployment_url"]}
    state = "REVOKED" if document["status"] == "canceled" else "FAILURE"
    return state, {**told, "status": document["status"], "error": document["error"]["message"]}


def _fail(state: State, claim: Claim, error: Exception) -> None:
    """A build that could not even begin, its project being broken, say. What the runner has ended is left as it is."""
    from dockwright.db.journal import Journal

    shown = error.message if isinstance(error, DockwrightError) else f"{type(error).__name__}: {error}"
    code = error.code if isinstance(error, DockwrightError) else "internal_error"
    columns = {"error_code": code, "error_message": shown}
    try:
        with Journal(state.connection, claim.build_id, cancel=Cancel(), attempt=claim.attempt) as journal:
            journal.sink(Event("log", shown, time.time()))
            journal.finish("failed", columns)
    except LeaseLost:
        return  # it was ended


class ReaperThread(threading.Thread):
    """Puts builds of dead workers back into the queue, and puts right what they left."""

    def __init__(self, state: State) -> None:
        super().__init__(name="reaper", daemon=True)
        self._state = state.apart(state.client_id)
        self._ended = threading.Event()
        self._lost: list[int] = []
        """Builds whose leftovers are still to be seen to."""

    def run(self) -> None:
        reaper: Reaper | None = None
        while not self._ended.wait(0.0 if reaper is None else REAP_SECONDS):
            try:
                reaper = reaper or Reaper(self._state.connection)
                self._lost += reaper.take_back()
                self._recover_all()
            except DockwrightError as error:
                log.warning("reaper.waits", reason=error.message)
            except Exception:
                log.exception("reaper.failed")
            if reaper is None:
                self._ended.wait(REAP_SECONDS)
        self._state.close()

    def _recover_all(self) -> None:
        """One that cannot be seen to, its engine being away, is tried again, and keeps no other waiting."""
        tried, self._lost = self._lost, []
        for build_id in tried:
            try:
                self._recover(build_id)
            except UnreachableError as error:
                log.warning("recovery.waits", build=build_id, reason=error.message)
                self._lost.append(build_id)
            except Exception:
                log.exception("recovery.failed", build=build_id)

    def _recover(self, build_id: int) -> None:
        log.warning("build.worker_lost", build=build_id, at=timestamp(time.time()))
        row = self._state.connection.execute("SELECT client_id FROM builds WHERE id = ?", (build_id,)).fetchone()
        state = self._state.of_client(row[0])
        recovery.clean_up_after(state, build_id, _tell_of_recovery)
        self._state.bus.written(build_id)
        self._state.bus.queued(build_id)

    def end(self) -> None:
        """Looks for no more of them: whoever runs on does, or the next start."""
        self._ended.set()

    def stop(self) -> None:
        self.end()
        self.join(timeout=10)
