"""What every request passes: a limit on its size, headers that protect the reader, and a line in the log."""

import json
import logging
import sys
import time
from datetime import UTC, datetime
from uuid import uuid4

from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("assistant")

_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class JsonLines(logging.Formatter):
    """One JSON object a line: what happened and how long it took, never what was said."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields)


def set_up_log() -> None:
    if not log.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(JsonLines())
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False


class Gate:
    """ASGI middleware in one: it stands around `receive` and `send`, so that streams stay streams."""

    def __init__(self, app: ASGIApp, *, max_body_bytes: int) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.monotonic()
        exchange = _Exchange(receive, send, self.max_body_bytes)
        try:
            if _announced_length(scope) > self.max_body_bytes:
                await exchange.refuse()
            else:
                await self.app(scope, exchange.receive, exchange.send)
        finally:
            _log_request(scope, exchange, time.monotonic() - started)


class _Exchange:
    """One request and its response."""

    def __init__(self, receive: Receive, send: Send, max_body_bytes: int) -> None:
        self.request_id = uuid4().hex[:12]
        self.status = 0
        self._receive, self._send = receive, send
        self._left = self._limit = max_body_bytes
        self._is_refused = False

    async def receive(self) -> Message:
        """A body that grows past the limit is not read on: the app sees its sender leave."""
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        return message if self._left >= 0 else {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if self._left < 0 and self.status == 0:
            await self.refuse()
        if self._is_refused:
            return
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], *self._headers()]
        await self._send(message)

    async def refuse(self) -> None:
        self._is_refused, self.status = True, 413
        body = json.dumps({"detail": f"The request is larger than {self._limit} bytes"}).encode()
        length = (b"content-length", str(len(body)).encode())
        headers = [(b"content-type", b"application/json"), length, (b"connection", b"close"), *self._headers()]
        await self._send({"type": "http.response.start", "status": 413, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    def _headers(self) -> list[tuple[bytes, bytes]]:
        headers = {**_HEADERS, "x-request-id": self.request_id}
        return [(name.encode(), value.encode()) for name, value in headers.items()]


def _announced_length(scope: Scope) -> int:
    text = dict(scope["headers"]).get(b"content-length", b"0")
    return int(text) if text.isdigit() else 0


def _log_request(scope: Scope, exchange: _Exchange, seconds: float) -> None:
    if scope["path"] == "/health" and exchange.status == 200:
        return  # Docker asks every few seconds
    fields = {
        "method": scope["method"],
        "path": scope["path"],
        "status": exchange.status,
        "request_id": exchange.request_id,
        "ms": round(seconds * 1000, 1),
    }
    log.info("request", extra={"fields": fields})
