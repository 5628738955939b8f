"""When a container is ready: its health check passes and its port accepts, whichever of them it has."""

from __future__ import annotations

import socket
import time
from typing import Any

from dockwright.docker.engine import Document, Engine
from dockwright.errors import Unhealthy
from dockwright.process import Cancel

READY_SECONDS = 120.0
"""How long a container without a health check may take; models that are loaded at the start take a while."""
POLL_SECONDS = 0.05
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


def wait_ready(engine: Engine, container: str, port: int | None, cancel: Cancel, seconds: float) -> float:
    """Waits until the container is ready and returns the seconds it took.

    The port is asked at the container's own address: at the published one the engine's proxy accepts, whether the app
    does or not. Raises `Unhealthy` with the last log lines when the container ends or the time is over.
    """
    started = time.monotonic()
    while True:
        cancel.check()
        details = engine.container(container)
        if details is None:
            raise Unhealthy("The container was removed while it started", remedy="Start the build again")
        state = details["State"]
        if not state["Running"] or details["RestartCount"]:
            raise _ended(engine, container, state)
        health = state.get("Health", {}).get("Status", "none")
        accepts = port is None or _accepts(address(details), port)
        if accepts and health in ("healthy", "none"):
            return time.monotonic() - started
        if health == "unhealthy" or time.monotonic() - started > seconds:
            raise _never_ready(engine, container, state, port, accepts=accepts, seconds=time.monotonic() - started)
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
    engine: Engine, container: str, state: Document, port: int | None, *, accepts: bool, seconds: float
) -> Unhealthy:
    lines = engine.logs(container, LAST_LINES)
    if not accepts:
        return Unhealthy(
            f"Nothing accepted a connection on port {port} of the container within {seconds:.0f} s",
            remedy=f"Let the app listen on 0.0.0.0:{port}, not on 127.0.0.1, or EXPOSE the port on which it listens",
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
