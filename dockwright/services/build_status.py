"""One build as whoever waits for it sees it: its status, what it was deployed as, and what is kept of it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select

from dockwright.db import queue
from dockwright.db.tables import Build, BuildArtifact, BuildEvent, Deployment, Product, Project
from dockwright.domain.transitions import FINISHED
from dockwright.errors import NotFound
from dockwright.services import builds
from dockwright.services.state import State

LAST_LINES = 100
_REMEDIES = {
    "superseded": "See the newer build of the project",
    "canceled": "Queue it again when you like",
    "worker_lost": "Queue it again",
}
_WORDS = {
    "building": "Building container...",
    "testing": "Testing container...",
    "deploying": "Deploying container...",
}


def document(state: State, build_id: int) -> dict[str, Any]:
    """CONTRACT, `GET /builds/{id}/status`. Raises `NotFound`."""
    row = builds.get(state, build_id)
    return {
        "build_id": row.id,
        "project_id": row.project_id,
        "status": row.status,
        "stage": row.stage,
        "progress": row.progress,
        "position": queue.position(state.connection, row.id) if row.status == "queued" else None,
        "created_at": row.created_at,
        "started_at": row.started_at,
        "completed_at": row.completed_at,
        "attempt": row.attempt,
        "image_name": row.image_name,
        "container_id": row.container_id,
        "deployment_url": row.deployment_url,
        "error": error_of(row),
        "logs": _last_lines(state, row.id),
        "task_status": task_status(row),
    }


def detail(state: State, build_id: int) -> dict[str, Any]:
    """All that there is to know of a build but its log. Raises `NotFound`."""
    row = builds.get(state, build_id)
    with state.session() as session:
        project = session.scalar(select(Project.name).where(Project.id == row.project_id))
    result = row.result or {}
    names = ("id", "project_id", "status", "stage", "profile", "ref", "revision", "progress", "image_name", "origin")
    more = ("deployment_url", "attempt", "created_at", "started_at", "completed_at", "priority", "builder", "task_id")
    return {
        **{name: getattr(row, name) for name in (*names, *more)},
        "project": project,
        "container_id": row.container_id,
        # Values of the environment may be secrets: they are shown nowhere.
        "options": {**row.options, "env": sorted(row.options.get("env") or ())},
        "timeout_seconds": row.timeout_seconds,
        "is_cancel_requested": row.cancel_requested_at is not None,
        "seconds": builds.seconds_of(row.started_at, row.completed_at),
        "error": error_of(row),
        **{name: result.get(name) or [] for name in ("services", "stages")},
        **{name: result.get(name) for name in ("build_date", "test", "proof")},
    }


def error_of(row: Build) -> dict[str, Any] | None:
    """CONTRACT, the `error` of `build --json`; of a build that nobody ran to its end as much as is known."""
    if row.result and row.result.get("error"):
        return dict(row.result["error"])
    if row.error_code is None:
        return None
    return {
        "code": row.error_code,
        "message": row.error_message or "",
        "remedy": _REMEDIES.get(row.error_code, "See its log"),
        "stage": row.stage,
        "step": None,
        "exit_code": None,
        "last_lines": [],
    }


def task_status(row: Build) -> dict[str, Any]:
    """As Celery tells of a task (requirement 001), whichever way the build is run."""
    common = {"project_id": row.project_id}
    if row.status == "queued":
        return {"state": "PENDING", "info": None}
    if row.status == "canceled":
        return {"state": "REVOKED", "info": {**common, "error": row.error_message or "Canceled"}}
    if row.status == "failed":
        return {"state": "FAILURE", "info": {**common, "error": row.error_message or "Failed"}}
    if row.status in FINISHED:
        done = {"status": "completed", "deployment_url": row.deployment_url, "container_id": row.container_id}
        return {"state": "SUCCESS", "info": {**common, **done}}
    return {"state": "BUILDING", "info": {**common, "status": _WORDS[row.status]}}


def _last_lines(state: State, build_id: int) -> list[str]:
    with state.session() as session:
        lines = session.scalars(
            select(BuildEvent.text)
            .where(BuildEvent.build_id == build_id, BuildEvent.kind == "log")
            .order_by(BuildEvent.seq.desc())
            .limit(LAST_LINES)
        ).all()
    return list(reversed(lines))


def deployment(state: State, build_id: int) -> dict[str, Any]:
    """What it was deployed as, and whether that is live. Raises `NotFound`, also for a build that deployed nothing."""
    row = builds.get(state, build_id)
    with state.session() as session:
        found = session.execute(
            select(Deployment, Product)
            .join(Product, Product.id == Deployment.product_id)
            .where(Deployment.build_id == row.id, Product.client_id == state.client_id)
            .order_by(Deployment.id.desc())
            .limit(1)
        ).first()
    if found is None:
        reason = (
            f"it is {row.status}" if row.status not in FINISHED else "it was not asked to, or it did not come so far"
        )
        raise NotFound(f"Build {build_id} has deployed nothing: {reason}", remedy=f"See: GET /builds/{build_id}/status")
    one, product = found
    return {
        "build_id": row.id,
        "project_id": row.project_id,
        "status": one.status,
        "deployment_url": row.deployment_url,
        "container_id": row.container_id,
        "image_name": row.image_name,
        "product_id": product.id,
        "product": product.slug,
        "port": product.port,
        "release": one.release_number,
        "started_at": one.started_at,
        "seconds_to_healthy": one.seconds_to_healthy,
        "requests": one.requests,
        "failed_requests": one.failed_requests,
        "rollback_of": one.rollback_of,
        "created_by": one.created_by,
        "error": one.error,
    }


def artifacts(state: State, build_id: int) -> list[dict[str, Any]]:
    """Without their content. Raises `NotFound`."""
    builds.get(state, build_id)
    kept = BuildArtifact
    with state.session() as session:
        rows = session.execute(
            select(kept.artifact_type, kept.file_path, func.length(kept.content), kept.created_at)
            .where(kept.build_id == build_id)
            .order_by(kept.id)
        ).all()
    names = ("artifact_type", "file_path", "length", "created_at")
    return [dict(zip(names, row, strict=True)) for row in rows]


def artifact(state: State, build_id: int, path: str) -> str:
    """Its content, by its file's path. Raises `NotFound`."""
    builds.get(state, build_id)
    with state.session() as session:
        found = session.scalar(
            select(BuildArtifact.content)
            .where(BuildArtifact.build_id == build_id, BuildArtifact.file_path == path)
            .order_by(BuildArtifact.id)
            .limit(1)
        )
    if found is None:
        raise NotFound(f"Build {build_id} has kept no {path}", remedy=f"See: GET /builds/{build_id}/artifacts")
    return found
