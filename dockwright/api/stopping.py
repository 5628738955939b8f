"""A server that ends its event streams when it is stopped: uvicorn waits for them, and they wait for builds."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import uvicorn

from dockwright.api.tails import Tails

PATIENCE_SECONDS = 1.0
"""How long a watcher may take to read what was sent to it, once the server stops."""


class StreamServer(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, tails: Tails, tell: Callable[[], None] = lambda: None) -> None:
        """`tell` is called when it begins to stop: what else is to end does so while requests are answered."""
        super().__init__(config)
        self._tails, self._tell = tails, tell

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._tell()
        self._tails.close()
        dropping = asyncio.create_task(self._drop_those_who_do_not_read())
        await super().shutdown(sockets)
        await dropping
        self._tails.release()

    async def _drop_those_who_do_not_read(self) -> None:
        """A closed connection stays until all has been sent."""
        until = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while self.server_state.connections and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(0.05)
        for connection in list(self.server_state.connections):
            if connection.transport.get_write_buffer_size():
                connection.transport.abort()
