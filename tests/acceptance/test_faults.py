"""Crashes of every part in the middle of builds. After each: the state is right within 30 s (what `wait_until` allows),
no build is lost or deployed twice, `seq` is dense, and nothing is left behind.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commandline import Home, get
from own_engine import OwnEngine
from pages import PAGES
from servers import Postgres, Redis, Registry
from serving import BUILD_PATIENCE, Serving
from sleeper import Sleeper, wait_until
from small_disk import fill, home_on_small_disk

from dockwright.domain.build import STAGE_NAMES
from dockwright.domain.source import GitSource
from dockwright.errors import DiskFull
from dockwright.services import projects, queueing

Folder = Callable[..., Path]

WITH_A_TEST_OF_ITS_OWN = ("generate", "push")
"""A folder's build without a registry does not go through these."""
AS_SOMEBODY = ("-c", "user.name=Somebody", "-c", "user.email=somebody@localhost")


@contextlib.contextmanager
def asked(url: str) -> Iterator[list[str]]:
    """A client that asks all the while; afterwards the list holds what went wrong."""
    problems: list[str] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.wait(0.05):
            try:
                status, body = get(url, "/index.html")
            except OSError as error:
                problems.append(repr(error))
            else:
                if status != 200:
                    problems.append(f"{status}: {body}")

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield problems
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("stage", [name for name in STAGE_NAMES if name not in WITH_A_TEST_OF_ITS_OWN])
def test_a_server_killed_in_a_stage(stage: str, home: Home, folder: Folder) -> None:
    """The first version serves all the while; the second is live in the end, deployed once."""
    root = folder("pages", PAGES)
    with Serving(home) as served:
        first = served.queue(root)
        assert served.wait(first)["status"] == "deployed"
        [[url]] = served.rows("SELECT deployment_url FROM builds WHERE id = ?", first)
        served.stop()
        served.start(slow=stage)
        with asked(url) as problems:
            (root / "index.html").write_text("second")
            build = served.queue(root)
            served.wait_for_stage(build, stage)
            time.sleep(1.5)  # it has done its work by now
            served.kill()
            served.start()
            row = served.wait(build)
        assert (row["status"], row["attempt"]) == ("deployed", 2), row
        assert problems == []
        assert get(url, "/index.html") == (200, "second")
        assert served.deployments(build) == ["live"]
        served.assert_dense(build)
        served.assert_clean(build)
        assert len(home.containers(product=root.name)) == 1


def test_a_server_killed_while_it_pushes(home: Home, folder: Folder, registry: Registry) -> None:
    with Serving(home, env={"DOCKER_REGISTRY_URL": f"http://{registry.address}"}) as served:
        served.stop()
        served.start(slow="push")
        build = served.queue(folder("pages", PAGES))
        served.wait_for_stage(build, "push")
        time.sleep(1.5)
        served.kill()
        served.start()
        row = served.wait(build)
        assert (row["status"], row["attempt"]) == ("deployed", 2), row
        assert served.deployments(build) == ["live"]
        served.assert_dense(build)
        served.assert_clean(build)


def test_a_server_killed_while_it_renders(home: Home) -> None:
    with Serving(home) as served:
        served.stop()
        served.start(slow="generate")
        project = projects.create_from_template(served.state, "chatbot", "Helper", {})["id"]
        build = queueing.queue_build(served.state, project, deploy=False).build_id
        served.wait_for_stage(build, "generate")
        time.sleep(1.0)
        served.kill()
        served.start()
        wait_until(lambda: served.build(build)["attempt"] == 2, "the second attempt")
        queueing.cancel(served.state, build)  # its packages take long, and are not what this is about
        assert served.wait(build)["status"] == "canceled"
        served.assert_dense(build)
        served.assert_clean(build)


def test_a_killed_server_whose_build_is_canceled_leaves_the_old_version_live(home: Home, folder: Folder) -> None:
    """Killed with the traffic on the new version, which nothing has proved yet: it goes back."""
    root = folder("pages", PAGES)
    with Serving(home) as served:
        first = served.queue(root)
        served.wait(first)
        [[url]] = served.rows("SELECT deployment_url FROM builds WHERE id = ?", first)
        served.stop()
        served.start(slow="verify")
        (root / "index.html").write_text("second")
        build = served.queue(root)
        served.wait_for_stage(build, "verify")
        wait_until(lambda: get(url, "/index.html")[1] == "second", "the switch")
        served.kill()
        queueing.cancel(served.state, build)
        served.start()
        assert served.wait(build)["status"] == "canceled"
        wait_until(lambda: get(url, "/index.html")[1] == "first", "the old version")
        wait_until(lambda: len(home.containers(product=root.name)) == 1, "the end of the new one")
        assert served.deployments(build) == []
        served.assert_clean(build)


def test_a_celery_worker_killed(home: Home, folder: Folder, database_url: str, redis_url: str) -> None:
    sleeper = Sleeper(seconds=5)
    with Serving(home, "celery", {"DATABASE_URL": database_url, "REDIS_URL": redis_url}) as served:
        build = served.queue(folder("long", {"Dockerfile": sleeper.dockerfile}))
        wait_until(lambda: sleeper.is_running, "the RUN")
        served.kill("worker")
        wait_until(lambda: served.build(build)["status"] == "queued", "the server's reaper")
        served.start_worker()
        row = served.wait(build)
        assert (row["status"], row["attempt"]) == ("succeeded", 2)
        served.assert_dense(build)
        served.assert_clean(build)


def test_a_celery_worker_killed_while_it_deploys(home: Home, folder: Folder, database_url: str, redis_url: str) -> None:
    """The traffic is on the new version, which nothing has proved yet. It is deployed once, and one of them answers all
    the while."""
    root = folder("pages", PAGES)
    with Serving(home, "celery", {"DATABASE_URL": database_url, "REDIS_URL": redis_url}) as served:
        first = served.queue(root)
        assert served.wait(first)["status"] == "deployed"
        [[url]] = served.rows("SELECT deployment_url FROM builds WHERE id = ?", first)
        served.kill("worker")
        served.start_worker(slow="deploy")
        with asked(url) as problems:
            (root / "index.html").write_text("second")
            build = served.queue(root)
            wait_until(lambda: get(url, "/index.html")[1] == "second", "the switch", served.log, BUILD_PATIENCE)
            served.kill("worker")
            served.start_worker()
            row = served.wait(build)
        assert (row["status"], row["attempt"]) == ("deployed", 2), row
        assert problems == []
        assert get(url, "/index.html") == (200, "second")
        assert served.deployments(first) == ["superseded"] and served.deployments(build) == ["live"]
        served.assert_dense(build)
        served.assert_clean(build)
        assert len(home.containers(product=root.name)) == 1


def test_redis_restarted(home: Home, folder: Folder, database_url: str) -> None:
    """Its messages are gone with it: the builds that wait are found all the same."""
    with Redis() as redis, Serving(home, "celery", {"DATABASE_URL": database_url, "REDIS_URL": redis.url}) as served:
        sleepers = [Sleeper(seconds=4) for _ in range(4)]
        builds = [served.queue(folder("long", {"Dockerfile": one.dockerfile})) for one in sleepers]
        wait_until(lambda: sleepers[0].is_running, "the first RUN")
        redis.kill()
        during = served.queue(folder("pages", PAGES))
        time.sleep(2)
        redis.start()
        for build in (*builds, during):
            row = served.wait(build)
            assert (row["status"], row["attempt"]) in {("succeeded", 1), ("deployed", 1)}, row
            served.assert_dense(build)


def test_postgresql_restarted(home: Home, folder: Folder, redis_url: str) -> None:
    with Postgres() as postgres, Serving(home, "celery", {"DATABASE_URL": postgres.url, "REDIS_URL": redis_url}) as one:
        sleeper = Sleeper(seconds=8)
        running = one.queue(folder("long", {"Dockerfile": sleeper.dockerfile}))
        waiting = one.queue(folder("pages", PAGES))
        wait_until(lambda: sleeper.is_running, "the RUN")
        one.wait(waiting)
        postgres.kill()
        time.sleep(3)
        postgres.start()
        row = one.wait(running)
        assert (row["status"], row["attempt"]) == ("succeeded", 1), row
        one.assert_dense(running)
        assert one.wait(one.queue(folder("after", PAGES)))["status"] == "deployed"


def test_postgresql_away_for_longer_than_a_build_waits(home: Home, folder: Folder) -> None:
    """The build ends, and not even that can be written: it is begun anew once PostgreSQL is back."""
    with Postgres() as postgres:
        env = {"DATABASE_URL": postgres.url, "JOURNAL_PATIENCE_SECONDS": "1"}
        with Serving(home, env=env) as served:
            root = folder("pages", PAGES)
            served.stop()
            served.start(slow="plan", seconds=2.0)
            build = served.queue(root)
            served.wait_for_stage(build, "plan")
            postgres.kill()
            wait_until(lambda: "build.given_back" in served.log(), "the end of its patience", served.log)
            postgres.start()
            row = served.wait(build)
            assert (row["status"], row["attempt"]) == ("deployed", 2), row
            assert served.deployments(build) == ["live"]
            served.assert_dense(build)
            served.assert_clean(build)


def test_a_message_delivered_twice(home: Home, folder: Folder, database_url: str, redis_url: str) -> None:
    with Serving(home, "celery", {"DATABASE_URL": database_url, "REDIS_URL": redis_url}) as served:
        build = served.queue(folder("pages", PAGES))
        for _ in range(5):
            served.state.bus.queued(build)
        row = served.wait(build)
        assert (row["status"], row["attempt"]) == ("deployed", 1)
        time.sleep(2)
        assert served.deployments(build) == ["live"]
        assert [event[2] for event in served.events(build) if event[1] == "status"].count("building") == 1


def test_two_servers_on_one_database(home: Home, folder: Folder) -> None:
    with Serving(home) as one, Serving(home) as other:
        roots = [folder(f"pages{number}", PAGES) for number in range(4)]
        builds = [served.queue(root, deploy=False) for root, served in zip(roots, (one, other) * 2, strict=True)]
        for build in builds:
            row = one.wait(build)
            assert (row["status"], row["attempt"]) == ("succeeded", 1)
            one.assert_dense(build)
        sleeper = Sleeper(seconds=6)
        long = one.queue(folder("long", {"Dockerfile": sleeper.dockerfile}))
        wait_until(lambda: sleeper.is_running, "the RUN")
        [[worker]] = one.rows("SELECT worker FROM builds WHERE id = ?", long)
        at_work = one if worker.split("/")[3] == str(one.pid()) else other
        at_work.kill("serve")
        row = one.wait(long)
        assert (row["status"], row["attempt"]) == ("succeeded", 2), "the other server took it over"


def test_a_stopped_worker_that_wakes_up_late_writes_nothing(home: Home, folder: Folder) -> None:
    """Its lease is over, as after a sleep of its machine, and the build is another's."""
    sleeper = Sleeper(seconds=8)
    with Serving(home) as one, Serving(home) as other:
        build = one.queue(folder("long", {"Dockerfile": sleeper.dockerfile}))
        wait_until(lambda: sleeper.is_running, "the RUN")
        [[worker]] = one.rows("SELECT worker FROM builds WHERE id = ?", build)
        asleep = one if worker.split("/")[3] == str(one.pid()) else other
        os.kill(asleep.pid(), signal.SIGSTOP)
        wait_until(lambda: one.build(build)["attempt"] == 2, "the other server's attempt")
        os.kill(asleep.pid(), signal.SIGCONT)
        row = one.wait(build)
        assert (row["status"], row["attempt"]) == ("succeeded", 2)
        one.assert_dense(build)


@pytest.mark.parametrize("shift", ["+1h", "-1h"])
def test_the_clock_is_moved(shift: str, home: Home, folder: Folder, tmp_path: Path) -> None:
    """The server's clock jumps by an hour while a build runs, as when a machine's clock is set right."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    clock = tmp_path / "clock"
    clock.write_text("+0")
    faked = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    sleeper = Sleeper(seconds=8)
    with Serving(home, env=faked) as served:
        build = served.queue(folder("long", {"Dockerfile": sleeper.dockerfile}))
        wait_until(lambda: sleeper.is_running, "the RUN")
        clock.write_text(shift)
        row = served.wait(build)
        assert (row["status"], row["attempt"]) == ("succeeded", 1), row
        served.assert_dense(build)
        assert served.wait(served.queue(folder("pages", PAGES)))["status"] == "deployed"


def test_the_engine_restarted(home: Home, folder: Folder) -> None:
    """Its builds are cut off; each is begun anew when it is back, and what waits is not begun before."""
    with OwnEngine() as engine:
        engine.copy("localhost/base/busybox:latest")
        with Serving(home, env={"DOCKER_HOST": engine.host}) as served:
            sleeper = Sleeper(seconds=5)
            build = served.queue(folder("long", {"Dockerfile": sleeper.dockerfile}), deploy=False)
            wait_until(lambda: sleeper.is_running, "the RUN")
            engine.kill()
            wait_until(lambda: served.build(build)["status"] == "queued", "the way back into the queue", served.log)
            time.sleep(3)
            assert served.build(build)["attempt"] == 1
            engine.start()
            row = served.wait(build)
            assert (row["status"], row["attempt"]) == ("succeeded", 2), row
            served.assert_dense(build)
            assert served.wait(served.queue(folder("pages", PAGES), deploy=False))["status"] == "succeeded"


@pytest.fixture
def small_home(tmp_path: Path, bases: None) -> Iterator[Home]:
    with home_on_small_disk(tmp_path / "small", "32m") as home:
        yield home


def test_the_disk_of_the_database_is_full(small_home: Home, folder: Folder) -> None:
    """The end of a build cannot be written: it is done again once there is room. The server answers all the while."""
    with Serving(small_home, env={"BUILD_DISK_MIN_FREE": "1"}) as served:
        first = served.queue(folder("pages", PAGES))
        assert served.wait(first)["status"] == "deployed"
        [[url]] = served.rows("SELECT deployment_url FROM builds WHERE id = ?", first)
        later = served.project(folder("later", PAGES))
        sleeper = Sleeper(seconds=4)
        build = served.queue(folder("long", {"Dockerfile": sleeper.dockerfile}))
        wait_until(lambda: sleeper.is_running, "the RUN")
        with asked(url) as problems:
            fill(small_home.path, 1)
            wait_until(lambda: not sleeper.is_running, "the end of the RUN")
            with pytest.raises(DiskFull):
                while True:  # what is left of the write-ahead log takes a few more rows
                    queueing.queue_build(served.state, later)
            time.sleep(5)
            assert served.answers()
            fill(small_home.path, 0)
            row = served.wait(build)
        assert problems == []
        assert row["status"] == "succeeded" and row["attempt"] <= 2, row
        after = queueing.queue_build(served.state, later).build_id
        assert served.wait(after)["status"] == "deployed"
        for one in (build, after):
            served.assert_dense(one)
            served.assert_clean(one)


def test_the_disk_of_the_workspaces_is_full(small_home: Home, folder: Folder) -> None:
    """Its own build fails for it, and another one goes on."""
    large = folder("large", {**PAGES, "large": "".join(f"{number:x}" for number in range(6_000_000))})
    for command in (["init", "--quiet"], ["add", "."], [*AS_SOMEBODY, "commit", "--quiet", "-m", "all"]):
        subprocess.run(["git", "-C", str(large), *command], check=True)
    with Serving(small_home, env={"BUILD_DISK_MIN_FREE": "1"}) as served:
        source = GitSource(url=str(large))
        project = projects.create_from_source(served.state, source, f"git:{large}", large.name)
        full = queueing.queue_build(served.state, project).build_id
        beside = served.queue(folder("pages", PAGES))
        row = served.wait(full)
        assert (row["status"], row["error_code"], row["attempt"]) == ("failed", "disk_full", 1), row
        row = served.wait(beside)
        assert row["status"] == "deployed", row
        for one in (full, beside):
            served.assert_dense(one)
            served.assert_clean(one)
