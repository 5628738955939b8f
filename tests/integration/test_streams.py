"""Watching builds through a real server, over real sockets: nothing lost, nothing twice, memory bounded."""

import asyncio
import contextlib
import http.client
import json
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest
import uvicorn
import websockets.sync.client
from servers import Postgres
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from dockwright import settings as settings_module
from dockwright.api import admissions, tails
from dockwright.api.app import create_app
from dockwright.api.chunks import CHUNK_BYTES
from dockwright.api.stopping import StreamServer
from dockwright.api.tails import Tails
from dockwright.db import queue
from dockwright.db.connection import Connection, transaction
from dockwright.db.journal import Journal, insert_events, last_seq
from dockwright.db.queue import Limits
from dockwright.db.tables import AccessToken, Client, Project, User, now
from dockwright.domain.events import Event
from dockwright.domain.redaction import Redactor
from dockwright.process import Cancel, identity
from dockwright.services import builds, tokens
from dockwright.services.event_log import EventLog
from dockwright.services.state import State
from dockwright.settings import Settings

Got = tuple[str, str, str]
"""An event as it came: id, name, data."""


class SupportsClose(Protocol):
    def close(self) -> None: ...


WRITER = """
import sys, time
from dockwright import settings
from dockwright.db import schema
from dockwright.db.journal import Journal
from dockwright.domain.events import Event
from dockwright.domain.redaction import Redactor
from dockwright.process import Cancel
from pathlib import Path

connection = schema.connect(settings.load({"DOCKWRIGHT_HOME": sys.argv[1]}, Path("none")))
with Journal(connection, int(sys.argv[2]), cancel=Cancel()) as log:
    for number in range(300):
        log.sink(Event("log", f"line {number}", time.time(), stage="build", stream="stdout"))
        time.sleep(0.002)
    log.finish("succeeded", {})
"""


def load(home: Path, database: dict[str, str]) -> Settings:
    return settings_module.load({"DOCKWRIGHT_HOME": str(home), **database}, home / "none")


class Site:
    """A server in a thread, a user of client 1 and one of client 2, and builds of client 1."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.state = State(settings)
        self._to_close: list[SupportsClose] = [self.state]
        with self.state.session() as session:
            session.add(Client(id=2, slug="c2", name="C2"))
            session.flush()
            session.add_all(
                User(id=n + 100, client_id=n, email=f"{n}@x", password_hash="", role="viewer") for n in (1, 2)
            )
            session.add(Project(id=10, client_id=1, name="P", slug="p", source={}, build={}, deploy={}))
            session.flush()
            self.token, self.strangers_token = (tokens.issue(session, n + 100, "api")[0] for n in (1, 2))
        app = create_app(self.state)
        self.tails: Tails = app.state.tails
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.server = StreamServer(uvicorn.Config(app, log_config=None, ws_per_message_deflate=False), self.tails)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self._socket]})

    def __enter__(self) -> "Site":
        self.thread.start()
        wait_until(lambda: self.server.started)
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join()
        for one in self._to_close:
            one.close()
        self.state._sessions.kw["bind"].dispose()

    def begin(self) -> tuple[Connection, int]:
        """A claimed build, and a connection to write its journal."""
        connection = self.state.apart(1).connection
        self._to_close.append(connection)
        options = {"profile": "prod", "ref": None, "options": {}, "builder": "shared", "priority": 0}
        queue.enqueue(connection, client_id=1, project_id=10, **options)
        claim = queue.claim(connection, identity(), Limits(overall=99, client=99, builder=99))
        assert claim is not None
        return connection, claim.build_id

    def journal(self, **options: object) -> Journal:
        connection, build_id = self.begin()
        return Journal(connection, build_id, cancel=Cancel(), written=self.state.bus.written, **options)

    def finished(self, lines: int, size: int = 100) -> int:
        """A build that is over, with so many lines."""
        with self.journal() as log:
            write(log, lines, size)
        return log.build_id

    def stored(self, build_id: int) -> list[dict[str, object]]:
        """The events as another way of reading has them."""
        return json.loads(json.dumps(builds.events(self.state, build_id)))

    def get(self, build_id: int, query: str = "", **headers: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        # With `Connection: close` the answer owns its socket.
        named = {"Authorization": f"Bearer {self.token}", "Connection": "close"}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET", f"/api/v1/builds/{build_id}/logs{query}", headers=named)
        answer = connection.getresponse()
        self._to_close.append(answer)
        return answer

    def follow(self, build_id: int, query: str = "", **headers: str) -> http.client.HTTPResponse:
        answer = self.get(build_id, query, Accept="text/event-stream", **headers)
        assert answer.status == 200, answer.read()
        return answer

    def websocket(self, build_id: int, token: str, query: str = "") -> websockets.sync.client.ClientConnection:
        return websockets.sync.client.connect(
            f"ws://127.0.0.1:{self.port}/api/v1/ws/builds/{build_id}{query}",
            additional_headers={"Authorization": f"Bearer {token}"},
            open_timeout=60,
        )

    def wordless(self, build_id: int) -> socket.socket:
        """A watcher who asks and does not read."""
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(60)
        client.connect(("127.0.0.1", self.port))
        client.sendall(
            f"GET /api/v1/builds/{build_id}/logs HTTP/1.0\r\nAccept: text/event-stream\r\n"
            f"Authorization: Bearer {self.token}\r\n\r\n".encode()
        )
        return client

    def in_loop(self, ask: Callable[[], int]) -> int:
        """What is asked in the server's own thread."""

        async def asked() -> int:
            return ask()

        loop = self.tails._loop
        assert loop is not None
        return asyncio.run_coroutine_threadsafe(asked(), loop).result(timeout=30)

    def watchers(self, build_id: int) -> int:
        tail = self.tails._tails.get(build_id)
        return tail.watchers if tail else 0

    def unsent(self) -> int:
        """How many bytes the server keeps for the watcher for whom it keeps most."""
        sizes = [one.transport.get_write_buffer_size() for one in list(self.server.server_state.connections)]
        return max(sizes, default=0)


def wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)


def write(log: Journal, lines: int, size: int = 100, pause: float = 0.0) -> None:
    """That many lines, a step now and then, and the build's end."""
    for number in range(lines):
        text = f"{number} ".ljust(size, "x") if number % 7 else f"{number} Zürich 🚀 \u2028 \r tab\t"
        log.sink(Event("log", text, time.time(), stage="build", step="[1/2] RUN", stream="stdout"))
        if number % 100 == 50:
            data = {"index": number, "state": "done", "cached": False, "seconds": 0.5}
            log.sink(Event("step", "RUN", time.time(), stage="build", step="[1/2] RUN", data=data))
        if pause:
            time.sleep(pause)
    log.finish("succeeded", {})


def in_background(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def writing(log: Journal, lines: int, size: int = 100, pause: float = 0.0) -> threading.Thread:
    def work() -> None:
        with log:
            write(log, lines, size, pause)

    return in_background(work)


def received(answer: http.client.HTTPResponse) -> Iterator[Got]:
    """The events of a stream, until it closes."""
    fields: dict[str, str] = {}
    for raw in answer:
        line = raw.decode().removesuffix("\n")
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        else:
            if "data" in fields:
                yield fields.get("id", ""), fields.get("event", ""), fields["data"]
            fields = {}


def checked(got: list[Got], stored: list[dict[str, object]], status: str = "succeeded") -> None:
    """All that is stored, in its order, each once; and then the end."""
    *events, end = got
    assert end[1] == "end" and json.loads(end[2]) == {"kind": "end", "status": status}
    assert [json.loads(data) for _, _, data in events] == stored
    assert [(int(number), kind) for number, kind, _ in events] == [(one["seq"], one["kind"]) for one in stored]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site(load(tmp_path / "home", {})) as site:
        yield site


@pytest.fixture
def either_site(tmp_path: Path, database: dict[str, str]) -> Iterator[Site]:
    """On SQLite and on PostgreSQL."""
    with Site(load(tmp_path / "home", database)) as site:
        yield site


# --- the events ----------------------------------------------------------------------------------------------------


def test_a_watcher_gets_every_event_as_it_was_stored_and_then_the_end(either_site: Site) -> None:
    log = either_site.journal()
    answer = either_site.follow(log.build_id)
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    thread = writing(log, 3000, pause=0.0002)
    got = list(received(answer))
    thread.join()
    stored = either_site.stored(log.build_id)
    assert [one["seq"] for one in stored] == list(range(1, len(stored) + 1)) and len(stored) > 3000
    checked(got, stored)


def test_a_finished_build_is_read_from_the_database_and_ends_at_once(either_site: Site) -> None:
    build_id = either_site.finished(2500)
    stored = either_site.stored(build_id)
    checked(list(received(either_site.follow(build_id))), stored)
    last = str(stored[-1]["seq"])
    checked(list(received(either_site.follow(build_id, Last_Event_ID=last))), [])
    checked(list(received(either_site.follow(build_id, f"?from_seq={last}"))), stored[-1:])
    checked(list(received(either_site.follow(build_id, "?from_seq=999999"))), [])


def test_json_lines_end_where_the_events_do_unless_they_follow(site: Site) -> None:
    with site.journal() as log:
        log.sink(Event("log", "so far", time.time()))
        log.flush()
        answer = site.get(log.build_id)
        assert answer.headers["Content-Type"] == "application/x-ndjson"
        assert [json.loads(line) for line in answer] == site.stored(log.build_id)
        following = site.get(log.build_id, "?follow=true&from_seq=2")
        log.finish("failed", {})
    lines = [json.loads(line) for line in following]
    assert lines == [*site.stored(log.build_id)[1:], {"kind": "end", "status": "failed"}]
    assert [json.loads(line) for line in site.get(log.build_id)] == site.stored(log.build_id)


def test_last_event_id_goes_before_from_seq(site: Site) -> None:
    build_id = site.finished(20)
    got = list(received(site.follow(build_id, "?from_seq=2", Last_Event_ID="15")))
    checked(got, site.stored(build_id)[15:])


def test_a_websocket_sends_the_same_events(either_site: Site) -> None:
    log = either_site.journal()
    with either_site.websocket(log.build_id, either_site.token, "?from_seq=2") as connection:
        thread = writing(log, 500)
        *events, end = [json.loads(message) for message in connection]
        assert connection.close_code == 1000
    thread.join()
    assert events == either_site.stored(log.build_id)[1:]
    assert end == {"kind": "end", "status": "succeeded"}


def test_a_build_of_another_process_is_followed_though_nobody_tells_of_it(site: Site) -> None:
    _, build_id = site.begin()
    answer = site.follow(build_id)
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(site.settings.home), str(build_id)])
    got = list(received(answer))
    assert writer.wait() == 0
    assert len(got) > 300
    checked(got, site.stored(build_id))


def test_what_was_taken_out_before_storing_is_not_sent(site: Site) -> None:
    with site.journal(redact=Redactor({"PASSWORD": "hunter2"})) as log:
        answer = site.follow(log.build_id)
        step = {"index": 1, "state": "done", "cached": False, "seconds": 1, "name": "RUN echo hunter2"}
        log.sink(Event("log", "the password is hunter2", time.time(), step="RUN echo hunter2"))
        log.sink(Event("step", "hunter2", time.time(), step="RUN echo hunter2", data=step))
        log.finish("succeeded", {})
    body = answer.read().decode()
    assert "hunter2" not in body
    assert body.count("the password is ***PASSWORD***") == 1


def test_the_bus_alone_is_enough_to_hear_of_what_is_new(either_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tails, "LOOK_SECONDS", 3600.0)
    log = either_site.journal()
    answer = either_site.follow(log.build_id)
    writing(log, 300, pause=0.003).join()
    checked(list(received(answer)), either_site.stored(log.build_id))


def test_a_build_that_is_removed_ends_its_stream(site: Site) -> None:
    connection, build_id = site.begin()
    answer = site.follow(build_id)
    events = received(answer)
    assert next(events)[2].find("queued") > 0
    wait_until(lambda: site.watchers(build_id) == 1)
    connection.execute("DELETE FROM builds WHERE id = ?", (build_id,))
    assert [kind for _, kind, _ in events] == ["status"]
    wait_until(lambda: not site.tails._tails)


def test_a_quiet_stream_shows_that_it_is_alive(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tails, "KEEP_ALIVE_SECONDS", 0.05)
    with site.journal() as log:
        answer = site.follow(log.build_id, Last_Event_ID="2")
        assert [answer.readline() for _ in range(6)] == [b"retry: 1000\n", b"\n", *[b": nothing new\n", b"\n"] * 2]
        log.finish("succeeded", {})
    checked(list(received(answer)), site.stored(log.build_id)[2:])


# --- leaving and coming back ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_who_comes_back_loses_nothing_and_gets_nothing_twice(either_site: Site, seed: int) -> None:
    chance = random.Random(seed)
    log = either_site.journal()
    thread = writing(log, 2000, pause=0.0005)
    got: list[Got] = []
    while not got or got[-1][1] != "end":
        headers = {"Last_Event_ID": got[-1][0]} if got else {}
        answer = either_site.follow(log.build_id, **headers)
        wanted = chance.choice([1, 3, 50, 400])
        for one in received(answer):
            got.append(one)
            wanted -= 1
            if wanted == 0:
                break
        answer.close()
    thread.join()
    checked(got, either_site.stored(log.build_id))


def test_a_tail_ends_with_its_last_watcher(site: Site) -> None:
    log = site.journal()
    with log:
        log.sink(Event("log", "hello", time.time()))
        log.flush()
        answers = [site.follow(log.build_id) for _ in range(3)]
        websocket = site.websocket(log.build_id, site.token)
        for answer in answers:
            assert next(received(answer))[0] == "1"
        assert json.loads(websocket.recv())["seq"] == 1
        assert list(site.tails._tails) == [log.build_id]
        assert site.watchers(log.build_id) == 4
        task = site.tails._tails[log.build_id].task
        websocket.close()
        for answer in answers:
            answer.close()
        wait_until(lambda: not site.tails._tails and task.done())
        log.finish("succeeded", {})


def test_a_stream_outlives_its_database_being_away(tmp_path: Path) -> None:
    with Postgres() as server, Site(load(tmp_path / "home", {"DATABASE_URL": server.url})) as site:
        log = site.journal()
        answer = site.follow(log.build_id)
        thread = writing(log, 1500, pause=0.002)
        events = received(answer)
        got = [next(events) for _ in range(20)]
        server.kill()
        time.sleep(1)
        server.start()
        got += events
        thread.join()
        checked(got, site.stored(log.build_id))


# --- many, and slow ones -------------------------------------------------------------------------------------------


def test_fifty_watchers_get_the_same_from_one_reading(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[tuple[int, int]] = []
    read = EventLog.read

    def counted(self: EventLog, build_id: int, after: int, upto: int) -> list[object]:
        reads.append((after, upto))
        return read(self, build_id, after, upto)

    monkeypatch.setattr(EventLog, "read", counted)
    log = site.journal()
    answers = [site.follow(log.build_id) for _ in range(50)]
    bodies: list[bytes] = [b""] * len(answers)

    def take(number: int) -> None:
        bodies[number] = answers[number].read()

    takers = [in_background(lambda number=number: take(number)) for number in range(len(answers))]
    writing(log, 4000, pause=0.0002).join()
    for taker in takers:
        taker.join()
    stored = site.stored(log.build_id)
    assert len(set(bodies)) == 1
    assert bodies[0].count(b"\nevent: ") == len(stored) + 1
    assert len(reads) < len(stored) / 10
    assert sum(upto - after for after, upto in reads) <= 2 * len(stored), (
        "each event is read once, late comers' once more"
    )


def test_one_who_does_not_read_neither_slows_the_others_nor_costs_memory_and_still_gets_everything(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tails, "RING_BYTES", 1024 * 1024)
    log = site.journal()
    with contextlib.closing(site.wordless(log.build_id)) as wordless:
        answer = site.follow(log.build_id)
        wait_until(lambda: site.watchers(log.build_id) == 2)
        ring = site.tails._tails[log.build_id].ring
        thread = writing(log, 30_000, size=500)
        checked(list(received(answer)), site.stored(log.build_id))
        thread.join()
        # 17 MB have been sent to the one; what is kept for the other is less than two chunks, and the ring.
        assert 0 < site.in_loop(site.unsent) < 3 * CHUNK_BYTES
        assert ring.size <= 1024 * 1024
        assert site.watchers(log.build_id) == 1
        assert len(ring._chunks) < 30
        with wordless.makefile("rb") as body:
            while body.readline() != b"\r\n":
                pass
            late = list(received(body))  # type: ignore[arg-type]
    checked(late, site.stored(log.build_id))
    wait_until(lambda: not site.tails._tails)


def test_those_who_come_late_share_what_is_read_for_them(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    read = EventLog.read

    def counted(self: EventLog, build_id: int, after: int, upto: int) -> list[object]:
        reads.append(after)
        return read(self, build_id, after, upto)

    connection, build_id = site.begin()
    with transaction(connection):
        begin = last_seq(connection, build_id)
        insert_events(connection, build_id, begin, [Event("log", f"line {n}", 1.0) for n in range(10_000)])
    monkeypatch.setattr(EventLog, "read", counted)
    answers = [site.follow(build_id) for _ in range(20)]
    for answer in answers:
        events = received(answer)
        assert [int(next(events)[0]) for _ in range(10_002)] == list(range(1, 10_003))
        answer.close()
    assert len(reads) == 11


# --- refusals, and the server's end --------------------------------------------------------------------------------


def test_a_stranger_does_not_hear_of_the_build(site: Site) -> None:
    build_id = site.finished(3)
    stranger = f"Bearer {site.strangers_token}"
    for accept in ("text/event-stream", "application/json"):
        assert site.get(build_id, Authorization=stranger, Accept=accept).status == 404
        assert site.get(build_id + 1, Accept=accept).status == 404
        assert site.get(build_id, Authorization="Bearer dwt_wrong", Accept=accept).status == 401
    for token, status in ((site.strangers_token, 404), ("dwt_wrong", 401)):
        with pytest.raises(InvalidStatus) as refused:
            site.websocket(build_id, token)
        assert refused.value.response.status_code == status


@pytest.mark.parametrize("query", ["?from_seq=-1", "?from_seq=99999999999", "?from_seq=x", "?follow=maybe"])
def test_a_question_that_makes_no_sense_is_refused(site: Site, query: str) -> None:
    assert site.get(site.finished(1), query).status == 422


def test_a_last_event_id_that_is_no_number_is_refused(site: Site) -> None:
    assert site.get(site.finished(1), Last_Event_ID="abc").status == 422


@pytest.mark.parametrize("how", ["the token is deleted", "the user may not sign in", "the session is over", "moved"])
def test_who_may_not_watch_any_more_is_sent_away(site: Site, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admissions, "CHECK_SECONDS", 0.2)
    monkeypatch.setattr(tails, "KEEP_ALIVE_SECONDS", 0.1)
    with site.state.session() as session:
        session.add(User(id=103, client_id=1, email="3@x", password_hash="", role="viewer"))
        session.flush()
        token, row = tokens.issue(session, 103, "session")
    other = {"Authorization": f"Bearer {token}"}
    log = site.journal()
    with log:
        log.sink(Event("log", "hello", time.time()))
        log.flush()
        answer, lines = site.follow(log.build_id, **other), site.get(log.build_id, "?follow=true", **other)
        websocket, stays = site.websocket(log.build_id, token), site.follow(log.build_id)
        wait_until(lambda: site.watchers(log.build_id) == 4)
        with site.state.session() as session:
            user, kept = session.get_one(User, 103), session.get_one(AccessToken, row.id)
            if how == "the token is deleted":
                session.delete(kept)
            elif how == "the user may not sign in":
                user.is_active = False
            elif how == "the session is over":
                kept.expires_at = now()
            else:
                user.client_id = 2
        wait_until(lambda: site.watchers(log.build_id) == 1)
        log.sink(Event("log", "a secret of later", time.time()))
        log.finish("succeeded", {})
    texts = [answer.read().decode(), lines.read().decode()]
    with pytest.raises(ConnectionClosedError):
        texts += iter(websocket)  # type: ignore[arg-type]
    assert len(texts) >= 3 and not any("later" in text or "succeeded" in text for text in texts)
    assert websocket.close_code == 1008
    checked(list(received(stays)), site.stored(log.build_id))


def test_a_server_that_stops_ends_its_streams_and_does_not_wait_for_who_does_not_read(site: Site) -> None:
    log = site.journal()
    with log, contextlib.closing(site.wordless(log.build_id)):
        answer, lines = site.follow(log.build_id), site.get(log.build_id, "?follow=true")
        websocket = site.websocket(log.build_id, site.token)
        kinds: dict[str, list[str]] = {}

        def take(name: str, read: Callable[[], list[str]]) -> None:
            kinds[name] = read()

        def messages() -> list[str]:
            found = []
            with contextlib.suppress(ConnectionClosedError):
                for message in websocket:
                    found.append(json.loads(message)["kind"])
            return found

        takers = [
            in_background(lambda: take("sse", lambda: [kind for _, kind, _ in received(answer)])),
            in_background(lambda: take("lines", lambda: [json.loads(line)["kind"] for line in lines])),
            in_background(lambda: take("ws", messages)),
        ]
        for number in range(20_000):
            log.sink(Event("log", f"{number}".ljust(500), time.time()))
        log.flush()
        wait_until(lambda: site.in_loop(site.unsent) > 0)
        site.server.should_exit = True
        for thread in (*takers, site.thread):
            thread.join(timeout=60)
            assert not thread.is_alive()
        log.finish("succeeded", {})
    # The build goes on, elsewhere: nobody is told that it has ended.
    assert [set(found) - {"status"} for found in kinds.values()] == [{"log"}] * 3
    assert websocket.close_code == 1012
