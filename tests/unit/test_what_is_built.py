"""What the builder is handed, and what decides that an image is another: without an engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dockwright import settings
from dockwright.domain.build import BuildRequest, History
from dockwright.domain.events import Event
from dockwright.domain.plan import ServicePlan
from dockwright.domain.source import FolderSource, Tree
from dockwright.insight.compose import Recipe
from dockwright.process import Cancel
from dockwright.stages.asked import composition
from dockwright.stages.build import for_this_host
from dockwright.stages.context import StageContext
from dockwright.stages.explaining import who_wants_no_cache
from dockwright.stages.plan import Planner

NOWHERE = "127.0.0.1:9/dockerfile:1"
Plan = Callable[..., ServicePlan]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.mkdir()
    (path / "Dockerfile").write_text("FROM scratch\nCOPY . /src\n")
    return path


@pytest.fixture
def said() -> list[Event]:
    return []


@pytest.fixture
def ctx(root: Path, said: list[Event]) -> StageContext:
    request = BuildRequest(
        build_id=1,
        client="local",
        project="app",
        project_id=1,
        name="App",
        description="",
        source=FolderSource(path=str(root)),
    )
    return StageContext(
        request=request,
        settings=settings.load({"DOCKWRIGHT_HOME": str(root.parent)}, root / "none"),
        history=History(),
        workspace=root.parent / "workspace",
        sink=said.append,
        cancel=Cancel(),
    )


@pytest.fixture
def planned(ctx: StageContext, root: Path) -> Plan:
    def plan(**recipe: object) -> ServicePlan:
        tree = Tree(root=root, source=FolderSource(path=str(root)), is_in_place=True)
        return Planner(ctx, tree, Recipe(service="app", context=str(root), **recipe)).plan()  # type: ignore[arg-type]

    return plan


def test_a_dockerfile_without_its_front_end_keeps_its_own_ignore_file(
    ctx: StageContext, planned: Plan, root: Path, tmp_path: Path
) -> None:
    (root / "prod.Dockerfile").write_text(f"# syntax={NOWHERE}\nFROM scratch\nCOPY . /src\n")
    folder = tmp_path / "build"
    folder.mkdir()
    assert not (folder / "Dockerfile.dockerignore").exists()
    (root / "prod.Dockerfile.dockerignore").write_text("secret.txt\n")
    sent = for_this_host(ctx, planned(dockerfile="prod.Dockerfile"), folder)
    assert sent.dockerfile == folder / "Dockerfile" and "syntax" not in sent.dockerfile.read_text()
    assert (folder / "Dockerfile.dockerignore").read_text() == "secret.txt\n"


def test_labels_of_the_compose_file_make_another_image(planned: Plan) -> None:
    one, two, none = (planned(labels=labels) for labels in ({"a": "1"}, {"a": "2"}, {}))
    assert len({one.manifest_digest, two.manifest_digest, none.manifest_digest}) == 3
    again = planned(labels={"a": "1"})
    assert again.manifest_digest == one.manifest_digest
    assert again.labels["dev.dockwright.manifest"] == one.manifest_digest
    assert one.manifest is not None and one.manifest.digest == one.manifest_digest


def test_who_wants_no_cache(ctx: StageContext) -> None:
    def asked(**more: object) -> str:
        return who_wants_no_cache(replace(ctx.request, **more))  # type: ignore[arg-type]

    assert asked(no_cache=True, profile="dev") == "--no-cache"
    assert asked(profile="dev") == "the profile dev"
    assert asked(profile="prod") == "no_cache in the compose file"


def test_a_compose_file_that_is_left_aside_is_told(ctx: StageContext, root: Path, said: list[Event]) -> None:
    tree = Tree(root=root, source=FolderSource(path=str(root)), is_in_place=True)
    assert composition(ctx, tree) is None and said == []
    (root / "docker-compose.yml").write_text("services: {}\n")
    assert composition(ctx, tree) is None
    (line,) = [event.text for event in said]
    assert "docker-compose.yml" in line and "dockwright up" in line and "--service" in line
    said.clear()
    ctx.request = replace(ctx.request, dockerfile="Dockerfile")
    assert composition(ctx, tree) is None and said == [], "that one was asked for by its name"
