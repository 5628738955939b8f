"""What stands around the routes: problems, the OpenAPI document, health, build info, limits of bodies."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from api_caller import Api, Caller
from sqlalchemy.exc import IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.routing import Route
from structlog.testing import capture_logs

from dockwright.db import schema
from dockwright.errors import DiskFull


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    api = Api(tmp_path / "home")
    yield api
    api.close()


@pytest.fixture
def ask(api: Api) -> Caller:
    return api.caller()


@pytest.fixture
def document(ask: Caller) -> dict[str, Any]:
    found: dict[str, Any] = ask.get("/api/openapi.json")
    return found


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


# --- problems -------------------------------------------------------------------------------------------------------


def test_what_is_not_there(ask: Caller) -> None:
    assert ask.refused("GET", "/nothing", 404, "not_found")["detail"] == "There is nothing at /nothing"
    ask.refused("GET", "/api/v1/nothing", 404, "not_found")
    ask.refused("GET", "projects/", 404, "not_found")
    answer = ask("PUT", "builds", status=405)
    assert answer.json()["code"] == "method_not_allowed" and "GET" in answer.headers["allow"]


def test_who_has_not_signed_in_is_told_how(api: Api) -> None:
    answer = api.http.get("/api/v1/projects")
    assert (answer.status_code, answer.json()["code"]) == (401, "sign_in_needed")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 422, "invalid_request"),
        (b"[" * 100_000, 400, "malformed_body"),
        (b"[" * 500 + b"]" * 500, 422, "invalid_request"),
        (b'{"name": ' + b"9" * 5000 + b"}", 400, "malformed_body"),
        (b'{"name": "\xff"}', 400, "malformed_body"),
        (b'{"name": "\\ud800", "source": {"kind": "upload"}}', 422, "invalid_request"),
        (b'{"name": "\\u0000", "source": {"kind": "upload"}}', 422, "invalid_request"),
        (b'{"name": "x", "source": {"kind": "template", "template": "chatbot", "variables": {"a": NaN}}}', 422, None),
        (b"", 422, "invalid_request"),
    ],
)
def test_bodies_that_are_none(ask: Caller, body: bytes, status: int, code: str | None) -> None:
    headers = {"Content-Type": "application/json"}
    problem = ask.refused("POST", "projects", status, code or "invalid_request", content=body, headers=headers)
    assert len(json.dumps(problem)) < 5000


def test_a_body_that_is_not_said_to_be_json(ask: Caller) -> None:
    problem = ask.refused("POST", "builds/queue", 415, "unsupported_media_type", content=b'{"project_id": 1}')
    assert "Content-Type: application/json" in problem["remedy"]


def test_a_body_that_is_too_large_whether_its_length_is_told_or_not(ask: Caller) -> None:
    headers = {"Content-Type": "application/json"}
    ask.refused("POST", "projects", 413, "body_too_large", content=b" " * 8_000_001, headers=headers)
    chunks = iter([b" " * 1_000_000] * 9)
    ask.refused("POST", "projects", 413, "body_too_large", content=chunks, headers=headers)


def test_a_password_that_is_wrong_in_form_is_not_sent_back(ask: Caller) -> None:
    body = {"email": "a@example.com", "password": ["hunter2"]}
    problem = ask.refused("POST", "auth/login", 422, "invalid_request", json=body)
    assert "hunter2" not in str(problem) and problem["errors"][0]["place"] == "password"


def test_what_nobody_foresaw_is_logged_and_not_shown(api: Api, ask: Caller) -> None:
    def broken() -> None:
        raise RuntimeError("the password is hunter2")

    api.app.router.routes.insert(0, Route("/api/v1/broken", lambda request: broken()))
    with capture_logs() as told:
        problem = ask.refused("GET", "broken", 500, "internal_error")
    assert "hunter2" not in str(problem)
    assert [(one["event"], one["path"], one["exc_info"]) for one in told] == [("request.broke", "/api/v1/broken", True)]


def test_errors_of_ours_keep_their_status_wherever_they_come_from(api: Api, ask: Caller) -> None:
    def broken() -> None:
        raise DiskFull("No room for b\udcff\0", remedy="Make some")

    api.app.router.routes.insert(0, Route("/api/v1/broken", lambda request: broken()))
    assert ask.refused("GET", "broken", 507, "disk_full")["detail"] == "No room for b��"


def test_a_race_that_only_the_database_sees_is_a_conflict(api: Api, ask: Caller) -> None:
    def broken() -> None:
        raise IntegrityError("DELETE FROM images", {"password": "hunter2"}, ValueError("still referenced"))

    api.app.router.routes.insert(0, Route("/api/v1/broken", lambda request: broken()))
    with capture_logs() as told:
        assert "hunter2" not in str(ask.refused("GET", "broken", 409, "conflict"))
    assert [one["event"] for one in told] == ["request.raced"] and "hunter2" not in str(told)


def test_an_answer_that_breaks_in_its_middle_is_cut_off(api: Api) -> None:
    async def half(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("in the middle")

    from dockwright.api.problems import LastResort

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    with pytest.raises(RuntimeError), capture_logs():
        asyncio.run(LastResort(half)({"type": "http", "method": "GET", "path": "/"}, None, send))  # type: ignore[arg-type]
    assert len(sent) == 1


# --- the OpenAPI document -------------------------------------------------------------------------------------------


def test_the_document_is_good_for_making_a_client(document: dict[str, Any]) -> None:
    operations = list(_operations(document))
    assert len(operations) > 60
    names = Counter(operation["operationId"] for _, _, operation in operations)
    assert [name for name, count in names.items() if count > 1] == []
    known = {tag["name"] for tag in document["tags"]}
    for method, path, operation in operations:
        where = f"{method} {path}"
        assert len(operation["tags"]) == 1 and operation["tags"][0] in known, where
        assert operation.get("description") or operation.get("summary"), where
        good = [answer for status, answer in operation["responses"].items() if status.startswith("2")]
        assert good, where
        assert all("schema" in content for one in good for content in one.get("content", {}).values()), where
    assert {tag for _, _, operation in operations for tag in operation["tags"]} <= known


def test_every_operation_tells_its_problems(document: dict[str, Any]) -> None:
    for method, path, operation in _operations(document):
        problems = {"default"} if "security" not in operation else {"default", "401", "403", "422"}
        if method in {"post", "put", "patch", "delete"} and "security" in operation:
            problems |= {"404", "409", "413"}
        for status in problems:
            answer = operation["responses"][status]
            schema = answer["content"]["application/problem+json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/Problem"}, f"{method} {path} {status}"
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_all_but_a_few_need_somebody_signed_in(document: dict[str, Any], api: Api) -> None:
    schemes = document["components"]["securitySchemes"]
    assert schemes["bearer"]["scheme"] == "bearer" and schemes["session"]["in"] == "cookie"
    free = {path for _, path, operation in _operations(document) if "security" not in operation}
    assert free == {"/healthz", "/readyz", "/build/info", "/build-info.js", "/metrics", "/api/v1/auth/login"}
    for method, path, operation in _operations(document):
        if "security" in operation:
            url = re.sub(r"\{[^}]+\}", "1", path)
            assert api.http.request(method, url).status_code in {401, 422, 415}, f"{method} {path}"


def test_references_lead_somewhere(document: dict[str, Any]) -> None:
    named = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert named <= set(document["components"]["schemas"])


def test_the_same_routes_are_at_both_mounts(api: Api, ask: Caller, document: dict[str, Any]) -> None:
    for method, path, _ in _operations(document):
        if method == "get" and "{" not in path and path.startswith("/api/v1"):
            first, second = ask("GET", path), ask("GET", path.replace("/api/v1", "/api", 1))
            assert (first.status_code, set(first.json())) == (second.status_code, set(second.json())), path


def test_the_documentation_loads_nothing_from_elsewhere(ask: Caller) -> None:
    answer = ask("GET", "/api/docs", status=200)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert re.findall(r"""(?:src|href)=["'](?!/)""", answer.text) == []
    assert "http://" not in answer.text and "https://" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


# --- beside the API -------------------------------------------------------------------------------------------------


def test_it_is_up_and_ready(api: Api) -> None:
    assert api.http.get("/healthz").json() == {"status": "ok"}
    assert api.http.get("/readyz").json() == {"status": "ready"}


def test_it_is_not_ready_without_an_engine(api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    answer = api.http.get("/readyz")
    assert answer.status_code == 503 and answer.json()["code"] == "not_ready"
    assert [(one["part"], one["code"]) for one in answer.json()["parts"]] == [("engine", "engine_unreachable")]
    assert api.http.get("/healthz").status_code == 200


def test_connections_that_are_all_in_use_are_a_problem_that_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "POOL_SECONDS", 0.1)
    api = Api(tmp_path / "home")
    ask = api.caller()
    engine = api.state._sessions.kw["bind"]
    with ExitStack() as held:
        with pytest.raises(PoolTimeout):
            while True:
                held.enter_context(engine.connect())
        assert "in a moment" in ask.refused("GET", "projects", 503, "database_busy")["remedy"]
    assert ask.get("projects")["items"] == []
    api.close()


def test_it_is_not_ready_without_its_database(tmp_path: Path) -> None:
    from servers import Postgres

    with Postgres() as server:
        api = Api(tmp_path / "home", {"DATABASE_URL": server.url})
        ask = api.caller()
        server.kill()
        answer = api.http.get("/readyz")
        assert answer.status_code == 503
        assert [(one["part"], one["code"]) for one in answer.json()["parts"]] == [("database", "database_error")]
        ask.refused("GET", "projects", 503, "database_error")
        server.start()
        assert api.http.get("/readyz").status_code == 200
        assert ask.get("projects")["items"] == []
        api.close()


def test_build_info_as_the_requirement_has_it(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUILD_DATE", "2025-09-08T16:32:44Z")
    monkeypatch.setenv("GIT_COMMIT", "e8f2dfb</script>")
    monkeypatch.setenv("CACHE_BUST", "1757349164")
    info = api.http.get("/build/info").json()
    assert set(info) == {"build_date", "git_commit", "cache_bust", "python_version", "container_started", "status"}
    assert (info["build_date"], info["cache_bust"], info["status"]) == ("2025-09-08T16:32:44Z", "1757349164", "healthy")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", info["container_started"])
    script = api.http.get("/build-info.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert '"buildTimestamp": 1757349164000' in script.text and script.text.startswith("window.BUILD_INFO = {")


def test_the_system_as_an_administrator_and_as_a_client_sees_it(api: Api, ask: Caller) -> None:
    api.add_client(2)
    member = api.caller("member")
    body = {"name": "Bot", "source": {"kind": "template", "template": "chatbot"}, "auto_build": True}
    member.post("projects", body, status=201)
    other = api.caller("viewer", client_id=2)
    assert [one.get("system")["queue"]["depth"] for one in (ask, member, other)] == [1, 1, 0]
    shown = ask.get("system")
    assert shown["builders"] == [{"name": "shared", "kind": "shared", "capacity": 3, "active": 0}]
    assert shown["disk"]["free_bytes"] > 0 and shown["versions"]["engine"] and shown["versions"]["buildx"]
