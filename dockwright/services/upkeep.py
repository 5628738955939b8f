"""What a server does by itself: edges that ended start again, what is old is cleaned up, idle builders stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

import structlog
from sqlalchemy import select

from dockwright.db import tables
from dockwright.docker import builders
from dockwright.errors import DockwrightError
from dockwright.services import live
from dockwright.services.cleanup import by_policy
from dockwright.services.locks import ProductLock
from dockwright.services.state import State
from dockwright.targets.edge import Edge

log = structlog.get_logger()

EDGE_SECONDS = 5.0
"""How often it is looked whether the edges run."""
BUILDER_IDLE_SECONDS = 600.0
CLEANUP_SECONDS = 3600.0


class Upkeep(threading.Thread):
    def __init__(self, state: State) -> None:
        super().__init__(name="upkeep", daemon=True)
        self._state = state.apart(state.client_id)
        self._ended = threading.Event()
        self._cleaned_at = time.monotonic()

    def run(self) -> None:
        while not self._ended.is_set():
            self._try(self._ensure_edges)
            self._try(self._stop_idle_builders)
            if time.monotonic() >= self._cleaned_at + CLEANUP_SECONDS:
                self._cleaned_at = time.monotonic()
                self._try(self._clean_up)
            self._ended.wait(EDGE_SECONDS)
        self._state.close()

    def end(self) -> None:
        """Begins nothing more."""
        self._ended.set()

    def stop(self) -> None:
        self.end()
        self.join(timeout=30)

    def _try(self, work: Callable[[], None]) -> None:
        try:
            work()
        except DockwrightError as error:
            log.warning("upkeep.waits", reason=error.message)
        except Exception:
            log.exception("upkeep.failed")

    def _ensure_edges(self) -> None:
        """After the machine was started anew the engine has brought the containers back, and nobody the edges."""
        edge = Edge(self._state.settings)
        with self._state.session() as session:
            rows = session.scalars(select(tables.Product).where(tables.Product.status == "running")).all()
        for row in rows:
            if self._ended.is_set():
                return
            self._try(partial(self._ensure_edge, row, edge))  # one that cannot start keeps no other from it

    def _ensure_edge(self, row: tables.Product, edge: Edge) -> None:
        state = self._state.of_client(row.client_id)
        product = live.live_state(state, row, project=None, env={}).product
        if product is None or edge.is_running(product):
            return
        lock = ProductLock(state)
        try:
            if lock.try_acquire(row.id):
                self._start_edge(state, row.id, edge)
        finally:
            lock.release()

    def _start_edge(self, state: State, product_id: int, edge: Edge) -> None:
        with state.session() as session:
            row = session.get(tables.Product, product_id)
        if row is None or row.status != "running":
            return  # it was stopped while we looked
        found = live.live_state(state, row, project=None, env={})
        serving = [one for one in found.instances if one.release == row.release_number]
        assert found.product is not None
        if serving and edge.ensure(found.product, serving):
            log.warning("edge.started_again", product=row.slug, port=row.port)

    def _stop_idle_builders(self) -> None:
        if self._state.settings.isolation == "isolated":
            for client in builders.stop_idle(self._state.settings, BUILDER_IDLE_SECONDS):
                log.info("builder.stopped", builder=client)

    def _clean_up(self) -> None:
        for swept in by_policy(self._state):
            counts = {name: swept[name] for name in ("builds", "images", "containers", "bytes")}
            if any(counts.values()):
                log.info("cleaned_up", client=swept["client"], **counts)
            for reason in swept["failed"]:
                log.warning("cleanup.left", client=swept["client"], reason=reason)
