"""Events that lie next to each other, encoded once and sent to many: chunks, and the two places that keep them.

A `Ring` holds the newest of one build, a `Pages` what was read again from the database for whoever was not there in
time. Both are bounded in bytes: what a watcher holds is a number.
"""

from __future__ import annotations

import bisect
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from functools import cached_property

from dockwright.services.event_log import WatchedEvent

CHUNK_BYTES = 256 * 1024
"""About how much goes into one write, at most: each costs a way through all of the server's layers. Of a client that
does not read, the server keeps one that is being written, and the next."""
_BYTES_PER_EVENT = 400
"""What an event takes beside two copies of its document."""


class Chunk:
    """One or more events without a gap between them."""

    def __init__(self, events: Sequence[WatchedEvent]) -> None:
        self.events = events
        self.first, self.last = events[0].seq, events[-1].seq
        self.size = sum(2 * len(event.document) + _BYTES_PER_EVENT for event in events)

    @cached_property
    def sse(self) -> bytes:
        return "".join(f"id: {seq}\nevent: {kind}\ndata: {text}\n\n" for seq, kind, text in self.events).encode()

    @cached_property
    def lines(self) -> bytes:
        return "".join(f"{event.document}\n" for event in self.events).encode()

    def past(self, position: int) -> Chunk:
        """What of it comes after event number `position`, which is below its last."""
        if position < self.first:
            return self
        return Chunk(self.events[bisect.bisect_right(self.events, position, key=lambda event: event.seq) :])


def chunks_of(events: Sequence[WatchedEvent]) -> Iterator[Chunk]:
    """Cut where a chunk would become larger than `CHUNK_BYTES`; an event that is larger by itself is one of its own."""
    begin = size = 0
    for number, event in enumerate(events):
        length = len(event.document) + len(event.kind) + 40
        if number > begin and size + length > CHUNK_BYTES:
            yield Chunk(events[begin:number])
            begin, size = number, 0
        size += length
    if events:
        yield Chunk(events[begin:])


class Ring:
    """The newest chunks of a build, without a gap."""

    def __init__(self, limit: int) -> None:
        self.size = 0
        self._limit = limit
        self._chunks: deque[Chunk] = deque()

    def append(self, chunk: Chunk) -> None:
        self._chunks.append(chunk)
        self.size += chunk.size
        while self.size > self._limit:
            self.size -= self._chunks.popleft().size

    def after(self, position: int) -> Chunk | None:
        """What follows event number `position`; none where that is not kept any more, or is yet to come."""
        if not self._chunks or position + 1 < self._chunks[0].first or position >= self._chunks[-1].last:
            return None
        newest = self._chunks[-1]  # what nearly every watcher asks for
        if position + 1 >= newest.first:
            return newest.past(position)
        return self._chunks[bisect.bisect_right(self._chunks, position, key=lambda chunk: chunk.last)].past(position)


class Pages:
    """The chunks that were asked for last, of all builds, by the event number that they follow."""

    def __init__(self, limit: int) -> None:
        self.size = 0
        self._limit = limit
        self._chunks: OrderedDict[tuple[int, int], Chunk] = OrderedDict()

    def get(self, build_id: int, position: int) -> Chunk | None:
        chunk = self._chunks.get((build_id, position))
        if chunk is not None:
            self._chunks.move_to_end((build_id, position))
        return chunk

    def put(self, build_id: int, chunk: Chunk) -> None:
        key = (build_id, chunk.first - 1)
        replaced = self._chunks.pop(key, None)
        self.size += chunk.size - (replaced.size if replaced else 0)
        self._chunks[key] = chunk
        while self.size > self._limit:
            self.size -= self._chunks.popitem(last=False)[1].size
