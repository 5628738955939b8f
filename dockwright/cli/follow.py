"""A build's events as a server sends them: without a gap and without one twice, across connections that break."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Empty, Queue
from typing import Any

import httpx

from dockwright.cli.connection import Connection
from dockwright.domain.events import Sink, event_of
from dockwright.errors import Conflict, ServerUnreachable
from dockwright.process import Cancel

PATIENCE_SECONDS = 120.0
"""How long a server may be away: it may be started again meanwhile, and its builds go on."""
AGAIN_SECONDS = 1.0
LOOK_SECONDS = 0.1
WAITING_EVENTS = 10_000
"""Read and not yet shown."""

OPEN = "open"
"""The server has answered; no event of ours is called so."""

Told = Callable[[str], None]


def events(connection: Connection, build_id: int, *, follow: bool, told: Told) -> Iterator[dict[str, Any]]:
    """Until the build has ended, or, without `follow`, the newest. `told` hears of a connection that broke.

    Raises `NotFound`, and `ServerUnreachable` where the server was never there or stays away.
    """
    seen, has_been_there = 0, False
    lost_at: float | None = None
    while True:
        try:
            for kind, text in _messages(connection, build_id, seen, follow=follow):
                if kind == OPEN:
                    if lost_at is not None:
                        told("The server is there again")
                    has_been_there, lost_at = True, None
                    continue
                if kind == "end":
                    return
                event = json.loads(text)
                seen = event["seq"]
                yield event
            if not follow:
                return
        except httpx.TransportError as error:
            if not has_been_there:
                raise connection.unreachable(error) from error
        except ServerUnreachable:
            if not has_been_there:
                raise
        # Also a stream that was closed without its end: the server stops.
        if lost_at is None:
            lost_at = time.monotonic()
            told("The connection to the server was lost; trying again")
        elif time.monotonic() - lost_at > PATIENCE_SECONDS:
            raise _gone(connection, build_id)
        time.sleep(AGAIN_SECONDS)


def _messages(connection: Connection, build_id: int, seen: int, *, follow: bool) -> Iterator[tuple[str, str]]:
    """`OPEN`, then the kind and the JSON document of each Server-Sent Event past number `seen`."""
    headers = {"Accept": "text/event-stream", "Last-Event-ID": str(seen)}
    query = {"follow": "true" if follow else "false"}
    kind = text = ""
    with connection.lines(f"/builds/{build_id}/logs", query, headers) as lines:
        yield OPEN, ""
        for line in lines:
            name, _, value = line.partition(":")
            if name == "event":
                kind = value.strip()
            elif name == "data":
                text = value.strip()
            elif not line and text:
                yield kind, text
                kind = text = ""


def _gone(connection: Connection, build_id: int) -> ServerUnreachable:
    return ServerUnreachable(
        f"The server at {connection.url} went away and did not come back",
        remedy=f"Its builds go on when it does; then see: dockwright logs {build_id} -f",
    )


class Following:
    """Shows a build that a server runs. A cancel, as Ctrl-C sets it, cancels the build there."""

    def __init__(self, connection: Connection, build_id: int, cancel: Cancel, told: Told) -> None:
        self._connection, self._build_id, self._cancel, self._told = connection, build_id, cancel, told
        self._inbox: Queue[dict[str, Any] | str | Exception | None] = Queue(WAITING_EVENTS)

    def show(self, watch: Sink) -> None:
        """Returns when the build has ended."""
        # In a thread of its own, since nothing wakes a thread that waits for a server.
        threading.Thread(target=self._read, daemon=True).start()
        has_canceled = False
        while True:
            if self._cancel.is_set and not has_canceled:
                has_canceled = True
                self._cancel_build()
            try:
                got = self._inbox.get(timeout=LOOK_SECONDS)
            except Empty:
                continue
            match got:
                case None:
                    return
                case Exception():
                    raise got
                case str():
                    self._told(got)
                case _:
                    watch(event_of(got))

    def _read(self) -> None:
        try:
            for event in events(self._connection, self._build_id, follow=True, told=self._inbox.put):
                self._inbox.put(event)
            self._inbox.put(None)
        except Exception as error:  # noqa: BLE001 - it is raised where the build is shown
            self._inbox.put(error)

    def _cancel_build(self) -> None:
        """Whoever asks a second time does not want to wait for its end."""
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._told(f"Build {self._build_id} is being canceled")
        with suppress(Conflict):  # it has just finished
            self._connection.ask("DELETE", f"/builds/{self._build_id}")
