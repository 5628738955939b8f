"""Chunks of events, the ring and the pages: whatever is asked for comes in order and without a gap, within bounds."""

import json

from hypothesis import given
from hypothesis import strategies as st

from dockwright.api import chunks
from dockwright.api.chunks import CHUNK_BYTES, Chunk, Pages, Ring, chunks_of
from dockwright.services.event_log import WatchedEvent

sizes = st.lists(st.integers(0, CHUNK_BYTES // 3) | st.just(2 * CHUNK_BYTES), min_size=1, max_size=40)


def events(lengths: list[int], first: int = 1) -> list[WatchedEvent]:
    return [WatchedEvent(n, "log", json.dumps("x" * length)) for n, length in enumerate(lengths, first)]


@given(sizes)
def test_chunks_hold_all_events_in_order_each_small_or_alone(lengths: list[int]) -> None:
    cut = list(chunks_of(events(lengths)))
    assert [event for chunk in cut for event in chunk.events] == events(lengths)
    assert all(len(chunk.sse) <= CHUNK_BYTES or len(chunk.events) == 1 for chunk in cut)


def test_nothing_makes_no_chunk() -> None:
    assert list(chunks_of([])) == []


@given(sizes, st.integers(0, 50), st.integers(1000, 10 * CHUNK_BYTES))
def test_a_ring_gives_what_follows_until_it_has_let_it_go(lengths: list[int], behind: int, limit: int) -> None:
    ring = Ring(limit)
    for chunk in chunks_of(events(lengths, first=behind + 1)):
        ring.append(chunk)
        assert ring.size <= limit
    last = behind + len(lengths)
    assert ring.after(last) is None and ring.after(last + 7) is None
    kept = [position for position in range(last) if ring.after(position)]
    # What is kept are the newest, all of them from somewhere on.
    assert kept == list(range(last - len(kept), last))
    for position in kept:
        found = ring.after(position)
        assert found is not None and found.first == position + 1


def test_a_chunk_is_encoded_once_and_cut_for_who_has_its_beginning() -> None:
    chunk = Chunk(events([1, 2, 3], first=5))
    assert chunk.past(4) is chunk and chunk.past(0) is chunk
    assert chunk.sse is chunk.sse and chunk.lines is chunk.lines
    assert chunk.past(6).sse == b'id: 7\nevent: log\ndata: "xxx"\n\n'
    assert chunk.past(5).lines == b'"xx"\n"xxx"\n'


def test_pages_forget_what_was_not_asked_for_the_longest() -> None:
    one = Chunk(events([100])).size
    pages = Pages(3 * one)
    for build_id in (1, 2, 3):
        pages.put(build_id, Chunk(events([100])))
    assert pages.get(1, 0) is not None
    pages.put(4, Chunk(events([100])))
    assert [build_id for build_id in (1, 2, 3, 4) if pages.get(build_id, 0)] == [1, 3, 4]
    pages.put(4, Chunk(events([100])))
    assert pages.size == 3 * one
    assert pages.get(4, 1) is None


def test_a_page_that_is_larger_than_all_may_be_is_not_kept() -> None:
    pages = Pages(100)
    pages.put(1, Chunk(events([chunks.CHUNK_BYTES])))
    assert pages.size == 0 and pages.get(1, 0) is None
