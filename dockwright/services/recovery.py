"""What a build whose process was killed has left is put right: nothing of it runs on, and the traffic is where the
database says that it is."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from sqlalchemy import select

from dockwright.db import tables
from dockwright.docker.engine import Engine
from dockwright.domain.product import Instance, Product
from dockwright.domain.transitions import ACTIVE
from dockwright.process import Cancel
from dockwright.services import live
from dockwright.services.locks import ProductLock, RecoveryLock
from dockwright.services.state import State
from dockwright.targets import docker
from dockwright.targets.cutover import REVERT_DRAIN_SECONDS
from dockwright.targets.edge import Edge

LABEL = "dev.dockwright."


def clean_up_before(state: State, build_id: int, log: Callable[[str], None], cancel: Cancel) -> None:
    """By the worker that is about to begin another attempt; it waits for a reaper that is at it."""
    lock = RecoveryLock(state)
    try:
        lock.acquire(build_id, cancel)
        _clean_up(state, build_id, log)
    finally:
        lock.release()


def clean_up_after(state: State, build_id: int, log: Callable[[str], None]) -> None:
    """By the reaper that has taken the build from its worker. What runs again has been seen to by its new worker."""
    lock = RecoveryLock(state)
    try:
        if lock.try_acquire(build_id) and not _runs_again(state, build_id):
            _clean_up(state, build_id, log)
    finally:
        lock.release()


def _runs_again(state: State, build_id: int) -> bool:
    with state.session() as session:
        return session.scalar(select(tables.Build.status).where(tables.Build.id == build_id)) in ACTIVE


def _clean_up(state: State, build_id: int, log: Callable[[str], None]) -> None:
    """Removes the build's test containers, networks and workspaces, and takes back a cut-over that it had begun."""
    engine = Engine()
    mine = {f"{LABEL}managed": "true", f"{LABEL}client": state.client, f"{LABEL}build": str(build_id)}
    for container in engine.containers(mine):
        if f"{LABEL}product" not in container["Labels"]:
            engine.remove_container(container["Id"], volumes=True)
            log(f"Removed {container['Names'][0].removeprefix('/')}, which build {build_id} had left")
    for network in engine.networks(mine):
        engine.remove_network(network["Name"])
    for folder in state.settings.workspace_dir.glob(f"build-{build_id}-*"):
        shutil.rmtree(folder)
    for slug in {one["Labels"].get(f"{LABEL}product") for one in engine.containers(mine)} - {None}:
        _restore(state, engine, slug, log)


def _restore(state: State, engine: Engine, slug: str, log: Callable[[str], None]) -> None:
    with state.session() as session:
        row = session.scalar(
            select(tables.Product).where(tables.Product.client_id == state.client_id, tables.Product.slug == slug)
        )
    if row is None:
        return
    lock = ProductLock(state)
    try:
        if not lock.try_acquire(row.id):
            return  # a deployment is under way: it ends every instance but its own
        with state.session() as session:
            session.refresh(row := session.merge(row))
        _take_back(state, engine, row, log)
    finally:
        lock.release()


def _take_back(state: State, engine: Engine, row: tables.Product, log: Callable[[str], None]) -> None:
    """As `CutOver.revert` would have: the traffic to the release that is live, the others removed."""
    product = live.live_state(state, row, project=None, env={}).product
    assert product is not None
    found = docker.all_instances(product, engine)
    strays = [one for one in found if one.release != row.release_number or row.status != "running"]
    if not strays:
        return
    edge = Edge(state.settings)
    with edge.deployment(product):
        serving = [one for one in docker.instances(product, engine) if one not in strays]
        if edge.is_running(product) and (serving or row.release_number is None):
            _switch(edge, product, serving, strays)
        for stray in strays:
            engine.remove_container(stray.container_id, volumes=True)
            log(f"Removed {stray.name}, which had not been proved")
        if row.release_number is None:
            edge.remove(product)


def _switch(edge: Edge, product: Product, serving: list[Instance], strays: list[Instance]) -> None:
    with_traffic = set(edge.live(product))
    if not any((one.address, one.port) in with_traffic for one in strays):
        return
    edge.switch(product, serving)
    for stray in strays:
        edge.drain(product, stray, REVERT_DRAIN_SECONDS, Cancel())
