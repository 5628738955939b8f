"""Secrets of projects and clients: names and dates, never values."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field, SecretStr

from dockwright.api.auth import Member, Owner, Viewer
from dockwright.api.fields import Cursor, Limit, RowId
from dockwright.api.one_thread import OneThreadRoute
from dockwright.domain.redaction import MAX_BYTES, MIN_LENGTH
from dockwright.services import secrets

router = APIRouter(tags=["secrets"], route_class=OneThreadRoute)
SecretName = Annotated[
    str, Path(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$", description="A name as environment variables have it.")
]


class SecretIn(BaseModel):
    value: Annotated[SecretStr, Field(min_length=MIN_LENGTH, max_length=MAX_BYTES)]


class SecretOut(BaseModel):
    name: str
    created_at: datetime
    updated_at: datetime


class SecretList(BaseModel):
    items: list[SecretOut]
    next_cursor: str | None


@router.get("/projects/{project_id}/secrets")
def list_project_secrets(project_id: RowId, caller: Viewer, limit: Limit = 50, cursor: Cursor = None) -> SecretList:
    """The project's own; its builds see those of the client too."""
    items, next_cursor = secrets.names(caller.state, limit, cursor, project_id)
    return SecretList(items=[SecretOut(**item) for item in items], next_cursor=next_cursor)


@router.get("/projects/{project_id}/secrets/{name}")
def get_project_secret(project_id: RowId, name: SecretName, caller: Viewer) -> SecretOut:
    return SecretOut(**secrets.get(caller.state, name, project_id))


@router.put("/projects/{project_id}/secrets/{name}", status_code=204)
def put_project_secret(project_id: RowId, name: SecretName, body: SecretIn, caller: Member) -> None:
    """Stores or replaces it. Its value is never answered again."""
    secrets.put(caller.state, caller, name, body.value.get_secret_value(), project_id)


@router.delete("/projects/{project_id}/secrets/{name}", status_code=204)
def delete_project_secret(project_id: RowId, name: SecretName, caller: Member) -> None:
    """What runs keeps the value until it is started anew."""
    secrets.delete(caller.state, caller, name, project_id)


@router.get("/clients/{client_id}/secrets")
def list_client_secrets(client_id: RowId, caller: Viewer, limit: Limit = 50, cursor: Cursor = None) -> SecretList:
    """Those that all projects of the client see."""
    items, next_cursor = secrets.names(caller.state_of(client_id), limit, cursor)
    return SecretList(items=[SecretOut(**item) for item in items], next_cursor=next_cursor)


@router.get("/clients/{client_id}/secrets/{name}")
def get_client_secret(client_id: RowId, name: SecretName, caller: Viewer) -> SecretOut:
    return SecretOut(**secrets.get(caller.state_of(client_id), name))


@router.put("/clients/{client_id}/secrets/{name}", status_code=204)
def put_client_secret(client_id: RowId, name: SecretName, body: SecretIn, caller: Owner) -> None:
    """Stores or replaces it for all projects of the client. Its value is never answered again."""
    secrets.put(caller.state_of(client_id), caller, name, body.value.get_secret_value())


@router.delete("/clients/{client_id}/secrets/{name}", status_code=204)
def delete_client_secret(client_id: RowId, name: SecretName, caller: Owner) -> None:
    """What runs keeps the value until it is started anew."""
    secrets.delete(caller.state_of(client_id), caller, name)
