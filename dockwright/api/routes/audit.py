"""Who did what."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from dockwright.api.auth import Owner
from dockwright.api.fields import Cursor, Limit
from dockwright.api.one_thread import OneThreadRoute
from dockwright.services import audit

router = APIRouter(prefix="/audit", tags=["audit"], route_class=OneThreadRoute)


class AuditEntryOut(BaseModel):
    id: int
    at: datetime
    client_id: int | None
    user_id: int | None
    actor: str = Field(description="The user's e-mail address, or `system`.")
    action: str = Field(examples=["project.create"])
    object_type: str | None
    object_id: int | None
    address: str | None
    detail: dict[str, Any]


class AuditList(BaseModel):
    items: list[AuditEntryOut]
    next_cursor: str | None


@router.get("")
def list_audit(caller: Owner, limit: Limit = 50, cursor: Cursor = None) -> AuditList:
    """Newest first: of the own client, or of all for an administrator."""
    is_admin = caller.role == "admin"
    items, next_cursor = audit.listing(caller.state, limit, cursor, of_all_clients=is_admin)
    return AuditList(items=[AuditEntryOut(**item) for item in items], next_cursor=next_cursor)
