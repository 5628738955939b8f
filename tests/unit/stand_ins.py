"""Real HTTP servers that stand in for what the chatbot calls: a language model, and a company's API."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class StandIn:
    """A server on a free port of the loopback; `requests` holds what came, oldest first."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        stand_in = self

        class Answer(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                raw = self.rfile.read(length)
                request = {
                    "method": self.command,
                    "path": self.path,
                    "headers": {name.lower(): value for name, value in self.headers.items()},
                    "body": json.loads(raw) if raw else None,
                }
                stand_in.requests.append(request)
                stand_in.answer(self, request)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815

            def log_message(self, *args: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, exchange: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        raise NotImplementedError

    def send(self, exchange: BaseHTTPRequestHandler, status: int, body: Any, **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        exchange.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            exchange.send_header(name.replace("_", "-"), value)
        exchange.send_header("Content-Length", str(len(content)))
        exchange.end_headers()
        exchange.wfile.write(content)


@contextmanager
def serving(stand_in: StandIn) -> Iterator[None]:
    thread = threading.Thread(target=stand_in.server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield
    finally:
        stand_in.server.shutdown()
        stand_in.server.server_close()
        thread.join()


class LanguageModelStandIn(StandIn):
    """Speaks OpenAI's chat completions. Each request takes the next of `script`; when it is over, the last again.

    A turn is {"text"} or {"calls": [(name, arguments)]}, or {"status"} for an error, {"hang": seconds},
    {"break_off": text}, {"plain": text} for an endpoint that does not stream, {"refuses_options": True}.
    """

    def __init__(self, *script: dict[str, Any]) -> None:
        super().__init__()
        self.script = list(script)

    @property
    def bodies(self) -> list[Any]:
        return [request["body"] for request in self.requests]

    def answer(self, exchange: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        turn = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        body = request["body"]
        if "status" in turn:
            self.send(exchange, turn["status"], {"error": {"message": "no", "type": "error"}})
        elif "hang" in turn:
            time.sleep(turn["hang"])
            self.send(exchange, 500, {})
        elif turn.get("refuses_options") and "stream_options" in body:
            self.script.insert(0, {"text": turn["text"]})
            self.send(exchange, 400, {"error": {"message": "unknown parameter stream_options"}})
        elif "plain" in turn:
            message = {"role": "assistant", "content": turn["plain"]}
            self.send(exchange, 200, {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
        else:
            self._stream(exchange, turn, wants_usage=bool(body.get("stream_options")))

    def _stream(self, exchange: BaseHTTPRequestHandler, turn: dict[str, Any], *, wants_usage: bool) -> None:
        exchange.send_response(200)
        exchange.send_header("Content-Type", "text/event-stream")
        exchange.end_headers()
        for chunk in _chunks(turn, wants_usage=wants_usage):
            exchange.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
            exchange.wfile.flush()
        if "break_off" not in turn:
            exchange.wfile.write(b"data: [DONE]\n\n")


def _chunks(turn: dict[str, Any], *, wants_usage: bool) -> Iterator[dict[str, Any]]:
    def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return {"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}

    yield chunk({"role": "assistant", "content": ""})
    if "calls" in turn:
        yield from _call_chunks(turn["calls"], chunk)
        yield chunk({}, "tool_calls")
    else:
        text = turn.get("text", turn.get("break_off", ""))
        for start in range(0, len(text), 7):
            yield chunk({"content": text[start : start + 7]})
        if "break_off" in turn:
            return
        yield chunk({}, "stop")
    if wants_usage:
        yield {"id": "c", "choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}}


def _call_chunks(calls: list[tuple[str, Any]], chunk: Any) -> Iterator[dict[str, Any]]:
    """Arguments come in pieces, as real endpoints send them."""
    for index, (name, arguments) in enumerate(calls):
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        function = {"name": name, "arguments": ""}
        yield chunk({"tool_calls": [{"index": index, "id": f"call_{index}", "type": "function", "function": function}]})
        for start in range(0, len(text), 9):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": text[start : start + 9]}}]})


class ApiStandIn(StandIn):
    """Answers each request with `replies[path without query]`: (status, body, headers), else 404."""

    def __init__(self, replies: dict[str, tuple[int, Any, dict[str, str]]]) -> None:
        super().__init__()
        self.replies = replies

    def answer(self, exchange: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        status, body, headers = self.replies.get(request["path"].partition("?")[0], (404, {"detail": "none"}, {}))
        self.send(exchange, status, body, **headers)
