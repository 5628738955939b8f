"""Base images from a real registry: brought to the engine, missing there, and gone with it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commandline import Home
from servers import Registry


@pytest.fixture
def box(registry: Registry, home: Home) -> Iterator[str]:
    """An image that is in the registry and not on the engine."""
    name = f"{registry.address}/box:1"
    home.engine.tag_image("localhost/base/busybox:latest", name)
    subprocess.run(["docker", "push", "--quiet", name], check=True, stdout=subprocess.DEVNULL)
    home.engine.remove_image(name)
    yield name
    if home.engine.image(name) is not None:
        home.engine.remove_image(name)


def test_a_base_is_pulled_once(home: Home, folder: Callable[..., Path], box: str) -> None:
    source = folder("pulled", {"Dockerfile": f"FROM {box}\nRUN echo built > /it\n"})
    assert f"Pulling {box}" in home.run("build", source).stdout
    (source / "Dockerfile").write_text(f"FROM {box}\nRUN echo again > /it\n")
    assert "Pulling" not in home.run("build", source).stdout


def test_dev_looks_for_a_newer_base_each_time(home: Home, folder: Callable[..., Path], box: str) -> None:
    source = folder("fresh", {"Dockerfile": f"FROM {box}\nRUN echo built > /it\n"})
    for _ in range(2):
        assert f"Pulling {box}" in home.run("build", source, "--profile", "dev").stdout


def test_an_image_that_the_registry_does_not_have(home: Home, folder: Callable[..., Path], registry: Registry) -> None:
    source = folder("missing", {"Dockerfile": f"FROM {registry.address}/nosuch:1\n"})
    assert home.fail("build", source, code=1)["code"] == "base_image_missing"


def test_a_registry_that_is_gone(home: Home, folder: Callable[..., Path], registry: Registry, box: str) -> None:
    source = folder("gone", {"Dockerfile": f"FROM {box}\nRUN echo built > /it\n"})
    registry.stop()
    assert home.fail("build", source, code=3)["code"] == "registry_unreachable"
