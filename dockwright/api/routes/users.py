"""Users: an administrator keeps those of all clients, an owner those of the own one."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel, Field

from dockwright.api.auth import Owner
from dockwright.api.fields import MAX_ID, Cursor, Email, Limit, Password, RowId
from dockwright.api.one_thread import OneThreadRoute
from dockwright.domain.roles import Role
from dockwright.services import accounts

router = APIRouter(prefix="/users", tags=["users"], route_class=OneThreadRoute)


class UserIn(BaseModel):
    email: Email
    password: Password
    role: Role = "member"
    client_id: int | None = Field(
        None, ge=1, le=MAX_ID, description="The caller's own unless given. An administrator belongs to none."
    )


class UserChange(BaseModel):
    role: Role | None = None
    is_active: bool | None = Field(None, description="False ends the user's sessions and lets nobody in again.")
    password: Password | None = Field(None, description="A new one, which ends the user's sessions.")


class UserOut(BaseModel):
    id: int
    email: str
    client_id: int | None
    role: Role
    is_active: bool
    created_at: datetime


class UserList(BaseModel):
    items: list[UserOut]
    next_cursor: str | None


@router.get("")
def list_users(caller: Owner, limit: Limit = 50, cursor: Cursor = None) -> UserList:
    is_admin = caller.role == "admin"
    items, next_cursor = accounts.list_users(caller.state, limit, cursor, of_all_clients=is_admin)
    return UserList(items=[UserOut(**item) for item in items], next_cursor=next_cursor)


@router.post("", status_code=201)
def create_user(body: UserIn, caller: Owner) -> UserOut:
    """Nobody gives a role above their own."""
    accounts.may_give(caller.role, body.role)
    state = caller.state_of(body.client_id or caller.client_id)
    return UserOut(**accounts.create_user(state, caller, body.email, body.password.get_secret_value(), body.role))


@router.get("/{user_id}")
def get_user(user_id: RowId, caller: Owner) -> UserOut:
    return UserOut(**accounts.get_user(caller.state, user_id, of_all_clients=caller.role == "admin"))


@router.patch("/{user_id}")
def change_user(user_id: RowId, body: UserChange, caller: Owner) -> UserOut:
    """Another role, a new password, or no more signing in."""
    if body.role is not None:
        accounts.may_give(caller.role, body.role)
    changed = accounts.change_user(
        caller.state,
        caller,
        user_id,
        role=body.role,
        is_active=body.is_active,
        password=None if body.password is None else body.password.get_secret_value(),
        of_all_clients=caller.role == "admin",
    )
    return UserOut(**changed)
