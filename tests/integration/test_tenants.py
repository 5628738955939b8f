"""Nobody reaches another client's objects: a walk over every route of the OpenAPI document, so that a new one is held
to it as well. A stranger's object is 404 whatever is asked of it; without a sign-in all is 401; roles are 403."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select
from starlette.testclient import WebSocketDenialResponse

from dockwright import settings as settings_module
from dockwright.api.app import create_app
from dockwright.db import tables
from dockwright.db.tables import Base, now
from dockwright.domain.roles import Role
from dockwright.services import audit, secrets, tokens
from dockwright.services.state import State

A, B = 7001, 7002
"""The clients; the number of A's is that of each of its objects too."""
MARK = "zweigelt"
"""Part of the name of everything that is A's."""
VALUE = "the value of a secret"
OPEN = {"login", "get_health", "get_readiness", "get_build_info", "get_build_info_script", "show"}
"""Operations that ask for no sign-in."""
OWN = {"logout", "change_password", "create_token", "delete_token"}
"""Changes that anybody may make, since they are to one's own sign-in."""
FOR_OWNERS = {
    "list_users", "create_user", "get_user", "change_user", "list_audit",
    "put_client_secret", "delete_client_secret", "clean_up",
}  # fmt: skip
FOR_ADMINS = {"create_client"}


@dataclass(frozen=True)
class Operation:
    method: str
    path: str
    spec: dict[str, Any]
    document: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.spec["operationId"])

    def parameters(self, where: str) -> list[dict[str, Any]]:
        return [one for one in self.spec.get("parameters", ()) if one["in"] == where]

    @property
    def names_an_object(self) -> bool:
        return any(one["name"].endswith("_id") for one in self.parameters("path"))

    def url(self, number: int, mount: str = "/api/v1") -> str:
        texts = {one["name"]: str(number) if one["name"].endswith("_id") else "KEY" for one in self.parameters("path")}
        return self.path.format(**texts).replace("/api/v1", mount)

    def call(self, client: TestClient, headers: dict[str, str], number: int = A, **more: Any) -> Any:
        return client.request(
            self.method, self.url(number, **more), headers={**headers, **self._headers()}, **self._body(number)
        )

    def body_schema(self) -> dict[str, Any] | None:
        content = self.spec.get("requestBody", {}).get("content", {})
        return content["application/json"]["schema"] if "application/json" in content else None

    def _headers(self) -> dict[str, str]:
        content = self.spec.get("requestBody", {}).get("content", {})
        return {} if not content or "application/json" in content else {"Content-Type": next(iter(content))}

    def _body(self, number: int) -> dict[str, Any]:
        schema = self.body_schema()
        if schema is not None:
            return {"json": _example(schema, self.document, number)}
        return {"content": b"an archive"} if self._headers() else {}


def _example(schema: dict[str, Any], document: dict[str, Any], number: int, name: str = "") -> Any:
    """Something valid, with each id in it being `number`, optional ones too: they may be a stranger's."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if name.endswith("_id"):
        return number
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in schema:
            return _example(next(one for one in schema[choice] if one.get("type") != "null"), document, number, name)
    if "const" in schema or "enum" in schema:
        return schema["const"] if "const" in schema else schema["enum"][0]
    if "default" in schema and schema.get("type") != "object":
        return schema["default"]
    match schema.get("type"):
        case "object":
            wanted = schema.get("required", ())
            members = schema.get("properties", {}).items()
            return {
                key: _example(one, document, number, key)
                for key, one in members
                if key in wanted or key.endswith("_id")
            }
        case "array":
            return [_example(schema["items"], document, number)] * schema.get("minItems", 0)
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return False
        case _:
            return _text(schema, name)


def _text(schema: dict[str, Any], name: str) -> str:
    texts = {"email": "someone@example.com", "repo": "owner/name", "commit_sha": "a" * 40, "url": "https://a.example/b"}
    text = texts.get(name) or next(iter(schema.get("examples", ())), "x" * max(12, schema.get("minLength", 0)))
    assert re.search(schema.get("pattern", ""), text), f"no example for {name}: {schema}"
    return str(text)


# --- the world -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def operations(tmp_path_factory: pytest.TempPathFactory) -> list[Operation]:
    home = tmp_path_factory.mktemp("document")
    document = create_app(State(settings_module.load({"DOCKWRIGHT_HOME": str(home)}, home / "none"))).openapi()
    found = [
        Operation(method.upper(), path, spec, document)
        for path, methods in document["paths"].items()
        for method, spec in methods.items()
    ]
    assert len(found) > 50
    return found


@pytest.fixture
def state(tmp_path: Path, database: dict[str, str]) -> Iterator[State]:
    made = State(settings_module.load({"DOCKWRIGHT_HOME": str(tmp_path / "home"), **database}, tmp_path / "none"))
    _make_objects(made)
    yield made
    made.close()


@pytest.fixture
def client(state: State) -> Iterator[TestClient]:
    app = create_app(state)
    yield TestClient(app, raise_server_exceptions=False)
    app.state.tails.close()
    app.state.tails.release()


def _make_objects(state: State) -> None:
    """One of each kind, all of client A."""
    mine = {"id": A, "client_id": A}
    project = {**mine, "name": f"{MARK} project", "slug": f"{MARK}-project", "source": {"kind": "upload"}}
    build = {**mine, "project_id": A, "status": "failed", "image_name": MARK, "error_message": MARK}
    event = {"build_id": A, "seq": 1, "at": now(), "kind": "log", "text": MARK}
    artifact = {"id": A, "build_id": A, "artifact_type": "config", "file_path": "KEY", "content": MARK}
    image = {**mine, "project_id": A, "build_id": A, "name": MARK, "tag": "latest", "build_status": "success"}
    product = {**mine, "project_id": A, "name": f"{MARK} product", "slug": f"{MARK}-product", "port": 18999}
    image |= {"digest": f"sha256:{'0' * 64}", "details": {"ports": [80]}}
    release = {"product_id": A, "number": A, "image_name": MARK, "digest": "sha256:0", "container_port": 80}
    deployment = {"product_id": A, "release_number": A, "status": "failed", "started_at": now(), "error": MARK}
    with state.session() as session:
        session.add_all(tables.Client(id=number, slug=slug, name=slug) for number, slug in ((A, MARK), (B, "other")))
        session.flush()
        for table, row in (
            (tables.Project, project), (tables.Build, build), (tables.BuildEvent, event),
            (tables.BuildArtifact, artifact), (tables.DockerImage, image), (tables.Product, product),
            (tables.Release, release), (tables.Deployment, deployment),
        ):  # fmt: skip
            session.add(table(**row))
            session.flush()
    of_a = state.of_client(A)
    actor = audit.Someone(f"{MARK}@example.com", client_id=A)
    secrets.put(of_a, actor, "KEY", VALUE, A)
    secrets.put(of_a, actor, "KEY", VALUE)
    _user(state, "member", A, A)


def _user(state: State, role: Role, client_id: int, number: int | None = None) -> dict[str, str]:
    """The header of a new user's API token; `number`: the user's id and the token's."""
    email = f"{MARK if client_id == A else role}-{token_hex(4)}@example.com"
    with state.session() as session:
        user = tables.User(id=number, client_id=client_id, email=email, password_hash="none", role=role)
        session.add(user)
        session.flush()
        value, row = tokens.issue(session, user.id, "api", MARK if client_id == A else "")
        if number is not None:
            row.id = number
    return {"Authorization": f"Bearer {value}"}


def _counts(state: State) -> dict[str, int]:
    with state.session() as session:
        return {
            name: session.scalar(select(func.count()).select_from(table)) or 0
            for name, table in Base.metadata.tables.items()
        }


# --- the walks -------------------------------------------------------------------------------------------------------


def test_a_strangers_object_is_not_there_on_any_route(
    state: State, client: TestClient, operations: list[Operation]
) -> None:
    before, stranger = _counts(state), _user(state, "owner", B)
    walked = [one for one in operations if one.names_an_object]
    assert len(walked) > 25
    wrong = []
    for one in walked:
        answer = one.call(client, stranger)
        if answer.status_code != 404 or answer.json()["code"] != "not_found" or MARK in answer.text:
            wrong.append((one.method, one.path, answer.status_code, answer.text))
    assert wrong == []
    after = _counts(state)
    assert {name: after[name] - count for name, count in before.items() if after[name] != count} == {
        "users": 1,
        "access_tokens": 1,
    }


def test_nor_can_one_be_named_in_a_body(state: State, client: TestClient, operations: list[Operation]) -> None:
    stranger = _user(state, "owner", B)
    walked = [one for one in operations if not one.names_an_object and "_id" in str(one._body(A))]
    assert {"queue_build", "create_user", "create_product"} <= {one.name for one in walked}
    answers = {(one.method, one.path): one.call(client, stranger) for one in walked}
    wrong = {where: (answer.status_code, answer.text) for where, answer in answers.items() if answer.status_code != 404}
    assert wrong == {}


def test_no_list_holds_anything_of_a_stranger(state: State, client: TestClient, operations: list[Operation]) -> None:
    stranger = _user(state, "owner", B)
    walked = [one for one in operations if one.method == "GET" and not one.parameters("path")]
    for one in walked:
        ids = {query["name"]: A for query in one.parameters("query") if query["name"].endswith("_id")}
        required = {query["name"]: "owner/name" for query in one.parameters("query") if query.get("required")}
        for params in ({}, ids):
            answer = client.get(one.url(A), headers=stranger, params={**required, **params})
            assert MARK not in answer.text, (one.path, answer.text)


def test_no_answer_holds_the_value_of_a_secret(state: State, client: TestClient, operations: list[Operation]) -> None:
    owner = _user(state, "owner", A)
    answers = [one.call(client, owner).text for one in operations if one.method == "GET"]
    assert sum("KEY" in text for text in answers) >= 4
    assert [text for text in answers if VALUE in text] == []


def test_a_name_of_a_strangers_image_leads_to_none(state: State, client: TestClient) -> None:
    stranger = _user(state, "owner", B)
    body = {"name": "Mine", "slug": "mine", "image_name": f"{MARK}:latest"}
    made = client.post("/api/v1/products", json=body, headers=stranger)
    if made.status_code == 201:
        made = client.post(f"/api/v1/products/{made.json()['id']}/start", headers=stranger)
    assert made.status_code == 404, made.text


def test_a_strangers_build_is_watched_by_no_websocket(state: State, client: TestClient) -> None:
    for headers, status in ((_user(state, "owner", B), 404), ({}, 401)):
        connecting = client.websocket_connect(f"/api/v1/ws/builds/{A}", headers=headers)
        with pytest.raises(WebSocketDenialResponse) as refused, connecting:
            pass
        assert refused.value.status_code == status


def test_without_a_sign_in_there_is_nothing(client: TestClient, operations: list[Operation]) -> None:
    assert {one.name for one in operations if not one.spec.get("security")} == OPEN
    wrong = []
    for one in operations:
        if one.name in OPEN:
            continue
        for mount in ("/api/v1", "/api"):
            for headers in ({}, {"Authorization": "Bearer dwt_none"}, {"Cookie": "dockwright_session=none"}):
                answer = one.call(client, headers, mount=mount)
                if answer.status_code != 401 or answer.json()["code"] != "sign_in_needed":
                    wrong.append((one.method, one.path, headers, answer.status_code))
    assert wrong == []


def test_each_role_may_do_what_it_may_and_no_more(
    state: State, client: TestClient, operations: list[Operation]
) -> None:
    known = {one.name: one for one in operations}
    assert known.keys() >= OWN | FOR_OWNERS | FOR_ADMINS
    changes = {name for name, one in known.items() if one.method != "GET"} - OPEN - OWN
    forbidden: dict[Role, set[str]] = {
        "viewer": changes | FOR_OWNERS,
        "member": FOR_OWNERS | FOR_ADMINS,
        "owner": FOR_ADMINS,
    }
    for role, names in forbidden.items():
        headers = _user(state, role, A)
        answers = {name: known[name].call(client, headers, A) for name in names}
        allowed = {name: one.text for name, one in answers.items() if one.status_code != 403}
        assert allowed == {}, role
        # What is not forbidden is let in: by a read, which changes nothing here.
        reads = [one for name, one in known.items() if one.method == "GET" and name not in names | OPEN]
        refused = {one.name for one in reads if one.call(client, headers).status_code in {401, 403}}
        assert refused == set(), role
