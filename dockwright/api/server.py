"""The server's process: the app, the queue's workers or its bus, and the upkeep, for as long as it runs."""

from __future__ import annotations

import gc
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager

import uvicorn
from fastapi import FastAPI

from dockwright.api.app import create_app
from dockwright.api.stopping import StreamServer
from dockwright.api.tails import Tails
from dockwright.errors import PortTaken, UsageError
from dockwright.queue.embedded import EmbeddedQueue
from dockwright.queue.worker import ReaperThread
from dockwright.services.state import State
from dockwright.services.upkeep import Upkeep

SHUTDOWN_SECONDS = 10
"""How long a request that is under way may take when the server is stopped."""


class Server:
    """Raises `BrokerUnreachable` where the queue is Celery's and Redis is not there."""

    def __init__(self, state: State, host: str, port: int) -> None:
        self._host, self._port = host, port
        self.state = _distributed(state) if state.settings.queue_backend == "celery" else state
        self.app = create_app(self.state)
        self.tails: Tails = self.app.state.tails
        self.app.router.lifespan_context = self._lifespan
        self._parts: tuple[Upkeep | EmbeddedQueue | ReaperThread, ...] = ()

    @property
    def url(self) -> str:
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self._host, self._host)  # noqa: S104
        return f"http://{host}:{self._port}"

    def run(self, ready: Callable[[], None]) -> None:
        """Until SIGTERM or SIGINT. Raises `PortTaken` before anything is started."""
        listening = self._listen()
        config = uvicorn.Config(
            self.app,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            ws="websockets-sansio",
            ws_per_message_deflate=False,  # a log line of a hundred bytes is not worth the time
        )
        # A request waits no longer than this for a thread that computes; by default it is 5 ms.
        sys.setswitchinterval(0.0005)
        ready()
        StreamServer(config, self.tails, self._tell_to_end).run(sockets=[listening])

    def _listen(self) -> socket.socket:
        try:
            family = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)[0][0]
            listening = socket.create_server((self._host, self._port), family=family, backlog=512)
        except socket.gaierror as error:
            raise UsageError(f"There is no address {self._host}: {error}", remedy="Give one as --host") from error
        except OSError as error:
            raise PortTaken(
                f"Port {self._port} at {self._host} cannot be had: {error.strerror}",
                remedy="Choose another with --port",
            ) from error
        listening.set_inheritable(False)
        return listening

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        with ExitStack() as running:
            self._start(running)
            yield

    def _start(self, running: ExitStack) -> None:
        """Left in the reverse order: all are told before one is waited for, so that the upkeep does not begin to clean
        up while builds end, nor a worker a build while the upkeep does. Builds come first: theirs is the work that must
        be undone in time. What they tell of it through is closed last."""
        running.callback(self.state.bus.close)
        self._parts = (Upkeep(self.state), self._queue())
        for part in self._parts:
            part.start()
            running.callback(part.stop)
        running.callback(self._tell_to_end)
        # What is there by now stays: the collector need not look through all of it again while a request waits.
        gc.collect()
        gc.freeze()
        # A command is over before the collector begins (`cli/__init__.py`). It would stop a server for 0.1 s each time.
        gc.set_threshold(5000, 10, 10)

    def _queue(self) -> EmbeddedQueue | ReaperThread:
        """Where the workers are elsewhere, what is left of it here is to watch over them."""
        if self.state.settings.queue_backend != "embedded":
            return ReaperThread(self.state)
        queue = self.app.state.queue = EmbeddedQueue(self.state)
        return queue

    def _tell_to_end(self) -> None:
        for part in self._parts:
            part.end()


def _distributed(state: State) -> State:
    from dockwright.queue.distributed import RedisBus
    from dockwright.services.bus import check_broker

    check_broker(state.settings)
    bus = RedisBus(state.settings)
    bus.listen()
    return State(state.settings, bus=bus)
