"""The door to the engine with the real engine."""

from __future__ import annotations

import secrets
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest
from small_app import BASE, wait_for

from dockwright.docker.engine import Engine
from dockwright.errors import Conflict, NotFound

LABEL = {"dev.dockwright.managed": "true", "dev.dockwright.client": f"door{secrets.token_hex(4)}"}


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    for container in engine.containers(LABEL):
        engine.remove_container(container["Id"], volumes=True)
    for network in engine.networks(LABEL):
        engine.remove_network(network["Id"])
    for volume in engine.volumes(LABEL):
        engine.remove_volume(volume["Name"])


def started(engine: Engine, script: str, **more: Any) -> str:
    name = f"dockwright-test-{secrets.token_hex(4)}"
    engine.create_container(name, {"Image": BASE, "Cmd": ["sh", "-c", script], "Labels": LABEL, **more})
    engine.start_container(name)
    return name


def has_ended(engine: Engine, name: str) -> bool:
    details = engine.container(name)
    return details is not None and not details["State"]["Running"]


def test_the_engine_tells_of_itself(engine: Engine) -> None:
    engine.ping()
    assert engine.version()["ApiVersion"]
    assert engine.info()["ServerVersion"] == engine.version()["Version"]
    assert "LayersSize" in engine.df()


def test_images_are_found_tagged_and_removed(engine: Engine) -> None:
    image = engine.image(BASE)
    assert image is not None
    name = f"dockwright-test-{secrets.token_hex(4)}"
    engine.tag_image(image["Id"], f"{name}:v1")
    again = engine.image(f"{name}:v1")
    assert again is not None
    assert again["Id"] == image["Id"]
    engine.remove_image(f"{name}:v1")
    engine.remove_image(f"{name}:v1")
    assert engine.image(f"{name}:v1") is None
    assert engine.image(BASE) is not None
    assert engine.images(LABEL) == []


def test_a_container_lives_and_ends(engine: Engine) -> None:
    name = started(engine, "sleep 100")
    engine.start_container(name)
    assert [one["Names"] for one in engine.containers(LABEL, all=False)] == [[f"/{name}"]]
    with pytest.raises(Conflict):
        engine.create_container(name, {"Image": BASE})
    engine.stop_container(name, seconds=0)
    assert has_ended(engine, name)
    assert engine.containers(LABEL, all=False) == []
    engine.remove_container(name)
    engine.remove_container(name)
    assert engine.container(name) is None
    with pytest.raises(NotFound):
        engine.start_container(name)


@pytest.mark.parametrize("tty", [False, True])
def test_logs_are_lines_whatever_their_bytes_are(engine: Engine, tty: bool) -> None:
    name = started(engine, r"printf 'one\nzw\303\266lf\n\377\n'; printf last", Tty=tty)
    wait_for(lambda: has_ended(engine, name))
    assert engine.logs(name) == ["one", "zwölf", "�", "last"]
    assert engine.logs(name, tail=2) == ["�", "last"]
    with pytest.raises(NotFound):
        engine.logs("dockwright-test-none")


def test_files_and_changes_of_a_container(engine: Engine) -> None:
    name = started(engine, "mkdir /made && echo hello > /made/file && rm /etc/hostname; rm /etc/debian_version")
    wait_for(lambda: has_ended(engine, name))
    with engine.archive(name, "/made") as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        found = {member.name: member.size for member in tar}
    assert found == {"made": 0, "made/file": 6}
    with pytest.raises(NotFound), engine.archive(name, "/no; such?path=&x"):
        pass
    changes = engine.changes(name)
    assert changes["/made/file"] == 1
    assert changes["/etc/debian_version"] == 2


def test_networks_and_volumes(engine: Engine) -> None:
    name = f"dockwright-test-{secrets.token_hex(4)}"
    engine.create_network(name, internal=True, labels=LABEL)
    with pytest.raises(Conflict):
        engine.create_network(name)
    details = engine.network(name)
    assert details is not None
    assert details["Internal"] is True
    container = started(engine, "sleep 100")
    engine.connect(name, container)
    connected = engine.container(container)
    assert connected is not None
    assert name in connected["NetworkSettings"]["Networks"]
    engine.remove_container(container)
    engine.remove_network(name)
    engine.remove_network(name)
    assert engine.network(name) is None

    engine.create_volume(name, LABEL)
    engine.create_volume(name)
    assert [one["Name"] for one in engine.volumes(LABEL)] == [name]
    engine.remove_volume(name)
    engine.remove_volume(name)
    assert engine.volumes(LABEL) == []
