"""The queue with both of its backends: embedded on SQLite; Celery on Redis and PostgreSQL, in processes of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commandline import Home, get
from pages import DOCKERFILE, PAGES
from serving import Backend, Serving
from sleeper import Sleeper, wait_until

from dockwright.queue.distributed import celery_app
from dockwright.services import queueing

Folder = Callable[..., Path]


@pytest.fixture(params=["embedded", "celery"])
def served(request: pytest.FixtureRequest, home: Home) -> Iterator[Serving]:
    backend: Backend = request.param
    env = {}
    if backend == "celery":
        names = {"DATABASE_URL": "database_url", "REDIS_URL": "redis_url"}
        env = {name: request.getfixturevalue(fixture) for name, fixture in names.items()}
    with Serving(home, backend, env) as serving:
        yield serving


def test_a_queued_build_is_deployed(served: Serving, folder: Folder) -> None:
    build = served.queue(folder("pages", PAGES))
    assert served.wait(build)["status"] == "deployed"
    [[url]] = served.rows("SELECT deployment_url FROM builds WHERE id = ?", build)
    assert get(url, "/index.html") == (200, "first")
    statuses = [event[2] for event in served.events(build) if event[1] == "status"]
    assert statuses == ["queued", "building", "testing", "deploying", "deployed"]
    served.assert_dense(build)
    served.assert_clean(build)


def test_a_cancel_ends_one_build_and_its_neighbour_finishes(served: Serving, folder: Folder) -> None:
    sleepers = Sleeper(), Sleeper(seconds=4)
    long, other = (served.queue(folder("long", {"Dockerfile": one.dockerfile})) for one in sleepers)
    wait_until(lambda: all(one.is_running for one in sleepers), "both builds")
    queueing.cancel(served.state, long)
    assert served.wait(long)["status"] == "canceled"
    wait_until(lambda: not sleepers[0].is_running, "the end of the RUN's process")
    assert served.wait(other)["status"] == "succeeded"
    for build in (long, other):
        served.assert_clean(build)
        served.assert_dense(build)


def test_a_build_that_takes_too_long_is_ended(served: Serving, folder: Folder) -> None:
    sleeper = Sleeper()
    root = folder("late", {"Dockerfile": sleeper.dockerfile})
    project = served.project(root)
    served.rows("UPDATE projects SET build = ? WHERE id = ? RETURNING id", json.dumps({"timeout_seconds": 3}), project)
    build = served.queue(root)
    row = served.wait(build)
    assert (row["status"], row["error_code"]) == ("failed", "build_timeout")
    wait_until(lambda: not sleeper.is_running, "the end of the RUN's process")
    served.assert_clean(build)


def test_many_builds_at_once_are_each_run_once(served: Serving, folder: Folder) -> None:
    """A load of builds of several projects, some of which fail: none is lost, none is done twice."""
    good = [folder(f"good{number}", {**PAGES, "index.html": str(number)}) for number in range(4)]
    bad = [folder(f"bad{number}", {"Dockerfile": f"FROM busybox\nRUN exit {number}\n"}) for number in (1, 2)]
    builds = {served.queue(root, deploy=False, ref=f"v{n}"): root for n in range(5) for root in (*good, *bad)}
    assert len(builds) == 30
    ended = {build: served.wait(build) for build in builds}
    assert {row["attempt"] for row in ended.values()} == {1}
    for build, root in builds.items():
        assert ended[build]["status"] == ("succeeded" if root in good else "failed")
        assert [event[2] for event in served.events(build) if event[1] == "status"].count("building") == 1
        served.assert_dense(build)
        served.assert_clean(build)


def test_no_more_builds_run_than_may(served: Serving, folder: Folder) -> None:
    sleepers = [Sleeper(seconds=2) for _ in range(5)]
    builds = [served.queue(folder("many", {"Dockerfile": one.dockerfile})) for one in sleepers]
    most = 0
    while any(served.build(build)["status"] not in {"succeeded", "failed"} for build in builds):
        most = max(most, len(served.rows("SELECT id FROM builds WHERE status IN ('building', 'testing', 'deploying')")))
    assert most == 3
    assert {served.wait(build)["status"] for build in builds} == {"succeeded"}


def test_a_server_that_is_stopped_gives_its_builds_back(served: Serving, folder: Folder) -> None:
    sleeper = Sleeper()
    root = folder("long", {"Dockerfile": sleeper.dockerfile})
    build = served.queue(root)
    wait_until(lambda: sleeper.is_running, "the long RUN")
    served.stop()
    assert not sleeper.is_running
    served.assert_clean(build)
    (root / "Dockerfile").write_text(DOCKERFILE)
    served.start()
    row = served.wait(build)
    assert (row["status"], row["attempt"]) == ("deployed", 2)
    served.assert_dense(build)


def test_celery_s_own_client_sees_the_build(home: Home, folder: Folder, database_url: str, redis_url: str) -> None:
    """As requirement 001 asks of the task's state: BUILDING with what is done, then its result."""
    with Serving(home, "celery", {"DATABASE_URL": database_url, "REDIS_URL": redis_url}) as served:
        app, seen = celery_app(served.state.settings), []
        for files, outcome in ((PAGES, "SUCCESS"), ({"Dockerfile": "FROM busybox\nRUN exit 3\n"}, "FAILURE")):
            root = folder("task", files)
            project = served.project(root)
            queued = queueing.queue_build(served.state, project)
            result = app.AsyncResult(queued.task_id)
            while (found := app.backend.get_task_meta(queued.task_id))["status"] not in {"SUCCESS", "FAILURE"}:
                seen.append((found["status"], found["result"]))
            assert result.state == outcome
            assert served.wait(queued.build_id)["status"] in {"deployed", "failed"}
            building = [info for state, info in seen if state == "BUILDING"]
            assert {"project_id": project, "build_id": queued.build_id} in [
                {name: info[name] for name in ("project_id", "build_id")} for info in building
            ]
            if outcome == "SUCCESS":
                assert result.result["status"] == "completed"
                assert get(result.result["deployment_url"])[0] == 200
            else:
                assert "exit code 3" in str(result.result)
        app.close()
