"""Projects over the API: every kind of source, what a server may read from its disk, and what may be removed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_caller import Api, Caller

TEMPLATE = {"kind": "template", "template": "chatbot", "variables": {"assistant_type": "customer_support"}}


@pytest.fixture
def allowed(tmp_path: Path) -> Path:
    """The folder that the operator lets the API build from."""
    (tmp_path / "allowed/shop").mkdir(parents=True)
    return tmp_path / "allowed"


@pytest.fixture
def api(tmp_path: Path, allowed: Path, database: dict[str, str]) -> Iterator[Api]:
    api = Api(tmp_path / "home", {"SOURCE_FOLDERS": str(allowed), **database})
    yield api
    api.close()


@pytest.fixture
def ask(api: Api) -> Caller:
    return api.caller("member")


def _new(ask: Caller, name: str, source: dict[str, Any], **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = ask.post("projects", {"name": name, "source": source, **more}, status=201)
    return made


# --- made -----------------------------------------------------------------------------------------------------------


def test_a_template_s_project_is_an_assistant_and_says_what_comes_next(ask: Caller) -> None:
    made = _new(ask, "Süd Bot!", TEMPLATE)
    assert (made["slug"], made["build_id"], made["auto_build"]) == ("sud-bot", None, False)
    assert made["message"].startswith('Assistant "Süd Bot!" has been created. Build it with')
    shown = ask.get(f"projects/{made['id']}")
    assert shown == {name: value for name, value in made.items() if name != "message"}
    assert shown["source"]["variables"]["personality"]["tone"], "defaults are filled in"


def test_auto_build_queues_the_first_build(ask: Caller) -> None:
    made = _new(ask, "Bot", TEMPLATE, auto_build=True)
    assert f"its build {made['build_id']} is queued" in made["message"]
    assert ask.get(f"builds/{made['build_id']}/status")["status"] == "queued"
    assert ask.get(f"projects/{made['id']}")["build_id"] == made["build_id"]


def test_the_requirement_s_names_are_taken_as_well(ask: Caller) -> None:
    source = {**TEMPLATE, "variables": {"personality_config": {"tone": "dry"}}}
    made = _new(ask, "Bot", source, deployment_config={"env_vars": {"MODE": "x"}})
    assert made["source"]["variables"]["personality"]["tone"] == "dry"
    assert made["deploy"]["env_vars"] == {"MODE": "x"}


def test_git_and_folder_and_upload(ask: Caller, allowed: Path) -> None:
    git = _new(ask, "A", {"kind": "git", "url": "ssh://git@example.com/a.git", "ref": "v1", "subdir": "web"})
    assert git["source"] == {"kind": "git", "url": "ssh://git@example.com/a.git", "ref": "v1", "subdir": "web"}
    hub = _new(ask, "B", {"kind": "git", "repo": "owner/name"})
    assert hub["source"]["url"] == "https://github.com/owner/name.git"
    folder = _new(ask, "C", {"kind": "folder", "path": str(allowed / "shop")})
    assert folder["source"] == {"kind": "folder", "path": str(allowed / "shop")}
    upload = _new(ask, "D", {"kind": "upload"})
    assert upload["source"] == {"kind": "upload"} and "/source" in upload["message"]


@pytest.mark.parametrize(
    ("source", "status", "code"),
    [
        ({"kind": "folder", "path": "/etc"}, 403, "not_allowed"),
        ({"kind": "folder", "path": "ALLOWED/../.."}, 403, "not_allowed"),
        ({"kind": "folder", "path": "ALLOWED/link"}, 403, "not_allowed"),
        ({"kind": "folder", "path": "ALLOWED/nothing"}, 404, "path_not_found"),
        ({"kind": "folder", "path": "shop"}, 403, "not_allowed"),
        ({"kind": "git", "url": "file:///etc"}, 403, "not_allowed"),
        ({"kind": "git", "url": "/etc"}, 403, "not_allowed"),
        ({"kind": "git", "url": "file://localhost/etc"}, 422, "wrong_usage"),
        ({"kind": "git", "url": "../etc"}, 422, "wrong_usage"),
        ({"kind": "git", "url": "ext::sh"}, 422, "wrong_usage"),
        ({"kind": "git", "url": "--upload-pack=x"}, 422, "wrong_usage"),
        ({"kind": "git", "url": "https://me:secret@example.com/a.git"}, 422, "wrong_usage"),
        ({"kind": "git", "url": "https://example.com/a.git", "ref": "-x"}, 422, "invalid_request"),
        ({"kind": "git", "url": "https://example.com/a.git", "repo": "a/b"}, 422, "invalid_request"),
        ({"kind": "git"}, 422, "invalid_request"),
        ({"kind": "upload", "digest": "0" * 64}, 422, "invalid_request"),
        ({"kind": "template", "template": "chatbo"}, 404, "unknown_template"),
        ({"kind": "template", "template": "../chatbot"}, 404, "unknown_template"),
        ({"kind": "template", "template": "chatbot", "variables": {"assistant_type": 5}}, 422, "invalid_variable"),
        ({"kind": "template", "template": "chatbot", "variables": {"\ud800": 1}}, 422, "invalid_request"),
        ({"kind": "elsewhere"}, 422, "invalid_request"),
    ],
)
def test_a_source_that_cannot_be(ask: Caller, allowed: Path, source: dict[str, Any], status: int, code: str) -> None:
    (allowed / "link").symlink_to("/etc")
    meant = dict(source)
    if "path" in meant:
        meant["path"] = meant["path"].replace("ALLOWED", str(allowed))
    problem = ask.refused("POST", "projects", status, code, json={"name": "X", "source": meant})
    assert "secret" not in str(problem)
    assert ask.get("projects")["items"] == []


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"name": "", "source": TEMPLATE}, "name"),
        ({"name": "a\0b", "source": TEMPLATE}, "name"),
        ({"name": "   ", "source": TEMPLATE}, "name"),
        ({"name": "X", "slug": "A b", "source": TEMPLATE}, "slug"),
        ({"name": "X"}, "source"),
        ({"name": "X", "source": TEMPLATE, "colour": "red"}, "colour"),
        ({"name": "X", "source": TEMPLATE, "deploy": {"port": 70000}}, "deploy.port"),
        ({"name": "X", "source": TEMPLATE, "build": {"args": {"A B": "1"}}}, "build.args.A B.[key]"),
        ({"name": "X", "source": TEMPLATE, "build": {"timeout_seconds": 0}}, "build.timeout_seconds"),
    ],
)
def test_a_field_that_is_wrong_is_named(ask: Caller, body: dict[str, Any], place: str) -> None:
    problem = ask.refused("POST", "projects", 422, "invalid_request", json=body)
    assert [one["place"] for one in problem["errors"]] == [place]


def test_names_and_slugs_are_taken_once(ask: Caller) -> None:
    _new(ask, "Shop", TEMPLATE)
    ask.refused("POST", "projects", 409, "conflict", json={"name": "Shop", "source": TEMPLATE})
    ask.refused("POST", "projects", 409, "conflict", json={"name": "Other", "slug": "shop", "source": TEMPLATE})
    assert _new(ask, "shop!", TEMPLATE)["slug"] == "shop-2"


# --- listed, changed, removed ---------------------------------------------------------------------------------------


def test_the_list_is_paged_newest_first(ask: Caller) -> None:
    made = [_new(ask, f"P{number}", {"kind": "upload"})["id"] for number in range(5)]
    first = ask.get("projects?limit=2")
    second = ask.get(f"projects?limit=2&cursor={first['next_cursor']}")
    third = ask.get(f"projects?limit=2&cursor={second['next_cursor']}")
    assert [one["id"] for page in (first, second, third) for one in page["items"]] == made[::-1]
    assert third["next_cursor"] is None
    for query in ("limit=0", "limit=201", "limit=x"):
        ask.refused("GET", f"projects?{query}", 422, "invalid_request")
    ask.refused("GET", "projects?cursor=nonsense", 422, "wrong_usage")


def test_what_is_not_given_stays(ask: Caller) -> None:
    made = _new(ask, "Bot", TEMPLATE, deploy={"port": 9000}, description="before")
    changed = ask("PATCH", f"projects/{made['id']}", json={"auto_build": True, "name": "Other"}, status=200).json()
    assert (changed["auto_build"], changed["name"], changed["slug"]) == (True, "Other", "bot")
    assert changed["deploy"]["port"] == 9000 and changed["description"] == "before"
    assert changed["source"] == made["source"]
    ask("PATCH", f"projects/{made['id']}", json={}, status=200)


def test_a_source_is_replaced_as_a_whole_and_checked_again(ask: Caller) -> None:
    made = _new(ask, "Bot", TEMPLATE)
    path = f"projects/{made['id']}"
    ask.refused("PATCH", path, 403, "not_allowed", json={"source": {"kind": "folder", "path": "/etc"}})
    assert ask.get(path)["source"] == made["source"]
    git = {"kind": "git", "url": "https://example.com/a.git"}
    assert ask("PATCH", path, json={"source": git}, status=200).json()["source"] == git


def test_removed_with_its_builds_once_they_have_finished(ask: Caller) -> None:
    made = _new(ask, "Bot", TEMPLATE, auto_build=True)
    problem = ask.refused("DELETE", f"projects/{made['id']}", 409, "conflict")
    assert f"DELETE /builds/{made['build_id']}" in problem["remedy"]
    ask("DELETE", f"builds/{made['build_id']}", status=202)
    ask("DELETE", f"projects/{made['id']}", status=204)
    ask.refused("GET", f"projects/{made['id']}", 404, "not_found")
    ask.refused("GET", f"builds/{made['build_id']}", 404, "not_found")


def test_what_was_done_is_on_record(api: Api, ask: Caller) -> None:
    made = _new(ask, "Bot", TEMPLATE, auto_build=True)
    ask("PATCH", f"projects/{made['id']}", json={"description": "x"}, status=200)
    ask("DELETE", f"builds/{made['build_id']}", status=202)
    ask("DELETE", f"projects/{made['id']}", status=204)
    entries = api.caller("owner").get("audit")["items"]
    actions = [(one["action"], one["object_id"]) for one in entries[::-1] if one["action"].split(".")[0] != "token"]
    number, build = made["id"], made["build_id"]
    assert actions == [
        ("project.create", number),
        ("build.queue", build),
        ("project.update", number),
        ("build.cancel", build),
        ("project.remove", number),
    ]


def test_a_viewer_reads_and_does_no_more(api: Api, ask: Caller) -> None:
    made = _new(ask, "Bot", TEMPLATE)
    viewer = api.caller("viewer")
    assert viewer.get(f"projects/{made['id']}")["name"] == "Bot"
    viewer.refused("POST", "projects", 403, "not_allowed", json={"name": "X", "source": TEMPLATE})
    viewer.refused("PATCH", f"projects/{made['id']}", 403, "not_allowed", json={})
    viewer.refused("DELETE", f"projects/{made['id']}", 403, "not_allowed")


# --- templates ------------------------------------------------------------------------------------------------------


def test_templates_tell_their_variables_as_json_schema(ask: Caller) -> None:
    from jsonschema import Draft202012Validator

    (one,) = [one for one in ask.get("templates")["items"] if one["name"] == "chatbot"]
    assert one["title"] and one["description"]
    schema = ask.get("templates/chatbot")["variables"]
    Draft202012Validator.check_schema(schema)
    assert "assistant_type" in schema["properties"]
    assert "chatbot" in ask.refused("GET", "templates/chatbo", 404, "unknown_template")["detail"]
