"""Builds over the API, from the queue to what is kept of them; no build is run here."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from api_caller import Api, Caller
from sqlalchemy import text

from dockwright.db import build_rows, queue
from dockwright.db.journal import Journal
from dockwright.db.queue import Claim, Limits
from dockwright.db.tables import Build, Deployment, Product
from dockwright.domain.events import Event
from dockwright.errors import SecretKeyUnusable
from dockwright.process import Cancel, identity
from dockwright.services import builds
from dockwright.services.build import request_of

STATUS_FIELDS = {
    *("build_id", "project_id", "status", "stage", "progress", "position", "created_at", "started_at"),
    *("completed_at", "attempt", "image_name", "container_id", "deployment_url", "error", "logs", "task_status"),
}


@pytest.fixture
def ask(api: Api) -> Caller:
    return api.caller("member")


def _claim(api: Api) -> Claim:
    claim = queue.claim(api.state.connection, identity(), Limits(overall=9, client=9, builder=9))
    assert claim is not None
    return claim


def _journal(api: Api, claim: Claim) -> Journal:
    return Journal(api.state.connection, claim.build_id, cancel=Cancel(), attempt=claim.attempt)


# --- queued, canceled, done again -----------------------------------------------------------------------------------


def test_queued_by_either_route(ask: Caller, project: int) -> None:
    first = ask.post("builds/queue", {"project_id": project, "ref": "v1", "priority": 3}, status=202)
    assert set(first) == {"build_id", "task_id", "status", "position", "message"}
    assert (first["status"], first["position"], first["message"]) == ("queued", 1, "Build has been queued")
    second = ask.post(f"builds/trigger/{project}", status=202)
    assert second["position"] == 2
    third = ask.post(f"builds/trigger/{project}", {"profile": "dev", "no_cache": True, "deploy": False}, status=202)
    assert f"takes the place of build {second['build_id']}" in third["message"]
    shown = ask.get(f"builds/{third['build_id']}")
    assert (shown["profile"], shown["origin"]) == ("dev", "api")
    assert shown["options"].items() >= {"no_cache": True, "deploy": False}.items()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"project_id": 77}, 404),
        ({"project_id": 2**40}, 422),
        ({"project_id": "x"}, 422),
        ({}, 422),
        ({"project_id": 1, "profile": "fast"}, 422),
        ({"project_id": 1, "priority": 101}, 422),
        ({"project_id": 1, "ref": "a\0b"}, 422),
        ({"project_id": 1, "ref": "--upload-pack=x"}, 422),
        ({"project_id": 1, "wish": True}, 422),
    ],
)
def test_what_cannot_be_queued(ask: Caller, project: int, body: dict[str, Any], status: int) -> None:
    ask.refused("POST", "builds/queue", status, "not_found" if status == 404 else "invalid_request", json=body)
    assert ask.get("builds")["items"] == []


def test_canceled_once_and_done_again(ask: Caller, project: int) -> None:
    build = ask.post(f"builds/trigger/{project}", {"profile": "dev"}, status=202)["build_id"]
    ask.refused("POST", f"builds/{build}/retry", 409, "conflict")
    canceled = ask("DELETE", f"builds/{build}", status=202).json()
    assert (canceled["build_id"], canceled["status"]) == (build, "canceled")
    ask.refused("DELETE", f"builds/{build}", 409, "conflict")
    again = ask.post(f"builds/{build}/retry", status=202)
    assert again["build_id"] > build
    assert ask.get(f"builds/{again['build_id']}")["profile"] == "dev"


def test_a_running_build_is_asked_to_end(api: Api, ask: Caller, project: int) -> None:
    build = ask.post(f"builds/trigger/{project}", status=202)["build_id"]
    _claim(api)
    assert ask("DELETE", f"builds/{build}", status=202).json()["status"] == "building"
    assert ask.get(f"builds/{build}")["is_cancel_requested"]


# --- the status -----------------------------------------------------------------------------------------------------


def test_the_status_of_a_build_through_its_life(api: Api, ask: Caller, project: int) -> None:
    build = ask.post(f"builds/trigger/{project}", status=202)["build_id"]

    def status() -> dict[str, Any]:
        shown: dict[str, Any] = ask.get(f"builds/{build}/status")
        assert shown == ask.get(f"/api/builds/status/{build}")
        assert set(shown) == STATUS_FIELDS
        return shown

    queued = status()
    assert (queued["status"], queued["position"], queued["attempt"], queued["progress"]) == ("queued", 1, 0, 0)
    assert queued["task_status"] == {"state": "PENDING", "info": None}
    assert queued["created_at"].endswith("Z") and queued["started_at"] is None
    with _journal(api, _claim(api)) as log:
        for number in range(130):
            log.sink(Event("log", f"line {number}", 0.0, "fetch"))
        log.sink(Event("stage", "build started", 0.0, "build", data={"status": "running"}))
        building = status()
        assert (building["status"], building["stage"], building["position"]) == ("building", "build", None)
        assert building["logs"] == [f"line {number}" for number in range(30, 130)]
        info = {"project_id": project, "status": "Building container..."}
        assert building["task_status"] == {"state": "BUILDING", "info": info}
        log.sink(Event("stage", "deploy started", 0.0, "deploy", data={"status": "running"}))
        assert status()["progress"] >= building["progress"] > 0
        log.finish("deployed", {"deployment_url": "http://127.0.0.1:8000", "container_id": "abc", "image_name": "i:1"})
    done = status()
    assert (done["status"], done["progress"], done["error"]) == ("deployed", 100, None)
    result = {"status": "completed", "project_id": project, "container_id": "abc"}
    assert done["task_status"] == {"state": "SUCCESS", "info": {**result, "deployment_url": "http://127.0.0.1:8000"}}


def test_why_a_build_failed(api: Api, ask: Caller, project: int) -> None:
    build = ask.post(f"builds/trigger/{project}", status=202)["build_id"]
    error = {"code": "step_failed", "message": "RUN false ended with 1", "remedy": "Correct it", "stage": "build"}
    error |= {"step": "[2/3] RUN false", "exit_code": 1, "last_lines": ["no"]}
    with _journal(api, _claim(api)) as log:
        columns = {"error_code": "step_failed", "error_message": error["message"]}
        log.finish("failed", {**columns, "result": json.dumps({"error": error, "services": [], "stages": []})})
    shown = ask.get(f"builds/{build}/status")
    assert shown["error"] == error
    assert shown["task_status"]["state"] == "FAILURE" and shown["task_status"]["info"]["error"] == error["message"]
    assert ask.get(f"builds/{build}")["error"] == error
    assert ask.get("builds")["items"][0]["error"] == error["message"]


def test_a_superseded_build_says_so(ask: Caller, project: int) -> None:
    first = ask.post(f"builds/trigger/{project}", status=202)["build_id"]
    ask.post(f"builds/trigger/{project}", status=202)
    shown = ask.get(f"builds/{first}/status")
    assert shown["error"]["code"] == "superseded" and shown["error"]["remedy"]
    assert shown["task_status"]["state"] == "REVOKED"


# --- deployment and artifacts ---------------------------------------------------------------------------------------


def test_what_a_build_was_deployed_as(api: Api, ask: Caller, project: int) -> None:
    build = ask.post(f"builds/trigger/{project}", status=202)["build_id"]
    assert "it is queued" in ask.refused("GET", f"builds/{build}/deployment", 404, "not_found")["detail"]
    with api.state.session() as session:
        product = Product(client_id=1, project_id=project, name="Bot", slug="bot", port=8123)
        session.add(product)
        session.flush()
        began: dict[str, Any] = {"status": "live", "started_at": datetime(2026, 1, 1, tzinfo=UTC)}
        session.add(Deployment(product_id=product.id, release_number=1, build_id=build, **began))
    shown = ask.get(f"builds/{build}/deployment")
    assert (shown["product"], shown["port"], shown["release"], shown["status"]) == ("bot", 8123, 1, "live")
    assert shown["started_at"] == "2026-01-01T00:00:00Z"


def test_artifacts_are_listed_and_read_as_text(api: Api, ask: Caller, project: int) -> None:
    build = ask.post(f"builds/trigger/{project}", status=202)["build_id"]
    page = "<script>alert('Süd')</script>"
    build_rows.save_artifacts(
        api.state.connection,
        build,
        [("dockerfile", "Dockerfile", "FROM scratch\n"), ("config", "config/a b.html", page)],
    )
    items = ask.get(f"builds/{build}/artifacts")["items"]
    assert [(one["artifact_type"], one["file_path"], one["length"]) for one in items] == [
        ("dockerfile", "Dockerfile", 13),
        ("config", "config/a b.html", len(page)),
    ]
    answer = ask("GET", f"builds/{build}/artifacts/config/a b.html", status=200)
    assert answer.text == page
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    for name in ("Dockerfil", "../Dockerfile", "%2e%2e/Dockerfile", "%00"):
        assert ask("GET", f"builds/{build}/artifacts/{name}").status_code in {404, 422}


# --- lists ----------------------------------------------------------------------------------------------------------


def test_the_list_is_filtered_and_paged(api: Api, ask: Caller, project: int) -> None:
    other = ask.post("projects", {"name": "B", "source": {"kind": "template", "template": "chatbot"}}, status=201)["id"]
    ends = ["deployed", "failed", "succeeded", "deployed"]
    for status in ends:
        ask.post(f"builds/trigger/{project}", status=202)
        with _journal(api, _claim(api)) as log:
            if status == "deployed":
                log.enter("deploy")
            log.finish(status, {})  # type: ignore[arg-type]
    queued = ask.post(f"builds/trigger/{other}", status=202)["build_id"]

    def found(query: str) -> list[str]:
        return [one["status"] for one in ask.get(f"builds?{query}")["items"]]

    assert found("") == ["queued", "deployed", "succeeded", "failed", "deployed"]
    assert found("status=failed") == ["failed"]
    assert found("status=completed") == ["deployed", "succeeded", "deployed"]
    assert found("status=failed&status=queued") == ["queued", "failed"]
    assert found(f"project_id={other}") == ["queued"]
    first = ask.get("builds?limit=1&status=completed")
    second = ask.get(f"builds?limit=1&status=completed&cursor={first['next_cursor']}")
    assert [page["items"][0]["status"] for page in (first, second)] == ["deployed", "succeeded"]
    assert ask.get("builds")["items"][0]["id"] == queued
    ask.refused("GET", "builds?status=nonsense", 422, "invalid_request")


def test_the_list_reads_no_more_of_a_large_table_than_it_shows(api: Api) -> None:
    """100,000 builds of three clients: the database reads the newest 50 of one from the end of an index."""
    for client in (2, 3):
        api.add_client(client)
    with api.state.session() as session:
        session.execute(
            text(
                "INSERT INTO projects (id, client_id, name, slug, description, source, build, deploy, auto_build,"
                " created_at) SELECT id, id, 'P', 'p', '', '{}', '{}', '{}', FALSE, '2026-01-01' FROM clients"
            )
        )
        numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)"
        session.execute(
            text(
                f"INSERT INTO builds (client_id, project_id, status, profile, options, attempt, priority, created_at)"
                f" {numbers} SELECT 1 + i % 3, 1 + i % 3, 'failed', 'prod', '{{}}', 1, 0, '2026-01-01' FROM n"
            )
        )
    with api.state.session() as session:
        session.execute(text("ANALYZE"))
        query = builds._summaries(api.state).order_by(Build.id.desc()).limit(51)
        sql = str(query.compile(session.get_bind(), compile_kwargs={"literal_binds": True}))
        if session.get_bind().dialect.name == "sqlite":
            plan = " ".join(row[3] for row in session.execute(text(f"EXPLAIN QUERY PLAN {sql}")))
            assert "builds USING INDEX ix_builds_client" in plan and "TEMP B-TREE" not in plan, plan
        else:
            plan = session.scalar(text(f"EXPLAIN (ANALYZE, FORMAT JSON, TIMING FALSE) {sql}"))
            assert max(_rows_read(plan[0]["Plan"])) <= 300, plan
    items = api.caller("viewer").get("builds")["items"]
    assert len(items) == 50 and items[0]["id"] > items[-1]["id"] > 99_000


def _rows_read(node: dict[str, Any]) -> list[int]:
    own = node["Actual Rows"] * node["Actual Loops"] + node.get("Rows Removed by Filter", 0)
    return [own, *(rows for below in node.get("Plans", ()) for rows in _rows_read(below))]


# --- clean-up -------------------------------------------------------------------------------------------------------


def test_cleaning_up_is_an_owner_s(api: Api, ask: Caller) -> None:
    ask.refused("POST", "builds/cleanup", 403, "not_allowed", json={})
    owner = api.caller("owner")
    done = owner.post("builds/cleanup", {"keep": 2, "older_than_days": 1.5, "dry_run": True})
    assert {name: done[name] for name in ("builds", "images", "containers", "bytes", "dry_run")} == {
        **dict.fromkeys(("builds", "images", "containers", "bytes"), 0),
        "dry_run": True,
    }
    for body in ({"keep": 0}, {"older_than_days": -1}, {"what": 1}, [], "x"):
        owner.refused("POST", "builds/cleanup", 422, "invalid_request", json=body)


def test_values_of_the_environment_are_stored_encrypted(api: Api, ask: Caller, project: int) -> None:
    asked = {"project_id": project, "env": {"TOKEN": "hunter2-of-the-app", "EMPTY": ""}}
    build_id = ask.post("builds/queue", asked, status=202)["build_id"]
    for _ in range(2):
        with api.state.session() as session:
            assert "hunter2" not in json.dumps(session.get_one(Build, build_id).options)
        assert ask.get(f"builds/{build_id}")["options"]["env"] == ["EMPTY", "TOKEN"]
        claim = _claim(api)
        request = request_of(api.state, claim)
        assert claim.build_id == build_id and request.env == asked["env"]
        with _journal(api, claim) as log:
            log.finish("failed", {})
        build_id = ask.post(f"builds/{build_id}/retry", status=202)["build_id"]
    api.state.settings.secret_key_file.unlink()
    with pytest.raises(SecretKeyUnusable):
        request_of(api.state, _claim(api))
