"""A build's log to many watchers at once, against a server that writes each line to each watcher.

    .venv/bin/python benchmarks/log_streaming.py [--lines 20000] [--watchers 200] [--rates 400,2000,0]

Both are served by uvicorn, in a process of their own, to Server-Sent Events over sockets of 127.0.0.1. Dockwright's
lines go through the journal into the database (SQLite) and from there to the watchers; the peer's stay in memory and
are encoded once, so that what differs is the writing. A rate is lines a second, 0 as fast as they can be told; in
"replay" the log is complete before anybody watches. Printed are deliveries a second of the clock and of the server's
CPU time, and the time from a line's telling (and, of Dockwright, from its being stored) until a watcher has it. Every
watcher must have every byte: the lines are counted, all streams compared, and one is read in full.
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import contextlib
import gc
import itertools
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

SAMPLE = 10
"""Of how many lines one is looked at for its time; all are counted."""
PATH = "/api/v1/builds/1/logs"


def line(number: int) -> str:
    return f"#12 {number / 100:.2f} Collecting package-{number}==1.{number % 50}.0 (from -r requirements.txt)"


# --- the two servers -------------------------------------------------------------------------------------------------


class Told(NamedTuple):
    """When each line was told, and when so many were stored; by the monotonic clock, which processes share."""

    told: list[float]
    stored: list[tuple[float, int]]


def tell(lines: int, rate: float, say: Callable[[int], None]) -> list[float]:
    told = []
    begin = time.monotonic()
    for number in range(lines):
        if rate:
            ahead = begin + number / rate - time.monotonic()
            if ahead > 0.001:
                time.sleep(ahead)
        told.append(time.monotonic())
        say(number)
    return told


class Source(Protocol):
    app: Any
    token: str

    def __init__(self, home: Path) -> None: ...

    def server(self, config: Any) -> Any: ...

    def write(self, lines: int, rate: float) -> Told: ...


class Dockwright:
    def __init__(self, home: Path) -> None:
        from dockwright import settings
        from dockwright.api.app import create_app
        from dockwright.db.tables import Project, User
        from dockwright.services import tokens
        from dockwright.services.state import State

        self.state = State(settings.load({"DOCKWRIGHT_HOME": str(home)}, home / "none"))
        with self.state.session() as session:
            session.add(User(id=9, client_id=1, email="w@x", password_hash="", role="viewer"))
            session.add(Project(id=9, client_id=1, name="P", slug="p", source={}, build={}, deploy={}))
            session.flush()
            self.token, _ = tokens.issue(session, 9, "api")
        self.app = create_app(self.state)
        self.connection = self.state.apart(1).connection
        self._begin()

    def _begin(self) -> None:
        from dockwright.db import queue
        from dockwright.process import identity

        options: dict[str, Any] = {"profile": "prod", "ref": None, "options": {}, "builder": "shared", "priority": 0}
        queue.enqueue(self.connection, client_id=1, project_id=9, **options)
        claim = queue.claim(self.connection, identity(), queue.Limits(overall=1, client=1, builder=1))
        assert claim is not None and claim.build_id == 1

    def server(self, config: Any) -> Any:
        from dockwright.api.stopping import StreamServer

        return StreamServer(config, self.app.state.tails)

    def write(self, lines: int, rate: float) -> Told:
        from dockwright.db.journal import Journal
        from dockwright.domain.events import Event
        from dockwright.process import Cancel

        stored: list[tuple[float, int]] = []

        def written(build_id: int) -> None:
            stored.append((time.monotonic(), log._seq - 2))  # two events tell that it was queued and begun
            self.state.bus.written(build_id)

        log = Journal(self.connection, 1, cancel=Cancel(), written=written)
        with log:
            told = tell(
                lines,
                rate,
                lambda n: log.sink(Event("log", line(n), time.time(), "build", "[4/7] RUN pip install", "stdout")),
            )
            log.finish("succeeded", {})
        return Told(told, stored)


class LineByLine:
    """A queue for each watcher, and a write for each line and watcher."""

    token = ""

    def __init__(self, home: Path) -> None:
        from starlette.applications import Starlette
        from starlette.routing import Route

        self.lines: list[bytes] = []
        self.is_over = False
        self.queues: list[asyncio.Queue[bytes | None]] = []
        self.app = Starlette(routes=[Route(PATH, self.watch)])

    async def watch(self, _: Any) -> Any:
        from starlette.responses import StreamingResponse

        self.loop = asyncio.get_running_loop()
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        for one in self.lines:
            queue.put_nowait(one)
        if self.is_over:
            queue.put_nowait(None)
        self.queues.append(queue)

        async def body() -> AsyncIterator[bytes]:
            yield b"retry: 1000\n\n"
            while (one := await queue.get()) is not None:
                yield one
            yield b"event: end\ndata: {}\n\n"

        return StreamingResponse(body(), media_type="text/event-stream")

    def server(self, config: Any) -> Any:
        import uvicorn

        return uvicorn.Server(config)

    def write(self, lines: int, rate: float) -> Told:
        told = tell(lines, rate, self._say)
        self.is_over = True
        self._put(None)
        return Told(told, [])

    def _say(self, number: int) -> None:
        event = {"seq": number + 1, "at": "2026-01-31T12:00:00.123456Z", "kind": "log", "stage": "build"}
        event |= {"step": "[4/7] RUN pip install", "stream": "stdout", "text": line(number), "data": None}
        one = f"id: {number + 1}\nevent: log\ndata: {json.dumps(event)}\n\n".encode()
        self.lines.append(one)
        self._put(one)

    def _put(self, one: bytes | None) -> None:
        def to_all() -> None:
            for queue in self.queues:
                queue.put_nowait(one)

        if self.queues:
            self.loop.call_soon_threadsafe(to_all)


SOURCES: dict[str, type[Source]] = {"dockwright": Dockwright, "line by line": LineByLine}


def serve(name: str, lines: int, rate: float) -> None:
    """The server's process: a word on standard input begins the log, the next asks for what it took."""
    import uvicorn

    with tempfile.TemporaryDirectory(prefix="dockwright-benchmark-") as folder:
        source = SOURCES[name](Path(folder))
        listening = socket.create_server(("127.0.0.1", 0), backlog=1000)
        # The watchers count bytes of the stream itself: h11 answers their HTTP/1.0 without chunks around them.
        config = uvicorn.Config(source.app, log_config=None, access_log=False, http="h11")
        server = source.server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        _settle()
        _say({"port": listening.getsockname()[1], "token": source.token})
        for word in sys.stdin:
            if word.strip() == "write":
                before = _cpu()
                told = source.write(lines, rate)
                _say({"cpu": before})
            elif word.strip() == "cpu":
                _say({"cpu": _cpu()})
            else:
                break
        _say({"told": told.told, "stored": told.stored, "cpu": _cpu(), "mb": _peak_megabytes()})
        server.should_exit = True
        thread.join()
        if isinstance(source, Dockwright):
            source.connection.close()
            source.state.close()


def _settle() -> None:
    """As `dockwright serve` does."""
    sys.setswitchinterval(0.0005)
    gc.collect()
    gc.freeze()


def _say(document: dict[str, Any]) -> None:
    print(json.dumps(document), flush=True)


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _peak_megabytes() -> float:
    """Of this program: what `getrusage` tells begins with the process that started it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


# --- the watchers ----------------------------------------------------------------------------------------------------


class Watcher(asyncio.Protocol):
    """Compares what comes with `stream`, which is what whoever was the first has got, byte by byte; or adds it to that.

    `arrivals` are times with the bytes by then.
    """

    def __init__(self, token: str, stream: bytearray) -> None:
        self.request = (
            f"GET {PATH} HTTP/1.0\r\nAccept: text/event-stream\r\nAuthorization: Bearer {token}\r\n\r\n"
        ).encode()
        self.bytes = 0
        self.stream = stream
        self.arrivals: list[tuple[float, int]] = []
        self.over = asyncio.get_running_loop().create_future()
        self._in_body = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        if not self._in_body:
            head, blank, data = data.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200") and blank, head
            self._in_body = True
        known = len(self.stream) - self.bytes
        if known < len(data):
            self.stream += data[known:]
        assert self.stream.startswith(data, self.bytes), "watchers have got different streams"
        self.bytes += len(data)
        self.arrivals.append((now, self.bytes))

    def connection_lost(self, _: Exception | None) -> None:
        self.over.set_result(time.monotonic())


class Figures(NamedTuple):
    seconds: float
    per_second: float
    per_cpu_second: float
    cpu: float
    lag: list[float]
    """From the telling of a line; seconds, sorted."""
    lag_stored: list[float]
    mb: float


class Served:
    """The other process."""

    def __init__(self, name: str, lines: int, rate: float) -> None:
        command = [sys.executable, __file__, "--serve", name, "--lines", str(lines), "--rates", str(rate)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.hello = self.hear()

    def say(self, word: str) -> None:
        assert self.process.stdin is not None
        print(word, file=self.process.stdin, flush=True)

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        document: dict[str, Any] = json.loads(self.process.stdout.readline())
        return document


@contextlib.contextmanager
def served(name: str, lines: int, rate: float) -> Iterator[Served]:
    server = Served(name, lines, rate)
    try:
        yield server
    finally:
        server.process.communicate()


async def run(name: str, lines: int, watchers: int, rate: float, *, replay: bool) -> Figures:
    with served(name, lines, rate) as server:
        if replay:
            server.say("write")
            server.hear()
            server.say("cpu")
            before = server.hear()["cpu"]
            begin = time.monotonic()
        everybody = await _connect(server, watchers)
        if not replay:
            while not all(one.arrivals for one in everybody):
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.5)
            server.say("write")
        ends = await asyncio.gather(*(one.over for one in everybody))
        if not replay:
            before = server.hear()["cpu"]
        server.say("end")
        answer = server.hear()
    line_ends = _checked(everybody, lines)
    lag: list[float] = []
    lag_stored: list[float] = []
    if not replay:
        begin = answer["told"][0]
        stored = [(number, at) for at, number in answer["stored"]]
        for one in everybody:
            _lags(one, line_ends, answer["told"], stored, lag, lag_stored)
    seconds, cpu = max(ends) - begin, answer["cpu"] - before
    deliveries = lines * watchers
    return Figures(seconds, deliveries / seconds, deliveries / cpu, cpu, sorted(lag), sorted(lag_stored), answer["mb"])


async def _connect(server: Served, watchers: int) -> list[Watcher]:
    loop, everybody, stream = asyncio.get_running_loop(), [], bytearray()
    for _ in range(watchers):
        _, watcher = await loop.create_connection(
            lambda: Watcher(server.hello["token"], stream), "127.0.0.1", server.hello["port"]
        )
        everybody.append(watcher)
    return everybody


def _checked(everybody: list[Watcher], lines: int) -> list[int]:
    """With how many bytes each line has come in full. Every watcher has all of them."""
    stream = bytes(everybody[0].stream)
    assert all(one.bytes == len(stream) for one in everybody), "a stream has ended before the others"
    messages = stream.split(b"\n\n")
    ids = [int(one.partition(b"\n")[0][4:]) for one in messages if one.startswith(b"id: ")]
    assert ids == list(range(1, len(ids) + 1)), "there is a gap"
    ends = list(itertools.accumulate(len(one) + 2 for one in messages))
    numbers = [number for number, one in enumerate(messages) if b"\nevent: log\n" in one]
    assert len(numbers) == lines, f"{len(numbers)} of {lines} lines"
    assert all(f'"{line(number)}"'.encode() in messages[at] for number, at in enumerate(numbers))
    assert messages[-2].startswith(b"event: end")
    return [ends[number] for number in numbers]


def _lags(
    watcher: Watcher,
    ends: list[int],
    told: list[float],
    stored: list[tuple[int, float]],
    lag: list[float],
    lag_stored: list[float],
) -> None:
    arrived = [size for _, size in watcher.arrivals]
    for number in range(0, len(told), SAMPLE):
        at = watcher.arrivals[bisect.bisect_left(arrived, ends[number])][0]
        lag.append(at - told[number])
        if stored:
            lag_stored.append(at - stored[bisect.bisect_right(stored, (number, float("inf")))][1])


def _percent(values: list[float], share: float) -> str:
    return f"{values[int(len(values) * share)] * 1000:.0f}" if values else "-"


def _row(case: str, name: str, got: Figures) -> str:
    lag = f"{_percent(got.lag, 0.5)} / {_percent(got.lag, 0.99)}"
    stored = f"{_percent(got.lag_stored, 0.5)} / {_percent(got.lag_stored, 0.99)}"
    rates = f"{got.per_second / 1e6:.2f} | {got.per_cpu_second / 1e6:.2f}"
    return f"| {case} | {name} | {got.seconds:.1f} | {rates} | {lag} | {stored} | {got.mb:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=20_000)
    parser.add_argument("--watchers", type=int, default=200)
    parser.add_argument("--rates", default="400,2000,0", help="lines a second, separated by commas")
    parser.add_argument("--servers", default=",".join(SOURCES))
    parser.add_argument("--serve", choices=list(SOURCES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.lines, float(arguments.rates))
        return
    print(f"{arguments.lines} lines to {arguments.watchers} watchers; load before: {os.getloadavg()[0]:.1f}")
    print("| | server | seconds | million deliveries/s | … /s of CPU | lag ms p50 / p99 | of stored | peak MB |")
    print("|---|---|---|---|---|---|---|---|")
    rates = [float(rate) for rate in arguments.rates.split(",")]
    cases = [(f"{rate:.0f} lines/s" if rate else "at once", rate, False) for rate in rates]
    for case, rate, replay in [*cases, ("replay", 0.0, True)]:
        for name in arguments.servers.split(","):
            got = asyncio.run(run(name, arguments.lines, arguments.watchers, rate, replay=replay))
            print(_row(case, name, got), flush=True)


if __name__ == "__main__":
    main()
