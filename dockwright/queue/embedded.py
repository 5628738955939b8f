"""The queue's workers as threads of the server: nothing to install."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from queue import Empty, SimpleQueue

import structlog

from dockwright.errors import DockwrightError
from dockwright.queue.worker import ReaperThread, Worker
from dockwright.services.state import State

log = structlog.get_logger()

POLL_SECONDS = 1.0
"""How long a build that another process queued may wait to be seen."""
FIRST_SECONDS = 0.001
"""How long whoever queues a build leaves the interpreter to the thread that begins it: of two threads that take turns
both are late, and an answer can wait."""


class EmbeddedQueue:
    """As many threads as builds may run at once. Woken by the bus, and by the clock for what other processes queue."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.worker = Worker(state)
        self._reaper = ReaperThread(state)
        self._news: SimpleQueue[None] = SimpleQueue()
        self._ended = False
        self._threads = [
            threading.Thread(target=self._work, name=f"worker-{number}", daemon=True)
            for number in range(1, state.settings.max_workers + 1)
        ]

    def start(self) -> None:
        self._forget = self._state.bus.on_queued(self._notice)
        for thread in (self._reaper, *self._threads):
            thread.start()

    def end(self) -> None:
        """Claims nothing more, and tells the builds that run to end. Waits for none of it."""
        self.worker.stop()
        self._reaper.end()
        self._ended = True
        for _ in self._threads:
            self._news.put(None)

    def stop(self) -> None:
        """Ends when every build that ran has been given back to the queue."""
        self.end()
        for thread in self._threads:
            thread.join()
        self._forget()
        self._reaper.stop()

    def _notice(self, build_id: int) -> None:
        if self._news.qsize() < len(self._threads):  # else nobody sleeps
            self._news.put(None)
        time.sleep(FIRST_SECONDS)

    def _work(self) -> None:
        own = self._state.apart(self._state.client_id)
        while not self._ended:
            try:
                has_run = self.worker.run_next(own)
            except DockwrightError as error:
                log.warning("worker.waits", reason=error.message)
                has_run = False
            except Exception:
                log.exception("worker.failed")
                has_run = False
            if not has_run:
                self._sleep()
        own.close()

    def _sleep(self) -> None:
        with suppress(Empty):
            self._news.get(timeout=POLL_SECONDS)
