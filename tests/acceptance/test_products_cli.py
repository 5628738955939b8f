"""A product's life through the command line: deployed, stopped, started, scaled, rolled back, changed."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commandline import COMMAND, Home, get
from pages import DOCKERFILE, PAGES
from servers import free_port

Folder = Callable[..., Path]

# Tells by whom it was answered, and with which word in the environment.
WHO = """\
FROM busybox
RUN mkdir -p /www/cgi-bin && printf '#!/bin/sh\\necho\\necho "$(hostname) ${WORD:-none}"\\n' > /www/cgi-bin/who \\
 && chmod +x /www/cgi-bin/who
COPY index.html /www/
EXPOSE 8080
CMD ["httpd", "-f", "-p", "8080", "-h", "/www"]
"""
PAGE = "/cgi-bin/who"


def product(home: Home, name: str) -> dict[str, Any]:
    (found,) = [one for one in home.run("products", "--json").json if one["slug"] == name]
    return dict(found)


def answered_by(url: str, times: int = 12) -> set[str]:
    return {get(url, PAGE)[1].split()[0] for _ in range(times)}


def test_life_of_a_product(home: Home, folder: Folder) -> None:
    root = folder("life", {**PAGES, "Dockerfile": WHO})
    first = home.build(root, "--env", "WORD=one", "--port", str(free_port()))
    url, name = first["deployment_url"], first["project"]
    assert get(url, PAGE)[1].endswith("one\n")

    stopped = home.run("stop", name, "--json").json
    assert (stopped["status"], stopped["instances"]) == ("stopped", [])
    with pytest.raises(ConnectionRefusedError):
        get(url)
    assert home.containers() == []
    assert home.fail("verify", name, code=2)["code"] == "conflict"

    started = home.run("start", name, "--json").json
    assert (started["status"], started["release"], started["url"]) == ("running", 1, url)
    assert get(url, PAGE)[1].endswith("one\n"), "with the environment that it had"
    assert home.run("start", name, "--json").json["instances"] == started["instances"], "it runs already"

    assert len(home.run("scale", name, "2", "--json").json["instances"]) == 2
    assert len(answered_by(url)) == 2
    assert home.run("verify", name, "--json").json["ok"]

    (root / "index.html").write_text("second")
    second = home.build(root)
    assert second["deployment_url"] == url and get(url) == (200, "second")
    assert len(product(home, name)["instances"]) == 2, "it stays scaled"
    assert get(url, PAGE)[1].endswith("one\n"), "the environment stays as well"

    back = home.run("rollback", name, "--json").json
    assert (back["release"], len(back["instances"])) == (1, 2)
    assert get(url) == (200, "first")
    forth = home.run("rollback", name, "--to", "2", "--json").json
    assert forth["release"] == 2 and get(url) == (200, "second")
    assert home.rows("SELECT COUNT(*) AS n FROM builds") == [{"n": 2}], "a rollback never builds"

    assert len(home.run("scale", name, "1", "--json").json["instances"]) == 1
    assert len(answered_by(url)) == 1

    home.run("deploy", name, "--env", "WORD=three")
    assert get(url, PAGE)[1].endswith("three\n") and product(home, name)["release"] == 3
    image = first["services"][0]["image"]
    home.run("deploy", name, "--image", image)
    assert get(url) == (200, "first") and get(url, PAGE)[1].endswith("three\n")

    listed = home.run("releases", name, "--json").json
    assert [one["number"] for one in listed] == [4, 3, 2, 1]
    assert [one["is_live"] for one in listed] == [True, False, False, False]
    outcomes = {one["number"]: [each["rollback_of"] for each in one["deployments"]] for one in listed}
    # Started again, scaled, and rolled back to: each is a deployment of its own of the same release.
    assert outcomes[1] == [None, None, None, 2] and outcomes[2] == [None, 1, None]
    assert all(each["failed_requests"] == 0 for one in listed for each in one["deployments"])


def test_release_that_is_not_there(home: Home, folder: Folder) -> None:
    build = home.build(folder("one", PAGES))
    assert home.fail("rollback", build["project"], code=2)["code"] == "conflict", "there is none before it"
    assert home.fail("rollback", build["project"], "--to", "9", code=2)["code"] == "not_found"
    assert home.fail("rollback", build["project"], "--to", "1", code=2)["code"] == "conflict", "it is live"
    assert home.fail("deploy", build["project"], "--image", "none:1", code=2)["code"] == "not_found"
    assert get(build["deployment_url"]) == (200, "first")


def test_deploy_that_fails_leaves_what_ran(home: Home, folder: Folder) -> None:
    recipe = DOCKERFILE.replace("CMD", 'ENTRYPOINT ["sh", "-c", "test -z $BROKEN && exec $0 $@ || exit 5"]\nCMD')
    build = home.build(folder("sturdy", {**PAGES, "Dockerfile": recipe}))
    name, url = build["project"], build["deployment_url"]
    before = product(home, name)
    error = home.fail("deploy", name, "--env", "BROKEN=yes", code=1)
    assert error["code"] == "unhealthy" and error["exit_code"] == 5
    assert get(url) == (200, "first")
    after = product(home, name)
    assert (after["instances"], after["release"]) == (before["instances"], 1)
    home.run("deploy", name, "--env", "OTHER=yes")
    assert get(url) == (200, "first"), "the environment that failed is not kept"
    assert len(home.containers()) == 1


def test_crashed_instance_is_said_and_mended(home: Home, folder: Folder) -> None:
    build = home.build(folder("crash", PAGES))
    name, url = build["project"], build["deployment_url"]
    (one,) = home.containers()
    home.engine.remove_container(one["Id"])
    assert product(home, name)["status"] == "unhealthy"
    home.run("start", name)
    assert product(home, name)["status"] == "running" and get(url) == (200, "first")


def test_port_that_is_asked_for_is_kept(home: Home, folder: Folder) -> None:
    root, port = folder("port", PAGES), free_port()
    assert home.build(root, "--port", str(port))["deployment_url"].endswith(f":{port}")
    (root / "index.html").write_text("second")
    assert get(home.build(root)["deployment_url"]) == (200, "second")
    assert home.build(root)["deployment_url"].endswith(f":{port}")


def test_no_request_is_lost_while_versions_change(home: Home, folder: Folder) -> None:
    root = folder("load", PAGES)
    url = home.build(root)["deployment_url"]
    stop, answers, failures = threading.Event(), [], []

    def ask() -> None:
        while not stop.is_set():
            try:
                answers.append(get(url))
            except OSError as error:
                failures.append(error)

    clients = [threading.Thread(target=ask) for _ in range(3)]
    for client in clients:
        client.start()
    for word in ("second", "third"):
        (root / "index.html").write_text(word)
        home.build(root)
    stop.set()
    for client in clients:
        client.join()
    assert failures == [] and {status for status, _ in answers} == {200}
    assert {text for _, text in answers} == {"first", "second", "third"}


def test_first_builds_at_once_get_ports_of_their_own(home: Home, folder: Folder) -> None:
    home.run("builds")  # the database is there already; that two make it at once has its own test
    roots = [folder(f"at-once-{number}", {**PAGES, "index.html": str(number)}) for number in range(3)]
    pipe = subprocess.PIPE
    children = [home.start(COMMAND, "build", str(root), stdout=pipe, stderr=pipe) for root in roots]
    said = [child.communicate(timeout=120) for child in children]
    assert [child.returncode for child in children] == [0, 0, 0], said
    urls = {one["slug"]: one["url"] for one in home.run("products", "--json").json}
    assert len(set(urls.values())) == 3
    assert [get(urls[root.name])[1] for root in roots] == ["0", "1", "2"]


def test_builds_of_one_folder_at_once(home: Home, folder: Folder) -> None:
    root = folder("same", PAGES)
    pipe = subprocess.PIPE
    children = [home.start(COMMAND, "build", str(root), stdout=pipe, stderr=pipe) for _ in range(3)]
    said = [child.communicate(timeout=120) for child in children]
    assert [child.returncode for child in children] == [0, 0, 0], said
    (found,) = home.run("products", "--json").json
    assert get(found["url"]) == (200, "first") and len(home.containers()) == 1
    assert home.run("verify", root, "--json").json["ok"]
