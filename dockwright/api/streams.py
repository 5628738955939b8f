"""A build's events, live: Server-Sent Events with resume, JSON lines, and a WebSocket.

What is sent is what was stored, and secrets were taken out of that before. All watchers go through `tails`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Depends, Header, Path, Query
from fastapi.responses import StreamingResponse
from starlette.requests import HTTPConnection, Request
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from dockwright.api.admissions import Admissions, Watcher
from dockwright.api.auth import MAX_ID, Viewer
from dockwright.api.chunks import Chunk
from dockwright.api.tails import End, Quiet, Tails
from dockwright.services import builds

SSE, JSON_LINES = "text/event-stream", "application/x-ndjson"
HEADERS = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would gather a stream
    "Vary": "Accept",
}
RECONNECT = b"retry: 1000\n\n"
"""In milliseconds: how soon a browser comes back to a server that was started again."""
SERVICE_RESTART, POLICY_VIOLATION = 1012, 1008
DESCRIPTION = """
As `text/event-stream`, where that is accepted: one of the events `log`, `step`, `stage` and `status` for each event of
the build, its `id` being the event's `seq`, and `end` with the build's last status when there is nothing more to come.
A `Last-Event-ID` goes before `from_seq`. Else as JSON lines: one event a line, and with `follow` a last line
`{"kind": "end", "status": …}`. A stream that closes without its end was cut off: ask again from the next `seq`.
"""

router = APIRouter(tags=["builds"])


@dataclass(frozen=True, slots=True)
class Feed:
    """One build, for one watcher, for as long as that one may watch."""

    build_id: int
    watcher: Watcher
    tails: Tails
    admissions: Admissions

    async def events(self, after: int, *, follow: bool) -> AsyncGenerator[Chunk | Quiet | End, None]:
        """As `Tails.watch`. It is over without `End` as well when the watcher's token is not valid any more."""
        with self.admissions.watching(self.watcher):
            async with aclosing(self.tails.watch(self.build_id, after, follow=follow)) as events:
                async for one in events:
                    if not await self.admissions.is_admitted(self.watcher):
                        return
                    yield one


def watched(caller: Viewer, connection: HTTPConnection, build_id: Annotated[int, Path(ge=1, le=MAX_ID)]) -> Feed:
    """Asked once, when a stream begins. Raises `NotFound` for a build of another client."""
    found, shared = builds.get(caller.state, build_id).id, connection.app.state
    return Feed(found, Watcher(caller.token_id, caller.client_id), shared.tails, shared.admissions)


Watched = Annotated[Feed, Depends(watched)]
FromSeq = Annotated[int, Query(ge=0, le=MAX_ID, description="The first event that is wanted, by its `seq`.")]
Follow = Annotated[
    bool | None, Query(description="Go on until the build has ended; unless said, only an event stream does.")
]
LastEventId = Annotated[
    int | None, Header(ge=0, le=MAX_ID, description="The last event that has arrived, by its `id`.")
]
CONTENT: dict[str, Any] = {SSE: {"schema": {"type": "string"}}, JSON_LINES: {"schema": {"type": "string"}}}


class EventStream(StreamingResponse):
    """Its source is closed with it, whatever ends it, so that a tail knows who still watches."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self.body_iterator):  # type: ignore[type-var]
            await super().__call__(scope, receive, send)


@router.get(
    "/builds/{build_id}/logs",
    response_class=EventStream,
    description=DESCRIPTION,
    responses={200: {"content": CONTENT}},
)
async def logs(
    request: Request,
    feed: Watched,
    from_seq: FromSeq = 1,
    follow: Follow = None,
    last_event_id: LastEventId = None,
) -> EventStream:
    as_sse = SSE in request.headers.get("Accept", "")
    after = max(0, from_seq - 1) if last_event_id is None else last_event_id
    source = _sse if as_sse else _lines
    body = source(feed, after, follow=as_sse if follow is None else follow)
    return EventStream(body, media_type=SSE if as_sse else JSON_LINES, headers=HEADERS)


async def _sse(feed: Feed, after: int, *, follow: bool) -> AsyncGenerator[bytes, None]:
    async with aclosing(feed.events(after, follow=follow)) as events:
        yield RECONNECT
        async for one in events:
            match one:
                case Chunk():
                    yield one.sse
                case Quiet():
                    yield b": nothing new\n\n"
                case End():
                    yield f"event: end\ndata: {_end(one)}\n\n".encode()


async def _lines(feed: Feed, after: int, *, follow: bool) -> AsyncGenerator[bytes, None]:
    async with aclosing(feed.events(after, follow=follow)) as events:
        async for one in events:
            match one:
                case Chunk():
                    yield one.lines
                case End() if follow:
                    yield f"{_end(one)}\n".encode()


def _end(end: End) -> str:
    return f'{{"kind": "end", "status": "{end.status}"}}'


@router.websocket("/ws/builds/{build_id}")
async def follow_by_websocket(websocket: WebSocket, feed: Watched, from_seq: FromSeq = 1) -> None:
    """A message for each event, then `{"kind": "end", "status": …}` and a close with 1000."""
    await websocket.accept()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(_until_gone, websocket, tasks.cancel_scope))
        await _send_messages(websocket, feed, max(0, from_seq - 1))
        tasks.cancel_scope.cancel()


async def _until_gone(websocket: WebSocket, sending: anyio.CancelScope) -> None:
    """What a watcher says is of no interest, but that it goes."""
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass
    sending.cancel()


async def _send_messages(websocket: WebSocket, feed: Feed, after: int) -> None:
    code = None
    try:
        async with aclosing(feed.events(after, follow=True)) as events:
            async for one in events:
                match one:
                    case Chunk():
                        for event in one.events:
                            await websocket.send_text(event.document)
                    case End():
                        await websocket.send_text(_end(one))
                        code = 1000
        if code is None:
            code = POLICY_VIOLATION if feed.admissions.has_refused(feed.watcher) else SERVICE_RESTART
        await websocket.close(code)
    except WebSocketDisconnect:
        return
