"""Whether those who watch may still watch: a stream is asked for once, and may last as long as a build does.

One look at the database for all streams of a process, every few seconds, asked for by whichever of them comes to it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import anyio
import structlog

from dockwright.errors import DatabaseError
from dockwright.services import tokens
from dockwright.services.state import LOCAL_CLIENT_ID, State

CHECK_SECONDS = 10.0

log = structlog.get_logger()


class Watcher(NamedTuple):
    """Who has asked for a stream, and whose build it is."""

    token_id: int
    client_id: int


class Admissions:
    """Used within the event loop."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._watchers: Counter[Watcher] = Counter()
        self._refused: frozenset[Watcher] = frozenset()
        self._looked_at = 0.0
        self._look: asyncio.Task[None] | None = None

    @contextmanager
    def watching(self, watcher: Watcher) -> Iterator[None]:
        """Of one who was admitted just now."""
        if not self._watchers:
            self._looked_at = asyncio.get_running_loop().time()
        self._refused -= {watcher}
        self._watchers[watcher] += 1
        try:
            yield
        finally:
            self._watchers[watcher] -= 1
            if not self._watchers[watcher]:
                del self._watchers[watcher]

    async def is_admitted(self, watcher: Watcher) -> bool:
        """As it was at most `CHECK_SECONDS` ago, or when the stream began."""
        if self._look is None and asyncio.get_running_loop().time() >= self._looked_at + CHECK_SECONDS:
            self._look = asyncio.create_task(self._look_at_all())
        if self._look is not None:
            await asyncio.shield(self._look)  # one of those who wait may leave
        return not self.has_refused(watcher)

    def has_refused(self, watcher: Watcher) -> bool:
        return watcher in self._refused

    async def _look_at_all(self) -> None:
        watchers = frozenset(self._watchers)
        try:
            valid = await anyio.to_thread.run_sync(tokens.standing, self._state, {one.token_id for one in watchers})
        except DatabaseError as error:  # nobody is sent away for that: it is asked again
            log.warning("streams.not_checked", reason=error.message)
        else:
            self._refused = frozenset(one for one in watchers if not _may_watch(valid.get(one.token_id), one))
        finally:
            self._looked_at, self._look = asyncio.get_running_loop().time(), None


def _may_watch(standing: tokens.Standing | None, watcher: Watcher) -> bool:
    """Users may have been given another role or client as well."""
    if standing is None:
        return False
    return standing.role == "admin" or (standing.client_id or LOCAL_CLIENT_ID) == watcher.client_id
