"""Feeds the watchers of builds: one tail per build and process reads what is new, and all watchers send the same bytes.

The database is the truth. The bus says when to look, and where nobody says anything (a build that the CLI runs, in a
process of its own) a tail looks by itself, twice a second. A watcher is a position: it takes the chunk that follows,
from the tail's ring; where it has fallen out of that, from the database through pages that it shares with others who
lag; and is back at the ring when it has caught up. All runs in one event loop; the database is read in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple, TypeVar

import anyio
import structlog

from dockwright.api.chunks import Chunk, Pages, Ring, chunks_of
from dockwright.domain.transitions import Status
from dockwright.errors import DatabaseError
from dockwright.services.event_log import EventLog, Head
from dockwright.services.state import State

LOOK_SECONDS = 0.5
"""How often a tail looks for events that nobody has told of, and a database that is away is asked again."""
GATHER_SECONDS = 0.03
"""How long a tail rests after a look, so that a chunk is worth its writes. What comes after a silence does not wait."""
KEEP_ALIVE_SECONDS = 15.0
READ_EVENTS = 1000
"""How many events are read at once."""
RING_BYTES = 4 * 1024 * 1024
"""For each build that runs and is watched."""
PAGES_BYTES = 16 * 1024 * 1024
"""For all builds together."""

T = TypeVar("T")
log = structlog.get_logger()


class End(NamedTuple):
    """The build is finished, and all of its events have been sent."""

    status: Status


class Quiet(NamedTuple):
    """Nothing has happened for a while."""


class _Reader:
    """The database, asked in a thread, one question at a time, and again until it answers."""

    def __init__(self, state: State) -> None:
        self._log = EventLog(state)
        self._one = anyio.CapacityLimiter(1)
        self.is_patient = True

    async def head(self, build_id: int) -> Head | None:
        return await self._patiently(lambda: self._log.head(build_id))

    async def chunks(self, build_id: int, after: int, upto: int) -> list[Chunk]:
        return await self._patiently(lambda: list(chunks_of(self._log.read(build_id, after, upto))))

    async def _patiently(self, ask: Callable[[], T]) -> T:
        while True:
            try:
                return await anyio.to_thread.run_sync(ask, limiter=self._one)
            except DatabaseError as error:
                if not self.is_patient:
                    raise
                log.warning("A stream waits for the database", error=error.message)
            await asyncio.sleep(LOOK_SECONDS)

    def close(self) -> None:
        self._log.close()


class _Tail:
    """What is new of one build, for as long as somebody watches it."""

    def __init__(self, build_id: int, begin: Head, reader: _Reader) -> None:
        self.build_id = build_id
        self.ring = Ring(RING_BYTES)
        self.watchers = 0
        self.news = asyncio.Event()
        """Set once there is more; the next news are another event."""
        self._head = begin
        self._last = begin.last
        self._reader = reader
        self._poked = asyncio.Event()
        self.task = asyncio.create_task(self._run(), name=f"tail-{build_id}")

    @property
    def last(self) -> int:
        """The number of the newest event that was read."""
        return self._last

    @property
    def end(self) -> End | None:
        is_over = self._head.is_finished and self._last >= self._head.last
        return End(self._head.status) if is_over else None

    def poke(self) -> None:
        """There may be more."""
        self._poked.set()

    async def _run(self) -> None:
        try:
            while True:  # the first look finds what was written before the bus knew of this tail
                head = await self._reader.head(self.build_id)
                if head is None:
                    return  # removed, with all of its events
                await self._catch_up(head)
                if self.end is not None:
                    return
                await self._more()
        finally:
            self._tell()

    async def _more(self) -> None:
        await asyncio.sleep(GATHER_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await self._poked.wait()
        self._poked.clear()

    async def _catch_up(self, head: Head) -> None:
        self._head = head
        while self._last < head.last:
            for chunk in await self._reader.chunks(self.build_id, self._last, min(head.last, self._last + READ_EVENTS)):
                self.ring.append(chunk)
                self._last = chunk.last
            self._tell()

    def _tell(self) -> None:
        news, self.news = self.news, asyncio.Event()
        news.set()


class Tails:
    """All tails of a process. Made before the event loop runs; used within it, but for what the bus calls."""

    def __init__(self, state: State) -> None:
        self.is_closed = False
        self._bus = state.bus
        self._reader = _Reader(state)
        self._tails: dict[int, _Tail] = {}
        self._pages = Pages(PAGES_BYTES)
        self._page_reads: dict[tuple[int, int], asyncio.Task[Chunk | None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._forget_bus: Callable[[], None] | None = None

    async def watch(self, build_id: int, after: int, *, follow: bool) -> AsyncGenerator[Chunk | Quiet | End, None]:
        """The events numbered above `after`, in their order and without a gap; then `End`, if the build is finished.

        Without `follow` it is over where the events were when it began. It is over without `End` when the server
        stops, or the build was removed.
        """
        self._listen()
        tail = self._tails.get(build_id) if follow else None
        if tail is None:
            head = await self._reader.head(build_id)
            if head is None:
                return
            if head.is_finished or not follow:
                async for chunk in self._stored(build_id, after, head.last):
                    yield chunk
                if head.is_finished and not self.is_closed:
                    yield End(head.status)
                return
            tail = self._tails.get(build_id) or _Tail(build_id, head, self._reader)
        with self._watching(tail):
            async for one in self._followed(tail, after):
                yield one

    async def _stored(self, build_id: int, position: int, last: int) -> AsyncGenerator[Chunk, None]:
        while position < last and not self.is_closed:
            chunk = await self._page(build_id, position, last)
            if chunk is None:
                return
            yield chunk
            position = chunk.last

    async def _followed(self, tail: _Tail, position: int) -> AsyncGenerator[Chunk | Quiet | End, None]:
        while not self.is_closed:
            news = tail.news
            chunk = tail.ring.after(position)
            if chunk is None and position < tail.last:
                chunk = await self._page(tail.build_id, position, tail.last)
            if chunk is not None:
                yield chunk
                position = chunk.last
                await asyncio.sleep(0)  # a watcher who is quick and far behind lets the others have their turn
            elif tail.end is not None:
                yield tail.end
                return
            elif tail.task.done():
                tail.task.result()  # raises what has ended it, if it was not the build's removal
                return
            else:
                try:
                    async with asyncio.timeout(KEEP_ALIVE_SECONDS):
                        await news.wait()
                except TimeoutError:
                    yield Quiet()

    @contextmanager
    def _watching(self, tail: _Tail) -> Iterator[None]:
        self._tails[tail.build_id] = tail
        tail.watchers += 1
        try:
            yield
        finally:
            tail.watchers -= 1
            if tail.watchers == 0:
                tail.task.cancel()
                del self._tails[tail.build_id]

    async def _page(self, build_id: int, position: int, last: int) -> Chunk | None:
        """What follows event number `position`, up to `last` at most. Those who ask at once share one reading."""
        chunk = self._pages.get(build_id, position)
        if chunk is not None:
            return chunk
        key = build_id, position
        reading = self._page_reads.get(key)
        if reading is None:
            reading = self._page_reads[key] = asyncio.create_task(self._read_page(build_id, position, last))
            reading.add_done_callback(lambda _: self._page_reads.pop(key))
        # One of those who wait may leave.
        return await asyncio.shield(reading)

    async def _read_page(self, build_id: int, position: int, last: int) -> Chunk | None:
        # To a round number, so that those who began at different places meet.
        upto = min(last, (position // READ_EVENTS + 1) * READ_EVENTS)
        chunks = await self._reader.chunks(build_id, position, upto)
        for chunk in chunks:
            self._pages.put(build_id, chunk)
        return chunks[0] if chunks else None

    def _listen(self) -> None:
        if self._forget_bus is None and not self.is_closed:
            self._loop = asyncio.get_running_loop()
            self._forget_bus = self._bus.on_written(self._written)

    def _written(self, build_id: int) -> None:
        """Called from any thread."""
        if build_id in self._tails and self._loop is not None:
            with suppress(RuntimeError):  # the loop has just been closed: nobody watches any more
                self._loop.call_soon_threadsafe(self._poke, build_id)

    def _poke(self, build_id: int) -> None:
        if build_id in self._tails:
            self._tails[build_id].poke()

    def close(self) -> None:
        """Ends all streams in a moment, without their `end`. To be called in the event loop, and then `release`."""
        self.is_closed = True
        if self._forget_bus is not None:
            self._forget_bus()
        self._reader.is_patient = False
        for tail in self._tails.values():
            tail.task.cancel()

    def release(self) -> None:
        """When no stream is left."""
        self._reader.close()
