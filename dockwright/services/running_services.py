"""A compose project's containers: what there is of each service, and whether all of it runs as it should."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dockwright.docker.engine import Document, Engine
from dockwright.errors import Unhealthy
from dockwright.process import Cancel
from dockwright.targets.readiness import LAST_LINES

PROJECT, SERVICE, ONE_OFF = "com.docker.compose.project", "com.docker.compose.service", "com.docker.compose.oneoff"
POLL_SECONDS = 0.1
SETTLE_SECONDS = 1.0
"""How long a container without a health check must have run."""
RESTART_SECONDS = 60.0
"""How long one that is started again whenever it ends may take: it may wait for another service in this way."""


@dataclass(frozen=True, slots=True)
class Running:
    """One container of a service."""

    details: Document

    @property
    def service(self) -> str:
        return str(self.details["Config"]["Labels"][SERVICE])

    @property
    def name(self) -> str:
        return str(self.details["Name"]).removeprefix("/")

    @property
    def status(self) -> str:
        """`created`, `running`, `restarting`, `exited`, `dead`, `paused`, as the engine has it."""
        return str(self.details["State"]["Status"])

    @property
    def health(self) -> str | None:
        """`starting`, `healthy`, `unhealthy`; none without a health check."""
        found = (self.details["State"].get("Health") or {}).get("Status", "none")
        return None if found == "none" else str(found)

    @property
    def exit_code(self) -> int | None:
        return int(self.details["State"]["ExitCode"]) if self.status in {"exited", "dead"} else None

    @property
    def ports(self) -> list[dict[str, Any]]:
        """Published ones."""
        found = (self.details["NetworkSettings"].get("Ports") or {}).items()
        published = [
            {"address": one["HostIp"], "port": int(one["HostPort"]), "container_port": container}
            for container, places in found
            for one in places or ()
        ]
        # Of a port that is published for IPv4 and IPv6 alike one line tells enough.
        alike = {(one["port"], one["container_port"]): one for one in reversed(published)}
        return sorted(alike.values(), key=lambda one: one["port"])

    def as_dict(self) -> dict[str, Any]:
        return {
            "service": self.service,
            "container": self.name,
            "container_id": self.details["Id"],
            "image": self.details["Config"]["Image"],
            "digest": self.details["Image"],
            "status": self.status,
            "health": self.health,
            "exit_code": self.exit_code,
            "ports": self.ports,
        }

    # --- as it should be? --------------------------------------------------------------------------------------------

    @property
    def _is_started_again(self) -> bool:
        policy = self.details["HostConfig"]["RestartPolicy"]["Name"]
        return policy in {"always", "unless-stopped", "on-failure"}

    def is_good(self, now: float) -> bool:
        """It is healthy, has run for a while, or has done its work and ended."""
        if self.status == "exited":
            return self.exit_code == 0
        if self.status != "running":
            return False
        if self.health is not None:
            return self.health == "healthy"
        started = datetime.fromisoformat(self.details["State"]["StartedAt"]).timestamp()
        return now - started >= SETTLE_SECONDS

    def problem(self, waited: float) -> str | None:
        """Why it will not become good any more; `waited` in seconds."""
        if self.health == "unhealthy" and self.status == "running":  # what has ended is called so as well
            return "is not healthy"
        if self._is_started_again and waited < RESTART_SECONDS:
            return None
        if self.status in {"exited", "dead"} and self.exit_code != 0:
            return f"ended with exit code {self.exit_code}"
        if self.status == "restarting":
            return f"ends again and again, with exit code {self.details['State']['ExitCode']}"
        return None


def listing(engine: Engine, project: str) -> list[Running]:
    """In the order of the services' names; containers of `compose run` left out."""
    found = [engine.container(one["Id"]) for one in engine.containers({PROJECT: project, ONE_OFF: "False"})]
    return sorted((Running(one) for one in found if one is not None), key=lambda one: (one.service, one.name))


class Awaited:
    """Services that were started at `since`, in seconds since the epoch."""

    def __init__(self, engine: Engine, project: str, services: frozenset[str], *, since: float) -> None:
        self._engine, self._project, self._services, self._since = engine, project, services, since

    def wait(self, cancel: Cancel) -> None:
        """Until all are good. Raises `Unhealthy` for one that will not be, and as `Cancel.check` does."""
        while not all(one.is_good(time.time()) for one in self.raise_if_failed()):
            cancel.sleep(POLL_SECONDS)

    def raise_if_failed(self) -> list[Running]:
        """All of them. Raises `Unhealthy` with the last lines of the first that has failed."""
        found = [one for one in listing(self._engine, self._project) if one.service in self._services]
        for one in found:
            problem = one.problem(time.time() - self._since)
            if problem is not None:
                raise Unhealthy(
                    f"The service {one.service} {problem}",
                    remedy=f"Its last lines stand above, all of them: docker logs {one.name}",
                    step_exit_code=one.exit_code,
                    last_lines=self._last_lines(one),
                )
        return found

    def _last_lines(self, one: Running) -> list[str]:
        lines = self._engine.logs(one.name, LAST_LINES)
        probes = (one.details["State"].get("Health") or {}).get("Log") or []
        said = str(probes[-1].get("Output", "")).strip() if probes and one.health == "unhealthy" else ""
        return [*lines, *(f"health check: {line}" for line in said.splitlines()[-3:])]
