"""A build in which nothing changed leaves what is live alone, and proves it; whatever differs is put live anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commandline import Home, get
from pages import PAGES
from servers import free_port

Folder = Callable[..., Path]


def containers(home: Home) -> list[str]:
    return sorted(one["Id"] for one in home.containers())


def releases(home: Home, build: dict[str, Any]) -> list[tuple[int, int]]:
    """Number of each release, and how often it was deployed."""
    found = home.run("releases", build["project"], "--json").json
    return sorted((one["number"], len(one["deployments"])) for one in found)


def test_nothing_changed_and_nothing_is_started(home: Home, folder: Folder) -> None:
    root = folder("same", PAGES)
    first = home.build(root)
    before = containers(home)
    second = home.build(root)
    assert containers(home) == before and releases(home, first) == [(1, 1)]
    assert (second["status"], second["deployment_url"]) == ("deployed", first["deployment_url"])
    assert second["proof"]["ok"] and second["proof"]["files_checked"] == first["proof"]["files_checked"]
    assert "Release 1 is live already with this image" in home.run("logs", str(second["build_id"])).stdout
    rows = home.rows("SELECT status, container_id, deployment_url FROM builds ORDER BY id")
    assert rows[0] == rows[1]
    assert get(second["deployment_url"]) == (200, "first")


@pytest.mark.parametrize("options", [("--env", "WORD=new"), ("--profile", "dev"), ("--no-cache",), ("--tag", "v2")])
def test_what_was_asked_for_differs(options: tuple[str, ...], home: Home, folder: Folder) -> None:
    root = folder("asked", PAGES)
    first = home.build(root)
    before = containers(home)
    second = home.build(root, *options)
    assert containers(home) != before and releases(home, first) == [(1, 1), (2, 1)]
    assert get(second["deployment_url"]) == (200, "first")


def test_what_runs_is_not_as_it_was(home: Home, folder: Folder) -> None:
    root = folder("hurt", PAGES)
    build = home.build(root, "--port", str(free_port()))
    (running,) = containers(home)
    home.engine.stop_container(running, 0)
    assert get(home.build(root)["deployment_url"]) == (200, "first")
    assert releases(home, build) == [(1, 1), (2, 1)]
    home.run("stop", build["project"])
    assert get(home.build(root)["deployment_url"]) == (200, "first")
    assert releases(home, build)[-1] == (3, 1)
    home.run("rollback", build["project"], "--to", "1")
    told = home.run("build", root).stdout
    assert "Release 1 is live already" in told, told
    assert [number for number, _ in releases(home, build)] == [1, 2, 3]


def test_file_that_was_changed_in_the_container_is_put_right(home: Home, folder: Folder) -> None:
    root = folder(
        "changed", {**PAGES, "Dockerfile": PAGES["Dockerfile"].replace('"httpd"', '"sh", "/www/run"'), "run": RUN}
    )
    build = home.build(root)
    (running,) = containers(home)
    assert get(build["deployment_url"], "/cgi-bin/tamper")[0] == 200
    assert get(build["deployment_url"])[1].strip() == "tampered"
    again = home.build(root)
    assert again["proof"]["ok"] and get(again["deployment_url"]) == (200, "first")
    assert running not in containers(home) and releases(home, build) == [(1, 1), (2, 1)]
    said = home.run("logs", str(again["build_id"])).stdout
    assert "index.html" in said and "started anew" in said


RUN = """\
mkdir -p /www/cgi-bin
printf '#!/bin/sh\\necho tampered > /www/index.html\\necho\\n' > /www/cgi-bin/tamper
chmod +x /www/cgi-bin/tamper
exec httpd "$@"
"""
