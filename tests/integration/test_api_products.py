"""Products and images over the API, as far as nothing runs; and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from api_caller import Api, Caller

from dockwright.db.tables import DockerImage, Release, now


@pytest.fixture
def ask(api: Api) -> Caller:
    return api.caller("member")


@pytest.fixture
def image(api: Api, ask: Caller) -> int:
    return _image(api, ask, "success")


def _image(api: Api, ask: Caller, status: str, client_id: int = 1, tag: str = "b1") -> int:
    body = {"name": f"P {status} {tag}", "source": {"kind": "template", "template": "chatbot"}}
    project = ask.post("projects", body, status=201)["id"]
    with api.state.session() as session:
        row = DockerImage(client_id=client_id, project_id=project, name=f"{api.slug}/pay", tag=tag)
        row.build_status, row.digest, row.details = status, f"sha256:{tag:0>64}", {"ports": [8000]}
        row.built_at = now()
        session.add(row)
        session.flush()
        return row.id


def _new(ask: Caller, **fields: Any) -> dict[str, Any]:
    made: dict[str, Any] = ask.post("products", {"name": "Allianz Insurance", **fields}, status=201)
    return made


def test_made_as_the_requirement_has_it(api: Api, ask: Caller, image: int) -> None:
    env = {"DATABASE_URL": "postgresql://secret@db", "PLATFORM_API_KEY": "hidden"}
    made = _new(ask, slug="allianz", port=48001, replicas=2, image_id=image, env_vars=env)
    assert (made["slug"], made["port"], made["replicas"], made["status"]) == ("allianz", 48001, 2, "stopped")
    assert (made["image_id"], made["image_name"]) == (image, f"{api.slug}/pay:b1")
    assert made["env_vars"] == ["DATABASE_URL", "PLATFORM_API_KEY"]
    assert made["url"] == "http://127.0.0.1:48001" and made["instances"] == [] and made["release"] is None
    for shown in (ask.get("products")[0], ask.get(f"products/{made['id']}")):
        assert shown == made
    assert "secret@db" not in str(ask.get("products")) and "hidden" not in str(api.caller("owner").get("audit"))


def test_without_slug_and_port_it_gets_its_own(ask: Caller) -> None:
    first, second = _new(ask), _new(ask, name="Süd")
    assert (first["slug"], second["slug"]) == ("allianz-insurance", "sud")
    assert first["port"] != second["port"]


def test_what_is_taken_or_cannot_be(api: Api, ask: Caller, image: int) -> None:
    _new(ask, slug="allianz", port=48002)
    pending = _image(api, ask, "pending", tag="b2")
    api.add_client(2)
    strange = _image(api, ask, "success", client_id=2, tag="b3")
    for fields, status, code in (
        ({"slug": "allianz"}, 409, "conflict"),
        ({"port": 48002}, 409, "port_taken"),
        ({"image_id": 77}, 404, "not_found"),
        ({"image_id": strange}, 404, "not_found"),
        ({"image_id": pending}, 422, "wrong_usage"),
        ({"port": 0}, 422, "invalid_request"),
        ({"replicas": 0}, 422, "invalid_request"),
        ({"env_vars": {"A=B": "x"}}, 422, "invalid_request"),
        ({"env_vars": {"A": "x\0y"}}, 422, "invalid_request"),
        ({"image_name": "; rm -rf /"}, 422, "invalid_request"),
    ):
        ask.refused("POST", "products", status, code, json={"name": "Other", **fields})
    assert len(ask.get("products")) == 1


def test_another_client_s_port_is_taken_and_not_told_whose(api: Api, ask: Caller) -> None:
    _new(ask, slug="allianz", port=48003)
    api.add_client(2)
    problem = api.caller("member", client_id=2).refused(
        "POST", "products", 409, "port_taken", json={"name": "X", "port": 48003}
    )
    assert "llianz" not in str(problem)


def test_changed_in_part(api: Api, ask: Caller, image: int) -> None:
    made = _new(ask, env_vars={"A": "1", "B": "2"}, image_name="pay")
    path = f"products/{made['id']}"
    changed = ask("PATCH", path, json={"env_vars": {"A": None, "C": "3"}, "replicas": 3}, status=200).json()
    assert (changed["env_vars"], changed["replicas"], changed["name"]) == (["B", "C"], 3, made["name"])
    changed = ask("PATCH", path, json={"image_id": image, "port": 48004}, status=200).json()
    assert (changed["image_name"], changed["port"]) == (f"{api.slug}/pay:b1", 48004)
    changed = ask("PATCH", path, json={"image_name": "pay:v2"}, status=200).json()
    assert (changed["image_id"], changed["image_name"]) == (None, "pay:v2")
    ask.refused("PATCH", path, 404, "not_found", json={"image_id": 77})
    ask.refused("PATCH", path, 422, "invalid_request", json={"slug": "other"})
    ask.refused("PATCH", "products/77", 404, "not_found", json={})


def test_nothing_to_start_nothing_to_roll_back_to(ask: Caller) -> None:
    made = _new(ask)
    path = f"products/{made['id']}"
    for action in ("start", "restart"):
        assert "PATCH" in ask.refused("POST", f"{path}/{action}", 409, "conflict")["remedy"]
    ask.refused("POST", f"{path}/scale", 409, "conflict", json={"replicas": 2})
    ask.refused("POST", f"{path}/scale", 422, "invalid_request", json={"replicas": 0})
    ask.refused("POST", f"{path}/rollback", 409, "conflict")
    ask.refused("POST", f"{path}/rollback", 404, "not_found", json={"release": 3})
    ask.refused("GET", f"{path}/verify", 409, "conflict")
    assert ask.post(f"{path}/stop")["status"] == "stopped"
    for kind in ("releases", "deployments", "logs"):
        assert ask.get(f"{path}/{kind}")["items"] == []
    ask("PATCH", path, json={"image_name": "nothing"}, status=200)
    ask.refused("POST", f"{path}/start", 404, "not_found")


def test_a_number_is_an_id_whatever_others_are_called(ask: Caller) -> None:
    first = _new(ask, name="One")
    _new(ask, name=str(first["id"]))
    assert ask.get(f"products/{first['id']}")["name"] == "One"


def test_removed_unless_it_runs(api: Api, ask: Caller) -> None:
    made = _new(ask)
    with api.state.session() as session:
        session.add(Release(product_id=made["id"], number=1, image_name="x", digest="sha256:0", container_port=80))
    ask("DELETE", f"products/{made['id']}", status=204)
    ask.refused("DELETE", f"products/{made['id']}", 404, "not_found")
    assert ask.get("products") == []


def test_images_are_shown_and_removed_unless_they_are_needed(api: Api, ask: Caller, image: int) -> None:
    (shown,) = ask.get("images")
    names = ("id", "name", "tag", "build_status")
    assert [shown[name] for name in names] == [image, f"{api.slug}/pay", "b1", "success"]
    detail = ask.get(f"images/{image}")
    assert detail["is_on_engine"] is False and detail["ports"] == [8000] and detail["build_log"] is None
    product = _new(ask, image_id=image)
    problem = ask.refused("DELETE", f"images/{image}", 409, "conflict")
    assert product["slug"] in problem["detail"]
    ask("DELETE", f"products/{product['id']}", status=204)
    assert ask("DELETE", f"images/{image}", status=200).json()["id"] == image
    ask.refused("GET", f"images/{image}", 404, "not_found")
    assert ask.get("images") == []


def test_a_project_stays_while_a_product_rests_on_its_image(api: Api, ask: Caller, image: int) -> None:
    project = ask.get("images")[0]["project_id"]
    product = _new(ask, image_id=image)
    assert product["slug"] in ask.refused("DELETE", f"projects/{project}", 409, "conflict")["detail"]
    ask("DELETE", f"products/{product['id']}", status=204)
    ask("DELETE", f"projects/{project}", status=204)
    assert ask.get("images") == []
