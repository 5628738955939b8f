"""Clients and their users, and the administrator that a server begins with."""

from __future__ import annotations

import re
import secrets
import unicodedata
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from dockwright.db.stored import storable
from dockwright.db.tables import Client, User
from dockwright.domain.roles import ROLES, Role
from dockwright.errors import Conflict, InvalidSetting, NotAllowedError, NotFound, UsageError
from dockwright.services import audit, passwords, tokens
from dockwright.services.audit import Actor
from dockwright.services.paging import page
from dockwright.services.state import State

_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f]{1,64}@[^@\s\x00-\x1f\x7f]{1,189}")
_SLUG = re.compile(r"[a-z0-9]{1,30}")
LOCAL_SLUG = "local"
"""What the local client's slug begins with, before its hyphen."""


# --- clients -------------------------------------------------------------------------------------------------------


def create_client(state: State, actor: Actor, name: str, slug: str | None = None) -> dict[str, Any]:
    """Raises `UsageError`, or `Conflict` for a slug that is another's.

    A slug has no hyphen: names of volumes and networks are made of client and product, and `a` with `b-c` must not be
    `a-b` with `c`.
    """
    name = storable(name.strip())
    slug = slug or _slug_of(name)
    if not _SLUG.fullmatch(slug) or slug == LOCAL_SLUG:
        raise UsageError(f'"{slug}" cannot be the slug of a client', remedy="Use 1 to 30 of a-z and 0-9")
    try:
        with state.session() as session:
            row = Client(name=name, slug=slug)
            session.add(row)
            session.flush()
            audit.record(session, actor, "client.create", "client", row.id, slug=slug)
            return _client_as_dict(row)
    except IntegrityError as error:
        raise Conflict(f'There is a client "{slug}" already', remedy="Give this one another slug") from error


def _slug_of(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "", plain)[:30] or f"client{secrets.randbelow(10**6)}"


def get_client(state: State, client_id: int) -> dict[str, Any]:
    """Any client, not only the state's own. Raises `NotFound`."""
    with state.session() as session:
        row = session.get(Client, client_id)
    if row is None:
        raise no_such_client(client_id)
    return _client_as_dict(row)


def client_id_of(state: State, slug: str) -> int:
    """Raises `NotFound`."""
    with state.session() as session:
        found = session.scalar(select(Client.id).where(Client.slug == storable(slug)))
    if found is None:
        raise NotFound(f'There is no client "{slug}"', remedy="Make it with: POST /api/v1/clients")
    return found


def list_clients(
    state: State, limit: int, cursor: str | None = None, *, of_all_clients: bool = False
) -> tuple[list[dict[str, Any]], str | None]:
    query = select(Client)
    if not of_all_clients:
        query = query.where(Client.id == state.client_id)
    with state.session() as session:
        found = page(session, query, Client.id, limit, cursor, newest_first=False)
    return [_client_as_dict(row) for row in found.rows], found.next_cursor


def no_such_client(client_id: int) -> NotFound:
    return NotFound(f"There is no client {client_id}", remedy="See: GET /api/v1/clients")


def _client_as_dict(row: Client) -> dict[str, Any]:
    return {"id": row.id, "slug": row.slug, "name": row.name, "created_at": row.created_at}


# --- users ---------------------------------------------------------------------------------------------------------


def create_user(state: State, actor: Actor, email: str, password: str, role: str) -> dict[str, Any]:
    """A user of the state's client; an `admin` belongs to none. Raises `UsageError`, or `Conflict` for a known one."""
    email = email.strip().lower()
    if not _EMAIL.fullmatch(email):
        raise UsageError(f"{email!r} is no e-mail address", remedy="Write it as name@host")
    client_id = None if _role(role) == "admin" else state.client_id
    row = User(client_id=client_id, email=email, password_hash=passwords.hash_of(password), role=role)
    try:
        with state.session() as session:
            session.add(row)
            session.flush()
            told_by = audit.acting_for(actor, state.client_id)
            audit.record(session, told_by, "user.create", "user", row.id, email=email, role=role)
            return _user_as_dict(row)
    except IntegrityError as error:
        raise Conflict(f"There is a user {email} already", remedy="Give this one another e-mail address") from error


def change_user(
    state: State,
    actor: Actor,
    user_id: int,
    *,
    role: str | None = None,
    is_active: bool | None = None,
    password: str | None = None,
    of_all_clients: bool = False,
) -> dict[str, Any]:
    """Another role, a new password, or no more signing in; the last two end the user's sessions.

    Raises `NotFound`, `UsageError`, or `Conflict` where it would make or unmake an administrator.
    """
    new_hash = None if password is None else passwords.hash_of(password)
    with state.session() as session:
        row = _user(session, state, user_id, of_all_clients=of_all_clients)
        if role is not None and role != row.role:
            if "admin" in {_role(role), row.role}:
                raise Conflict("An administrator belongs to no client", remedy="Make a user of that role instead")
            row.role = role
        if is_active is False and row.id == actor.user_id:
            raise Conflict("You cannot lock yourself out", remedy="Ask another owner or administrator for it")
        row.is_active = row.is_active if is_active is None else is_active
        row.password_hash = new_hash or row.password_hash
        if new_hash or not row.is_active:
            tokens.end_sessions(session, row.id)
        changed = {"role": role, "is_active": is_active, "password": None if new_hash is None else "changed"}
        told = {name: value for name, value in changed.items() if value is not None}
        told_by = audit.acting_for(actor, row.client_id or state.client_id)
        audit.record(session, told_by, "user.change", "user", row.id, **told)
        return _user_as_dict(row)


def get_user(state: State, user_id: int, *, of_all_clients: bool = False) -> dict[str, Any]:
    """Raises `NotFound`."""
    with state.session() as session:
        return _user_as_dict(_user(session, state, user_id, of_all_clients=of_all_clients))


def user_id_of(state: State, email: str) -> int:
    """Raises `NotFound`."""
    with state.session() as session:
        found = session.scalar(select(User.id).where(User.email == storable(email.strip().lower())))
    if found is None:
        raise NotFound(f"There is no user {email}", remedy="Make one with: dockwright user add EMAIL")
    return found


def list_users(
    state: State, limit: int, cursor: str | None = None, *, of_all_clients: bool = False
) -> tuple[list[dict[str, Any]], str | None]:
    with state.session() as session:
        found = page(session, _users(state, of_all_clients), User.id, limit, cursor, newest_first=False)
    return [_user_as_dict(row) for row in found.rows], found.next_cursor


def _users(state: State, of_all_clients: bool) -> Select[Any]:
    return select(User) if of_all_clients else select(User).where(User.client_id == state.client_id)


def _user(session: Session, state: State, user_id: int, *, of_all_clients: bool) -> User:
    row: User | None = session.scalar(_users(state, of_all_clients).where(User.id == user_id))
    if row is None:
        raise NotFound(f"There is no user {user_id}", remedy="See: GET /api/v1/users")
    return row


def _user_as_dict(row: User) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ("id", "email", "client_id", "role", "is_active", "created_at")}


def _role(text: str) -> Role:
    if text not in ROLES:
        raise UsageError(f"There is no role {text!r}", remedy=f"Use one of: {', '.join(ROLES)}")
    return text


def may_give(giver: Role, role: Role) -> None:
    """Raises `NotAllowedError` where the giver has not that role: only an administrator makes another."""
    if ROLES.index(role) > ROLES.index(giver):
        raise NotAllowedError(f"You cannot give the role {role}", remedy="Ask an administrator for it")


# --- the first start -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstSignIn:
    email: str
    password: str | None
    """None where it is the one of the settings, which its operator knows."""

    def __repr__(self) -> str:
        return f"FirstSignIn(email={self.email!r})"


def ensure_admin(state: State) -> FirstSignIn | None:
    """Makes the administrator where there is none; none where there is one, or another server has just made it.

    Raises `InvalidSetting` for an ADMIN_PASSWORD that is too short.
    """
    settings = state.settings
    with state.session() as session:
        if session.scalar(select(User.id).where(User.role == "admin").limit(1)) is not None:
            return None
    password = settings.admin_password or secrets.token_urlsafe(15)
    try:
        create_user(state, audit.SYSTEM, settings.admin_email, password, "admin")
    except Conflict:
        return None
    except UsageError as error:
        raise InvalidSetting(f"ADMIN_EMAIL or ADMIN_PASSWORD: {error.message}", remedy=error.remedy) from error
    return FirstSignIn(email=settings.admin_email, password=None if settings.admin_password else password)
