"""Why a build's steps ran, read from what was kept of it."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import select

from dockwright.db import explanations
from dockwright.db.tables import Build, BuildArtifact, Project
from dockwright.errors import NotFound
from dockwright.services import builds
from dockwright.services.state import State

RATED_BUILDS = 50
"""The newest of a project, which its cache hit rate is reckoned from."""


def explain(state: State, build_id: int | None) -> dict[str, Any]:
    """CONTRACT, `explain --json`; of the newest build unless `build_id` says which. Raises `NotFound`.

    A build that found all it wanted has no causes; one that came to no image has no services either.
    """
    row = _build(state, build_id)
    with state.session() as session:
        project = session.scalar(select(Project.name).where(Project.id == row.project_id))
    kept = _kept(state, row.id)
    services = [_service(one, kept.get(explanations.path_of(one["service"]))) for one in _own(_services(row))]
    causes = [{"service": one["service"], **cause} for one in services for cause in one.pop("causes")]
    previous = [number for one in services if (number := one["previous_build_id"]) is not None]
    return {
        "build_id": row.id,
        "previous_build_id": max(previous, default=None),
        "project": project,
        "status": row.status,
        "profile": row.profile,
        "causes": sorted(causes, key=lambda cause: -cause["seconds"]),
        "services": services,
        "cache": {"build": rate(_own(_services(row))), "project": _rate_of_project(state, row)},
    }


def _build(state: State, build_id: int | None) -> Build:
    if build_id is not None:
        return builds.get(state, build_id)
    with state.session() as session:
        row = session.scalar(select(Build).where(Build.client_id == state.client_id).order_by(Build.id.desc()).limit(1))
    if row is None:
        raise NotFound("There are no builds yet", remedy="Start one with: dockwright build PATH")
    return row


def _services(row: Build) -> list[dict[str, Any]]:
    return list((row.result or {}).get("services") or ())


def _own(services: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """An image that several services run was built once."""
    return list({one["image"]: one for one in reversed(services)}.values())[::-1]


def _kept(state: State, build_id: int) -> dict[str, Any]:
    query = select(BuildArtifact.file_path, BuildArtifact.content).where(
        BuildArtifact.build_id == build_id, BuildArtifact.artifact_type == explanations.KIND
    )
    with state.session() as session:
        return {path: json.loads(content) for path, content in session.execute(query)}


def _service(result: dict[str, Any], told: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "service": result["service"],
        "image": result["image"],
        "reused": result["reused"],
        "seconds": result["seconds"],
        "previous_build_id": told["previous_build_id"] if told else None,
        "steps": result["steps"],
        "causes": told["causes"] if told else [],
    }


def rate(services: list[dict[str, Any]]) -> dict[str, Any]:
    """Steps cached of all steps; a FROM is none of them. `rate` is null where there is none."""
    steps = [step["cached"] for one in services for step in one["steps"] if "] FROM " not in step["name"]]
    return {"cached": sum(steps), "steps": len(steps), "rate": round(sum(steps) / len(steps), 3) if steps else None}


def _rate_of_project(state: State, row: Build) -> dict[str, Any]:
    """Of its newest builds; those that reused an image had no steps."""
    query = (
        select(Build.result)
        .where(Build.project_id == row.project_id, Build.client_id == state.client_id, Build.result.is_not(None))
        .where(Build.id <= row.id)
        .order_by(Build.id.desc())
        .limit(RATED_BUILDS)
    )
    with state.session() as session:
        results = session.scalars(query).all()
    services = [one for result in results if result for one in _own(result.get("services") or [])]
    return {**rate(services), "builds": len(results), "reused": sum(one["reused"] for one in services)}
