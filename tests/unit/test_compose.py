"""What of a compose file matters to a build, the bake file that comes of it, and what a changed file asks for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dockwright.docker.bake import Bake, bake_file, target_names
from dockwright.domain.plan import CopyMapping, InputFile, InputManifest, InputStep, ServicePlan
from dockwright.errors import ComposeFileWrong, NotFound, StepFailed
from dockwright.insight.compose import read, references
from dockwright.insight.copies import Copies
from dockwright.insight.watching import copied_only, reloads_itself, watch_rules

PLAN = ServicePlan(
    service="web",
    context=Path("/contexts/web"),
    dockerfile=Path("/src/web/Dockerfile"),
    target=None,
    args={},
    secrets=(),
    tags=("local/shop/web:b1",),
    labels={},
    substitutes={},
    base_ports=frozenset(),
    manifest_digest="0" * 64,
    manifest=None,
    context_files=1,
    context_bytes=1,
    reuse=None,
    manifest_json=str,
    sending=lambda: None,  # type: ignore[arg-type, return-value]
    copies=lambda: None,
    changed_since=list,
)


def composed(**services: dict[str, Any]) -> dict[str, Any]:
    return {"services": services}


# --- the compose file -----------------------------------------------------------------------------------------------


def test_services_of_an_equal_build_share_one_image() -> None:
    build = {"context": "/app", "args": {"A": "1", "NONE": None}}
    found = read(
        composed(
            worker={"build": dict(build)},
            api={"build": dict(build), "image": "app:1"},
            beat={"image": "app:1"},
            other={"build": {**build, "args": {"A": "2"}}},
            db={"image": "postgres:15"},
        )
    )
    assert [recipe.services for recipe in found.recipes] == [("api", "beat", "worker"), ("other",)]
    assert found.recipes[0].args == {"A": "1"}
    assert found.images == {"db": "postgres:15"}
    assert not found.is_plain


def test_images_come_after_those_that_they_are_built_on() -> None:
    on = {"context": "/x", "additional_contexts": {"base": "service:zz"}}
    found = read(composed(aa={"build": on}, zz={"build": {"context": "/z"}}, mm={"build": {"context": "/m"}}))
    order = [recipe.service for recipe in found.recipes]
    assert order.index("zz") < order.index("aa")
    assert [recipe.service for recipe in found.recipes_of(frozenset({"aa"}))] == ["zz", "aa"]
    with pytest.raises(ComposeFileWrong, match="aa is built on the service zz, which is not built"):
        read(composed(aa={"build": on}, zz={"image": "x"}))
    with pytest.raises(ComposeFileWrong, match="one that is built on it"):
        read(composed(zz={"build": on}))


def test_a_service_is_started_with_all_that_it_needs() -> None:
    found = read(
        composed(
            web={"image": "w", "depends_on": {"api": {"condition": "service_healthy"}}},
            api={"image": "a", "depends_on": {"db": {}}},
            db={"image": "d"},
            mail={"image": "m"},
        )
    )
    assert found.with_needs("web") == {"web", "api", "db"}
    with pytest.raises(NotFound, match="wbe"):
        found.with_needs("wbe")


def test_how_many_containers_of_a_service_there_are_to_be() -> None:
    done = {"migrate": {"condition": "service_completed_successfully"}, "api": {"condition": "service_started"}}
    found = read(
        composed(
            web={"image": "w", "depends_on": done, "deploy": {"replicas": 3}},
            api={"image": "a", "deploy": {"resources": {}}},
            off={"image": "o", "scale": 0},
            migrate={"image": "a", "scale": 1},
        )
    )
    assert found.standing == {"web": 3, "api": 1, "off": 0, "migrate": 0}


def test_what_no_profile_starts_is_not_needed() -> None:
    """Compose leaves a service of an inactive profile out of its document, and keeps who depends on it."""
    found = read(
        composed(web={"image": "w", "depends_on": {"db": {"condition": "service_started", "required": False}}})
    )
    assert found.with_needs("web") == {"web"}


@pytest.mark.parametrize(
    ("service", "is_plain"),
    [
        ({"build": {"context": "/x"}, "ports": [{"target": 80}], "command": None}, True),
        ({"build": {"context": "/x"}, "environment": {"A": "b"}}, False),
        ({"build": {"context": "/x"}, "command": ["serve"]}, False),
        ({"build": {"context": "/x"}, "volumes": [{"target": "/data"}]}, False),
    ],
)
def test_one_service_that_is_its_image_and_no_more(service: dict[str, Any], is_plain: bool) -> None:
    assert read(composed(app=service)).is_plain is is_plain


def test_secrets_and_what_is_left_out() -> None:
    build = {"context": "/x", "secrets": [{"source": "a"}, {"source": "b", "target": "c"}], "network": "host"}
    document = {**composed(app={"build": build}), "secrets": {"a": {"file": "/f"}, "b": {"environment": "B"}}}
    (recipe,) = read(document).recipes
    assert recipe.secrets == ("id=a,src=/f", "id=c,env=B") and recipe.left_out == ("network",)
    assert list(recipe.paths) == ["/x", "/f"]
    with pytest.raises(ComposeFileWrong, match="neither a file nor a variable"):
        read({**document, "secrets": {"a": {"file": "/f"}, "b": {"external": True}}})


def test_all_that_reading_a_file_would_read() -> None:
    document = {
        "include": ["a.yaml", {"path": ["b.yaml", "c.yaml"], "env_file": "b.env", "project_directory": "p"}],
        "services": {
            "x": {"extends": {"file": "e.yaml", "service": "y"}, "env_file": ["one.env", {"path": "two.env"}]},
            "z": None,
        },
    }
    assert set(references(document)) == {
        *(("a.yaml", True), ("b.yaml", True), ("c.yaml", True), ("e.yaml", True)),
        *(("b.env", False), ("p", False), ("one.env", False), ("two.env", False)),
    }


# --- bake -----------------------------------------------------------------------------------------------------------


def test_bake_file_says_all_that_a_plan_does() -> None:
    plan = replace(
        PLAN,
        target="final",
        args={"A": "${HOME} %{x} $y"},
        secrets=("id=a,src=/f",),
        labels={"l": "1"},
        substitutes={"python:3": "localhost/base/python:3"},
        contexts={"shared": "/shared", "base": "service:api"},
        platform="linux/arm64",
        no_cache=True,
    )
    found = bake_file([plan, replace(PLAN, service="api", tags=("local/shop/api:b1",))])
    assert found["group"]["default"]["targets"] == ["web", "api"]
    assert found["target"]["web"] == {
        "context": "/contexts/web",
        "dockerfile": "/src/web/Dockerfile",
        "args": {"A": "$${HOME} %%{x} $y"},
        "contexts": {
            "shared": "/shared",
            "base": "target:api",
            "python:3": "docker-image://localhost/base/python:3",
        },
        "labels": {"l": "1"},
        "tags": ["local/shop/web:b1"],
        "secret": ["id=a,src=/f"],
        "attest": ["type=provenance,disabled=true"],
        "target": "final",
        "platforms": ["linux/arm64"],
        "no-cache": True,
    }


def test_targets_have_names_that_bake_takes_and_no_two_the_same() -> None:
    plans = [replace(PLAN, service=name) for name in ("a.b", "a_b", "A-1")]
    assert target_names(plans) == {"a.b": "a_b", "a_b": "a_b_", "A-1": "A-1"}


def vertex(digest: str, name: str, **more: str) -> dict[str, str]:
    return {"digest": digest, "name": name, "started": "2026-01-01T00:00:00Z", **more}


def test_steps_and_output_are_each_services_own() -> None:
    bake = Bake([PLAN, replace(PLAN, service="api")], Path("/m"))
    told: list[tuple[str, str]] = []

    def watch(service: str, news: Any) -> None:
        told.append((service, getattr(news, "text", None) or news.name))

    line = {"vertex": "sha256:1", "stream": 1, "data": "b25jZQo=", "timestamp": "2026-01-01T00:00:01Z"}
    bake._take({"vertexes": [vertex("sha256:1", "[web 2/3] RUN x"), vertex("sha256:1", "[api 2/4] RUN x")]}, watch, 0)
    bake._take({"logs": [line]}, watch, 0)
    bake._take({"logs": [line]}, watch, 0)
    bake._take({"vertexes": [vertex("sha256:2", "[api] exporting to image")]}, watch, 0)
    bake._take({"vertexes": [vertex("sha256:3", "[internal] load local bake definitions")]}, watch, 0)
    assert told == [
        ("web", "[2/3] RUN x"),
        ("api", "[2/4] RUN x"),
        ("web", "once"),
        ("api", "exporting to image"),
    ]


def test_failure_is_that_of_the_service_that_failed_of_itself() -> None:
    bake = Bake([PLAN, replace(PLAN, service="api")], Path("/m"))
    done = {"completed": "2026-01-01T00:00:01Z"}
    ended = vertex("sha256:1", "[web 2/3] RUN sleep 9", error="context canceled", **done)
    failed = vertex("sha256:2", "[api 2/3] RUN exit 4", error="process did not complete: exit code: 4", **done)
    bake._take({"vertexes": [ended, failed]}, lambda service, news: None, 0)
    error = bake._failure(1)
    assert isinstance(error, StepFailed) and error.step == "[api 2/3] RUN exit 4"
    assert error.message == "Service api: the step [2/3] RUN exit 4 failed with exit code 4"


# --- live reload ----------------------------------------------------------------------------------------------------


def step(index: int, instruction: str, *files: str, target: str = "0", depends_on: tuple[str, ...] = ()) -> InputStep:
    return InputStep(
        index=index,
        target=target,
        number=str(index),
        line=index + 1,
        instruction=instruction,
        text=instruction,
        resolved=instruction,
        depends_on=depends_on,
        files=tuple(InputFile(path, 0o100644, "d") for path in files),
    )


def copies(*paths: str, **more: Any) -> Copies:
    mappings = tuple(CopyMapping(source=path, destination=f"/app/{path}", mode=0o100644, digest="d") for path in paths)
    return Copies(mappings, (), more.get("either", {}), {}, {})


def manifest(*steps: InputStep) -> InputManifest:
    return InputManifest(platform="linux/amd64", target=None, steps=steps, digest="0")


def test_a_file_that_is_only_copied_need_not_be_built() -> None:
    made = manifest(step(0, "FROM"), step(1, "COPY", "req.txt"), step(2, "RUN"), step(3, "COPY", "a.py", "b.py"))
    found = copied_only(["a.py"], made, copies("req.txt", "a.py", "b.py"))
    assert found is not None and [one.destination for one in found] == ["/app/a.py"]
    assert copied_only(["req.txt"], made, copies("req.txt", "a.py")) is None, "a RUN comes after it"
    assert copied_only(["a.py", "req.txt"], made, copies("req.txt", "a.py")) is None
    assert copied_only(["gone.py"], made, copies("a.py")) is None
    assert copied_only(["a.py"], made, copies("a.py", either={"/app/a.py": "/app/a.py/a.py"})) is None


def test_a_file_of_another_build_target_must_be_built() -> None:
    made = manifest(step(0, "COPY", "a.js", target="build"), step(1, "COPY", depends_on=("build",), target="1"))
    assert copied_only(["a.js"], made, copies("a.js")) is None


@pytest.mark.parametrize(
    ("command", "does"),
    [
        ("uvicorn main:app --reload", True),
        ("python manage.py runserver", True),
        ("npm run dev", True),
        ("npx nodemon server.js", True),
        ("python -m http.server", False),
        ("uvicorn main:app", False),
        ("node server.js", False),
    ],
)
def test_commands_that_reload_by_themselves(command: str, does: bool) -> None:
    assert reloads_itself(command.split()) is does


def test_rules_of_develop_watch() -> None:
    entry = {"path": "/src", "action": "sync", "target": "/app", "ignore": ["x/"], "exec": {"command": None}}
    first, second = watch_rules({"develop": {"watch": [entry, {"path": "/p", "action": "rebuild"}]}})
    assert (first.path, first.action, first.target, first.ignore) == ("/src", "sync", "/app", ("x/",))
    assert (second.action, second.target) == ("rebuild", "")
    assert watch_rules({}) == ()
