"""Which builds a clean-up takes, on SQLite and PostgreSQL: their rows alone, no engine."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dockwright import settings as settings_module
from dockwright.services import old_builds
from dockwright.services.state import State

AT = "2026-01-{:02} 00:00:00.000000"
OTHER = 2
"""A client that is not ours."""


@pytest.fixture
def state(tmp_path: Path, database: dict[str, str]) -> Iterator[State]:
    """Ten builds of our project, build n ended on January n, the last one runs; as many of another client's."""
    read = settings_module.load({"DOCKWRIGHT_HOME": str(tmp_path / "home"), **database}, tmp_path / "none")
    state = State(read)
    db = state.connection
    db.execute("INSERT INTO clients (id, slug, name, created_at) VALUES (2, 'other', 'Other', '2026-01-01')")
    for client in (1, OTHER):
        db.execute(
            "INSERT INTO projects (id, client_id, name, slug, description, source, build, deploy, auto_build,"
            " created_at) VALUES (?, ?, 'P', 'p', '', '{}', '{}', '{}', FALSE, '2026-01-01')",
            (client, client),
        )
        for day in range(1, 11):
            number = day + (client - 1) * 100
            status = "building" if day == 10 else "failed" if day % 2 else "deployed"
            db.execute(
                "INSERT INTO builds (id, client_id, project_id, status, profile, options, attempt, priority,"
                " created_at, completed_at) VALUES (?, ?, ?, ?, 'prod', '{}', 1, 0, ?, ?)",
                (number, client, client, status, AT.format(day), None if day == 10 else AT.format(day)),
            )
            db.execute(
                "INSERT INTO build_events (build_id, seq, at, kind, text) VALUES (?, 1, ?, 'log', 'a line')",
                (number, AT.format(day)),
            )
            db.execute(
                "INSERT INTO build_artifacts (build_id, artifact_type, file_path, content, created_at)"
                " VALUES (?, 'plan', 'plan.json', '{}', ?)",
                (number, AT.format(day)),
            )
    yield state
    with state.session() as session:
        engine = session.get_bind()
    engine.dispose()  # type: ignore[union-attr]
    state.close()


def remove(state: State, *, keep_builds: int = 3, keep_releases: int = 5, **options: object) -> int:
    settings: dict[str, object] = {"oldest": None, "without_images": set(), "dry_run": False, **options}
    return old_builds.remove(state, keep_builds=keep_builds, keep_releases=keep_releases, **settings)  # type: ignore[arg-type]


def ids(state: State, query: str = "SELECT id FROM builds WHERE client_id = 1 ORDER BY id") -> list[int]:
    return [row[0] for row in state.connection.execute(query).fetchall()]


def add_image(state: State, build: int, digest: str) -> None:
    state.connection.execute(
        "INSERT INTO docker_images (client_id, project_id, build_id, service, name, tag, build_status, digest, profile,"
        " build_date, details, size, created_at) VALUES (1, 1, ?, 'app', 'p', ?, 'success', ?, 'prod', '', '{}', 0, ?)",
        (build, f"b{build}", digest, AT.format(1)),
    )


def add_product(state: State, live: int, *builds: int) -> None:
    """Release n of the product is of the n-th build."""
    db = state.connection
    db.execute(
        "INSERT INTO products (id, client_id, project_id, name, slug, port, replicas, env_vars, status, release_number,"
        " created_at) VALUES (1, 1, 1, 'P', 'p', 8100, 1, '{}', 'running', ?, ?)",
        (live, AT.format(1)),
    )
    for number, build in enumerate(builds, 1):
        db.execute(
            "INSERT INTO releases (product_id, number, build_id, image_name, digest, container_port, env_vars, volumes,"
            " has_health_check, created_at) VALUES (1, ?, ?, 'p:b', 'sha256:x', 80, '{}', '[]', FALSE, ?)",
            (number, build, AT.format(1)),
        )
        db.execute(
            "INSERT INTO deployments (product_id, release_number, build_id, status, started_at)"
            " VALUES (1, ?, ?, 'superseded', ?)",
            (number, build, AT.format(1)),
        )


def test_the_newest_stay_with_all_that_is_theirs(state: State) -> None:
    assert remove(state) == 7
    assert ids(state) == [8, 9, 10]
    for table in ("build_events", "build_artifacts"):
        left = ids(state, f"SELECT build_id FROM {table} WHERE build_id < 100 ORDER BY build_id")
        assert left == [8, 9, 10], table
    assert len(ids(state, "SELECT id FROM builds WHERE client_id = 2")) == 10, "another client's are not ours to remove"
    assert remove(state) == 0


def test_dry_run_counts_and_removes_nothing(state: State) -> None:
    assert remove(state, dry_run=True) == 7
    assert len(ids(state)) == 10


def test_one_that_runs_stays_however_old_it_is(state: State) -> None:
    state.connection.execute("UPDATE builds SET status = 'building', completed_at = NULL WHERE id = 2")
    state.connection.execute("UPDATE builds SET status = 'queued', completed_at = NULL WHERE id = 3")
    assert remove(state, keep_builds=1) == 7
    assert ids(state) == [2, 3, 10]


def test_only_what_is_old_enough(state: State) -> None:
    assert remove(state, oldest=datetime(2026, 1, 4, tzinfo=UTC)) == 3
    assert ids(state) == [4, 5, 6, 7, 8, 9, 10]


def test_build_of_an_image_stays_until_the_image_is_gone(state: State) -> None:
    add_image(state, 2, "sha256:two")
    add_image(state, 4, "sha256:four")
    assert remove(state, without_images={"sha256:four"}) == 6
    assert ids(state) == [2, 8, 9, 10]
    assert ids(state, "SELECT build_id FROM docker_images ORDER BY id") == [2, None]


def test_builds_of_kept_releases_and_of_the_live_one_stay(state: State) -> None:
    add_product(state, 1, 1, 2, 3, 4, 5)
    assert remove(state, keep_releases=2) == 4
    assert ids(state) == [1, 4, 5, 8, 9, 10], "release 1 is live, 4 and 5 are the newest"
    for table in ("releases", "deployments"):
        found = ids(state, f"SELECT build_id FROM {table} ORDER BY id")
        assert found == [1, None, None, 4, 5], f"{table} outlive their builds"
