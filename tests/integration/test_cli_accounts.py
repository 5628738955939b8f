"""`dockwright user add` and `dockwright token create` on the state folder; a password is never an argument."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from dockwright import settings as settings_module
from dockwright.cli.main import app
from dockwright.errors import NotFound, UsageError
from dockwright.services import accounts, audit, sign_in, tokens
from dockwright.services.state import State

PASSWORD = "a password for tests"
Environ = dict[str, str]


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environ:
    found = {"DOCKWRIGHT_HOME": str(tmp_path / "home"), "ADMIN_EMAIL": "root@example.com"}
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture
def state(environ: Environ, tmp_path: Path) -> State:
    return State(settings_module.load(environ, tmp_path / "none"))


def _run(*arguments: str, stdin: str = "") -> str:
    return CliRunner().invoke(app, arguments, input=stdin, catch_exceptions=False, standalone_mode=False).stdout


def test_a_user_signs_in_with_the_password_from_standard_input_or_a_file(state: State, tmp_path: Path) -> None:
    client = accounts.create_client(state, audit.SYSTEM, "Acme")
    made = json.loads(_run("user", "add", "Ada@Example.com", "--role", "owner", "--json", stdin=f"{PASSWORD}\n"))
    assert (made["email"], made["role"], made["client_id"]) == ("ada@example.com", "owner", 1)
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\r\nanother line\n")
    said = _run("user", "add", "bob@example.com", "--client", "acme", "--password-file", str(file))
    assert said == "bob@example.com may sign in now, as member\n"
    assert sign_in.sign_in(state, "ada@example.com", PASSWORD, None).identity.client_id == 1
    assert sign_in.sign_in(state, "bob@example.com", PASSWORD, None).identity.client_id == client["id"]


@pytest.mark.parametrize(("email", "password"), [("ada@example.com", "brief!"), ("no address", PASSWORD)])
def test_what_cannot_be_a_user_is_refused(state: State, email: str, password: str) -> None:
    with pytest.raises(UsageError) as refused:
        _run("user", "add", email, stdin=password)
    assert password not in str(refused.value)
    assert accounts.list_users(state, 50)[0] == []


def test_a_token_is_its_users_and_printed_alone(state: State) -> None:
    with pytest.raises(NotFound, match="no user root@"):
        _run("token", "create")
    accounts.ensure_admin(state)
    _run("user", "add", "ada@example.com", stdin=PASSWORD)
    for arguments, email in (((), "root@example.com"), (("--user", "ada@example.com"), "ada@example.com")):
        identity = tokens.identify(state, _run("token", "create", "--name", "ci", *arguments).strip())
        assert identity is not None and identity.email == email
