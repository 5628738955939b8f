"""`up`, `down` and `dev`: a folder's services, started in order and awaited, under names of their own."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from commandline import COMMAND, Home, get

Folder = Callable[..., Path]
PAGE = 'FROM busybox\nCOPY . /www\nEXPOSE 8080\nCMD ["httpd", "-f", "-p", "8080", "-h", "/www"]\n'
COMPOSE = """\
services:
  web:
    build: ./web
    ports: ["127.0.0.1::8080"]
    depends_on: {api: {condition: service_healthy}, once: {condition: service_completed_successfully}}
  api:
    build: ./api
    # Ready a while after it was started, and asked for too seldom for a test.
    healthcheck: {test: ["CMD", "test", "-e", "/ready"], interval: 20s, retries: 3}
    volumes: ["data:/data"]
  worker: {build: ./api, command: ["sleep", "600"], stop_grace_period: 1s}
  once: {build: ./api, command: ["true"]}
  cache: {image: redis:7, command: ["sleep", "600"], stop_grace_period: 1s}
volumes: {data: }
"""
FILES = {
    "compose.yaml": COMPOSE,
    "web/Dockerfile": PAGE + "STOPSIGNAL SIGKILL\n",
    "web/index.html": "first",
    "api/Dockerfile": 'FROM busybox\nSTOPSIGNAL SIGKILL\nCOPY main.sh /\nCMD ["sh", "/main.sh"]\n',
    "api/main.sh": "sleep 1; touch /ready; sleep 600\n",
}
# Redis itself is not what is tried here.
STAND_INS = {"IMAGE_SUBSTITUTES": "busybox:*=localhost/base/busybox:latest,redis:*=localhost/base/busybox:latest"}


def up(home: Home, root: Path, *options: str) -> dict[str, Any]:
    document = home.run("up", root, *options, "--json", env=STAND_INS).json
    return {"document": document, **{one["service"]: one for one in document["services"]}}


def address(one: dict[str, Any]) -> str:
    (port,) = one["ports"]
    return f"http://{port['address']}:{port['port']}"


def test_services_are_started_in_order_and_awaited(home: Home, folder: Folder) -> None:
    root = folder("shop", FILES)
    found = up(home, root)
    assert {name: (one["status"], one["health"]) for name, one in found.items() if name != "document"} == {
        "api": ("running", "healthy"),
        "cache": ("running", None),
        "once": ("exited", None),
        "web": ("running", None),
        "worker": ("running", None),
    }
    assert found["once"]["exit_code"] == 0
    assert get(address(found["web"])) == (200, "first")
    details = {name: home.engine.container(found[name]["container"]) for name in ("api", "web", "cache")}
    finished = details["api"]["State"]["Health"]["Log"][-1]["Start"]
    assert details["web"]["State"]["StartedAt"] > finished, "web waits for api's health"
    for name, one in details.items():
        labels = one["Config"]["Labels"]
        assert labels["dev.dockwright.client"] == home.client and labels["dev.dockwright.service"] == name
    assert details["web"]["Config"]["Labels"]["dev.dockwright.build"] == str(found["document"]["build_id"])
    # Nothing changed: nothing is built, and nothing is started anew.
    again = up(home, root)
    assert {again[name]["container_id"] for name in details} == {found[name]["container_id"] for name in details}
    assert again["web"]["reused"] is True and again["cache"]["reused"] is None
    # What runs is no leftover of a build.
    assert home.run("cleanup", "--json").json["containers"] == 0
    (root / "web/index.html").write_text("second")
    changed = up(home, root)
    assert get(address(changed["web"])) == (200, "second")
    assert changed["api"]["container_id"] == found["api"]["container_id"]
    removed = home.run("down", root, "--json").json
    assert len(removed["removed"]) == 5 and home.containers() == []
    assert home.networks() == [] and len(home.engine.volumes(home.labels())) == 1
    home.run("down", root, "--volumes")
    assert home.engine.volumes(home.labels()) == []


def test_one_service_with_what_it_needs(home: Home, folder: Folder) -> None:
    root = folder("part", FILES)
    found = up(home, root, "--service", "web")
    assert set(found) == {"document", "web", "api", "once"}
    found = up(home, root, "--service", "cache")
    assert set(found) == {"document", "cache"}
    assert {one["Labels"]["com.docker.compose.service"] for one in home.containers()} == {"web", "api", "once", "cache"}


def test_two_folders_of_one_name_do_not_meet(home: Home, folder: Folder, tmp_path: Path) -> None:
    pages = {}
    for word in ("one", "two"):
        root = folder(word, {f"shop/{path}": text for path, text in FILES.items()}) / "shop"
        (root / "web/index.html").write_text(word)
        pages[word] = address(up(home, root, "--service", "web")["web"])
    assert {word: get(url)[1] for word, url in pages.items()} == {"one": "one", "two": "two"}


def test_service_that_ends_or_is_never_healthy_is_named(home: Home, folder: Folder) -> None:
    dying = {**FILES, "api/main.sh": "echo the map is missing >&2; exit 7\n"}
    root = folder("dying", dying)
    error = home.run("up", root, "--json", code=1, env=STAND_INS).json["error"]
    assert error["code"] == "unhealthy" and "service api ended with exit code 7" in error["message"]
    assert "the map is missing" in error["last_lines"] and "docker logs" in error["remedy"]
    home.run("down", root)
    never = FILES["compose.yaml"].replace("interval: 20s, retries: 3", "interval: 1s, retries: 2")
    sick = {**FILES, "compose.yaml": never, "api/main.sh": "echo still searching; sleep 600\n"}
    error = home.run("up", folder("sick", sick), "--json", code=1, env=STAND_INS).json["error"]
    assert error["code"] == "unhealthy" and "service api is not healthy" in error["message"]
    assert "still searching" in error["last_lines"]


def test_failing_build_starts_nothing(home: Home, folder: Folder) -> None:
    root = folder("unbuilt", {**FILES, "web/Dockerfile": "FROM busybox\nRUN exit 3\n"})
    document = home.run("up", root, "--json", code=1, env=STAND_INS).json
    assert document["error"]["code"] == "step_failed" and document["error"]["message"].startswith("Service web: ")
    assert document["services"] == [] and home.containers() == []


def test_port_that_is_taken_is_told(home: Home, folder: Folder) -> None:
    first = up(home, folder("first", FILES), "--service", "web")
    port = first["web"]["ports"][0]["port"]
    compose = COMPOSE.replace("127.0.0.1::8080", f"127.0.0.1:{port}:8080")
    error = home.run("up", folder("next", {**FILES, "compose.yaml": compose}), "--json", code=1, env=STAND_INS).json[
        "error"
    ]
    assert error["code"] == "services_failed" and str(port) in error["message"]


def test_folders_that_cannot_be_started(home: Home, folder: Folder) -> None:
    assert home.fail("up", folder("bare", {"Dockerfile": PAGE}), code=2)["code"] == "no_compose_file"
    root = folder("never", FILES)
    assert home.fail("down", root, code=2)["code"] == "not_found"
    assert home.fail("up", root, "--service", "wbe", code=2)["code"] == "not_found"
    answer = home.run(
        "up", root, "--json", code=2, env={"DOCKWRIGHT_URL": "http://127.0.0.1:9", "DOCKWRIGHT_TOKEN": "x"}
    )
    assert "DOCKWRIGHT_URL" in answer.json["error"]["message"]


# --- live reload ----------------------------------------------------------------------------------------------------

LIVE = {
    "compose.yaml": """\
services:
  page: {build: ./page, ports: ["127.0.0.1::8080"], stop_grace_period: 1s}
  made: {build: ./made, ports: ["127.0.0.1::8080"], stop_grace_period: 1s}
  ruled:
    build: ./ruled
    ports: ["127.0.0.1::8080"]
    stop_grace_period: 1s
    develop:
      watch:
        - {action: sync, path: ./ruled/pages, target: /www, ignore: ["*.tmp"]}
        - {action: rebuild, path: ./ruled/words}
""",
    "page/Dockerfile": PAGE,
    "page/index.html": "page 1",
    "made/Dockerfile": PAGE.replace("EXPOSE", "RUN cat /www/part.txt /www/part.txt > /www/index.html\nEXPOSE"),
    "made/part.txt": "made 1",
    "ruled/Dockerfile": PAGE.replace("COPY . /www", "COPY pages /www\nCOPY words /words"),
    "ruled/pages/index.html": "ruled 1",
    "ruled/words": "word 1",
}


@contextmanager
def developing(home: Home, root: Path) -> Iterator[Callable[[str], dict[str, Any]]]:
    """Gives what waits for the next event of a kind. At the end comes Ctrl-C, and nothing is left."""
    with home.start(COMMAND, "dev", str(root), "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None

        def next_event(kind: str) -> dict[str, Any]:
            for line in child.stdout or ():
                event: dict[str, Any] = json.loads(line)
                if event["event"] == kind:
                    return event
            raise AssertionError(f"it ended before {kind}: {child.stderr.read() if child.stderr else ''}")

        try:
            yield next_event
        finally:
            child.send_signal(signal.SIGINT)
            child.communicate(timeout=60)
        assert child.returncode == 0
    assert home.containers() == []


def test_changed_files_reach_running_services(home: Home, folder: Folder) -> None:
    root = folder("live", LIVE)
    with developing(home, root) as next_event:
        there = {one["service"]: one for one in next_event("ready")["services"]}
        next_event("watching")

        def page(service: str, path: str = "/") -> str:
            container = home.engine.container(there[service]["container"])
            assert container is not None
            (port,) = container["NetworkSettings"]["Ports"]["8080/tcp"]
            return get(f"http://127.0.0.1:{port['HostPort']}", path)[1]

        (root / "page/index.html").write_text("page 2")
        event = next_event("changed")
        assert (event["files"], event["services"], event["action"]) == (
            ["index.html"],
            ["page"],
            "copied and restarted",
        )
        assert page("page") == "page 2"
        (root / "page/new.html").write_text("new")
        assert next_event("changed")["action"] == "copied and restarted" and page("page", "/new.html") == "new"
        (root / "page/new.html").unlink()
        assert next_event("changed")["action"] == "rebuilt" and "new" not in page("page", "/new.html")

        (root / "made/part.txt").write_text("made 2")
        assert next_event("changed")["action"] == "rebuilt" and page("made") == "made 2made 2"
        (root / "made/Dockerfile").write_text("FROM busybox\nRUN exit 5\n")
        error = next_event("failed")["error"]
        assert (error["code"], error["exit_code"]) == ("step_failed", 5) and error["message"].startswith(
            "Service made: "
        )
        assert page("made") == "made 2made 2"
        (root / "made/Dockerfile").write_text(LIVE["made/Dockerfile"])
        assert next_event("changed")["action"] == "unchanged"

        (root / "ruled/pages/scratch.tmp").write_text("not told")
        (root / "ruled/pages/index.html").write_text("ruled 2")
        event = next_event("changed")
        assert (event["files"], event["action"]) == (["index.html"], "copied") and page("ruled") == "ruled 2"
        (root / "ruled/words").write_text("word 2")
        assert next_event("changed")["action"] == "rebuilt" and page("ruled") == "ruled 2"
