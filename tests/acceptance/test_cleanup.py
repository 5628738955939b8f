"""Clean-up: what goes, what stays, and the bytes that it says."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commandline import Home
from pages import PAGES

from dockwright.docker.engine import Engine

Folder = Callable[..., Path]
MEGABYTES = 3


@pytest.fixture
def of_a_neighbour(home: Home) -> Iterator[tuple[str, str]]:
    """A container and a network as the build of another state folder has them while it runs."""
    engine, name = Engine(), f"dockwright-test-{secrets.token_hex(4)}"
    labels = {"dev.dockwright.managed": "true", "dev.dockwright.client": name, "dev.dockwright.build": "999"}
    engine.create_container(name, {"Image": "localhost/base/busybox:latest", "Labels": labels})
    engine.create_network(name, labels=labels)
    yield name, name
    engine.remove_container(name)
    engine.remove_network(name)


def test_what_another_state_folder_runs_is_not_touched(home: Home, of_a_neighbour: tuple[str, str]) -> None:
    container, network = of_a_neighbour
    assert home.run("cleanup", "--json").json["removed"] == []
    assert home.engine.container(container) and home.engine.network(network)


def test_what_a_dead_build_left_is_counted_by_its_kind(home: Home, folder: Folder) -> None:
    home.build(folder("dead", PAGES), "--until", "plan")
    labels = home.labels(managed="true", build="999")
    name = f"dockwright-test-{secrets.token_hex(4)}"
    home.engine.create_container(name, {"Image": "localhost/base/busybox:latest", "Labels": labels})
    home.engine.create_network(name, labels=labels)
    cleaned = home.run("cleanup", "--json").json
    assert cleaned["removed"] == [name, name] and (cleaned["containers"], cleaned["images"]) == (1, 0)
    home.assert_nothing_left()


def test_bytes_are_those_that_only_the_image_held(home: Home, folder: Folder) -> None:
    root = folder("bytes", PAGES)
    (root / "index.html").write_bytes(secrets.token_bytes(MEGABYTES * 1_000_000))
    image = home.build(root, "--no-deploy")["services"][0]["image"]
    (root / "index.html").write_text("second")
    home.build(root, "--no-deploy")
    shown = home.run("cleanup", "--dry-run").stdout.splitlines()
    assert shown[0] == f"Would remove {image}" and re.fullmatch(r"Would free at least 3\.\d MB in 1 image", shown[1])
    cleaned = home.run("cleanup", "--json").json
    assert cleaned["removed"] == [image]
    assert MEGABYTES * 1_000_000 <= cleaned["bytes"] < (MEGABYTES + 1) * 1_000_000, "without its base, which stays"


def test_image_that_a_product_is_to_run_says_which(home: Home, folder: Folder) -> None:
    root = folder("needed", PAGES)
    build = home.build(root)
    error = home.fail("image", "rm", build["services"][0]["image"], code=2)
    assert error["message"].endswith(f'is what "{build["project"]}" is to run')
    (root / "index.html").write_text("second")
    home.build(root)
    assert home.run("cleanup", "--keep", "1", "--json").json["removed"] == [build["services"][0]["image"]]


def test_times_are_rfc_3339_in_utc(home: Home, folder: Folder) -> None:
    home.build(folder("times", PAGES), "--until", "build")
    stamps = [home.run(name, "--json").json[0]["created_at"] for name in ("builds", "images")]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", stamp) for stamp in stamps), stamps


def test_dev_removes_the_image_before_unless_a_release_needs_it(home: Home, folder: Folder) -> None:
    root = folder("dev", PAGES)
    needed, *others = [
        home.build(root, "--profile", "dev", *options)["services"][0]
        for options in ((), ("--no-deploy",), ("--no-deploy",))
    ]
    left = [(one["name"] + ":" + one["tag"]) for one in home.run("images", "--json").json]
    assert left == [others[-1]["image"], needed["image"]]
    assert home.engine.image(others[0]["image"]) is None and home.engine.image(needed["image"]) is not None
    home.build(root, "--no-deploy")
    assert home.engine.image(others[-1]["image"]) is not None, "prod removes nothing"
