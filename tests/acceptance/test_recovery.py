"""What is put right after a crash, and by whom, where several are at it or something is in the way."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commandline import Home, get
from pages import PAGES
from serving import Serving
from sleeper import wait_until

from dockwright import settings as settings_module
from dockwright.db import build_rows
from dockwright.domain.product import Product
from dockwright.domain.source import FolderSource
from dockwright.errors import Conflict
from dockwright.process import Cancel
from dockwright.queue.worker import ReaperThread
from dockwright.services import audit, product_settings, products, projects, recovery
from dockwright.services.locks import ProductLock, RecoveryLock
from dockwright.services.state import State
from dockwright.services.upkeep import Upkeep
from dockwright.targets.edge import Edge

Folder = Callable[..., Path]


@pytest.fixture
def state(home: Home) -> Iterator[State]:
    state = State(settings_module.load(home.env, home.path / "none"))
    yield state
    state.close()


def _claimed(state: State, folder: Folder) -> tuple[int, Path]:
    """A build that a process on another machine has begun, and the folder in which it works."""
    root = folder("pages", PAGES)
    project = projects.create_from_source(state, FolderSource(path=str(root)), f"folder:{root}", root.name)
    build = build_rows.insert_claimed(
        state.connection,
        client_id=state.client_id,
        project_id=project,
        profile="prod",
        ref=None,
        options={},
        worker="other-machine/12345678/1/1/1",
    )
    workspace = state.settings.workspace_dir / f"build-{build}-abc"
    workspace.mkdir(parents=True)
    return build, workspace


def _status(state: State, build: int) -> str:
    return str(state.connection.execute("SELECT status FROM builds WHERE id = ?", (build,)).fetchone()[0])


def test_leftovers_are_removed_also_when_the_engine_comes_back_later(
    state: State, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    builds = [_claimed(state, folder) for _ in range(2)]
    state.connection.execute("UPDATE builds SET worker = NULL")
    with monkeypatch.context() as patched:
        patched.setenv("DOCKER_HOST", "unix:///var/run/nobody.sock")
        reaper = ReaperThread(state)
        reaper.start()
        wait_until(lambda: all(_status(state, build) == "failed" for build, _ in builds), "the reaper")
    wait_until(lambda: not any(workspace.exists() for _, workspace in builds), "the end of the leftovers")
    reaper.stop()


def test_a_reaper_that_is_late_leaves_the_next_attempt_alone(state: State, folder: Folder) -> None:
    build, workspace = _claimed(state, folder)
    recovery.clean_up_after(state, build, print)
    assert workspace.exists(), "it runs again: its worker has seen to it"
    state.connection.execute("UPDATE builds SET status = 'failed' WHERE id = ?", (build,))
    recovery.clean_up_after(state, build, print)
    assert not workspace.exists()


def test_the_next_attempt_waits_for_a_reaper_that_is_at_it(state: State, folder: Folder) -> None:
    build, workspace = _claimed(state, folder)
    reaper = RecoveryLock(state)
    assert reaper.try_acquire(build)
    worker = threading.Thread(target=recovery.clean_up_before, args=(state, build, print, Cancel()))
    worker.start()
    worker.join(timeout=0.5)
    assert worker.is_alive() and workspace.exists()
    reaper.release()
    worker.join(timeout=20)
    assert not workspace.exists()


def _edge_of(product: dict[str, object], state: State) -> Product:
    return Product(
        id=int(str(product["id"])),
        client=state.client,
        project=None,
        slug=str(product["slug"]),
        port=int(str(product["port"])),
    )


def test_an_edge_that_cannot_start_keeps_no_other_from_it(home: Home, folder: Folder, state: State) -> None:
    urls = [home.build(folder("pages", PAGES))["deployment_url"] for _ in range(2)]
    shown = products.listing(state)
    edge = Edge(state.settings)
    for product in shown:
        edge.stop(_edge_of(product, state))
    files = len(os.listdir("/proc/self/fd"))
    with socket.create_server(("127.0.0.1", shown[0]["port"])):
        upkeep = Upkeep(state)
        for _ in range(3):
            upkeep._ensure_edges()
        assert get(urls[1], "/index.html")[0] == 200
    assert len(os.listdir("/proc/self/fd")) <= files + 2
    upkeep._ensure_edges()
    assert get(urls[0], "/index.html")[0] == 200


def test_a_stop_that_waited_for_a_deployment_does_not_forget_it(home: Home, folder: Folder, state: State) -> None:
    home.build(folder("pages", PAGES))
    (product,) = products.listing(state)
    deployment = ProductLock(state)
    assert deployment.try_acquire(product["id"])
    with pytest.raises(Conflict, match="being deployed"):
        product_settings.remove(state, product["id"], audit.SYSTEM)
    stopping = threading.Thread(target=products.stop, args=(state, product["id"], print))
    stopping.start()
    stopping.join(timeout=0.5)
    with state.session() as session:
        row = products.find(state, product["id"])
        row.image_name = "the newer one"
        session.merge(row)
    deployment.release()
    stopping.join(timeout=30)
    row = products.find(state, product["id"])
    assert (row.status, row.image_name) == ("stopped", "the newer one")


def _told_in_last_attempt(events: list[Any]) -> str:
    begun = [number for number, event in enumerate(events) if "attempt" in event[3]]
    return "\n".join(event[2] for event in events[begun[-1] :])


@pytest.mark.parametrize("at", ["fetch started", "push skipped"])
def test_a_worker_that_slept_while_it_deployed_gives_the_traffic_back(at: str, home: Home, folder: Folder) -> None:
    """The build is another's by then, which has just begun, or waits for the product: it deploys, and the sleeper has
    not."""
    root = folder("pages", PAGES)
    with Serving(home) as one:
        first = one.queue(root)
        one.wait(first)
        [[url]] = one.rows("SELECT deployment_url FROM builds WHERE id = ?", first)
        one.stop()
        one.start(slow="verify", seconds=8.0)
        (root / "index.html").write_text("second")
        build = one.queue(root)
        one.wait_for_stage(build, "verify")
        wait_until(lambda: get(url, "/index.html")[1] == "second", "the switch")
        with Serving(home) as other:
            os.kill(one.pid(), signal.SIGSTOP)
            try:
                wait_until(lambda: one.build(build)["attempt"] == 2, "the other server's attempt", other.log)
                wait_until(lambda: at in _told_in_last_attempt(one.events(build)), at, other.log)
            finally:
                os.kill(one.pid(), signal.SIGCONT)
            row = other.wait(build)
            assert (row["status"], row["attempt"]) == ("deployed", 2), row
            assert [status for status in other.deployments(build) if status != "failed"] == ["live"]
            assert get(url, "/index.html") == (200, "second")
            wait_until(lambda: len(home.containers(product=root.name)) == 1, "the end of the others")
            other.assert_dense(build)
            other.assert_clean(build)
