"""The queue against its peers, in one run: how long from putting work in until it begins, and what a long queue costs.

    python benchmarks/queue_speed.py [--builds 300] [--queued 10000] [--listed 100000]

`dockwright` is the whole way of a user: `POST /api/v1/builds/queue` over HTTP, sign-in and all, until the first stage
of the build starts, in `dockwright serve` with its embedded queue on SQLite; `the call alone` is what that route calls,
in the process that has the queue. Celery and Huey, both on a Redis of their own, are asked for nothing but a call: from
`delay` until the task's first line, by a worker in a process of its own. All are idle when the work comes, and take
turns. Then: a claim with one build queued and with many, the list of builds of
a small table and a large one, and the memory of an idle server.
"""

from __future__ import annotations

import argparse
import gc
import http.client
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog
from peers import Peer, free_port, running_redis

from dockwright import settings as settings_module
from dockwright.db import queue, schema
from dockwright.db.connection import Connection
from dockwright.db.queue import Limits
from dockwright.process import identity

COMMAND = str(Path(sys.executable).parent / "dockwright")
PASSWORD = "only for this run"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--builds", type=int, default=300)
    parser.add_argument("--queued", type=int, default=10_000)
    parser.add_argument("--listed", type=int, default=100_000)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        measure_start(stack, folder, options.builds)
        measure_claims(folder, options.queued)
        measure_lists(folder, options.listed)


# --- from the call to the first stage ---------------------------------------------------------------------------------


def measure_start(stack: ExitStack, folder: Path, count: int) -> None:
    server = stack.enter_context(serving(folder / "home"))
    redis_url = stack.enter_context(running_redis(folder))
    peers = [stack.enter_context(Peer(name, redis_url, folder)) for name in ("celery", "huey")]
    embedded = stack.enter_context(embedded_queue(folder / "embedded"))
    ways: dict[str, Callable[[], float]] = {
        "dockwright": server.start_one,
        "the call alone": embedded.start_one,
        **{peer.name: peer.start_one for peer in peers},
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(count + 20):
        for name, start_one in ways.items():
            seconds = start_one()
            if number >= 20:  # the first ones load modules
                taken[name].append(seconds)
    for name, seconds in taken.items():
        show(f"start, {name}", seconds)
    print(f"memory of the idle server with its workers: {server.resident_megabytes():.0f} MB", flush=True)


class Serving:
    def __init__(self, home: Path) -> None:
        self.port = free_port()
        self.home = home
        env = {**os.environ, "DOCKWRIGHT_HOME": str(home), "ADMIN_PASSWORD": PASSWORD, "ADMIN_EMAIL": "admin@localhost"}
        apps = home.parent / "apps"
        apps.mkdir()
        self.process = subprocess.Popen(
            [COMMAND, "serve", "--port", str(self.port)],
            env={**env, "SOURCE_FOLDERS": str(apps)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._wait()
        self._http = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        self.idle_megabytes = self.resident_megabytes()
        token = self.call("POST", "/auth/login", {"email": "admin@localhost", "password": PASSWORD})["access_token"]
        self._headers = {"Authorization": f"Bearer {token}"}
        # A folder without a Dockerfile: each build begins as any other does, and is over in a moment.
        (apps / "empty").mkdir()
        source = {"kind": "folder", "path": str(apps / "empty")}
        self.project = self.call("POST", "/projects", {"name": "empty", "source": source})["id"]
        self._database = schema.connect(settings_module.load({"DOCKWRIGHT_HOME": str(home)}, Path("none")))

    _headers: dict[str, str] = {}  # noqa: RUF012

    def _wait(self) -> None:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=5).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise SystemExit("the server did not start")

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Over one connection that stays, as the peers' to their Redis does."""
        sent = None if body is None else json.dumps(body)
        headers = {"Content-Type": "application/json", **self._headers}
        self._http.request(method, f"/api/v1{path}", sent, headers)
        with self._http.getresponse() as answer:
            document = json.load(answer)
            if answer.status >= 400:
                raise SystemExit(f"{method} {path}: {document}")
            return document

    def start_one(self) -> float:
        """Seconds from the call until the `fetch` stage started, by its event."""
        began = time.time()
        build = self.call("POST", "/builds/queue", {"project_id": self.project})["build_id"]
        return first_stage_at(self._database, build) - began

    def resident_megabytes(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1000

    def stop(self) -> None:
        self._database.close()
        self._http.close()
        self.process.terminate()
        self.process.wait(timeout=30)


@contextmanager
def serving(home: Path) -> Iterator[Serving]:
    server = Serving(home)
    try:
        yield server
    finally:
        server.stop()


class Embedded:
    """The queue of `serve`, in this process."""

    def __init__(self, home: Path) -> None:
        from dockwright.domain.source import FolderSource
        from dockwright.queue.embedded import EmbeddedQueue
        from dockwright.services import projects
        from dockwright.services.state import State

        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
        source = FolderSource(path=str(home / "empty"))
        (home / "empty").mkdir(parents=True)
        env = {"DOCKWRIGHT_HOME": str(home), "SOURCE_FOLDERS": str(home)}
        self._state = State(settings_module.load(env, Path("none")))
        self._database = schema.connect(self._state.settings)
        self._project = projects.create_from_source(self._state, source, "empty", "empty")
        self._queue = EmbeddedQueue(self._state)
        self._queue.start()

    def start_one(self) -> float:
        from dockwright.services import queueing

        began = time.time()
        build = queueing.queue_build(self._state, self._project).build_id
        return first_stage_at(self._database, build) - began

    def stop(self) -> None:
        self._queue.end()
        self._queue.stop()
        self._database.close()
        self._state.close()


@contextmanager
def embedded_queue(home: Path) -> Iterator[Embedded]:
    as_it_was = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(0.0005)  # these as `serve` sets them
    gc.set_threshold(5000, 10, 10)
    embedded = Embedded(home)
    gc.freeze()
    try:
        yield embedded
    finally:
        embedded.stop()
        sys.setswitchinterval(as_it_was[0])
        gc.set_threshold(*as_it_was[1])


def first_stage_at(database: Connection, build: int) -> float:
    """In seconds since the epoch. Waits until the build is over."""
    ended = "SELECT 1 FROM builds WHERE id = ? AND completed_at IS NOT NULL"
    while database.execute(ended, (build,)).fetchone() is None:
        time.sleep(0.005)
    # To the microsecond, as it is stored: SQLite's own functions round to a millisecond.
    started = "SELECT at FROM build_events WHERE build_id = ? AND stage = 'fetch' ORDER BY seq LIMIT 1"
    (at,) = database.execute(started, (build,)).fetchone()
    return datetime.fromisoformat(f"{at}+00:00").timestamp()


# --- a long queue, a long list --------------------------------------------------------------------------------------


def measure_claims(folder: Path, queued: int) -> None:
    """Claim and put back, with one build queued and with many of 20 clients."""
    few, many = (_database(folder / f"queue-{number}", number) for number in (1, queued))
    rows = {"1 queued": few, f"{queued:,} queued": many}
    taken: dict[str, list[float]] = {name: [] for name in rows}
    limits = Limits(overall=3, client=3, builder=3)
    for _ in range(300):
        for name, database in rows.items():
            began = time.perf_counter()
            claim = queue.claim(database, identity(), limits)
            taken[name].append(time.perf_counter() - began)
            assert claim is not None
            back = "UPDATE builds SET status = 'queued', attempt = 0, worker = NULL WHERE id = ?"
            database.execute(back, (claim.build_id,))
    for name, seconds in taken.items():
        show(f"claim, {name}", seconds)


def measure_lists(folder: Path, listed: int) -> None:
    from dockwright.services import builds
    from dockwright.services.state import State

    taken: dict[str, list[float]] = {}
    for number in (100, listed):
        home = folder / f"list-{number}"
        _database(home, number, status="succeeded").close()
        state = State(settings_module.load({"DOCKWRIGHT_HOME": str(home)}, Path("none")))
        name = f"list, {number:,} builds"
        builds.listing(state, 50)
        taken[name] = [_seconds(lambda state=state: builds.listing(state, 50)) for _ in range(200)]
        state.close()
    for name, seconds in taken.items():
        show(name, seconds)
    small, large = (statistics.median(seconds) for seconds in taken.values())
    print(f"list, ratio of the medians: {large / small:.2f}", flush=True)


def _database(home: Path, builds: int, status: str = "queued") -> Connection:
    database = schema.connect(settings_module.load({"DOCKWRIGHT_HOME": str(home)}, Path("none")))
    clients = 20 if status == "queued" else 1
    database.execute("BEGIN")
    for client in range(2, clients + 1):
        database.execute(
            "INSERT INTO clients (id, slug, name, created_at) VALUES (?, ?, ?, '2026-01-01')",
            (client, f"c{client}", f"C{client}"),
        )
    database.executemany(
        "INSERT INTO projects (id, client_id, name, slug, description, source, build, deploy, auto_build, created_at)"
        " VALUES (?, ?, ?, ?, '', '{}', '{}', '{}', FALSE, '2026-01-01')",
        [(number, number % clients + 1, f"P{number}", f"p{number}") for number in range(1, 201)],
    )
    database.executemany(
        "INSERT INTO builds (client_id, project_id, status, profile, options, attempt, priority, origin, builder,"
        " progress, created_at) VALUES (?, ?, ?, 'prod', '{}', 0, ?, 'api', 'shared', 0, '2026-01-01')",
        [(number % 200 % clients + 1, number % 200 + 1, status, number % 3) for number in range(builds)]
        if status == "queued"
        else [(1, number % 200 + 1, status, 0) for number in range(builds)],
    )
    database.execute("COMMIT")
    return database


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def show(name: str, seconds: Sequence[float]) -> None:
    ordered = sorted(seconds)
    p50, p99 = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
    print(
        f"{name:28} p50 {p50 * 1000:7.2f} ms   p99 {p99 * 1000:7.2f} ms   max {ordered[-1] * 1000:7.2f} ms", flush=True
    )


if __name__ == "__main__":
    main()
