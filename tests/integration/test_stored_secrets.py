"""Secrets at rest: who may put, name and delete them, what the rows hold, and the key that they rest on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from dockwright import settings as settings_module
from dockwright.db.tables import AuditEntry, Client, Project, Secret
from dockwright.errors import NotFound, SecretKeyUnusable, UsageError
from dockwright.services import audit, secret_key, secrets
from dockwright.services.state import State

VALUE = "v4lue-of-a-secret"
ME = audit.SYSTEM


@pytest.fixture
def state(tmp_path: Path, database: dict[str, str]) -> Iterator[State]:
    """Client 1 has the projects 11 and 12, client 2 the project 21."""
    made = State(settings_module.load({"DOCKWRIGHT_HOME": str(tmp_path / "home"), **database}, tmp_path / "none"))
    with made.session() as session:
        session.add(Client(id=2, slug="acme", name="Acme"))
        session.flush()
        session.add_all(
            Project(id=number, client_id=number // 10, name=f"P{number}", slug=f"p{number}", source={})
            for number in (11, 12, 21)
        )
    yield made
    made.close()


def _rows(state: State) -> list[Secret]:
    with state.session() as session:
        return list(session.scalars(select(Secret).order_by(Secret.id)))


def test_rows_and_audit_hold_names_alone(state: State) -> None:
    secrets.put(state, ME, "KEY", VALUE, 11)
    secrets.put(state, ME, "KEY", VALUE + " new", 11)
    (row,) = _rows(state)
    assert VALUE not in row.ciphertext and row.updated_at > row.created_at
    with state.session() as session:
        entries = list(session.scalars(select(AuditEntry).order_by(AuditEntry.id)))
    assert [(one.action, one.object_type, one.object_id, one.detail) for one in entries] == [
        ("secret.put", "project", 11, {"name": "KEY"})
    ] * 2
    (named,), cursor = secrets.names(state, 50, project_id=11)
    assert set(named) == {"name", "created_at", "updated_at"} and cursor is None
    secrets.delete(state, ME, "KEY", 11)
    assert _rows(state) == []
    with pytest.raises(NotFound):
        secrets.delete(state, ME, "KEY", 11)


def test_a_projects_own_stands_before_the_clients(state: State) -> None:
    secrets.put(state, ME, "KEY", "of the client")
    secrets.put(state, ME, "OTHER", "also the client's")
    secrets.put(state, ME, "KEY", "of project 11", 11)
    assert secrets.values(state, 11, ["KEY", "OTHER"]) == {"KEY": "of project 11", "OTHER": "also the client's"}
    assert secrets.values(state, 12, ["KEY"]) == {"KEY": "of the client"}
    assert secrets.values(state, None, ["KEY"]) == {"KEY": "of the client"}
    assert secrets.values(state, 11, []) == {}
    with pytest.raises(NotFound, match="no secret MISSING for project 11"):
        secrets.values(state, 11, ["KEY", "MISSING"])
    assert [one["name"] for one in secrets.names(state, 50)[0]] == ["KEY", "OTHER"]
    assert secrets.redactor(state, 11)("of project 11, also the client's") == "***KEY***, ***OTHER***"


def test_another_client_has_neither_names_nor_values(state: State) -> None:
    secrets.put(state, ME, "KEY", VALUE)
    secrets.put(state, ME, "OWN", VALUE, 11)
    other = state.of_client(2)
    assert secrets.names(other, 50)[0] == []
    for project_id in (None, 21):
        with pytest.raises(NotFound):
            secrets.values(other, project_id, ["KEY"])
    with pytest.raises(NotFound):
        secrets.values(other, 11, ["OWN"])
    with pytest.raises(NotFound):
        secrets.put(other, ME, "KEY", VALUE, 11)
    with pytest.raises(NotFound):
        secrets.names(other, 50, project_id=11)
    assert not secrets.redactor(other, 21)


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "A=B", "Ä", "A\n", "A" * 101, "../A"])
def test_a_name_that_no_variable_can_have(state: State, name: str) -> None:
    with pytest.raises(UsageError):
        secrets.put(state, ME, name, VALUE)


@pytest.mark.parametrize("value", ["", "abc", "  abc  ", "abcd\0", "abc\ud800", "x" * 64_001])
def test_a_value_that_cannot_be_kept_is_refused_and_not_shown(state: State, value: str) -> None:
    with pytest.raises(UsageError) as refused:
        secrets.put(state, ME, "KEY", value)
    assert not value or value not in refused.value.message + refused.value.remedy
    assert _rows(state) == []


def test_values_of_any_text_come_back_as_they_were(state: State) -> None:
    for value in ("abcd", "  spaces at the ends  ", "line\nline\r\n", "ünïcödé 🔑", "x" * 64_000):
        secrets.put(state, ME, "KEY", value)
        assert secrets.values(state, None, ["KEY"]) == {"KEY": value}


# --- the key ---------------------------------------------------------------------------------------------------------


def test_the_key_is_its_owners_alone_and_made_but_once(state: State) -> None:
    path = state.settings.secret_key_file
    secrets.put(state, ME, "KEY", VALUE)
    assert path.stat().st_mode & 0o777 == 0o600
    content = path.read_bytes()
    secrets.put(state, ME, "OTHER", VALUE)
    assert path.read_bytes() == content
    assert [one.name for one in path.parent.iterdir() if "secret.key" in one.name] == ["secret.key"]


def test_servers_that_start_at_once_have_the_same_key(tmp_path: Path) -> None:
    path, made, barrier = tmp_path / "new" / "secret.key", list[Any](), threading.Barrier(8)

    def start() -> None:
        barrier.wait()
        made.append(secret_key.load(path, may_make=True))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    token = made[0].encrypt(b"text")
    assert [one.decrypt(token) for one in made] == [b"text"] * 8


@pytest.mark.parametrize("loss", ["gone", "another", "no key at all"])
def test_without_its_key_a_secret_is_neither_read_nor_written_beside(state: State, loss: str) -> None:
    secrets.put(state, ME, "KEY", VALUE)
    path = state.settings.secret_key_file
    kept = path.read_bytes()
    path.unlink()
    if loss == "another":
        secret_key.load(path, may_make=True)
    elif loss == "no key at all":
        path.write_text("not a key")
    for call in (
        lambda: secrets.values(state, None, ["KEY"]),
        lambda: secrets.put(state, ME, "NEW", VALUE),
        lambda: secrets.redactor(state, None),
    ):
        with pytest.raises(SecretKeyUnusable, match=str(path)) as refused:
            call()
        assert "SECRET_KEY_FILE" in refused.value.remedy
    assert path.exists() == (loss != "gone")  # no second key was made
    path.write_bytes(kept)
    assert secrets.values(state, None, ["KEY"]) == {"KEY": VALUE}
