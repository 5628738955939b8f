"""The server itself: what it builds on, what waits, how much room there is, and whether it can do its work."""

from __future__ import annotations

import platform
import shutil
from importlib import metadata
from typing import Any

from sqlalchemy import func, select

from dockwright import process
from dockwright.db.tables import Build
from dockwright.docker.buildx import find_plugin
from dockwright.docker.engine import Engine
from dockwright.domain.transitions import ACTIVE
from dockwright.errors import DockwrightError
from dockwright.services import queueing
from dockwright.services.state import State


def overview(state: State, *, of_all_clients: bool) -> dict[str, Any]:
    """CONTRACT, `GET /system`. Counts are the client's own, or those of all clients together for an administrator."""
    counts = _counts(state, of_all_clients)
    return {
        "builders": _builders(state, of_all_clients),
        "queue": {
            "backend": state.settings.queue_backend,
            "depth": counts.get("queued", 0),
            "active": sum(counts.get(status, 0) for status in ACTIVE),
            "limits": {
                "overall": state.settings.max_workers,
                "client": state.settings.client_max_workers,
                "builder": state.settings.builder_max_workers,
            },
        },
        "disk": _disk(state),
        "versions": versions(),
    }


def _counts(state: State, of_all_clients: bool) -> dict[str, int]:
    query = select(Build.status, func.count()).where(Build.status.in_(["queued", *ACTIVE])).group_by(Build.status)
    if not of_all_clients:
        query = query.where(Build.client_id == state.client_id)
    with state.session() as session:
        return {row[0]: row[1] for row in session.execute(query)}


def _builders(state: State, of_all_clients: bool) -> list[dict[str, Any]]:
    """The client's builder, and for an administrator those of others that build now."""
    query = select(Build.builder, func.count()).where(Build.status.in_(ACTIVE)).group_by(Build.builder)
    if not of_all_clients:
        query = query.where(Build.client_id == state.client_id)
    with state.session() as session:
        active = {row[0]: row[1] for row in session.execute(query)}
    active.setdefault(queueing.builder_name(state), 0)
    return [
        {
            "name": name,
            "kind": "shared" if name == "shared" else "isolated",
            "capacity": state.settings.builder_max_workers,
            "active": count,
        }
        for name, count in sorted(active.items())
    ]


def _disk(state: State) -> dict[str, int]:
    state.settings.home.mkdir(parents=True, exist_ok=True)
    usage = shutil.disk_usage(state.settings.home)
    return {"total_bytes": usage.total, "free_bytes": usage.free, "needed_bytes": state.settings.disk_min_free}


def versions() -> dict[str, str | None]:
    """None of what does not answer."""
    return {
        "dockwright": metadata.version("dockwright"),
        "python": platform.python_version(),
        "engine": _engine_version(),
        "buildx": _buildx_version(),
    }


def _engine_version() -> str | None:
    try:
        return str(Engine().version().get("Version"))
    except DockwrightError:
        return None


def _buildx_version() -> str | None:
    """`github.com/docker/buildx v0.13.1 a1b2c3`"""
    try:
        words = process.run([find_plugin(), "version"]).stdout.decode(errors="replace").split()
    except DockwrightError:
        return None
    return words[1].removeprefix("v") if len(words) > 1 else None


def not_ready(state: State) -> list[dict[str, str]]:
    """The parts that keep the server from its work; empty where it is ready."""
    found = []
    for part, check in (("database", _ask_database), ("engine", _ask_engine)):
        try:
            check(state)
        except DockwrightError as error:
            found.append({"part": part, "code": error.code, "message": error.message, "remedy": error.remedy})
    return found


def _ask_database(state: State) -> None:
    with state.session() as session:
        session.execute(select(1))


def _ask_engine(_: State) -> None:
    Engine().ping()
