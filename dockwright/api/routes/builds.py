"""Builds: queued, looked at, canceled, done again."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import PlainTextResponse

from dockwright.api.auth import Member, Owner, Viewer
from dockwright.api.fields import MAX_ID, Cursor, Limit, RowId
from dockwright.api.one_thread import OneThreadRoute
from dockwright.api.schemas.builds import (
    Artifact,
    ArtifactList,
    BuildDeployment,
    BuildDetail,
    BuildIn,
    BuildList,
    BuildOptions,
    BuildStatus,
    BuildSummary,
    CanceledOut,
    CleanupIn,
    CleanupOut,
    QueuedOut,
)
from dockwright.domain.transitions import FINISHED, Status
from dockwright.services import audit, build_status, builds, cleanup, queueing

router = APIRouter(prefix="/builds", tags=["builds"], route_class=OneThreadRoute)
ArtifactName = Annotated[str, Path(max_length=500, pattern=r"^[^\x00]+$", examples=["Dockerfile"])]
StatusFilter = Annotated[
    list[Status | Literal["completed"]] | None, Query(max_length=8, description="`completed` is every good end.")
]
ProjectFilter = Annotated[int | None, Query(ge=1, le=MAX_ID)]


@router.post("/queue", status_code=202)
def queue_build(body: BuildIn, caller: Member) -> QueuedOut:
    """A newer build takes the place of one that is queued for the same project and ref."""
    return _queue(caller, body.project_id, body)


@router.post("/trigger/{project_id}", status_code=202)
def trigger_build(project_id: RowId, caller: Member, body: BuildOptions | None = None) -> QueuedOut:
    """The same, with the project in the path and all else optional."""
    return _queue(caller, project_id, body or BuildOptions())


def _queue(caller: Member, project_id: int, asked: BuildOptions) -> QueuedOut:
    queued = queueing.queue_build(
        caller.state,
        project_id,
        profile=asked.profile,
        ref=asked.ref,
        no_cache=asked.no_cache,
        deploy=asked.deploy,
        until=asked.until,
        service=asked.service,
        tag=asked.tag,
        args=asked.args,
        env=asked.env,
        port=asked.port,
        priority=asked.priority,
        actor=caller,
    )
    return _queued(queued)


def _queued(queued: queueing.Queued) -> QueuedOut:
    return QueuedOut(
        build_id=queued.build_id,
        task_id=queued.task_id,
        status=queued.status,
        position=queued.position,
        message=queued.message,
    )


@router.get("")
def list_builds(
    caller: Viewer,
    limit: Limit = 50,
    cursor: Cursor = None,
    status: StatusFilter = None,
    project_id: ProjectFilter = None,
) -> BuildList:
    """The newest first."""
    items, next_cursor = builds.listed(caller.state, limit, cursor, statuses=_statuses(status), project_id=project_id)
    return BuildList(items=[BuildSummary(**item) for item in items], next_cursor=next_cursor)


def _statuses(asked: list[Status | Literal["completed"]] | None) -> set[Status] | None:
    if not asked:
        return None
    good: set[Status] = {"deployed", "succeeded"} if "completed" in asked else set()
    return good | {one for one in asked if one != "completed"}


@router.post("/cleanup")
def clean_up(caller: Owner, body: CleanupIn | None = None) -> CleanupOut:
    """Removes what finished builds left and nobody needs: only what is the client's, never what is live."""
    asked = body or CleanupIn()
    removed = cleanup.cleanup(
        caller.state,
        keep=asked.keep,
        keep_builds=asked.keep_builds,
        older_than_days=asked.older_than_days,
        dry_run=asked.dry_run,
    )
    if not asked.dry_run:
        counts = {name: removed[name] for name in ("builds", "images", "containers", "bytes")}
        audit.write(caller.state, caller, "build.cleanup", **counts)
    return CleanupOut(**removed)


@router.get("/status/{build_id}", operation_id="get_build_status_by_id")
@router.get("/{build_id}/status")
def get_build_status(build_id: RowId, caller: Viewer) -> BuildStatus:
    """What whoever waits for it asks every few seconds; GET /builds/{id}/logs tells it live."""
    return BuildStatus(**build_status.document(caller.state, build_id))


@router.get("/{build_id}")
def get_build(build_id: RowId, caller: Viewer) -> BuildDetail:
    return BuildDetail(**build_status.detail(caller.state, build_id))


@router.delete("/{build_id}", status_code=202)
def cancel_build(build_id: RowId, caller: Member) -> CanceledOut:
    """Ends a queued build at once, and asks the worker of a running one to; 409 once it has finished."""
    status = queueing.cancel(caller.state, build_id)
    audit.write(caller.state, caller, "build.cancel", "build", build_id)
    message = "Build has been canceled" if status in FINISHED else "Build is being ended"
    return CanceledOut(build_id=build_id, status=status, message=message)


@router.post("/{build_id}/retry", status_code=202)
def retry_build(build_id: RowId, caller: Member) -> QueuedOut:
    """A new build of what the old one was asked; 409 for one that has not finished."""
    return _queued(queueing.retry(caller.state, build_id, actor=caller))


@router.get("/{build_id}/deployment")
def get_build_deployment(build_id: RowId, caller: Viewer) -> BuildDeployment:
    """What it was deployed as; 404 for a build that deployed nothing."""
    return BuildDeployment(**build_status.deployment(caller.state, build_id))


@router.get("/{build_id}/artifacts")
def list_artifacts(build_id: RowId, caller: Viewer) -> ArtifactList:
    """Files kept from it, without their content."""
    found = build_status.artifacts(caller.state, build_id)
    return ArtifactList(items=[Artifact(**one) for one in found])


@router.get("/{build_id}/artifacts/{name:path}", response_class=PlainTextResponse)
def get_artifact(build_id: RowId, name: ArtifactName, caller: Viewer) -> PlainTextResponse:
    """The content of one, by its `file_path`."""
    # Whatever is in it, a browser is to show it and not to run it.
    return PlainTextResponse(
        build_status.artifact(caller.state, build_id, name), headers={"X-Content-Type-Options": "nosniff"}
    )
