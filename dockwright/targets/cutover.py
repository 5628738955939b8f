"""The cut-over: the new version beside the old one, healthy, given the traffic; and only then the old one stopped.

    start() ──▶ new instances ready ──▶ edge switched ──▶ (verify, outside) ──▶ commit(): old drained, stopped, removed
       │                                                        └─────────────▶ revert(): traffic back, new removed
       └─ whatever goes wrong: the new ones removed, the old ones have not noticed

One for every use: a deploy and a rollback start all replicas of a release, a scaling starts those that are missing and
keeps the others, a start has no old ones.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from dockwright.domain.product import Instance, LiveState, Product, Release
from dockwright.errors import DockwrightError, UsageError
from dockwright.process import Cancel
from dockwright.targets import docker
from dockwright.targets.docker import DockerTarget
from dockwright.targets.edge import Edge
from dockwright.targets.haproxy import SLOTS, Counters

DRAIN_SECONDS = 60.0
"""How long an answer that is under way may keep an old instance alive."""
REVERT_DRAIN_SECONDS = 5.0
MAX_REPLICAS = SLOTS // 2


@dataclass(slots=True)
class Traffic:
    """What passed the edge since the cut-over began; written by the cut-over until it is committed or reverted."""

    requests: int = 0
    failed_requests: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """A release that has the traffic."""

    product: Product
    release: Release
    instances: tuple[Instance, ...]
    """All that have the traffic now."""
    previous: tuple[Instance, ...]
    """Those that lost it, and run until the cut-over is committed."""
    url: str
    seconds_to_healthy: float
    """From the first container's creation until the last one was ready."""
    traffic: Traffic = field(default_factory=Traffic)


class CutOver:
    """One cut-over of one product; held by one process at a time. `commit` and `revert` may be called again."""

    def __init__(
        self,
        target: DockerTarget,
        edge: Edge,
        *,
        product: Product,
        release: Release,
        live: LiveState,
        cancel: Cancel,
        keep: tuple[Instance, ...] = (),
        log: Callable[[str], None] = lambda _: None,
        ready_seconds: float | None = None,
        drain_seconds: float = DRAIN_SECONDS,
    ) -> None:
        """`keep`: instances of the same release that stay, and count among the product's replicas.

        `ready_seconds`: how long an instance may take; none for what its image's health check allows.
        """
        if not 1 <= product.replicas <= MAX_REPLICAS:
            raise UsageError(
                f"A product cannot have {product.replicas} replicas", remedy=f"Ask for 1 to {MAX_REPLICAS} of them"
            )
        self.target, self.edge = target, edge
        self.product, self.release, self.live = product, release, live
        self.cancel, self.log = cancel, log
        self.ready_seconds, self.drain_seconds = ready_seconds, drain_seconds
        self.kept = keep[: product.replicas]
        self.previous = tuple(one for one in live.instances if one not in self.kept)
        self.traffic = Traffic()
        self._started: dict[str, Instance | None] = {}
        """By container name; none between the decision to start it and the engine's answer."""
        self._before = Counters(0, 0)
        self._served: tuple[Instance, ...] = ()
        """Those that have the traffic when we begin, and get it back on a revert."""
        self._is_edge_ours = False
        self._is_switched = False
        self._lock = contextlib.ExitStack()

    def start(self) -> Deployed:
        """Starts, waits, switches. On any error, Ctrl-C included, everything is as it was before."""
        self._lock.enter_context(self.edge.deployment(self.product))
        try:
            began = time.monotonic()
            # First of all: where the port is taken, nothing needs to be started.
            self._is_edge_ours = self.edge.ensure(self.product, self.live.instances, self.live.taken_ports)
            self._before = self.edge.counters(self.product)
            self._served = self._instances_with_traffic()
            self._start_instances()
            seconds = time.monotonic() - began
            self._switch()
        except BaseException:
            self.revert()
            raise
        return Deployed(
            product=self.product,
            release=self.release,
            instances=self.instances,
            previous=self.previous,
            url=self.edge.url(self.product),
            seconds_to_healthy=seconds,
            traffic=self.traffic,
        )

    @property
    def instances(self) -> tuple[Instance, ...]:
        return self.kept + tuple(one for one in self._started.values() if one)

    def commit(self) -> None:
        """Drains, stops and removes every other instance of the product, those that a killed process left included."""
        stay = {one.container_id for one in self.instances}
        with self._lock:
            for old in self.previous:
                if not self.edge.drain(self.product, old, self.drain_seconds):
                    self.log(f"{old.name} still answered after {self.drain_seconds:g} s and is stopped all the same")
            for old in docker.all_instances(self.product, self.target.engine):
                if old.container_id not in stay:
                    self.target.stop(old)
                    self.target.remove(old.container_id)
                    self.log(f"Stopped {old.name}")
            self._count()
            self._settle()

    def revert(self) -> None:
        """Gives the traffic back and removes what was started, whatever of it there is."""
        with self._lock:
            try:
                self._give_back()
            finally:
                for name in list(self._started):
                    self.target.remove(name)
                    del self._started[name]

    def _settle(self) -> None:
        """What was done is done: there is nothing left to revert."""
        self._started, self.kept, self.previous = {}, (), ()
        self._is_switched = self._is_edge_ours = False

    # --- the steps ---------------------------------------------------------------------------------------------------

    def _instances_with_traffic(self) -> tuple[Instance, ...]:
        """A process that was killed between start and switch leaves instances that are ready and serve nobody."""
        places = self.edge.live(self.product)
        return tuple(one for one in self.live.instances if (one.address, one.port) in places)

    def _start_instances(self) -> None:
        self.target.bring_image(self.release, self.cancel, self.log)
        for index in range(len(self.kept) + 1, self.product.replicas + 1):
            self.cancel.check()
            name = self.target.name_of(self.product, self.release, index)
            self._started[name] = None
            self._started[name] = self.target.start(self.product, self.release, name)
            self.log(f"Started {name}")
        for instance in self.instances[len(self.kept) :]:
            seconds = self.target.wait_ready(instance, self.release, self.cancel, self.ready_seconds)
            self.log(f"{instance.name} is ready after {seconds:.2f} s")

    def _switch(self) -> None:
        self.cancel.check()
        self._is_switched = True
        self.edge.switch(self.product, self.instances)
        self._count()
        self.log(f"{self.edge.url(self.product)} is served by release {self.release.number}")

    def _give_back(self) -> None:
        if self._is_switched:
            self._is_switched = False
            self.edge.switch(self.product, self._served)
            for instance in self._started.values():
                if instance and self._served:
                    self.edge.drain(self.product, instance, REVERT_DRAIN_SECONDS)
            self._count()
            self.log("The traffic is back where it was")
        if self._is_edge_ours and not self._served:
            self._is_edge_ours = False
            self.edge.remove(self.product)

    def _count(self) -> None:
        try:
            now = self.edge.counters(self.product).since(self._before)
        except DockwrightError as error:
            self.log(f"The edge's counters cannot be read: {error.message}")
            return
        self.traffic.requests, self.traffic.failed_requests = now.requests, now.failed_requests
