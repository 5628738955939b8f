"""What an app may say that it was built from, and that nothing of it ends or holds up the proof."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dockwright.stages import build_info
from dockwright.stages.build_info import Word, ask

COMMIT = "e8f2dfb" + "0" * 33


@contextmanager
def answering(*parts: bytes, pause: float = 0.0, path: str | None = None) -> Iterator[str]:
    """At `path`, and 404 elsewhere; at all paths where it is none."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if path in {None, self.path} else 404)
            self.end_headers()
            if path not in {None, self.path}:
                return
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


def told(address: str) -> Word:
    return ask([address], {"git_commit": [COMMIT], "build_date": ["2025-09-08T16:32:44Z"], "cache_bust": ["1757"]})


@pytest.mark.parametrize(
    ("body", "agrees"),
    [
        (b'{"git_commit": "e8f2dfb"}', True),
        (b'{"git_commit": "e8f2dfb-dirty"}', True),
        (b'{"git_commit": "0123456"}', False),
        (b'{"git_commit": "unknown"}', None),
        (b'{"git_commit": ""}', None),
        (b'{"git_commit": "e"}', False),
        (b'{"git_commit": "e8f2dfb", "build_date": "2025-09-08T18:32:44+02:00", "cache_bust": "1757"}', True),
        (b'{"git_commit": "e8f2dfb", "build_date": "2025-09-08T16:32:45Z"}', False),
        (b'{"git_commit": "e8f2dfb", "build_date": "yesterday"}', False),
        (b'{"cache_bust": "1758"}', False),
        (b'{"git_commit": 7}', None),
        (b'{"git_commit": ["e8f2dfb"]}', None),
        (b'"git_commit"', None),
        (b"[" * 90_000, None),
        (b'{"git_commit": "' + b"e" * 200_000 + b'"}', None),
        (b"\xff\xfe", None),
    ],
)
def test_whatever_it_answers(body: bytes, agrees: bool | None) -> None:
    with answering(body, path="/build/info") as address:
        assert told(address).is_ok is agrees


@pytest.mark.parametrize(
    ("body", "agrees"),
    [
        (b"window.BUILD_INFO = {\n  buildDate: '2025-09-08T16:32:44Z',\n  gitCommit: 'e8f2dfb',\n};", True),
        (b'window.BUILD_INFO={"gitCommit":"e8f2dfb","cacheBust":"1757","buildTimestamp":1757349164000}', True),
        (b"window.BUILD_INFO = {gitCommit: `0123456`}", False),
        (b"window.BUILD_INFO = {gitCommit: 'e8f2dfb', cacheBust: '1756'}", False),
        (b"window.BUILD_INFO = {gitCommit: ''}", None),
        (b"<!doctype html><title>every path is this page: gitCommit: '0123456'</title>", None),
        (b"window.BUILD_INFO = {gitCommit: '" + b"e" * 90_000, None),
    ],
)
def test_whatever_its_script_says(body: bytes, agrees: bool | None) -> None:
    with answering(body, path="/build-info.js") as address:
        assert told(address).is_ok is agrees


def test_what_differs_is_told_by_name() -> None:
    with answering(b'{"git_commit": "0123456"}', path="/build/info") as address:
        (one,) = told(address).disagreements
    assert (one.page, one.fact, one.said, one.wanted) == ("/build/info", "git_commit", "0123456", COMMIT)


def test_what_was_never_passed_is_not_compared() -> None:
    with answering(b'{"git_commit": "0123456", "build_date": "today"}', path="/build/info") as address:
        assert ask([address], {"git_commit": [], "build_date": []}).is_ok is None


def test_the_first_address_that_has_a_page_is_asked() -> None:
    with answering(b"SSH-2.0", path="/none") as other, answering(b'{"git_commit": "e8f2dfb"}') as address:
        assert told_at(["http://127.0.0.1:9", other, address]).is_ok is True


def told_at(addresses: list[str]) -> Word:
    return ask(addresses, {"git_commit": [COMMIT]})


def test_an_answer_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_info, "PATIENCE_SECONDS", 0.5)
    with answering(*[b" "] * 10_000, pause=0.05) as address:
        assert told(address).is_ok is None


def test_the_machine_s_proxy_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with answering(b'{"git_commit": "0123456"}') as address:
        assert told(address).is_ok is False
