"""What there is to know of builds: the list and the events."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import Select, select

from dockwright.db.queue import end_lost_builds
from dockwright.db.tables import Build, BuildEvent, Project
from dockwright.domain.transitions import FINISHED, Status
from dockwright.errors import NotFound
from dockwright.services.paging import page
from dockwright.services.state import State


def listing(state: State, limit: int) -> list[dict[str, Any]]:
    """The client's builds, newest first."""
    end_lost_builds(state.connection)
    with state.session() as session:
        rows = session.execute(_summaries(state).order_by(Build.id.desc()).limit(limit)).all()
    return [_summary(row) for row in rows]


def listed(
    state: State,
    limit: int,
    cursor: str | None = None,
    *,
    statuses: Collection[Status] | None = None,
    project_id: int | None = None,
) -> tuple[list[dict[str, Any]], str | None]:
    """A piece of the client's builds, newest first, and the cursor of what is behind them."""
    query = _summaries(state)
    if statuses is not None:
        query = query.where(Build.status.in_(statuses))
    if project_id is not None:
        query = query.where(Build.project_id == project_id)
    with state.session() as session:
        found = page(session, query, Build.id, limit, cursor)
    return [_summary(row) for row in found.rows], found.next_cursor


_SUMMARY = (
    "id",
    "project_id",
    "status",
    "stage",
    "profile",
    "ref",
    "revision",
    "progress",
    "image_name",
    "deployment_url",
    "error_message",
    "origin",
    "attempt",
    "created_at",
    "started_at",
    "completed_at",
)


def _summaries(state: State) -> Select[Any]:
    """Column by column: a build's result is long, and no list shows it."""
    columns = [getattr(Build, name) for name in _SUMMARY]
    query = select(*columns, Project.name.label("project")).join(Project, Project.id == Build.project_id)
    return query.where(Build.client_id == state.client_id)


def _summary(row: Any) -> dict[str, Any]:
    values = dict(zip((*_SUMMARY, "project"), row, strict=False))
    values["error"] = values.pop("error_message")
    return {**values, "seconds": seconds_of(values["started_at"], values["completed_at"])}


def seconds_of(started_at: datetime | None, completed_at: datetime | None) -> float | None:
    return (completed_at - started_at).total_seconds() if started_at and completed_at else None


def get(state: State, build_id: int) -> Build:
    """Its row. Raises `NotFound`."""
    with state.session() as session:
        row = session.scalar(select(Build).where(Build.id == build_id, Build.client_id == state.client_id))
    if row is None:
        raise NotFound(f"There is no build {build_id}", remedy="See: dockwright builds")
    return row


def is_finished(state: State, build_id: int) -> bool:
    """Raises `NotFound`. A build whose process has died is finished once its lease is over."""
    end_lost_builds(state.connection)
    with state.session() as session:
        status = session.scalar(select(Build.status).where(Build.id == build_id, Build.client_id == state.client_id))
    if status is None:
        raise NotFound(f"There is no build {build_id}", remedy="See: dockwright builds")
    return status in FINISHED


def events(state: State, build_id: int, after: int = 0) -> list[dict[str, Any]]:
    """The events of a build past `after`, in their order."""
    with state.session() as session:
        rows = session.scalars(
            select(BuildEvent)
            .join(Build, Build.id == BuildEvent.build_id)
            .where(BuildEvent.build_id == build_id, BuildEvent.seq > after, Build.client_id == state.client_id)
            .order_by(BuildEvent.seq)
        ).all()
    return [
        {
            "seq": row.seq,
            "at": row.at.isoformat().replace("+00:00", "Z"),
            "kind": row.kind,
            "stage": row.stage,
            "step": row.step,
            "stream": row.stream,
            "text": row.text,
            "data": row.data,
        }
        for row in rows
    ]
