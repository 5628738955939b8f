"""The state database: its schema, and a build's journal."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import text

from dockwright import settings as settings_module
from dockwright.db import build_rows, schema
from dockwright.db.connection import Connection
from dockwright.db.journal import Journal
from dockwright.db.queue import end_lost_builds
from dockwright.db.tables import Base
from dockwright.domain.events import Event
from dockwright.domain.source import FolderSource
from dockwright.errors import DatabaseBusy, DatabaseError, Interrupted
from dockwright.process import Cancel
from dockwright.services import projects
from dockwright.services.state import State
from dockwright.settings import Settings

DESCENDING = "ix_builds_queue"
"""Alembic cannot compare an index that goes down."""


@pytest.fixture
def settings(tmp_path: Path, database: dict[str, str]) -> Settings:
    return settings_module.load({"DOCKWRIGHT_HOME": str(tmp_path / "home"), **database}, tmp_path / "none")


def test_a_home_whose_name_means_something_in_a_url(tmp_path: Path) -> None:
    home = tmp_path / "what?a=%41#home"
    settings = settings_module.load({"DOCKWRIGHT_HOME": str(home)}, tmp_path / "none")
    state = State(settings)
    assert projects.create_from_source(state, FolderSource(path="/srv/app"), "folder:/srv/app", "app") == 1
    assert build_rows.find_project(state.connection, state.client_id, "folder:/srv/app") is not None
    assert [path.name for path in tmp_path.iterdir()] == [home.name]


@pytest.fixture
def connection(settings: Settings) -> Iterator[Connection]:
    connection = schema.connect(settings)
    connection.execute(
        "INSERT INTO projects (id, client_id, name, slug, description, source, build, deploy, auto_build, created_at)"
        " VALUES (1, 1, 'App', 'app', '', '{}', '{}', '{}', FALSE, '2026-01-01 00:00:00')"
    )
    yield connection
    connection.close()


def _claim(connection: Connection) -> int:
    return build_rows.insert_claimed(
        connection, client_id=1, project_id=1, profile="prod", ref=None, options={}, worker="here:1"
    )


def _log(text: str) -> Event:
    return Event("log", text, time.time(), "build")


def _enter(stage: str) -> Event:
    return Event("stage", f"{stage} started", time.time(), stage, data={"status": "running"})


# --- the schema ----------------------------------------------------------------------------------------------------


def test_head_is_the_newest_migration() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_current_head() == schema.HEAD


def test_the_migrations_make_the_tables_of_the_models(settings: Settings) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from sqlalchemy import NullPool, create_engine, inspect

    schema.upgrade(settings)
    engine = create_engine(schema.engine_url(settings), poolclass=NullPool)
    with engine.connect() as connection:
        options = {"include_object": lambda _, name, *__: name != DESCENDING}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata) == []
        assert DESCENDING in {index["name"] for index in inspect(connection).get_indexes("builds")}


def test_first_starts_at_the_same_time_make_the_tables_once(settings: Settings) -> None:
    errors: list[BaseException] = []

    def start() -> None:
        try:
            schema.connect(settings).close()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_a_newer_database_is_refused(settings: Settings) -> None:
    connection = schema.connect(settings)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(DatabaseError, match="newer"):
        schema.connect(settings)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    settings = settings_module.load({"DOCKWRIGHT_HOME": str(tmp_path / "home")}, tmp_path / "none")
    assert settings.database_file is not None
    settings.database_file.parent.mkdir(parents=True)
    settings.database_file.write_text("this is no database, but long enough to be looked at as one\n" * 100)
    with pytest.raises(DatabaseError, match=r"dockwright\.db"):
        schema.connect(settings)


# --- its connections -----------------------------------------------------------------------------------------------


def test_there_is_a_connection_for_every_thread_and_one_too_many_is_told_so(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "POOL_SECONDS", 0.1)
    state = State(settings)
    with ExitStack() as threads:
        for _ in range(40 + settings.max_workers + 3):
            threads.enter_context(state.session()).execute(text("SELECT 1"))
        with pytest.raises(DatabaseBusy, match="in use"), state.session() as one_more:
            one_more.execute(text("SELECT 1"))
    with state.session() as again:
        assert again.scalar(text("SELECT 1")) == 1
    state.close()


def test_a_machine_that_vanishes_is_noticed(tmp_path: Path, database_url: str) -> None:
    """By both kinds of connection. That it does vanish cannot be had on one machine."""
    named = {"DOCKWRIGHT_HOME": str(tmp_path), "DATABASE_URL": database_url}
    state = State(settings_module.load(named, tmp_path / "none"))
    with state.session() as session:
        raw = session.connection().connection.dbapi_connection
        for connection in (state.connection._connection, raw):  # type: ignore[attr-defined]
            with socket.socket(fileno=os.dup(connection.fileno())) as opened:
                assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10
                assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 15_000
    state.close()


# --- the journal ---------------------------------------------------------------------------------------------------


def test_events_are_dense_and_in_their_order_from_many_threads(connection: Connection) -> None:
    build = _claim(connection)
    with Journal(connection, build, cancel=Cancel()) as log:
        threads = [
            threading.Thread(target=lambda name=name: [log.sink(_log(f"{name} {n}")) for n in range(200)])
            for name in "abcd"
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        log.finish("failed", {})
    rows = connection.execute("SELECT seq, text FROM build_events WHERE build_id = ? ORDER BY seq", (build,)).fetchall()
    assert [seq for seq, _ in rows] == list(range(1, 802))
    for name in "abcd":
        assert [text for _, text in rows if text.startswith(name)] == [f"{name} {n}" for n in range(200)]


def test_the_status_follows_the_stages(connection: Connection) -> None:
    build = _claim(connection)
    seen = []
    with Journal(connection, build, cancel=Cancel()) as log:
        for stage in ("fetch", "build", "test", "deploy"):
            log.sink(_enter(stage))
            seen.append(connection.execute("SELECT status, stage FROM builds WHERE id = ?", (build,)).fetchone())
        log.finish("deployed", {"deployment_url": "http://127.0.0.1:8000"})
    assert seen == [("building", "fetch"), ("building", "build"), ("testing", "test"), ("deploying", "deploy")]
    row = connection.execute("SELECT status, deployment_url, lease_until, completed_at FROM builds").fetchone()
    assert row[:3] == ("deployed", "http://127.0.0.1:8000", None)
    assert row[3] is not None


def test_a_build_that_somebody_ended_stops_at_its_next_move(connection: Connection) -> None:
    build = _claim(connection)
    with Journal(connection, build, cancel=Cancel()) as log:
        log.sink(_enter("fetch"))
        connection.execute("UPDATE builds SET status = 'canceled' WHERE id = ?", (build,))
        with pytest.raises(Interrupted):
            log.sink(_enter("test"))
    assert connection.execute("SELECT status FROM builds").fetchone() == ("canceled",)


def test_a_move_that_is_not_allowed_is_a_bug(connection: Connection) -> None:
    with (
        Journal(connection, _claim(connection), cancel=Cancel()) as log,
        pytest.raises(AssertionError, match="building to deployed"),
    ):
        log.finish("deployed", {})


def test_a_build_whose_worker_died_is_failed_once_its_lease_is_over(connection: Connection) -> None:
    alive, lost = _claim(connection), _claim(connection)
    connection.execute("UPDATE builds SET lease_until = '2020-01-01 00:00:00' WHERE id = ?", (lost,))
    assert end_lost_builds(connection) == [lost]
    rows = dict(connection.execute("SELECT id, status FROM builds").fetchall())
    assert rows == {alive: "building", lost: "failed"}
    assert end_lost_builds(connection) == []
