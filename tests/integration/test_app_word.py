"""What an app may answer at /build/info, and that nothing of it ends or holds up the proof."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dockwright.stages import verify

COMMIT = "e8f2dfb" + "0" * 33


@contextmanager
def answering(*parts: bytes, pause: float = 0.0) -> Iterator[str]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            with suppress(ConnectionError):
                for part in parts:
                    self.wfile.write(part)
                    time.sleep(pause)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.socket.close()


@pytest.mark.parametrize(
    ("body", "agrees"),
    [
        (b'{"git_commit": "e8f2dfb"}', True),
        (b'{"git_commit": "0123456"}', False),
        (b'{"git_commit": 7}', None),
        (b'{"git_commit": ["e8f2dfb"]}', None),
        (b'"git_commit"', None),
        (b"[" * 90_000, None),
        (b'{"git_commit": "' + b"e" * 200_000 + b'"}', None),
        (b"\xff\xfe", None),
    ],
)
def test_whatever_it_answers(body: bytes, agrees: bool | None) -> None:
    with answering(body) as address:
        assert verify._build_info_ok(address, COMMIT) is agrees


def test_an_answer_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "ANSWER_SECONDS", 0.5)
    with answering(*[b" "] * 10_000, pause=0.05) as address:
        assert verify._build_info_ok(address, COMMIT) is None


def test_the_machine_s_proxy_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with answering(b'{"git_commit": "0123456"}') as address:
        assert verify._build_info_ok(address, COMMIT) is False
