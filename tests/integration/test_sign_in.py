"""Signing in, tokens, users and the audit log, through the API and on both databases."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select, update
from starlette.testclient import WebSocketDenialResponse

from dockwright import settings as settings_module
from dockwright.api.app import create_app
from dockwright.api.auth import CSRF_COOKIE, CSRF_HEADER, SESSION_COOKIE
from dockwright.db.tables import AccessToken, AuditEntry, LoginFailure, User, now
from dockwright.errors import DockwrightError, InvalidSetting, SignInNeeded, TooManyAttempts
from dockwright.services import accounts, audit, sign_in, tokens
from dockwright.services.state import State

ADMIN, PASSWORD = "root@example.com", "a password for tests"
WRONG = {"email": ADMIN, "password": "not the password"}
Browser = Callable[..., TestClient]


@pytest.fixture
def state(tmp_path: Path, database: dict[str, str]) -> Iterator[State]:
    made = State(_settings(tmp_path, database, ADMIN_EMAIL=ADMIN, ADMIN_PASSWORD=PASSWORD))
    assert accounts.ensure_admin(made) == accounts.FirstSignIn(email=ADMIN, password=None)
    yield made
    made.close()


def _settings(home: Path, *environ: dict[str, str], **more: str) -> settings_module.Settings:
    named = {name: value for one in (*environ, more) for name, value in one.items()}
    return settings_module.load({"DOCKWRIGHT_HOME": str(home / "home"), **named}, home / "none")


@pytest.fixture
def app(state: State) -> Iterator[FastAPI]:
    made = create_app(state)
    yield made
    made.state.tails.close()
    made.state.tails.release()


@pytest.fixture
def browser(app: FastAPI) -> Browser:
    """`browser(address)`: a client with cookies of its own."""
    return lambda address="192.0.2.1", **options: TestClient(
        app, client=(address, 50000), raise_server_exceptions=False, **options
    )


def _login(client: TestClient, email: str = ADMIN, password: str = PASSWORD) -> Any:
    answer = client.post("/api/v1/auth/login", json={"email": email, "password": password})
    assert answer.status_code == 200, answer.text
    return answer.json()


def _as(client: TestClient, value: str) -> dict[str, str]:
    client.cookies.clear()
    return {"Authorization": f"Bearer {value}"}


def _user(browser: Browser, role: str, email: str, client_id: int = 1) -> dict[str, str]:
    """A new user's bearer header."""
    root = browser()
    body = {"email": email, "password": PASSWORD, "role": role, "client_id": client_id}
    made = root.post("/api/v1/users", json=body, headers=_as(root, _login(root)["access_token"]))
    assert made.status_code == 201, made.text
    return _as(root, _login(root, email)["access_token"])


# --- sessions --------------------------------------------------------------------------------------------------------


def test_a_login_gives_a_token_for_programs_and_cookies_for_browsers(browser: Browser, state: State) -> None:
    client = browser(base_url="https://testserver")
    answer = client.post("/api/v1/auth/login", json={"email": ADMIN.upper(), "password": PASSWORD})
    token = answer.json()["access_token"]
    session, csrf = answer.headers.get_list("set-cookie")
    assert session.startswith(f"{SESSION_COOKIE}={token};")
    assert all(word in session for word in ("HttpOnly", "Secure", "SameSite=strict"))
    assert csrf.startswith(f"{CSRF_COOKIE}={answer.json()['csrf_token']};") and "HttpOnly" not in csrf
    me = client.get("/api/v1/auth/me").json()
    assert (me["email"], me["role"], me["csrf_token"]) == (ADMIN, "admin", answer.json()["csrf_token"])
    assert browser().get("/api/auth/me", headers={"Authorization": f"Bearer {token}"}).json()["csrf_token"] is None
    with state.session() as session:
        assert token not in session.scalars(select(AccessToken.token_hash)).all()
        assert session.scalars(select(User.password_hash)).one().startswith("$argon2id$")


def test_over_plain_http_the_cookie_is_not_for_https_alone(browser: Browser) -> None:
    answer = browser().post("/api/v1/auth/login", json={"email": ADMIN, "password": PASSWORD})
    assert "Secure" not in answer.headers["set-cookie"]


def test_a_change_with_a_cookie_needs_its_csrf_token(browser: Browser) -> None:
    client = browser()
    csrf = _login(client)["csrf_token"]
    body = {"name": "ci"}
    for headers in ({}, {CSRF_HEADER: "wrong"}, {CSRF_HEADER: "ü".encode("latin-1")}):
        refused = client.post("/api/v1/auth/tokens", json=body, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (403, "csrf_token_needed")
    assert client.post("/api/v1/auth/tokens", json=body, headers={CSRF_HEADER: csrf}).status_code == 201
    other = _login(browser())["csrf_token"]
    assert client.post("/api/v1/auth/tokens", json=body, headers={CSRF_HEADER: other}).status_code == 403


def test_a_websocket_with_a_cookie_is_opened_from_our_own_pages_alone(browser: Browser) -> None:
    client = browser()
    token = _login(client)["access_token"]

    def status(headers: dict[str, str]) -> int:
        with (
            pytest.raises(WebSocketDenialResponse) as refused,
            client.websocket_connect("/api/ws/builds/1", headers=headers),
        ):
            pass
        return int(refused.value.status_code)

    assert status({"Origin": "http://testserver"}) == 404  # let in: there is no such build
    assert status({"Origin": "http://testserver:8080"}) == 403
    assert status({"Origin": "https://evil.example"}) == 403
    assert status({}) == 403
    client.cookies.clear()
    assert status({}) == 401
    assert status({"Authorization": f"Bearer {token}", "Origin": "https://evil.example"}) == 404


def test_a_session_ends_by_logout_by_time_and_by_its_user_being_locked_out(browser: Browser, state: State) -> None:
    client = browser()
    for end in ("logout", "time", "locked out"):
        begun = _login(client)
        headers = {CSRF_HEADER: begun["csrf_token"]}
        if end == "logout":
            assert client.post("/api/v1/auth/logout", headers=headers).status_code == 204
            assert SESSION_COOKIE not in client.cookies
        elif end == "time":
            with state.session() as session:
                session.execute(update(AccessToken).values(expires_at=now() - timedelta(seconds=1)))
        else:
            with state.session() as session:
                session.execute(update(User).values(is_active=False))
        refused = client.get("/api/v1/auth/me", headers=_as(client, begun["access_token"]))
        assert (refused.status_code, refused.json()["code"]) == (401, "sign_in_needed")
        assert refused.headers["WWW-Authenticate"] == "Bearer"
    assert client.post("/api/v1/auth/login", json={"email": ADMIN, "password": PASSWORD}).status_code == 401


def test_use_prolongs_a_session_but_not_for_ever(state: State) -> None:
    begun = sign_in.sign_in(state, ADMIN, PASSWORD, None)

    def expires_after_use(created: timedelta) -> timedelta:
        with state.session() as session:
            soon, long_ago = now() + timedelta(minutes=1), now() - timedelta(hours=1)
            values = {"expires_at": soon, "used_at": long_ago, "created_at": now() - created}
            session.execute(update(AccessToken).values(**values))
        assert tokens.identify(state, begun.token) is not None
        with state.session() as session:
            expires_at = session.scalars(select(AccessToken.expires_at)).one()
        assert expires_at is not None
        return expires_at - now()

    assert timedelta(hours=11, minutes=59) < expires_after_use(timedelta(days=1)) <= tokens.IDLE
    assert expires_after_use(timedelta(days=6, hours=23)) <= timedelta(hours=1)


def test_a_new_password_ends_all_sessions_and_leaves_api_tokens(browser: Browser) -> None:
    here, there = browser(), browser("192.0.2.9")
    begun, elsewhere = _login(here), _login(there)
    headers = {CSRF_HEADER: begun["csrf_token"]}
    token = here.post("/api/v1/auth/tokens", json={"name": "ci"}, headers=headers).json()["token"]
    body = {"current_password": "not this one", "new_password": "another password"}
    assert here.put("/api/v1/auth/password", json=body, headers=headers).status_code == 401
    body["current_password"] = PASSWORD
    changed = here.put("/api/v1/auth/password", json=body, headers=headers)
    assert changed.status_code == 200
    assert here.get("/api/v1/auth/me").status_code == 200  # a new session, in the same browser
    for old in (begun, elsewhere):
        assert there.get("/api/v1/auth/me", headers=_as(there, old["access_token"])).status_code == 401
    assert there.get("/api/v1/auth/me", headers=_as(there, token)).status_code == 200
    _login(there, password="another password")


# --- guessing --------------------------------------------------------------------------------------------------------


def test_neither_answer_nor_count_tells_whether_there_is_such_a_user(browser: Browser) -> None:
    for address, email in (("192.0.2.1", ADMIN), ("192.0.2.2", "nobody@example.com")):
        client = browser(address)
        answers = [client.post("/api/v1/auth/login", json={**WRONG, "email": email}) for _ in range(6)]
        assert [answer.status_code for answer in answers] == [401] * 5 + [429]
        assert answers[0].json()["detail"] == "The e-mail address or the password is wrong"
        assert 800 < int(answers[5].headers["Retry-After"]) <= 900
        assert "15 minutes" in answers[5].json()["remedy"]


def test_who_guessed_too_often_is_refused_with_the_right_password_and_its_user_is_not(browser: Browser) -> None:
    guesser = browser("192.0.2.66")
    for _ in range(6):
        guesser.post("/api/v1/auth/login", json=WRONG)
    right = {"email": ADMIN, "password": PASSWORD}
    assert guesser.post("/api/v1/auth/login", json=right).status_code == 429
    _login(browser("192.0.2.1"))
    with pytest.raises(AssertionError):
        _login(guesser)


def test_many_guesses_at_once_are_no_more_than_many_in_a_row(browser: Browser) -> None:
    client = browser()
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: client.post("/api/v1/auth/login", json=WRONG).status_code, range(20)))
    assert sorted(set(answers)) == [401, 429]
    assert answers.count(401) <= 5


def test_one_address_may_not_try_one_password_on_everybody(state: State) -> None:
    def guess(number: int) -> type[DockwrightError]:
        with pytest.raises(DockwrightError) as refused:
            sign_in.sign_in(state, f"user{number}@example.com", "Winter2026!", f"2001:db8:1:2::{number:x}")
        return type(refused.value)

    found = [guess(number) for number in range(sign_in.MOST_OF_ADDRESS + 1)]
    assert found == [SignInNeeded] * sign_in.MOST_OF_ADDRESS + [TooManyAttempts]


def test_guesses_from_everywhere_do_not_lock_the_user_out_where_it_has_signed_in(state: State) -> None:
    sign_in.sign_in(state, ADMIN, PASSWORD, "192.0.2.1")
    with state.session() as session:
        session.add_all(LoginFailure(key=f"email:{ADMIN}") for _ in range(sign_in.MOST_OF_EMAIL))
    with pytest.raises(TooManyAttempts):
        sign_in.sign_in(state, ADMIN, PASSWORD, "198.51.100.7")
    assert sign_in.sign_in(state, ADMIN, PASSWORD, "192.0.2.1").identity.email == ADMIN


def test_failures_are_forgotten_after_their_time_and_by_success(state: State) -> None:
    def fail(times: int) -> None:
        for _ in range(times):
            with pytest.raises(SignInNeeded):
                sign_in.sign_in(state, ADMIN, "not the password", "192.0.2.1")

    fail(4)
    sign_in.sign_in(state, ADMIN, PASSWORD, "192.0.2.1")
    fail(5)
    with state.session() as session:
        session.execute(update(LoginFailure).values(at=now() - sign_in.WINDOW - timedelta(seconds=1)))
    sign_in.sign_in(state, ADMIN, PASSWORD, "192.0.2.1")
    with state.session() as session:
        assert session.scalars(select(LoginFailure.id)).all() == []


# --- tokens, users, clients, audit -----------------------------------------------------------------------------------


def test_an_api_token_is_shown_once_and_refused_once_deleted(browser: Browser) -> None:
    client = browser()
    headers = _as(client, _login(client)["access_token"])
    made = client.post("/api/v1/auth/tokens", json={"name": "ci"}, headers=headers).json()
    assert made["token"].startswith("dwt_") and len(made["token"]) > 40
    (listed,) = client.get("/api/v1/auth/tokens", headers=headers).json()["items"]
    assert listed == {"id": made["id"], "name": "ci", "created_at": made["created_at"], "used_at": None}
    own = _as(client, made["token"])
    assert client.get("/api/v1/auth/me", headers=own).status_code == 200
    assert client.post("/api/v1/auth/logout", headers=own).json()["code"] == "conflict"
    stranger = _user(browser, "owner", "stranger@example.com")
    assert client.delete(f"/api/v1/auth/tokens/{made['id']}", headers=stranger).status_code == 404
    assert client.delete(f"/api/v1/auth/tokens/{made['id']}", headers=own).status_code == 204
    assert client.get("/api/v1/auth/me", headers=own).status_code == 401


def test_owners_keep_the_users_of_their_client_and_give_no_role_above_theirs(browser: Browser, state: State) -> None:
    root = browser()
    as_root = _as(root, _login(root)["access_token"])
    acme = root.post("/api/v1/clients", json={"name": "Acme & Söhne"}, headers=as_root).json()
    assert acme["slug"] == "acmesohne"
    assert root.post("/api/v1/clients", json={"name": "Acme Sohne"}, headers=as_root).status_code == 409
    owner, client = _user(browser, "owner", "owner@acme.example", acme["id"]), browser()

    def create(headers: dict[str, str], **body: object) -> tuple[int, Any]:
        made = {"email": "new@acme.example", "password": PASSWORD, "role": "member", **body}
        answer = client.post("/api/v1/users", json=made, headers=headers)
        return answer.status_code, answer.json()

    assert create(owner, role="admin")[0] == 403
    assert create(owner, client_id=1)[0] == 404
    status, made = create(owner)
    assert (status, made["client_id"], made["role"]) == (201, acme["id"], "member")
    assert create(as_root)[0] == 409
    member = _as(client, _login(client, "new@acme.example")["access_token"])
    for path in ("users", "audit"):
        assert client.get(f"/api/v1/{path}", headers=member).status_code == 403
    assert {one["email"] for one in client.get("/api/v1/users", headers=owner).json()["items"]} == {
        "owner@acme.example",
        "new@acme.example",
    }
    assert [one["id"] for one in client.get("/api/v1/clients", headers=owner).json()["items"]] == [acme["id"]]
    path = f"/api/v1/users/{made['id']}"
    assert client.patch(path, json={"role": "admin"}, headers=owner).status_code == 403
    assert client.patch(path, json={"is_active": False}, headers=owner).json()["is_active"] is False
    assert client.get("/api/v1/auth/me", headers=member).status_code == 401
    told = [(one["actor"], one["action"]) for one in client.get("/api/v1/audit", headers=owner).json()["items"]]
    assert told == [
        ("owner@acme.example", "user.change"),
        ("new@acme.example", "login"),
        ("owner@acme.example", "user.create"),
        ("owner@acme.example", "login"),
        (ADMIN, "user.create"),
    ]


def test_an_administrator_acts_for_the_client_that_it_names(browser: Browser) -> None:
    root = browser()
    headers = _as(root, _login(root)["access_token"])
    acme = root.post("/api/v1/clients", json={"name": "Acme"}, headers=headers).json()
    there = {**headers, "X-Dockwright-Client": str(acme["id"])}
    assert root.get("/api/v1/auth/me", headers=there).json()["client"]["slug"] == "acme"
    assert root.get("/api/v1/auth/me", headers={**headers, "X-Dockwright-Client": "99"}).status_code == 404
    owner = _user(browser, "owner", "owner@example.com")
    assert root.get("/api/v1/auth/me", headers={**owner, "X-Dockwright-Client": "1"}).status_code == 200
    refused = root.get("/api/v1/auth/me", headers={**owner, "X-Dockwright-Client": str(acme["id"])})
    assert (refused.status_code, refused.json()["code"]) == (404, "not_found")


def test_no_password_is_in_an_answer_a_row_or_the_audit_log(browser: Browser, state: State) -> None:
    root = browser()
    headers = _as(root, _login(root)["access_token"])
    short = root.post("/api/v1/users", json={"email": "a@b.example", "password": "tooshort!"}, headers=headers)
    assert short.status_code == 422 and "tooshort" not in short.text
    shown = root.post("/api/v1/auth/login", json={"email": "no address", "password": {"secret": "in a map"}})
    assert shown.status_code == 422 and "in a map" not in shown.text
    root.post("/api/v1/auth/login", json={"email": ADMIN, "password": "a wrong guess"})
    with state.session() as session:
        entries = [str(vars(entry)) for entry in session.scalars(select(AuditEntry))]
    assert len(entries) == 3 and not any("guess" in entry or PASSWORD in entry for entry in entries)


def test_the_audit_log_comes_in_pieces_that_neither_repeat_nor_miss(browser: Browser, state: State) -> None:
    for number in range(7):
        audit.write(state, audit.SYSTEM, "test", "thing", number)
    root = browser()
    headers = _as(root, _login(root)["access_token"])
    seen, cursor = [], None
    while True:
        params = {"limit": 3, **({"cursor": cursor} if cursor else {})}
        answer = root.get("/api/v1/audit", params=params, headers=headers).json()
        seen += [one["object_id"] for one in answer["items"] if one["action"] == "test"]
        audit.write(state, audit.SYSTEM, "meanwhile")
        if (cursor := answer["next_cursor"]) is None:
            break
    assert seen == [6, 5, 4, 3, 2, 1, 0]
    for cursor in ("x", "-1", "99999999999999999999"):
        assert root.get("/api/v1/audit", params={"cursor": cursor}, headers=headers).status_code == 422


# --- the first start -------------------------------------------------------------------------------------------------


def test_of_servers_that_start_at_once_one_makes_the_administrator(tmp_path: Path, database: dict[str, str]) -> None:
    settings = _settings(tmp_path, database)
    states = [State(settings) for _ in range(4)]
    barrier, made = threading.Barrier(len(states)), list[accounts.FirstSignIn | None]()

    def start(one: State) -> None:
        barrier.wait()
        made.append(accounts.ensure_admin(one))

    threads = [threading.Thread(target=start, args=(one,)) for one in states]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (first,) = [one for one in made if one is not None]
    assert first.email == "admin@localhost" and first.password is not None and first.password not in repr(first)
    assert len(made) == 4
    assert sign_in.sign_in(states[0], first.email, first.password, None).identity.role == "admin"
    assert accounts.ensure_admin(states[1]) is None
    for one in states:
        one.close()


def test_an_administrators_password_that_is_too_short_is_named_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="ADMIN_PASSWORD") as refused:
        accounts.ensure_admin(State(_settings(tmp_path, ADMIN_PASSWORD="short")))
    assert "short" not in refused.value.message.replace("too short", "")
