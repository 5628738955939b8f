"""The queue's workers on other machines: Celery on Redis wakes them, Redis carries the bus, the database is the queue.

A message says that there is something to claim, and nothing more: whoever gets it claims the build that is next, which
need not be the one that the message was sent for. So a message that is lost, late or delivered twice does no harm. The
task's state, as requirement 001 has it, is written for the build that really runs.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import redis
import structlog
from celery import Celery
from celery.exceptions import CeleryError
from celery.signals import worker_shutting_down
from kombu.exceptions import OperationalError

from dockwright.db.queue import Claim
from dockwright.errors import DatabaseError, DiskFull, DockwrightError
from dockwright.queue.worker import ReaperThread, Worker
from dockwright.services.bus import CONNECT_SECONDS, Bus
from dockwright.services.state import State
from dockwright.settings import Settings

log = structlog.get_logger()

QUEUE = "builds"
TASK = "dockwright.build"
CHANNEL = "dockwright:"
RECONNECT_SECONDS = 1.0
NUDGE_SECONDS = 2.0
ANSWER_SECONDS = 2.0
"""How long Redis may take to answer where a build waits for it."""
SILENT_SECONDS = 10.0
"""How long nothing is published after it could not be: one that hangs is not asked for each line of a log."""


def celery_app(settings: Settings) -> Celery:
    """As requirement 001 sets it: JSON, late acknowledgement, one message at a time, the queue `builds`."""
    app = Celery("dockwright", broker=settings.redis_url, backend=settings.redis_url)
    app.conf.update(
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        task_routes={TASK: {"queue": QUEUE}},
        task_default_queue=QUEUE,
        worker_prefetch_multiplier=1,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        # Where nobody asks for a result, and where a build's own row holds it for as long as the build is kept.
        result_expires=24 * 3600,
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "socket_timeout": 10,
            "socket_connect_timeout": CONNECT_SECONDS,
            # A worker that died gives its message back after this long; the reaper has sent another one by then.
            "visibility_timeout": 3600,
        },
        redis_socket_connect_timeout=CONNECT_SECONDS,
        # A build's state is told while the build waits: by default a Redis that hangs would hold it up for minutes.
        redis_socket_timeout=ANSWER_SECONDS,
        result_backend_transport_options={"retry_policy": {"max_retries": 1, "interval_start": 0, "interval_max": 0.1}},
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        enable_utc=True,
    )
    return app


class RedisBus(Bus):
    """The same calls on every machine: what is said here is heard there, and here at once."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._celery = celery_app(settings)
        self._redis = redis.Redis.from_url(
            settings.redis_url, socket_connect_timeout=CONNECT_SECONDS, socket_timeout=ANSWER_SECONDS
        )
        self._silent_until = 0.0
        """In seconds of `time.monotonic`."""
        self._ended = threading.Event()
        self._listening: threading.Thread | None = None

    def listen(self) -> None:
        """Hands on what other processes say, until `close`."""
        self._listening = threading.Thread(target=self._listen, name="bus", daemon=True)
        self._listening.start()

    def close(self) -> None:
        self._ended.set()
        if self._listening is not None:
            self._listening.join(timeout=5)
        self._redis.close()
        self._celery.close()

    def written(self, build_id: int) -> None:
        super().written(build_id)
        self._publish("written", build_id)

    def queued(self, build_id: int) -> None:
        super().queued(build_id)
        self._send(build_id)

    def _publish(self, kind: str, build_id: int) -> None:
        if time.monotonic() < self._silent_until:
            return
        try:
            self._redis.publish(CHANNEL + kind, str(build_id))
        except redis.RedisError as error:
            # Watchers look by themselves twice a second.
            self._silent_until = time.monotonic() + SILENT_SECONDS
            log.debug("bus.lost", kind=kind, build=build_id, reason=str(error))

    def _send(self, build_id: int) -> None:
        """A message to a worker. One that cannot be sent is no loss: workers look for builds by themselves too."""
        try:
            self._celery.send_task(TASK, args=(build_id,), queue=QUEUE, ignore_result=True, retry=False)
        except (OperationalError, CeleryError, redis.RedisError, OSError) as error:
            log.warning("queue.message_lost", build=build_id, reason=str(error))

    def _listen(self) -> None:
        while not self._ended.is_set():
            try:
                with self._redis.pubsub(ignore_subscribe_messages=True) as pubsub:  # type: ignore[no-untyped-call]
                    pubsub.subscribe(CHANNEL + "written")
                    while not self._ended.is_set():
                        self._hand_on(pubsub.get_message(timeout=1.0))
            except redis.RedisError as error:
                log.warning("bus.waits", reason=str(error))
                self._ended.wait(RECONNECT_SECONDS)

    def _hand_on(self, message: dict[str, Any] | None) -> None:
        if message is not None:
            super().written(int(message["data"]))


class DistributedWorker:
    """A Celery worker of this process: as many threads as builds may run at once, each with late acknowledgement."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._celery = celery_app(state.settings)
        self.worker = Worker(state, self._tell)
        self._own = threading.local()
        self._ended = threading.Event()
        self._celery.task(name=TASK, ignore_result=True)(self._take)

    def run(self) -> None:
        """Until SIGTERM or SIGINT; the builds that run then go back to the queue."""
        reaper = ReaperThread(self._state)
        nudge = threading.Thread(target=self._nudge, name="nudge", daemon=True)
        celery = self._celery.Worker(
            pool="threads",
            concurrency=self._state.settings.max_workers,
            queues=[QUEUE],
            loglevel="WARNING",
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            optimization="fair",
        )
        worker_shutting_down.connect(self._stop, weak=False)
        reaper.start()
        nudge.start()
        try:
            celery.start()
        finally:
            self._stop()
            reaper.stop()
            self._state.bus.close()

    def _stop(self, **_: Any) -> None:
        self._ended.set()
        self.worker.stop()

    def _take(self, build_id: int) -> None:
        """One message: one build, whichever is next."""
        own = getattr(self._own, "state", None)
        if own is None:
            own = self._own.state = self._state.apart(self._state.client_id)
        try:
            self.worker.run_next(own)
        except DockwrightError as error:
            log.warning("worker.waits", reason=error.message, build=build_id)  # the nudge tries again

    def _nudge(self) -> None:
        """A message that was lost, with a Redis that started anew say, is sent again while a build waits. And a build
        that is owed is given back: nobody else may be called by then."""
        own = self._state.apart(self._state.client_id)
        while not self._ended.wait(NUDGE_SECONDS):
            try:
                self.worker.give_back_owed(own)
                waiting = own.connection.execute(
                    f"SELECT id FROM builds WHERE status = 'queued' AND created_at < {own.connection.after(-1)} LIMIT 1"
                ).fetchone()
                if waiting is not None and len(self.worker.running) < self._state.settings.max_workers:
                    self._state.bus.queued(waiting[0])
            except (DatabaseError, DiskFull) as error:
                log.warning("worker.waits", reason=error.message)
        own.close()

    def _tell(self, claim: Claim, state: str, meta: dict[str, Any]) -> None:
        """The state that `AsyncResult(task_id)` gives. Redis may be away: the build's row tells the same."""
        if claim.task_id is None:
            return
        result: Any = meta
        if state in {"FAILURE", "REVOKED"}:
            result = {"exc_type": "BuildError", "exc_module": "dockwright.errors", "exc_message": [meta["error"]]}
        try:
            self._celery.backend.store_result(claim.task_id, result, state)
        except (redis.RedisError, CeleryError, OSError) as error:
            log.debug("task_state.lost", build=claim.build_id, reason=str(error))
