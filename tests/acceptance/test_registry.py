"""Base images from a real registry: brought to the engine, missing there, and gone with it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from commandline import Home, free_port

CONFIGURATION = """\
version: 0.1
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: "{address}"}}
"""


@dataclass
class Registry:
    address: str
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=10)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    address = f"127.0.0.1:{free_port()}"
    file = tmp_path / "registry.yml"
    file.write_text(CONFIGURATION.format(folder=tmp_path / "registry", address=address))
    program = shutil.which("docker-registry")
    assert program is not None, "docker-registry is not installed: scripts/setup.sh --dev does it"
    process = subprocess.Popen([program, "serve", str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    running = Registry(address, process)
    try:
        _wait_for(address)
        yield running
    finally:
        running.stop()


def _wait_for(address: str) -> None:
    host, _, port = address.partition(":")
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex((host, int(port))) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"the registry does not listen at {address}")


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
