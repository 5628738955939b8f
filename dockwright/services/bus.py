"""Says "there is more": which build has new events, and that there is something to claim. The database is the truth.

A call is lost where nobody listens, and one too many does no harm: whoever listens looks into the database.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from dockwright.errors import BrokerUnreachable
from dockwright.settings import Settings

CONNECT_SECONDS = 2.0
"""How long Redis may take to answer."""

Listener = Callable[[int], None]
"""Takes the id of a build. Called from any thread; must return at once and raise nothing."""


class Bus:
    """Within one process. `queue.celery` carries the same calls to other machines through Redis."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._written: tuple[Listener, ...] = ()
        self._queued: tuple[Listener, ...] = ()

    def on_written(self, listener: Listener) -> Callable[[], None]:
        """Calls `listener` when a build has new events, until the function that this returns is called."""
        with self._lock:
            self._written = (*self._written, listener)
        return lambda: self._forget(listener)

    def on_queued(self, listener: Listener) -> Callable[[], None]:
        """The same when a build was queued, or one ended and made room."""
        with self._lock:
            self._queued = (*self._queued, listener)
        return lambda: self._forget(listener)

    def written(self, build_id: int) -> None:
        for listener in self._written:
            listener(build_id)

    def queued(self, build_id: int) -> None:
        for listener in self._queued:
            listener(build_id)

    def close(self) -> None:
        """Ends what it started to listen to others."""

    def _forget(self, listener: Listener) -> None:
        with self._lock:
            self._written = tuple(one for one in self._written if one is not listener)
            self._queued = tuple(one for one in self._queued if one is not listener)


def check_broker(settings: Settings) -> None:
    """Raises `BrokerUnreachable`."""
    import redis

    seconds = {"socket_connect_timeout": CONNECT_SECONDS, "socket_timeout": CONNECT_SECONDS}
    client = redis.Redis.from_url(settings.redis_url, **seconds)
    try:
        client.ping()
    except redis.RedisError as error:
        raise BrokerUnreachable(
            f"Redis cannot be reached: {error}", remedy="Check REDIS_URL, and that the server runs"
        ) from error
    finally:
        client.close()
