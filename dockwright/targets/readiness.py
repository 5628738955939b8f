"""When a container is ready: its health check passes and a port of its own accepts, whichever of them it has."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dockwright.docker.engine import Document, Engine
from dockwright.errors import Unhealthy
from dockwright.process import Cancel

READY_SECONDS = 120.0
"""How long a container without a health check may take; models that are loaded at the start take a while."""
POLL_SECONDS = 0.05
SETTLE_SECONDS = 2.0
"""How long after its first port an app without a health check may take to open the one that is preferred."""
START_INTERVAL_SECONDS = 0.2
LAST_LINES = 30

_NANOSECONDS = 1_000_000_000
_DEFAULT_INTERVAL = 30 * _NANOSECONDS
_DEFAULT_RETRIES = 3


def start_window(image: Document) -> float:
    """Seconds after which the image's own health check would call a container unhealthy that never was healthy."""
    check = _health_check(image)
    if check is None:
        return READY_SECONDS
    interval = check.get("Interval") or _DEFAULT_INTERVAL
    allowed = check.get("StartPeriod", 0) + interval * (check.get("Retries") or _DEFAULT_RETRIES)
    return float(max(allowed / _NANOSECONDS, 30.0))


def quick_health_check(image: Document) -> dict[str, Any]:
    """`Healthcheck` for a container's configuration: the image's own, asked five times a second until it passes.

    With the usual interval of 30 s an engine first asks after 30 s; so it took 30.2 s until healthy, and 0.3 s with
    this. Engines before 25 do not know `StartInterval` and leave it aside. Empty where the image has no check.
    """
    check = _health_check(image)
    if check is None:
        return {}
    quick = {
        "StartPeriod": int(start_window(image) * _NANOSECONDS),
        "StartInterval": int(START_INTERVAL_SECONDS * _NANOSECONDS),
    }
    return {"Healthcheck": {**check, **quick}}


def _health_check(image: Document) -> dict[str, Any] | None:
    check = image["Config"].get("Healthcheck") or {}
    return check if check.get("Test") and check["Test"] != ["NONE"] else None


@dataclass(frozen=True, slots=True)
class Ready:
    seconds: float
    port: int | None
    """The first of the ports that accepts; none where none was asked for."""


def wait_ready(engine: Engine, container: str, ports: Sequence[int], cancel: Cancel, seconds: float) -> Ready:
    """Waits until the container is ready: one of its ports accepts, and its health check passes.

    Where a later port is the first to accept, those before it get `SETTLE_SECONDS`, unless a health check says that
    the app is ready. The ports are asked at the container's own address: at a published one the engine's proxy
    accepts, whether the app does or not. Raises `Unhealthy` with the last log lines when the container ends or the
    time is over.
    """
    started = time.monotonic()
    accepted_at = None
    while True:
        cancel.check()
        details = engine.container(container)
        if details is None:
            raise Unhealthy("The container was removed while it started", remedy="Start the build again")
        state = details["State"]
        if not state["Running"] or details["RestartCount"]:
            raise _ended(engine, container, state)
        health = state.get("Health", {}).get("Status", "none")
        port = next((port for port in ports if _accepts(address(details), port)), None)
        accepts, now = port is not None or not ports, time.monotonic()
        if accepts and health in ("healthy", "none"):
            accepted_at = accepted_at or now
            is_first = not ports or port == ports[0]
            if is_first or health == "healthy" or now - accepted_at >= SETTLE_SECONDS:
                return Ready(now - started, port)
        if health == "unhealthy" or now - started > seconds:
            raise _never_ready(engine, container, state, ports, accepts=accepts, seconds=now - started)
        cancel.sleep(POLL_SECONDS)


def address(details: Document) -> str:
    """The container's IP address in the first network that gave it one; empty while it has none."""
    networks = details["NetworkSettings"]["Networks"].values()
    return next((str(network["IPAddress"]) for network in networks if network.get("IPAddress")), "")


def _accepts(host: str, port: int) -> bool:
    if not host:
        return False
    try:
        socket.create_connection((host, port), timeout=1.0).close()
    except OSError:
        return False
    return True


def _ended(engine: Engine, container: str, state: Document) -> Unhealthy:
    why = (
        "was killed because it used too much memory"
        if state["OOMKilled"]
        else f"ended with exit code {state['ExitCode']}"
    )
    return Unhealthy(
        f"The container {why} while it started",
        remedy="Read its last lines above; run the image by hand to see more",
        step_exit_code=state["ExitCode"],
        last_lines=engine.logs(container, LAST_LINES),
    )


def _never_ready(
    engine: Engine, container: str, state: Document, ports: Sequence[int], *, accepts: bool, seconds: float
) -> Unhealthy:
    lines = engine.logs(container, LAST_LINES)
    if not accepts:
        named = ", ".join(map(str, ports))
        return Unhealthy(
            f"Nothing accepted a connection on port {named} of the container within {seconds:.0f} s",
            remedy=f"Let the app listen on 0.0.0.0:{ports[0]}, not on 127.0.0.1, or EXPOSE the port that it listens on",
            last_lines=lines,
        )
    answers = state.get("Health", {}).get("Log") or []
    output = answers[-1]["Output"].strip().splitlines() if answers else []
    last = output[-1][:300] if output else ""  # of a traceback, the last line tells what happened
    return Unhealthy(
        f"The container's health check did not pass within {seconds:.0f} s" + (f": {last}" if last else ""),
        remedy="Run the HEALTHCHECK command in the container by hand, and read its last lines above",
        last_lines=lines,
    )
