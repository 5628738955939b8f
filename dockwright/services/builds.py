"""What there is to know of builds: the list and the events."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from dockwright.db.queue import end_lost_builds
from dockwright.db.tables import Build, BuildEvent, Project
from dockwright.domain.transitions import FINISHED
from dockwright.errors import NotFound
from dockwright.services.state import State


def listing(state: State, limit: int) -> list[dict[str, Any]]:
    """The client's builds, newest first."""
    end_lost_builds(state.connection)
    with state.session() as session:
        rows = session.execute(
            select(Build, Project.name)
            .join(Project, Project.id == Build.project_id)
            .where(Build.client_id == state.client_id)
            .order_by(Build.id.desc())
            .limit(limit)
        ).all()
    return [
        {
            "id": build.id,
            "project": project,
            "status": build.status,
            "stage": build.stage,
            "profile": build.profile,
            "ref": build.ref,
            "revision": build.revision,
            "image_name": build.image_name,
            "deployment_url": build.deployment_url,
            "error": build.error_message,
            "created_at": build.created_at,
            "started_at": build.started_at,
            "completed_at": build.completed_at,
            "seconds": (
                (build.completed_at - build.started_at).total_seconds()
                if build.completed_at and build.started_at
                else None
            ),
        }
        for build, project in rows
    ]


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
