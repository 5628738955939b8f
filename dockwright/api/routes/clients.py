"""Clients: an administrator sees and makes all of them, everybody else sees their own."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from dockwright.api.auth import Admin, Viewer
from dockwright.api.fields import Cursor, Limit, Name, RowId
from dockwright.api.one_thread import OneThreadRoute
from dockwright.api.routes.auth import ClientOut
from dockwright.services import accounts

router = APIRouter(prefix="/clients", tags=["clients"], route_class=OneThreadRoute)


class ClientIn(BaseModel):
    name: Name
    slug: Annotated[
        str | None,
        Field(
            pattern=r"^[a-z0-9]{1,30}$",
            description="What its containers, networks, volumes and images are called after; made of the name if none.",
        ),
    ] = None


class ClientList(BaseModel):
    items: list[ClientOut]
    next_cursor: str | None


@router.get("")
def list_clients(caller: Viewer, limit: Limit = 50, cursor: Cursor = None) -> ClientList:
    """All of them for an administrator, else one's own."""
    is_admin = caller.role == "admin"
    items, next_cursor = accounts.list_clients(caller.state, limit, cursor, of_all_clients=is_admin)
    return ClientList(items=[ClientOut(**item) for item in items], next_cursor=next_cursor)


@router.post("", status_code=201)
def create_client(body: ClientIn, caller: Admin) -> ClientOut:
    return ClientOut(**accounts.create_client(caller.state, caller, body.name, body.slug))


@router.get("/{client_id}")
def get_client(client_id: RowId, caller: Viewer) -> ClientOut:
    """One's own, or any for an administrator."""
    return ClientOut(**accounts.get_client(caller.state_of(client_id), client_id))
