"""The servers that tests start: each answers a real client, and comes back after a crash with what it had stored."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from servers import Postgres, Redis, Registry, fresh_database


def sql(url: str, statement: str) -> str:
    command = [Postgres.program("psql"), url, "--no-psqlrc", "--tuples-only", "--no-align", "--command", statement]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_each_test_has_an_empty_postgresql_database_of_its_own(postgres_url: str, database_url: str) -> None:
    sql(database_url, "CREATE TABLE here (id int)")
    other = fresh_database(postgres_url)
    assert sql(other, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == "0"
    assert sql(database_url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == "1"


def test_postgresql_keeps_what_was_committed_before_a_crash(postgres: Postgres, database_url: str) -> None:
    sql(database_url, "CREATE TABLE kept AS SELECT 42 AS answer")
    postgres.kill()
    assert not postgres.answers()
    postgres.start()
    assert sql(database_url, "SELECT answer FROM kept") == "42"


def test_redis_is_empty_for_each_test_and_keeps_what_was_written_before_a_crash(
    redis_server: Redis, redis_url: str
) -> None:
    assert redis_url.endswith(f":{redis_server.port}/0")
    assert redis_server.ask("DBSIZE") == b":0\r\n"
    assert redis_server.ask("SET answer 42") == b"+OK\r\n"
    redis_server.kill()
    assert not redis_server.answers()
    redis_server.start()
    assert redis_server.ask("GET answer") == b"$2\r\n42\r\n"


def test_a_redis_that_keeps_nothing() -> None:
    with Redis() as server:
        server.ask("SET answer 42")
        server.stop()
        server.start()
        assert server.ask("GET answer") == b"$-1\r\n"


def test_a_registry_is_empty_and_open(registry: Registry) -> None:
    assert registry.get("/v2/_catalog") == (200, '{"repositories":[]}\n')


def test_a_locked_registry_takes_its_password_and_no_other(locked_registry: Registry) -> None:
    assert locked_registry.get("/v2/_catalog", login=False)[0] == 401
    assert locked_registry.get("/v2/_catalog")[0] == 200
    locked_registry.password = "another"
    assert locked_registry.get("/v2/_catalog")[0] == 401


def test_nothing_is_left_of_a_server() -> None:
    with Redis() as server:
        assert server.process is not None
        process, folder = server.process.pid, server.folder
        assert Path(f"/proc/{process}").exists()
    assert not folder.exists()
    assert not Path(f"/proc/{process}").exists()


def test_a_server_that_does_not_start_says_why(registry: Registry) -> None:
    with pytest.raises(AssertionError, match="something listens"):
        registry.start()
    registry.stop()
    (registry.folder / "registry.yml").unlink()
    with pytest.raises(AssertionError, match="no such file"):
        registry.start()
