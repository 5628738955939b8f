"""Verify of a folder with several services: each container is its own service's, and none of them is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from commandline import Home
from test_verify_findings import docker

Folder = Callable[..., Path]
PAGE = 'FROM busybox\nCOPY page /page\nSTOPSIGNAL SIGKILL\nCMD ["sleep", "600"]\n'
COMPOSE = """\
services:
  web: {build: web, depends_on: {once: {condition: service_completed_successfully}}, deploy: {replicas: 2}}
  api: {build: api, depends_on: [store]}
  once: {build: api, command: "true"}
  store: {image: localhost/base/busybox, command: sleep 600, stop_grace_period: 1s}
"""
FILES = {
    "compose.yaml": COMPOSE,
    **{f"{name}/{path}": text for name in ("web", "api") for path, text in (("Dockerfile", PAGE), ("page", name))},
}


def verified(home: Home, what: Path | str, code: int) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """The answer, and the codes of what was found, by the container's or service's name."""
    answer = home.run("verify", what, "--json", code=code).json
    return answer, {one["name"]: [each["code"] for each in one["findings"]] for one in answer["instances"]}


def test_container_of_one_of_several_services(home: Home, folder: Folder) -> None:
    root = folder("byhand", FILES)
    images = {one["service"]: one["image"] for one in home.build(root, "--no-deploy")["services"]}
    web, store = f"{home.client}-web", f"{home.client}-store"
    docker("run", "-d", "--name", web, images["web"])
    project = home.engine.container(web)["Config"]["Labels"]["dev.dockwright.project"]  # type: ignore[index]
    ours = [f"--label={name}={value}" for name, value in home.labels(project=project).items()]
    docker("run", "-d", "--name", store, "--stop-signal", "KILL", *ours, "localhost/base/busybox", "sleep", "600")
    answer, codes = verified(home, web, 0)
    assert answer["files_checked"] == 1 and codes == {web: []}
    assert verified(home, store, 0)[0]["files_checked"] == 0, "its image is not made of the source"
    docker("exec", web, "sh", "-c", "echo other > /page")
    assert verified(home, web, 1)[1] == {web: ["file_changed"]}
    (root / "compose.yaml").write_text(COMPOSE.replace("  web:", "  front:"))
    answer, codes = verified(home, web, 1)
    assert codes == {web: ["service_gone"]} and '"web"' in answer["summary"]


def test_service_that_is_missing_or_gone(home: Home, folder: Folder) -> None:
    root = folder("missing", FILES)
    up = home.run("up", root, "--json").json["services"]
    try:
        there = {one["container"]: one["service"] for one in up}
        assert sorted(there.values()) == ["api", "once", "store", "web", "web"]
        assert verified(home, root, 0)[1] == {name: [] for name in there}
        web = next(name for name, service in there.items() if service == "web")
        docker("rm", "-f", web, *(name for name, service in there.items() if service in {"store", "once"}))
        answer, codes = verified(home, root, 1)
        assert {name: found for name, found in codes.items() if found} == {
            "store": ["service_missing"],
            "web": ["service_missing"],
        }, "what the others only waited for has done its work"
        assert "1 of 2" in next(one["summary"] for one in answer["instances"] if one["name"] == "web")
        (root / "compose.yaml").write_text(COMPOSE.replace("  api:", "  service:"))
        _, codes = verified(home, root, 1)
        assert codes[next(name for name, service in there.items() if service == "api")] == ["service_gone"]
    finally:
        home.run("down", root)
    assert home.containers() == [] and home.networks() == [], "compose alone refuses to stop what lacks a service"
