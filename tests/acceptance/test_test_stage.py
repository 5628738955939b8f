"""The test stage with the real engine."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from small_app import World, images_fixture, world_fixture  # noqa: F401

from dockwright.domain.build import BuildRequest, History
from dockwright.domain.events import Event
from dockwright.domain.image import Image
from dockwright.domain.source import FolderSource, SmokeTest
from dockwright.errors import Interrupted, SmokeTestFailed, Unhealthy
from dockwright.process import Cancel
from dockwright.stages import test as stage
from dockwright.stages.context import StageContext

Images = dict[str, str]


class Run:
    """One run of the stage, and what it left on the engine."""

    def __init__(self, world: World, workspace: Path) -> None:
        self.world = world
        self.workspace = workspace
        self.events: list[Event] = []
        self.cancel = Cancel()

    def context(self, env: dict[str, str]) -> StageContext:
        request = BuildRequest(
            build_id=7,
            client=self.world.client,
            project="small",
            project_id=1,
            name="Small",
            description="",
            source=FolderSource(path="/"),
            env=env,
        )
        return StageContext(
            request=request,
            settings=self.world.settings,
            history=History(),
            workspace=self.workspace,
            sink=self.events.append,
            cancel=self.cancel,
            stage="test",
        )

    def __call__(self, image: Image, *smoke_tests: SmokeTest, **env: str) -> stage.TestReport:
        return stage.test(self.context(env), (image,), smoke_tests)

    def left(self) -> list[str]:
        label = {"dev.dockwright.client": self.world.client}
        networks = [one["Name"] for one in self.world.engine.networks(label)]
        return self.world.containers() + networks


@pytest.fixture
def run(world: World, tmp_path: Path) -> Run:
    return Run(world, tmp_path / "workspace")


def an_image(world: World, name: str, *, ports: tuple[int, ...] = (8080,), **more: Any) -> Image:
    details = world.engine.image(name)
    assert details is not None
    fields: dict[str, Any] = {
        "service": "app",
        "name": name,
        "digest": details["Id"],
        "manifest_digest": "",
        "reused": False,
        "seconds": 0.0,
        "steps": (),
        "context_files": 0,
        "context_bytes": 0,
        "ports": ports,
        **more,
    }
    return Image(**fields)


HEALTH = SmokeTest(name="health", path="/health", json={"status": "ok", "items": [1, 2]}, contains=("items",))


def test_an_image_is_started_called_and_removed(world: World, images: Images, run: Run) -> None:
    echo = SmokeTest(
        name="echo", path="/echo", method="POST", body={"text": "hällo"}, status=201, json={"text": "hällo"}
    )
    (report,) = run(an_image(world, images["checked"], has_health_check=True), HEALTH, echo).images
    assert report.service == "app"
    assert report.seconds_to_ready is not None
    assert 0 < report.seconds_to_ready < 60
    assert [result.name for result in report.smoke_tests] == ["health", "echo"]
    assert run.left() == []
    assert [event.text.partition(":")[0] for event in run.events] == ["app", "health", "echo"]


def test_an_image_that_listens_on_nothing_is_not_started(world: World, images: Images, run: Run) -> None:
    (report,) = run(an_image(world, images["plain"], ports=()), HEALTH).images
    assert report.seconds_to_ready is None
    assert report.reason == "it exposes no port and has no health check"
    assert run.left() == []


def test_an_image_with_a_health_check_only_is_waited_for(world: World, images: Images, run: Run) -> None:
    (report,) = run(an_image(world, images["checked"], ports=(), has_health_check=True)).images
    assert report.seconds_to_ready is not None
    assert report.smoke_tests == ()


@pytest.mark.parametrize(("name", "has_health_check"), [("plain", False), ("checked", True)])
def test_of_several_ports_the_one_that_accepts_is_found(
    name: str, has_health_check: bool, world: World, images: Images, run: Run
) -> None:
    image = an_image(world, images[name], ports=(7001, 8080, 8081), has_health_check=has_health_check)
    (report,) = run(image, HEALTH).images
    assert report.port == 8080
    assert "app: listens on port 8080, and on 7001 nobody does" in [event.text for event in run.events]


@pytest.mark.parametrize(
    ("smoke_test", "problem"),
    [
        (SmokeTest(name="t", path="/health", status=204), "answered 200, not 204"),
        (SmokeTest(name="t", path="/health", contains=("nowhere",)), "answered without 'nowhere'"),
        (SmokeTest(name="t", path="/", json={"a": 1}), "answered no JSON"),
        (SmokeTest(name="t", path="/health", json={"a": 1}), "without the member 'a'"),
        (SmokeTest(name="t", path="/health", json={"status": "bad"}), "'status' = 'ok', not 'bad'"),
        (SmokeTest(name="t", path="/crash"), "gave no answer"),
        (SmokeTest(name="t", path="@127.0.0.1:1/", contains=("x",)), "answered without 'x'"),
    ],
)
def test_a_wrong_answer_fails(world: World, images: Images, run: Run, smoke_test: SmokeTest, problem: str) -> None:
    with pytest.raises(SmokeTestFailed) as caught:
        run(an_image(world, images["plain"]), smoke_test)
    assert problem in caught.value.message
    assert caught.value.last_lines == ["starting none"]
    assert run.left() == []


def test_a_container_that_ends_fails_with_its_last_lines(world: World, images: Images, run: Run) -> None:
    with pytest.raises(Unhealthy, match="exit code 7") as caught:
        run(an_image(world, images["plain"]), MODE="exit", VERSION="live")
    assert sorted(caught.value.last_lines) == ["starting live", "the treasure map is missing"]
    assert caught.value.step_exit_code == 7
    assert run.left() == []


def test_a_cancel_leaves_nothing(world: World, images: Images, run: Run) -> None:
    threading.Timer(1.0, run.cancel.set).start()
    with pytest.raises(Interrupted):
        run(an_image(world, images["plain"]), MODE="deaf")
    assert run.left() == []


def test_an_interrupt_leaves_nothing(world: World, images: Images, run: Run) -> None:
    def interrupt(_: Event) -> None:
        raise KeyboardInterrupt

    context = run.context({})
    context.sink = interrupt
    with pytest.raises(KeyboardInterrupt):
        stage.test(context, (an_image(world, images["plain"]),), ())
    assert run.left() == []


def test_there_is_no_way_out_of_the_network(world: World, images: Images, run: Run) -> None:
    run(an_image(world, images["plain"]), SmokeTest(name="t", path="/outside", contains=("Network is unreachable",)))


def test_anonymous_volumes_are_removed(world: World, images: Images, run: Run) -> None:
    def look(_: Event) -> None:
        (container,) = world.engine.containers({"dev.dockwright.client": world.client})
        volumes.extend(mount["Name"] for mount in container["Mounts"])

    volumes: list[str] = []
    context = run.context({})
    context.sink = look
    stage.test(context, (an_image(world, images["volume"]),), ())
    assert len(volumes) == 1
    assert volumes[0] not in {one["Name"] for one in world.engine.volumes()}
