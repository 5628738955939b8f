"""Projects: what to build."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from starlette.concurrency import run_in_threadpool

from dockwright.api.auth import Member, Viewer
from dockwright.api.fields import Called, Cursor, Limit, RowId
from dockwright.api.one_thread import OneThreadRoute
from dockwright.api.schemas.projects import (
    CreatedProject,
    ProjectChanges,
    ProjectIn,
    ProjectList,
    ProjectOut,
    Sent,
    UploadedSource,
)
from dockwright.services import creation, projects
from dockwright.services.projects import NewProject
from dockwright.services.uploads import Incoming

router = APIRouter(prefix="/projects", tags=["projects"], route_class=OneThreadRoute)
ARCHIVE_TYPES = ("application/gzip", "application/x-gzip", "application/x-tar", "application/octet-stream")
_ARCHIVE = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
"""Described by one type alone: makers of clients leave out a route of whose types they do not know one."""


@router.get("")
def list_projects(caller: Viewer, limit: Limit = 50, cursor: Cursor = None) -> ProjectList:
    """The newest first."""
    items, next_cursor = projects.listing(caller.state, limit, cursor)
    return ProjectList(items=[ProjectOut(**item) for item in items], next_cursor=next_cursor)


@router.post("", status_code=201)
def create_project(body: ProjectIn, caller: Member) -> CreatedProject:
    """With `auto_build` its first build is queued at once, and the answer has its `build_id`."""
    new = NewProject(
        name=body.name,
        slug=body.slug,
        description=body.description,
        source=body.source.source(),
        build=body.build.model_dump(exclude_none=True),
        deploy=body.deploy.model_dump(exclude_none=True),
        auto_build=body.auto_build,
    )
    return CreatedProject(**creation.create(caller.state, new, caller))


@router.get("/named")
def find_project(name: Called, caller: Viewer) -> ProjectOut:
    """The one that is called so; a 404 names those there are."""
    return ProjectOut(**projects.find(caller.state, name))


@router.get("/{project_id}")
def get_project(project_id: RowId, caller: Viewer) -> ProjectOut:
    return ProjectOut(**projects.get(caller.state, project_id))


@router.patch("/{project_id}")
def update_project(project_id: RowId, body: ProjectChanges, caller: Member) -> ProjectOut:
    """Builds that run go on with what was before."""
    return ProjectOut(**projects.update(caller.state, project_id, body.changes(), caller))


@router.delete("/{project_id}", status_code=204)
def delete_project(project_id: RowId, caller: Member) -> None:
    """With its builds; 409 while one of them runs or a product rests on it."""
    projects.remove(caller.state, project_id, caller)


@router.post(
    "/{project_id}/source",
    status_code=201,
    openapi_extra={"requestBody": {"required": True, "content": _ARCHIVE}},
)
async def upload_source(
    project_id: RowId,
    request: Request,
    caller: Member,
    sent: Annotated[Sent, Query()],
) -> UploadedSource:
    """The archive (tar.gz) itself is the body: `curl --data-binary @source.tar.gz -H 'Content-Type: application/gzip'`.

    Refused, with a reason and without a trace: absolute paths, `..`, links that leave the tree, devices, more than
    200 times as many bytes as were sent.
    """
    _check_type(request)
    incoming = await run_in_threadpool(Incoming, caller.state, project_id)
    with closing(incoming):
        async for chunk in request.stream():
            await run_in_threadpool(incoming.write, chunk)
        kept = await run_in_threadpool(creation.keep_upload, caller.state, incoming, sent.source(), caller)
    return UploadedSource(**kept)


def _check_type(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ARCHIVE_TYPES:
        raise HTTPException(
            415, f"The body is of type {kind or 'nothing'}: send the archive itself as application/gzip"
        )
