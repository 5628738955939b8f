"""Builds of the queue: put in, canceled, done again."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from dockwright.db import build_rows, queue
from dockwright.db.queue import Origin
from dockwright.db.stored import storable
from dockwright.domain.build import Profile
from dockwright.domain.transitions import FINISHED, Status
from dockwright.errors import Conflict, NotFound, UsageError
from dockwright.services import audit, builds, secrets
from dockwright.services.audit import SYSTEM, Actor
from dockwright.services.state import State

MAX_PRIORITY = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """What `POST /builds/queue` answers."""

    build_id: int
    task_id: str
    status: Status
    position: int | None
    message: str


def queue_build(
    state: State,
    project_id: int,
    *,
    profile: str | None = None,
    ref: str | None = None,
    no_cache: bool = False,
    deploy: bool | None = None,
    until: str | None = None,
    service: str | None = None,
    tag: str | None = None,
    args: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    port: int | None = None,
    priority: int = 0,
    origin: Origin = "api",
    actor: Actor = SYSTEM,
) -> Queued:
    """Raises `NotFound` for a project that is not the client's, `Conflict` for one without its upload, `UsageError`."""
    project = _project(state, project_id)
    if project["source"]["kind"] == "upload" and not project["source"].get("digest"):
        raise Conflict(
            f"Nothing has been uploaded for project {project_id} yet",
            remedy=f"Send its source archive: POST /projects/{project_id}/source",
        )
    chosen = profile or project["build"].get("profile") or "prod"
    if chosen not in get_args(Profile):
        raise UsageError(f"There is no profile {chosen!r}", remedy=f"Use one of: {', '.join(get_args(Profile))}")
    if not -MAX_PRIORITY <= priority <= MAX_PRIORITY:
        raise UsageError(f"A priority of {priority} is too far off", remedy=f"Use -{MAX_PRIORITY} to {MAX_PRIORITY}")
    options: dict[str, Any] = {
        "no_cache": no_cache,
        "deploy": project["deploy"].get("auto", True) if deploy is None else deploy,
        "until": until,
        "service": service,
        "tag": tag,
        "args": dict(args or {}),
        "env": secrets.seal(state, env or {}),
        "port": port,
    }
    return _queue(
        state,
        project,
        profile=chosen,
        ref=None if ref is None else storable(ref),
        options=options,
        priority=priority,
        origin=origin,
        actor=actor,
        action="build.queue",
    )


def _project(state: State, project_id: int) -> dict[str, Any]:
    """In plain SQL, as all that stands between the call and the start of its build."""
    found = build_rows.get_project(state.connection, state.client_id, project_id)
    if found is None:
        raise NotFound(f"There is no project {project_id}", remedy="See: GET /api/v1/projects")
    return found


def _queue(
    state: State,
    project: dict[str, Any],
    *,
    options: Mapping[str, Any],
    actor: Actor,
    action: str,
    retry_of: int | None = None,
    **columns: Any,
) -> Queued:
    task_id = str(uuid.uuid4())
    detail = {"project_id": project["id"], **({"retry_of": retry_of} if retry_of else {})}
    build_id, superseded = queue.enqueue(
        state.connection,
        client_id=state.client_id,
        project_id=project["id"],
        builder=builder_name(state),
        timeout_seconds=project["build"].get("timeout_seconds"),
        task_id=task_id,
        options={**options, "upload": _upload_of(project)},
        created_by=actor.user_id,
        also=lambda build_id: audit.insert(state.connection, actor, action, "build", build_id, **detail),
        **columns,
    )
    place = queue.position(state.connection, build_id)
    for one in (*superseded, build_id):
        state.bus.written(one)
    state.bus.queued(build_id)
    message = "Build has been queued"
    if superseded:
        message += f"; it takes the place of build {superseded[-1]}"
    return Queued(build_id=build_id, task_id=task_id, status="queued", position=place, message=message)


def _upload_of(project: dict[str, Any]) -> dict[str, Any] | None:
    """The archive as it is now: a newer one may come before the build's turn does."""
    source: dict[str, Any] = project["source"]
    return source if source["kind"] == "upload" else None


def builder_name(state: State) -> str:
    """The builder that a client's builds run on: the host's engine, or one of its own."""
    return "shared" if state.settings.isolation == "shared" else f"isolated-{state.client}"


def cancel(state: State, build_id: int) -> Status:
    """Ends a queued build, and asks the worker of a running one to. Raises `NotFound`, or `Conflict` once finished."""
    status = queue.request_cancel(state.connection, state.client_id, build_id)
    state.bus.written(build_id)
    return status


def retry(state: State, build_id: int, *, actor: Actor = SYSTEM) -> Queued:
    """A new build of what the old one was asked. Raises `NotFound`, or `Conflict` for one that has not finished."""
    row = builds.get(state, build_id)
    if row.status not in FINISHED:
        raise Conflict(f"Build {build_id} has not finished: it is {row.status}", remedy="Wait for it, or cancel it")
    return _queue(
        state,
        _project(state, row.project_id),
        profile=row.profile,
        ref=row.ref,
        options=row.options,
        priority=row.priority,
        origin="api",
        actor=actor,
        action="build.retry",
        retry_of=build_id,
    )
