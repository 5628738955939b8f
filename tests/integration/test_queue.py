"""The queue in the database: claims, limits, turns, cancels and builds whose worker died, on SQLite and PostgreSQL."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dockwright import settings as settings_module
from dockwright.db import queue, schema
from dockwright.db.build_rows import get_project
from dockwright.db.connection import Connection, SqliteConnection, transaction
from dockwright.db.journal import Journal
from dockwright.db.queue import Claim, Limits, Reaper
from dockwright.db.stored import timestamp
from dockwright.domain.events import Event
from dockwright.domain.transitions import Status
from dockwright.errors import Canceled, Conflict, LeaseLost, NotFound
from dockwright.process import Cancel, identity
from dockwright.queue.worker import Worker
from dockwright.services.locks import RecoveryLock
from dockwright.services.state import State
from dockwright.settings import Settings

MANY = Limits(overall=100, client=100, builder=100)


@pytest.fixture
def settings(tmp_path: Path, database: dict[str, str]) -> Settings:
    return settings_module.load({"DOCKWRIGHT_HOME": str(tmp_path / "home"), **database}, tmp_path / "none")


@pytest.fixture
def db(settings: Settings) -> Iterator[Connection]:
    """With clients 1 to 3; client n has the projects 10 n to 10 n + 9."""
    connection = schema.connect(settings)
    for client in (2, 3):
        connection.execute(
            "INSERT INTO clients (id, slug, name, created_at) VALUES (?, ?, ?, '2026-01-01')",
            (client, f"c{client}", f"C{client}"),
        )
    connection.executemany(
        "INSERT INTO projects (id, client_id, name, slug, description, source, build, deploy, auto_build, created_at)"
        " VALUES (?, ?, ?, ?, '', '{}', '{}', '{}', FALSE, '2026-01-01')",
        [(10 * c + n, c, f"P{n}", f"p{n}") for c in (1, 2, 3) for n in range(10)],
    )
    yield connection
    connection.close()


def _enqueue(db: Connection, project: int, ref: str | None = None, priority: int = 0, builder: str = "shared") -> int:
    build_id, _ = queue.enqueue(
        db,
        client_id=project // 10,
        project_id=project,
        profile="prod",
        ref=ref,
        options={},
        builder=builder,
        priority=priority,
    )
    return build_id


def _claim(db: Connection, limits: Limits = MANY) -> Claim:
    claim = queue.claim(db, identity(), limits)
    assert claim is not None
    return claim


def _status(db: Connection, build_id: int) -> str:
    return str(db.execute("SELECT status FROM builds WHERE id = ?", (build_id,)).fetchone()[0])


def _events(db: Connection, build_id: int) -> list[tuple[int, str, str]]:
    rows = db.execute("SELECT seq, kind, text FROM build_events WHERE build_id = ? ORDER BY seq", (build_id,))
    return [tuple(row) for row in rows.fetchall()]


def _finish(db: Connection, claim: Claim) -> None:
    with Journal(db, claim.build_id, cancel=Cancel(), attempt=claim.attempt) as log:
        log.finish("succeeded", {})


# --- order and limits ----------------------------------------------------------------------------------------------


def test_a_claim_takes_the_oldest_and_tells_of_it(db: Connection) -> None:
    first, second = _enqueue(db, 10), _enqueue(db, 11)
    assert queue.position(db, second) == 2
    claim = _claim(db)
    assert claim == Claim(build_id=first, client_id=1, project_id=10, attempt=1)
    assert queue.position(db, first) is None
    assert queue.position(db, second) == 1
    assert _events(db, first) == [(1, "status", "queued"), (2, "status", "building")]


def test_nothing_queued_is_nothing_claimed(db: Connection) -> None:
    assert queue.claim(db, identity(), MANY) is None


def test_the_higher_priority_goes_first_within_a_client(db: Connection) -> None:
    low, high, middle = _enqueue(db, 10), _enqueue(db, 11, priority=5), _enqueue(db, 12, priority=1)
    assert [_claim(db).build_id for _ in range(3)] == [high, middle, low]


def test_clients_take_turns_whatever_they_have_queued(db: Connection) -> None:
    many = [_enqueue(db, 10 + n, priority=9) for n in range(4)]
    one, other = _enqueue(db, 20), _enqueue(db, 30)
    order = []
    for _ in range(6):
        claim = _claim(db)
        order.append(claim.build_id)
        _finish(db, claim)
    assert order == [many[0], one, other, many[1], many[2], many[3]]


def test_whoever_runs_fewer_comes_first(db: Connection) -> None:
    _enqueue(db, 10)
    _claim(db)
    _enqueue(db, 11)
    other = _enqueue(db, 20)
    assert _claim(db).build_id == other


@pytest.mark.parametrize(
    "limits",
    [
        Limits(overall=2, client=9, builder=9),
        Limits(overall=9, client=2, builder=9),
        Limits(overall=9, client=9, builder=2),
    ],
)
def test_a_limit_holds_until_a_build_ends(db: Connection, limits: Limits) -> None:
    for project in (10, 11, 12):
        _enqueue(db, project)
    first = _claim(db, limits)
    _claim(db, limits)
    assert queue.claim(db, identity(), limits) is None
    _finish(db, first)
    assert _claim(db, limits).project_id == 12


def test_a_full_builder_or_client_does_not_hold_up_the_others(db: Connection) -> None:
    limits = Limits(overall=9, client=1, builder=1)
    for project in (10, 11):
        _enqueue(db, project, builder="isolated-1")
    other = _enqueue(db, 20, builder="isolated-2")
    _claim(db, limits)
    assert _claim(db, limits).build_id == other


def test_builds_of_one_project_run_one_after_another(db: Connection) -> None:
    older, newer, beside = _enqueue(db, 10, "v1"), _enqueue(db, 10, "v2"), _enqueue(db, 11)
    claim = _claim(db)
    assert claim.build_id == older
    assert _claim(db).build_id == beside
    assert queue.claim(db, identity(), MANY) is None
    _finish(db, claim)
    assert _claim(db).build_id == newer


def test_many_workers_claim_each_build_once(settings: Settings, db: Connection) -> None:
    builds = [_enqueue(db, project) for project in (*range(10, 20), *range(20, 30), *range(30, 40))]
    claimed: list[int] = []

    def work() -> None:
        connection = schema.connect(settings)
        while (claim := queue.claim(connection, identity(), MANY)) is not None:
            claimed.append(claim.build_id)
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == builds


def test_limits_hold_while_many_claim_at_once(settings: Settings, db: Connection) -> None:
    for project in range(10, 20):
        _enqueue(db, project)
    claimed: list[int] = []

    def work() -> None:
        connection = schema.connect(settings)
        while (claim := queue.claim(connection, identity(), Limits(overall=3, client=9, builder=9))) is not None:
            claimed.append(claim.build_id)
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == 3


# --- superseded and canceled ---------------------------------------------------------------------------------------


def test_a_newer_build_of_the_same_ref_supersedes_the_queued_one_alone(db: Connection) -> None:
    running, tagged, elsewhere = _enqueue(db, 10), _enqueue(db, 10, "v1"), _enqueue(db, 11)
    _claim(db)
    queued = _enqueue(db, 10)
    newest, superseded = queue.enqueue(
        db, client_id=1, project_id=10, profile="prod", ref=None, options={}, builder="shared"
    )
    assert superseded == [queued]
    assert _status(db, queued) == "canceled"
    assert [_status(db, build) for build in (running, tagged, elsewhere, newest)] == ["building"] + ["queued"] * 3
    row = db.execute("SELECT error_code, completed_at FROM builds WHERE id = ?", (queued,)).fetchone()
    assert row[0] == "superseded" and row[1] is not None
    assert _events(db, queued)[-1] == (2, "status", "canceled")


def test_of_many_that_are_queued_at_once_only_the_last_one_waits(settings: Settings, db: Connection) -> None:
    together = threading.Barrier(6)

    def put_in() -> None:
        connection = schema.connect(settings)
        for _ in range(5):
            together.wait()
            _enqueue(connection, 10)
        connection.close()

    threads = [threading.Thread(target=put_in) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = db.execute("SELECT status, COUNT(*) FROM builds GROUP BY status").fetchall()
    assert {row[0]: row[1] for row in rows} == {"canceled": 29, "queued": 1}


def test_a_queued_build_is_canceled_at_once(db: Connection) -> None:
    build = _enqueue(db, 10)
    assert queue.request_cancel(db, 1, build) == "canceled"
    assert queue.claim(db, identity(), MANY) is None
    assert _events(db, build) == [(1, "status", "queued"), (2, "status", "canceled")]
    with pytest.raises(Conflict, match="canceled"):
        queue.request_cancel(db, 1, build)


def test_nobody_cancels_a_stranger_s_build(db: Connection) -> None:
    build = _enqueue(db, 10)
    with pytest.raises(NotFound):
        queue.request_cancel(db, 2, build)
    assert _status(db, build) == "queued"


def test_the_worker_of_an_active_build_hears_of_a_cancel(db: Connection) -> None:
    build = _enqueue(db, 10)
    claim, cancel = _claim(db), Cancel()
    with Journal(db, build, cancel=cancel, attempt=claim.attempt) as log:
        assert queue.request_cancel(db, 1, build) == "building"
        with pytest.raises(Canceled):
            cancel.sleep(10)
        log.finish("canceled", {})
    assert _status(db, build) == "canceled"


# --- workers that die ----------------------------------------------------------------------------------------------


def _dead_worker() -> str:
    """The identity of a process that has ended."""
    code = "from dockwright.process import identity; print(identity())"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def _lose(db: Connection, build: int, worker: str, seconds: float = -1.0) -> None:
    db.execute(f"UPDATE builds SET worker = ?, lease_until = {db.after(seconds)} WHERE id = ?", (worker, build))


def test_the_build_of_a_dead_process_is_queued_again_at_once_and_its_events_go_on(db: Connection) -> None:
    build = _enqueue(db, 10)
    first = _claim(db)
    _lose(db, build, _dead_worker(), seconds=60)
    assert Reaper(db).take_back() == [build]
    second = _claim(db)
    assert (second.build_id, second.attempt) == (build, first.attempt + 1)
    with Journal(db, build, cancel=Cancel(), attempt=second.attempt) as log:
        log.sink(Event("log", "once more", time.time(), "fetch"))
        log.finish("succeeded", {})
    events = _events(db, build)
    assert [seq for seq, _, _ in events] == list(range(1, len(events) + 1))
    assert [text for _, _, text in events] == ["queued", "building", "queued", "building", "once more", "succeeded"]


def test_a_worker_that_lost_its_build_can_write_nothing_more(db: Connection) -> None:
    build = _enqueue(db, 10)
    first, cancel = _claim(db), Cancel()
    with Journal(db, build, cancel=cancel, attempt=first.attempt) as log:
        _lose(db, build, _dead_worker())
        Reaper(db).take_back()
        second = _claim(db)
        before = _events(db, build)
        log.sink(Event("log", "from the one that slept", time.time(), "fetch"))
        with pytest.raises(LeaseLost):
            log.finish("failed", {})
        assert cancel.is_set
    assert _events(db, build) == before
    assert _status(db, build) == "building"
    _finish(db, second)


@pytest.mark.parametrize("status", ["failed", "canceled"])
def test_nor_can_it_end_the_build_while_that_waits_in_the_queue(status: Status, db: Connection) -> None:
    build = _enqueue(db, 10)
    claim = _claim(db)
    # With the lock, since its heartbeat would hear of it by chance.
    with Journal(db, build, cancel=Cancel(), attempt=claim.attempt) as log, db.lock:
        _lose(db, build, _dead_worker())
        assert Reaper(db).take_back() == [build]
        with pytest.raises(LeaseLost):
            log.finish(status, {})
    assert _status(db, build) == "queued"
    assert [text for _, _, text in _events(db, build)] == ["queued", "building", "queued"]


def test_three_dead_workers_are_the_build_s_own_failure(db: Connection) -> None:
    build, dead = _enqueue(db, 10), _dead_worker()
    for _ in range(3):
        _claim(db)
        _lose(db, build, dead)
        Reaper(db).take_back()
    row = db.execute("SELECT status, error_code, attempt FROM builds WHERE id = ?", (build,)).fetchone()
    assert tuple(row) == ("failed", "worker_lost", 3)


def test_a_server_that_is_stopped_again_and_again_wears_no_build_out(db: Connection) -> None:
    build, dead = _enqueue(db, 10), _dead_worker()
    for _ in range(4):
        assert queue.give_back(db, _claim(db), is_loss=False)
        assert Reaper(db).take_back() == [build]
    assert queue.give_back(db, _claim(db), is_loss=True)
    Reaper(db).take_back()
    claim = _claim(db)
    assert (claim.attempt, claim.losses) == (6, 1)
    _lose(db, build, dead)
    Reaper(db).take_back()
    assert _claim(db).losses == 2
    _lose(db, build, dead)
    Reaper(db).take_back()
    row = db.execute("SELECT status, error_code, attempt, losses FROM builds WHERE id = ?", (build,)).fetchone()
    assert tuple(row) == ("failed", "worker_lost", 7, 3)


def test_a_server_that_is_stopped_before_its_build_has_begun_gives_that_back(
    settings: Settings, db: Connection
) -> None:
    """It waits for a reaper, which removes what the attempt before has left."""
    build, state = _enqueue(db, 10), State(settings)
    assert queue.give_back(db, _claim(db), is_loss=True)
    Reaper(db).take_back()
    reaper, worker = RecoveryLock(state), Worker(state)
    assert reaper.try_acquire(build)
    thread = threading.Thread(target=worker.run_next, args=(state,))
    thread.start()
    while not worker.running:
        time.sleep(0.01)
    worker.stop()
    thread.join()
    row = db.execute("SELECT status, worker, attempt, losses FROM builds WHERE id = ?", (build,)).fetchone()
    assert tuple(row) == ("building", None, 2, 1)
    assert Reaper(db).take_back() == [build] and _status(db, build) == "queued"
    reaper.release()
    state.close()


def test_a_build_that_was_to_be_canceled_is_not_begun_again(db: Connection) -> None:
    build = _enqueue(db, 10)
    _claim(db)
    queue.request_cancel(db, 1, build)
    _lose(db, build, _dead_worker())
    Reaper(db).take_back()
    assert _status(db, build) == "canceled"


def test_a_lease_counts_only_when_it_was_over_for_a_while(db: Connection) -> None:
    """As when the clock was moved, or the database was away: the worker has the time to renew it."""
    build = _enqueue(db, 10)
    claim, elsewhere = _claim(db), "other-machine/12345678/1/1/1"
    _lose(db, build, elsewhere)
    reaper = Reaper(db, patience=3.0)
    assert reaper.take_back() == []
    with Journal(db, build, cancel=Cancel(), attempt=claim.attempt) as log:
        log.flush()
        time.sleep(1.2)  # a heartbeat
        assert reaper.take_back() == []
        log.finish("succeeded", {})
    lost = _enqueue(db, 11)
    _claim(db)
    _lose(db, lost, elsewhere)
    assert reaper.take_back() == []
    time.sleep(3.2)
    assert reaper.take_back() == [lost]


def test_a_stopped_process_keeps_its_build_while_it_is_alive_but_not_for_ever(db: Connection) -> None:
    code = "from dockwright.process import identity; print(identity(), flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        name = child.stdout.readline().decode().strip()
        build = _enqueue(db, 10)
        _claim(db)
        _lose(db, build, name)
        assert queue.end_lost_builds(db) == []
        reaper = Reaper(db, patience=0.2)
        assert reaper.take_back() == []
        time.sleep(0.3)
        assert reaper.take_back() == [build]
        os.kill(child.pid, signal.SIGKILL)


def test_a_machine_of_the_same_name_is_another_one(db: Connection) -> None:
    """Its builds are not taken from it before their leases are over."""
    build = _enqueue(db, 10)
    _claim(db)
    name, _, *rest = identity().split("/")
    _lose(db, build, "/".join([name, "12345678", *rest]), seconds=5)
    assert Reaper(db, patience=0.0).take_back() == []


def test_a_lease_from_before_the_clock_was_set_back_is_over(db: Connection) -> None:
    build = _enqueue(db, 10)
    _claim(db)
    _lose(db, build, "other-machine/12345678/1/1/1", seconds=3600)
    assert Reaper(db, patience=0.0).take_back() == [build]


def test_two_reapers_take_a_build_back_once(settings: Settings, db: Connection) -> None:
    build, dead = _enqueue(db, 10), _dead_worker()
    _claim(db)
    _lose(db, build, dead)
    found: list[int] = []

    def reap() -> None:
        connection = schema.connect(settings)
        found.extend(Reaper(connection).take_back())
        connection.close()

    threads = [threading.Thread(target=reap) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [build]
    assert [text for _, _, text in _events(db, build)] == ["queued", "building", "queued"]


# --- one connection for many threads -------------------------------------------------------------------------------


def test_threads_that_share_a_connection_do_not_get_in_each_other_s_way(settings: Settings, db: Connection) -> None:
    """As the calls of an API do, while another process writes: who reads holds up no writer, and gets its own rows."""
    elsewhere = schema.connect(settings)
    problems: list[str] = []
    ended = threading.Event()

    def read(project: int) -> None:
        while not ended.is_set():
            found = get_project(db, project // 10, project)
            if found is None or found["id"] != project:
                problems.append(f"{project}: {found}")

    def write(connection: Connection, project: int) -> None:
        for _ in range(150):
            _enqueue(connection, project)

    def guarded(work: Callable[..., None], *arguments: Any) -> threading.Thread:
        def run() -> None:
            try:
                work(*arguments)
            except Exception as error:
                problems.append(repr(error))

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    readers = [guarded(read, project) for project in (10, 11, 20, 21, 30, 31)]
    writers = [guarded(write, db, 12), guarded(write, elsewhere, 22)]
    for thread in writers:
        thread.join()
    ended.set()
    for thread in readers:
        thread.join()
    elsewhere.close()
    assert problems == []


def test_nobody_reads_what_another_thread_has_not_committed(db: Connection) -> None:
    build = _enqueue(db, 10)
    seen: list[str] = []
    reader = threading.Thread(target=lambda: seen.append(_status(db, build)))
    with pytest.raises(ZeroDivisionError), transaction(db):
        db.execute("UPDATE builds SET status = 'failed' WHERE id = ?", (build,))
        reader.start()
        reader.join(timeout=0.5)
        raise ZeroDivisionError
    reader.join()
    assert seen == ["queued"]


# --- the database goes away ----------------------------------------------------------------------------------------


def test_a_build_outlives_a_restart_of_postgresql(tmp_path: Path) -> None:
    from servers import Postgres

    with Postgres() as server:
        settings = settings_module.load({"DOCKWRIGHT_HOME": str(tmp_path), "DATABASE_URL": server.url}, tmp_path / "no")
        db = schema.connect(settings)
        db.execute(
            "INSERT INTO projects (id, client_id, name, slug, description, source, build, deploy, auto_build,"
            " created_at) VALUES (10, 1, 'A', 'a', '', '{}', '{}', '{}', FALSE, '2026-01-01')"
        )
        build = _enqueue(db, 10)
        claim = _claim(db)
        with Journal(db, build, cancel=Cancel(), attempt=claim.attempt) as log:
            server.kill()
            for number in range(5):
                log.sink(Event("log", f"line {number}", time.time(), "fetch"))
            time.sleep(0.5)
            starting = threading.Timer(1.0, server.start)
            starting.start()
            log.finish("succeeded", {})
            starting.join()
        events = _events(db, build)
        assert [text for _, kind, text in events if kind == "log"] == [f"line {number}" for number in range(5)]
        assert [seq for seq, _, _ in events] == list(range(1, len(events) + 1))
        assert _status(db, build) == "succeeded"
        db.close()


def test_the_queue_s_index_is_what_a_claim_reads(tmp_path: Path) -> None:
    settings = settings_module.load({"DOCKWRIGHT_HOME": str(tmp_path)}, tmp_path / "none")
    db = schema.connect(settings)
    sql = "SELECT id FROM builds WHERE status = 'queued' AND client_id = ? ORDER BY priority DESC, id LIMIT 1"
    plan = json.dumps([tuple(row) for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", (1,)).fetchall()])
    assert "ix_builds_queue" in plan and "TEMP B-TREE" not in plan
    assert timestamp(0.5) == "1970-01-01 00:00:00.500000"
    db.close()


def test_a_project_s_long_history_is_not_read_when_a_build_is_queued(tmp_path: Path) -> None:
    db = schema.connect(settings_module.load({"DOCKWRIGHT_HOME": str(tmp_path)}, tmp_path / "none"))
    db.execute(
        "INSERT INTO projects (id, client_id, name, slug, description, source, build, deploy, auto_build, created_at)"
        " VALUES (10, 1, 'A', 'a', '', '{}', '{}', '{}', FALSE, '2026-01-01')"
    )
    statements: list[str] = []
    assert isinstance(db, SqliteConnection)
    db.set_trace_callback(statements.append)
    _enqueue(db, 10)
    (superseding,) = [sql for sql in statements if "superseded" in sql]
    plan = json.dumps([tuple(row) for row in db.execute(f"EXPLAIN QUERY PLAN {superseding}").fetchall()])
    assert "(client_id=? AND status=?)" in plan
    db.close()
