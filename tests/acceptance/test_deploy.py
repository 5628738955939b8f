"""Cut-overs with the real engine and the real edge."""

from __future__ import annotations

import http.client
import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from load import Load
from small_app import HEALTH_COMMAND, World, images_fixture, wait_for, world_fixture  # noqa: F401

from dockwright.domain.build import BuildRequest, History
from dockwright.domain.events import Event
from dockwright.domain.product import Instance, Release
from dockwright.domain.source import FolderSource
from dockwright.errors import Conflict, EngineError, Interrupted, NotFound, PortTaken, Unhealthy, UsageError
from dockwright.process import Cancel
from dockwright.stages.context import StageContext
from dockwright.stages.deploy import deploy
from dockwright.targets import docker
from dockwright.targets.docker import volume_name

Images = dict[str, str]


def test_a_first_deployment_is_served(world: World, images: Images) -> None:
    cut_over = world.cut_over(world.release(1, images["plain"]))
    deployed = cut_over.start()
    assert world.get() == (200, "v1")
    assert deployed.url == f"http://127.0.0.1:{world.product.port}"
    assert deployed.previous == ()
    assert deployed.instances == docker.instances(world.product)
    assert 0 < deployed.seconds_to_healthy < 60
    cut_over.commit()
    assert world.get() == (200, "v1")
    assert deployed.traffic.requests == 1


def test_the_container_carries_labels_limits_and_the_release(world: World, images: Images) -> None:
    world.deploy(world.release(3, images["plain"], GREETING="a = b\n$(c)"))
    (instance,) = docker.instances(world.product)
    details = world.engine.container(instance.container_id)
    assert details is not None
    labels = details["Config"]["Labels"]
    expected = {
        "managed": "true",
        "client": world.client,
        "project": "small",
        "product": "shop",
        "release": "3",
        "build": "43",
    }
    assert {f"dev.dockwright.{name}": value for name, value in expected.items()}.items() <= labels.items()
    assert "GREETING=a = b\n$(c)" in details["Config"]["Env"]
    host = details["HostConfig"]
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert host["Init"] is True
    assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}
    assert details["NetworkSettings"]["Ports"]["8080/tcp"][0]["HostIp"] == "127.0.0.1"
    assert instance.release == 3


def test_deployments_under_load_lose_no_request(world: World, images: Images) -> None:
    world.deploy(world.release(1, images["plain"]))
    with Load(world.product.port) as load:
        for number in range(2, 6):
            cut_over = world.cut_over(world.release(number, images["plain"]))
            deployed = cut_over.start()
            wait_for(lambda number=number: f"v{number}" in load.answers)
            cut_over.commit()
            assert deployed.traffic.failed_requests == 0
            assert deployed.traffic.requests > 0
    assert load.failures == []
    assert {f"v{number}" for number in range(1, 6)} == set(load.answers)
    assert len(world.containers()) == 1
    assert "-r5-1-" in world.containers()[0]


def test_a_version_that_ends_leaves_the_old_one_up(world: World, images: Images) -> None:
    world.deploy(world.release(1, images["plain"]))
    before = world.containers()
    with Load(world.product.port, clients=2) as load, pytest.raises(Unhealthy) as caught:
        world.cut_over(world.release(2, images["plain"], MODE="exit")).start()
    assert "ended with exit code 7" in caught.value.message
    assert caught.value.step_exit_code == 7
    assert sorted(caught.value.last_lines) == ["starting v2", "the treasure map is missing"]
    assert load.failures == []
    assert set(load.answers) == {"v1"}
    assert world.containers() == before


@pytest.mark.parametrize("mode", ["deaf", "local"])
def test_a_version_that_listens_on_nothing_leaves_the_old_one_up(world: World, images: Images, mode: str) -> None:
    world.deploy(world.release(1, images["plain"]))
    before = world.containers()
    cut_over = world.cut_over(world.release(2, images["plain"], MODE=mode))
    cut_over.ready_seconds = 1.5
    with pytest.raises(Unhealthy, match="Nothing accepted a connection on port 8080") as caught:
        cut_over.start()
    assert "0.0.0.0:8080" in caught.value.remedy
    assert caught.value.last_lines == ["starting v2"]
    assert world.get() == (200, "v1")
    assert world.containers() == before


def test_a_version_whose_health_check_fails_leaves_the_old_one_up(world: World, images: Images) -> None:
    world.deploy(world.release(1, images["checked"]))
    before = world.containers()
    cut_over = world.cut_over(world.release(2, images["checked"], MODE="sick"))
    cut_over.ready_seconds = 2
    with pytest.raises(Unhealthy, match=r"health check did not pass.*503"):
        cut_over.start()
    assert world.get() == (200, "v1")
    assert world.containers() == before


def test_a_slow_health_check_is_asked_quickly_at_the_start_and_kept(world: World, images: Images) -> None:
    world.deploy(world.release(1, images["checked"]))
    (instance,) = docker.instances(world.product)
    details = world.engine.container(instance.container_id)
    assert details is not None
    assert details["State"]["Health"]["Status"] == "healthy"
    check = details["Config"]["Healthcheck"]
    assert check["Test"] == ["CMD-SHELL", HEALTH_COMMAND]
    assert check["Interval"] == 30_000_000_000
    assert check["StartInterval"] == 200_000_000


def test_a_crashed_instance_comes_back_at_its_address(world: World, images: Images) -> None:
    world.deploy(world.release(1, images["plain"]))
    (before,) = docker.instances(world.product)
    assert world.get("/crash")[0] == 502
    wait_for(lambda: world.get() == (200, "v1"))
    world.engine.restart_container(before.container_id, seconds=1)
    wait_for(lambda: world.get() == (200, "v1"))
    details = world.engine.container(before.container_id)
    assert details is not None
    assert details["NetworkSettings"]["Ports"]["8080/tcp"][0]["HostPort"] == str(before.port)
    assert docker.instances(world.product) == (before,)


def test_an_answer_that_is_under_way_is_finished_before_the_old_one_ends(world: World, images: Images) -> None:
    world.deploy(world.release(1, images["plain"]))
    connection = http.client.HTTPConnection("127.0.0.1", world.product.port, timeout=30)
    connection.request("GET", "/stream")
    answer = connection.getresponse()
    assert answer.read(5) == b"first"
    world.deploy(world.release(2, images["plain"]))
    assert answer.read() == b"laterended"
    connection.close()
    assert world.get() == (200, "v2")
    assert len(world.containers()) == 1


def test_what_is_on_a_volume_survives_redeploy_and_revert(world: World, images: Images) -> None:
    def release(number: int) -> Release:
        return world.release(number, images["plain"], volumes=("/data",))

    world.deploy(release(1))
    world.call("POST", "/notes", "one ")
    cut_over = world.cut_over(release(2))
    cut_over.start()
    assert world.get("/notes") == (200, "one ")
    world.call("POST", "/notes", "two ")
    cut_over.revert()
    assert world.get("/notes") == (200, "one two ")
    world.deploy(release(3))
    assert world.get("/notes") == (200, "one two ")
    labels = {"dev.dockwright.client": world.client, "dev.dockwright.product": "shop"}
    assert [one["Name"] for one in world.engine.volumes(labels)] == [volume_name(world.product, "/data")]


def test_a_revert_gives_the_traffic_back(world: World, images: Images) -> None:
    world.deploy(world.release(1, images["plain"]))
    before = world.containers()
    with Load(world.product.port) as load:
        cut_over = world.cut_over(world.release(2, images["plain"]))
        cut_over.start()
        wait_for(lambda: "v2" in load.answers)
        cut_over.revert()
        cut_over.revert()
    assert load.failures == []
    assert load.answers[-1] == "v1"
    assert world.containers() == before
    world.deploy(world.release(3, images["plain"]))
    assert world.get() == (200, "v3")


def test_a_revert_of_a_first_deployment_leaves_nothing(world: World, images: Images) -> None:
    cut_over = world.cut_over(world.release(1, images["plain"]))
    cut_over.start()
    cut_over.revert()
    assert world.containers() == []
    assert not world.edge.is_running(world.product)
    assert not list((world.settings.home / "edge").glob("*/shop"))


def test_a_revert_after_the_commit_changes_nothing(world: World, images: Images) -> None:
    cut_over = world.cut_over(world.release(1, images["plain"]))
    cut_over.start()
    cut_over.commit()
    cut_over.revert()
    assert world.get() == (200, "v1")


def test_a_taken_port_starts_nothing(world: World, images: Images) -> None:
    with socket.create_server(("127.0.0.1", world.product.port)), pytest.raises(PortTaken):
        world.cut_over(world.release(1, images["plain"])).start()
    assert world.containers() == []
    assert world.logged == []


def test_a_cancel_while_it_waits_leaves_nothing_new(world: World, images: Images) -> None:
    world.deploy(world.release(1, images["plain"]))
    before = world.containers()
    cut_over = world.cut_over(world.release(2, images["plain"], MODE="deaf"), replicas=2)
    timer = threading.Timer(1.0, cut_over.cancel.set)
    timer.start()
    with pytest.raises(Interrupted):
        cut_over.start()
    assert world.containers() == before
    assert world.get() == (200, "v1")


@pytest.mark.parametrize("moment", ["Started", "is ready", "is served"])
def test_an_interrupt_at_any_moment_leaves_nothing(world: World, images: Images, moment: str) -> None:
    def interrupt(text: str) -> None:
        if moment in text:
            raise KeyboardInterrupt

    cut_over = world.cut_over(world.release(1, images["plain"]))
    cut_over.log = interrupt
    with pytest.raises(KeyboardInterrupt):
        cut_over.start()
    assert world.containers() == []
    assert not world.edge.is_running(world.product)


def test_a_command_that_does_not_exist_leaves_nothing(world: World, images: Images) -> None:
    def no_such_user(*_: object) -> dict[str, object]:
        return {**config(*arguments), "User": "nobody-of-that-name"}

    release = world.release(1, images["plain"])
    config = world.target._config
    network = world.target._network(world.product)
    details = world.engine.image(release.digest)
    assert details is not None
    arguments = (world.product, release, details, network, 29999)
    world.target._config = no_such_user  # type: ignore[method-assign]
    with pytest.raises(EngineError, match="nobody-of-that-name"):
        world.cut_over(release).start()
    assert world.containers() == []


def test_an_image_that_is_gone_is_named(world: World) -> None:
    release = Release(number=4, image_name="lost:1", digest="sha256:" + "0" * 64, container_port=80)
    with pytest.raises(NotFound, match="lost:1 of release 4"):
        world.cut_over(release).start()
    assert world.containers() == []


def test_replicas_share_the_traffic_and_scaling_keeps_those_that_stay(world: World, images: Images) -> None:
    release = world.release(1, images["plain"])
    world.deploy(release, replicas=2)
    two = docker.instances(world.product)
    assert len(two) == 2
    with Load(world.product.port, clients=2) as load:
        up = world.cut_over(release, replicas=3, keep=two)
        assert len(up.start().instances) == 3
        up.commit()
        three = docker.instances(world.product)
        assert set(two) < set(three)
        down = world.cut_over(release, replicas=1, keep=two)
        assert down.start().instances == two[:1]
        down.commit()
    assert load.failures == []
    assert docker.instances(world.product) == two[:1]
    assert world.edge.live(world.product) == [(two[0].address, two[0].port)]


@pytest.mark.parametrize("replicas", [0, 33])
def test_replicas_have_bounds(world: World, images: Images, replicas: int) -> None:
    with pytest.raises(UsageError, match=f"{replicas} replicas") as caught:
        world.cut_over(world.release(1, images["plain"]), replicas=replicas)
    assert "1 to 32" in caught.value.remedy


def test_what_a_killed_deployment_left_goes_with_the_next(world: World, images: Images) -> None:
    world.deploy(world.release(1, images["plain"]))
    half = world.release(2, images["plain"])
    left = world.target.start(world.product, half, world.target.name_of(world.product, half, 1))
    world.target.wait_ready(left, half, Cancel())
    assert left in docker.instances(world.product)
    cut_over = world.cut_over(world.release(3, images["plain"], MODE="exit"))
    with pytest.raises(Unhealthy):
        cut_over.start()
    assert {world.get() for _ in range(6)} == {(200, "v1")}
    world.deploy(world.release(4, images["plain"]))
    assert world.get() == (200, "v4")
    assert len(world.containers()) == 1


def test_an_edge_that_died_is_started_with_what_is_live(world: World, images: Images) -> None:
    world.deploy(world.release(1, images["plain"]))
    world.edge.stop(world.product)
    cut_over = world.cut_over(world.release(2, images["plain"], MODE="exit"))
    with pytest.raises(Unhealthy):
        cut_over.start()
    assert world.get() == (200, "v1")


def test_two_deployments_of_a_product_at_once_are_refused(world: World, images: Images) -> None:
    first = world.cut_over(world.release(1, images["plain"]))
    first.start()
    with pytest.raises(Conflict, match="Another deployment"):
        world.cut_over(world.release(2, images["plain"])).start()
    first.commit()
    assert world.get() == (200, "v1")


def test_anonymous_volumes_go_with_their_instance(world: World, images: Images) -> None:
    world.deploy(world.release(1, images["volume"]))
    (instance,) = docker.instances(world.product)
    details = world.engine.container(instance.container_id)
    assert details is not None
    (mount,) = details["Mounts"]
    world.deploy(world.release(2, images["plain"]))
    assert mount["Name"] not in {one["Name"] for one in world.engine.volumes()}


def test_the_stage_finishes_with_the_build_and_is_undone_with_it(world: World, images: Images, tmp_path: Path) -> None:
    events: list[Event] = []
    first = stage_context(world, tmp_path, events)
    deploy(first, world.release(1, images["plain"]))
    for finish in first.on_success:
        finish()
    second = stage_context(world, tmp_path, events)
    deployed = deploy(second, world.release(2, images["plain"]))
    assert world.get() == (200, "v2")
    assert [one.release for one in deployed.previous] == [1]
    for undo in reversed(second.on_failure):
        undo()
    assert world.get() == (200, "v1")
    assert any(event.kind == "log" and event.stage == "deploy" and "is ready" in event.text for event in events)


def test_an_instance_port_that_somebody_takes_meanwhile_is_left_to_them(
    world: World, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = world.release(1, images["plain"])
    with socket.create_server(("127.0.0.1", 0)) as holder:
        offered = iter([holder.getsockname()[1], 29876, 29877, 29878])
        monkeypatch.setattr("dockwright.targets.ports.free_instance_port", lambda _: next(offered))
        instance: Instance = world.target.start(world.product, release, "dockwright-test-" + world.client)
    assert instance.port in (29876, 29877, 29878)
    assert len(world.containers()) == 1


def stage_context(world: World, tmp_path: Path, events: list[Event]) -> StageContext:
    request = BuildRequest(
        build_id=1,
        client=world.client,
        project="small",
        project_id=1,
        name="Small",
        description="",
        source=FolderSource(path="/"),
    )
    return StageContext(
        request=request,
        settings=world.settings,
        history=History(),
        live=world.live(),
        workspace=tmp_path / "w",
        sink=events.append,
        cancel=Cancel(),
        stage="deploy",
    )


def test_port_that_nobody_asked_for_gives_way(world: World, images: Images, tmp_path: Path) -> None:
    """Two first deployments may choose the same one; what was asked for, or is known to people, stays."""
    events: list[Event] = []
    context, release = stage_context(world, tmp_path, events), world.release(1, images["plain"])
    with socket.create_server(("127.0.0.1", world.product.port)):
        with pytest.raises(PortTaken):
            deploy(context, release)
        assert world.containers() == []
        context.live = replace(world.live(), may_move=True)
        deployed = deploy(context, release)
    assert deployed.product.port != world.product.port
    assert any(f"port {deployed.product.port} instead" in event.text for event in events)
    world.product = deployed.product
    assert world.get() == (200, "v1")
