"""What the rows say of what is live, while versions come, fail and are taken back."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from servers import Postgres

from dockwright.db import queue, tables
from dockwright.db.journal import Journal
from dockwright.db.queue import Limits
from dockwright.domain.build import History
from dockwright.domain.product import Product, Release
from dockwright.domain.redaction import NO_SECRETS
from dockwright.domain.source import FolderSource
from dockwright.errors import DatabaseError, EngineError, LeaseLost, PortTaken
from dockwright.pipeline import Outcome
from dockwright.process import Cancel, identity
from dockwright.queue.runner import _Books, to_be_repeated
from dockwright.services import queueing
from dockwright.services.build import request_of
from dockwright.services.live import product_of_project
from dockwright.services.locks import ProductLock
from dockwright.services.projects import create_from_source
from dockwright.services.releases import Attempt
from dockwright.services.state import State
from dockwright.settings import load
from dockwright.targets.cutover import Deployed, Traffic

FAILURE = EngineError("The old instance cannot be stopped", remedy="See the engine's log")


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(load({"DOCKWRIGHT_HOME": str(tmp_path)}, env_file=tmp_path / "none"))


def project_id(state: State) -> int:
    with state.session() as session:
        found = session.query(tables.Project).one_or_none()
    return found.id if found else create_from_source(state, FolderSource(path="/shop"), "folder:/shop", "shop")


def product_row(state: State) -> tables.Product:
    """Saved the first time, as a build does when it begins to deploy."""
    return product_of_project(state, project_id(state), slug="shop", name="shop", env={"N": "0"}, port=8000)


def attempt(state: State, number: int) -> tuple[Attempt, Deployed]:
    """To put release `number` live, with an environment, a port and replicas that tell it from the others."""
    row = product_row(state)
    product = Product(id=row.id or 0, client="test", project=None, slug="shop", port=8000 + number, replicas=number)
    release = Release(
        number=number, image_name=f"shop:{number}", digest=f"d{number}", container_port=80, env={"N": str(number)}
    )
    deployed = Deployed(
        product=product,
        release=release,
        instances=(),
        previous=(),
        url="http://127.0.0.1",
        seconds_to_healthy=0.5,
        traffic=Traffic(requests=7, failed_requests=0),
    )
    return Attempt(state, row, release, started_at=time.time()), deployed


def live(state: State) -> dict[str, Any]:
    row = product_row(state)
    return {name: getattr(row, name) for name in ("release_number", "port", "replicas", "env_vars", "status")}


def deployments(state: State) -> list[tuple[int, str, str | None]]:
    with state.session() as session:
        rows = session.query(tables.Deployment).order_by(tables.Deployment.id).all()
    return [(row.release_number, row.status, row.error) for row in rows]


def test_one_version_after_the_other(state: State) -> None:
    for number in (1, 2):
        tried, deployed = attempt(state, number)
        tried.is_live(deployed)
        deployed.traffic.requests = 9
        tried.is_done(deployed)
    assert deployments(state) == [(1, "superseded", None), (2, "live", None)]
    assert live(state) == {
        "release_number": 2,
        "port": 8002,
        "replicas": 2,
        "env_vars": {"N": "2"},
        "status": "running",
    }
    with state.session() as session:
        assert {row.requests for row in session.query(tables.Deployment)} == {9}


def test_version_that_never_got_the_traffic(state: State) -> None:
    tried, deployed = attempt(state, 1)
    tried.is_live(deployed)
    before = live(state)
    tried, _ = attempt(state, 2)
    tried.has_failed(FAILURE, None)
    assert live(state) == before
    assert deployments(state) == [(1, "live", None), (2, "failed", FAILURE.message)]


def test_version_that_lost_the_traffic_again(state: State) -> None:
    """The old one could not be let go of, so the traffic went back to it."""
    tried, deployed = attempt(state, 1)
    tried.is_live(deployed)
    before = live(state)
    tried, deployed = attempt(state, 2)
    tried.is_live(deployed)
    tried.has_failed(FAILURE, deployed)
    assert live(state) == before
    assert deployments(state) == [(1, "live", None), (2, "failed", FAILURE.message)]


def test_first_version_that_lost_the_traffic_again(state: State) -> None:
    tried, deployed = attempt(state, 1)
    tried.is_live(deployed)
    tried.has_failed(FAILURE, deployed)
    assert live(state)["release_number"] is None and live(state)["status"] == "failed"
    assert deployments(state) == [(1, "failed", FAILURE.message)]


def test_port_that_was_never_had_makes_no_product(state: State) -> None:
    tried, _ = attempt(state, 1)
    tried.has_failed(PortTaken("Port 8001 is held", remedy="Choose another"), None)
    assert deployments(state) == []
    with state.session() as session:
        assert session.query(tables.Product).count() == 0


def test_a_worker_that_lost_its_build_makes_nothing_live(state: State) -> None:
    """It slept while it deployed, and its build has been given to another one."""
    project = project_id(state)
    build = queueing.queue_build(state, project).build_id
    claim = queue.claim(state.connection, identity(), Limits(overall=1, client=1, builder=1))
    assert claim is not None
    request = request_of(state, claim)
    with Journal(state.connection, build, cancel=Cancel(), attempt=claim.attempt) as log:
        books = _Books(state, request, History(), log, NO_SECRETS)
        books.live_state()
        _, deployed = attempt(state, 1)
        with state.connection.lock:  # else its heartbeat would hear of it by chance
            state.connection.execute("UPDATE builds SET attempt = 2 WHERE id = ?", (build,))
            with pytest.raises(LeaseLost):
                books.keep(Outcome(release=deployed.release, deployed=deployed))
        books.lock.release()
    assert deployments(state) == []
    assert live(state)["release_number"] is None


def test_a_deployment_whose_lock_went_with_postgresql_makes_nothing_live(
    tmp_path: Path, postgres: Postgres, database_url: str
) -> None:
    """It is begun anew, and leaves alone what somebody else has done since then: here a scaling."""
    settings = load({"DOCKWRIGHT_HOME": str(tmp_path), "DATABASE_URL": database_url}, env_file=tmp_path / "none")
    state, other = State(settings), State(settings)
    product_id = product_row(state).id
    queueing.queue_build(state, project_id(state))
    claim = queue.claim(state.connection, identity(), Limits(overall=1, client=1, builder=1))
    assert claim is not None
    request, scaling = request_of(state, claim), ProductLock(other)
    with Journal(state.connection, claim.build_id, cancel=Cancel(), attempt=claim.attempt) as log:
        books = _Books(state, request, History(), log, NO_SECRETS)
        books.live_state()
        assert not scaling.try_acquire(product_id)
        books.lock.check()
        postgres.kill()
        postgres.start()
        assert scaling.try_acquire(product_id)
        with other.session() as session:
            session.get_one(tables.Product, product_id).replicas = 3
        _, deployed = attempt(state, 1)
        with pytest.raises(DatabaseError, match="lock of the product") as caught:
            books.keep(Outcome(release=deployed.release, deployed=deployed))
        assert to_be_repeated(request, caught.value)
        books.close(Outcome(release=deployed.release, deployed=deployed, error=caught.value))
        books.lock.release()
    scaling.check()
    scaling.release()
    assert [(number, status) for number, status, _ in deployments(state)] == [(1, "failed")]
    assert (live(state)["release_number"], live(state)["replicas"]) == (None, 3)
    for one in (state, other):
        one.close()
