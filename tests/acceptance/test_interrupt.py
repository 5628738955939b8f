"""Ctrl-C, a deadline and a death: the build's processes end, nobody else's, and nothing is left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commandline import Home, get
from pages import DOCKERFILE, PAGES
from sleeper import PATIENCE, Sleeper, building, wait_until

Folder = Callable[..., Path]


def row(home: Home, build_id: int = 1) -> dict[str, Any]:
    return home.rows("SELECT * FROM builds WHERE id = ?", build_id)[0]


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_signal_in_a_long_run(sign: signal.Signals, home: Home, folder: Folder) -> None:
    sleeper = Sleeper()
    root = folder("long", {"Dockerfile": sleeper.dockerfile, "page": "any"})
    with building(home, root) as child:
        wait_until(lambda: sleeper.is_running, "the long RUN")
        child.send_signal(sign)
        stdout, stderr = child.communicate(timeout=PATIENCE)
    assert child.returncode == 130 and "Traceback" not in stderr, stderr
    assert '"code": "interrupted"' in stdout and "What to do: " in stderr
    wait_until(lambda: not sleeper.is_running, "the end of the RUN's process")
    home.assert_nothing_left()
    assert (row(home)["status"], row(home)["error_code"], row(home)["lease_until"]) == ("canceled", "interrupted", None)
    (root / "Dockerfile").write_text(DOCKERFILE)
    assert home.build(root)["status"] == "deployed", "and the next one goes its way"


def test_another_build_goes_on_undisturbed(home: Home, folder: Folder) -> None:
    first, second = Sleeper(), Sleeper(seconds=4)
    roots = [folder("long", {"Dockerfile": one.dockerfile}) for one in (first, second)]
    with building(home, roots[0]) as long, building(home, roots[1]) as other:
        wait_until(lambda: first.is_running and second.is_running, "both builds")
        long.send_signal(signal.SIGINT)
        assert long.wait(timeout=PATIENCE) == 130
        stdout, stderr = other.communicate(timeout=PATIENCE)
    assert other.returncode == 0, stderr
    assert '"status": "succeeded"' in stdout
    home.assert_nothing_left()


def test_deadline(home: Home, folder: Folder) -> None:
    sleeper = Sleeper()
    root = folder("late", {"Dockerfile": sleeper.dockerfile})
    error = home.fail("build", root, code=1, env={"BUILD_TIMEOUT_SECONDS": "8"})
    assert (error["code"], error["stage"]) == ("build_timeout", "build")
    assert "BUILD_TIMEOUT_SECONDS" in error["remedy"]
    wait_until(lambda: not sleeper.is_running, "the end of the RUN's process")
    home.assert_nothing_left()
    assert (row(home)["status"], row(home)["error_code"]) == ("failed", "build_timeout")


NEVER_READY = 'FROM busybox\nCOPY . /src\nEXPOSE 8080\nCMD ["sleep", "600"]\n'
READY_WITH_A_WAY_OUT_NEVER = """\
FROM busybox
WORKDIR /www
COPY . .
EXPOSE 8080
CMD ["sh", "-c", "if ip route | grep -q default; then sleep 600; else exec httpd -f -p 8080; fi"]
"""
"""Ready in the test's network, which has no way out, and never where it is deployed."""


def test_interrupted_while_an_image_is_tested(home: Home, folder: Folder) -> None:
    root = folder("testing", PAGES)
    url = home.build(root)["deployment_url"]
    (root / "Dockerfile").write_text(NEVER_READY)
    with building(home, root) as child:
        wait_until(lambda: any(one["State"] == "running" for one in home.containers(build="2")), "the test's container")
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=PATIENCE) == 130
    home.assert_nothing_left(build_id=2)
    assert (row(home, 2)["status"], row(home, 2)["stage"]) == ("canceled", "test")
    assert get(url) == (200, "first")


def test_interrupted_while_it_is_deployed(home: Home, folder: Folder) -> None:
    root = folder("deploying", PAGES)
    build = home.build(root)
    before = [one["Id"] for one in home.containers()]
    (root / "Dockerfile").write_text(READY_WITH_A_WAY_OUT_NEVER)
    with building(home, root) as child:
        wait_until(lambda: home.containers(release="2"), "the new instance")
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=PATIENCE) == 130
    home.assert_nothing_left(build_id=2)
    assert [one["Id"] for one in home.containers()] == before
    assert get(build["deployment_url"]) == (200, "first")
    (product,) = home.run("products", "--json").json
    assert (product["status"], product["release"]) == ("running", 1)
    assert (row(home, 2)["status"], row(home, 2)["stage"]) == ("canceled", "deploy")
    deployments = [one for each in home.run("releases", build["project"], "--json").json for one in each["deployments"]]
    assert sorted(one["status"] for one in deployments) == ["failed", "live"]


def test_killed_build_is_found_lost_by_the_next_command(home: Home, folder: Folder) -> None:
    sleeper = Sleeper()
    root = folder("killed", {"Dockerfile": sleeper.dockerfile})
    with building(home, root) as child:
        wait_until(lambda: sleeper.is_running, "the long RUN")
        os.kill(child.pid, signal.SIGKILL)
        child.wait(timeout=PATIENCE)
    wait_until(lambda: not sleeper.is_running, "the end of what the killed build had started")
    assert row(home)["status"] == "building", "nobody has looked yet"
    (build,) = home.run("builds", "--json").json
    assert build["status"] == "failed" and build["error"]
    assert (row(home)["error_code"], row(home)["completed_at"] is not None) == ("worker_lost", True)
    assert "it begins" in home.run("logs", "1", "-f").stdout, "what it said is kept, and following it ends"
    removed = home.run("cleanup", "--json").json["removed"]
    assert [name for name in removed if name.startswith(str(home.path / "generated-bots" / "build-1"))]
    home.assert_nothing_left()


def test_killed_between_two_versions(home: Home, folder: Folder) -> None:
    """A deploy that dies leaves the old version serving, and the next one takes over what it left."""
    root = folder("torn", PAGES)
    url = home.build(root)["deployment_url"]
    (root / "Dockerfile").write_text(READY_WITH_A_WAY_OUT_NEVER)
    with building(home, root) as child:
        wait_until(lambda: home.containers(release="2"), "the new instance")
        os.kill(child.pid, signal.SIGKILL)
        child.wait(timeout=PATIENCE)
    assert get(url) == (200, "first")
    (root / "Dockerfile").write_text(DOCKERFILE)
    (root / "index.html").write_text("third")
    assert get(home.build(root)["deployment_url"]) == (200, "third")
    assert len(home.containers()) == 1, "what the dead build had started is gone"
