"""Sessions and API tokens: 256 random bits that are shown once and kept as their SHA-256."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, NamedTuple, cast

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from dockwright.db.tables import AccessToken, User, now
from dockwright.domain.roles import Role
from dockwright.errors import Conflict, NotFound
from dockwright.services import audit
from dockwright.services.audit import Actor
from dockwright.services.paging import page
from dockwright.services.state import State

Kind = Literal["session", "api"]
PREFIX = "dwt_"
"""Known to scanners of repositories and logs, and to people who find one."""
IDLE = timedelta(hours=12)
"""How long a session lasts that nobody uses."""
LONGEST = timedelta(days=7)
"""How long a session lasts at most."""
REMEMBERED = timedelta(days=90)
NOTED_EVERY = timedelta(minutes=5)
"""How exactly it is known when a token was used last: a write for each request would be one too many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whose a token is."""

    token_id: int
    user_id: int
    email: str
    role: Role
    client_id: int | None
    """None of an administrator who belongs to no client."""


def issue(
    session: Session, user_id: int, kind: Kind, name: str = "", address: str | None = None
) -> tuple[str, AccessToken]:
    """A new token and its row: the only time that its value is known."""
    value = PREFIX + secrets.token_urlsafe(32)
    row = AccessToken(user_id=user_id, kind=kind, name=name, token_hash=_hash(value), address=address)
    row.expires_at = now() + IDLE if kind == "session" else None
    session.add(row)
    session.flush()
    return value, row


def identify(state: State, value: str) -> Identity | None:
    """None where the token is unknown or over, or its user may not sign in any more.

    In plain SQL: every request begins with it, and the ORM would take three times as long as all the rest of it.
    """
    clock, noted = state.connection.after(0), state.connection.after(-NOTED_EVERY.total_seconds())
    row = state.connection.execute(
        "SELECT token.id, users.id, users.email, users.role, users.client_id,"
        f" token.used_at IS NULL OR token.used_at < {noted}"
        " FROM access_tokens AS token JOIN users ON users.id = token.user_id"
        f" WHERE token.token_hash = ? AND users.is_active AND (token.expires_at IS NULL OR token.expires_at > {clock})",
        (_hash(value),),
    ).fetchone()
    if row is None:
        return None
    token_id, user_id, email, role, client_id, is_noted_long_ago = row
    if is_noted_long_ago:
        _note_use(state, token_id)
    return Identity(token_id=token_id, user_id=user_id, email=email, role=cast("Role", role), client_id=client_id)


class Standing(NamedTuple):
    """What the user of a token that is valid may do."""

    role: Role
    client_id: int | None


def standing(state: State, token_ids: Collection[int]) -> dict[int, Standing]:
    """Of those that are still valid, by their ids."""
    is_over = AccessToken.expires_at.is_not(None) & (AccessToken.expires_at <= now())
    query = select(AccessToken.id, User.role, User.client_id).join(User, User.id == AccessToken.user_id)
    with state.session() as session:
        rows = session.execute(query.where(AccessToken.id.in_(token_ids), User.is_active, ~is_over)).all()
    return {token_id: Standing(cast("Role", role), client_id) for token_id, role, client_id in rows}


def _note_use(state: State, token_id: int) -> None:
    moment = now()
    with state.session() as session:
        token = session.get(AccessToken, token_id)
        if token is None:
            return  # it was signed out in this moment
        token.used_at = moment
        if token.kind == "session":
            token.expires_at = min(moment + IDLE, token.created_at + LONGEST)


def sign_out(state: State, actor: Actor, token_id: int) -> None:
    """Raises `Conflict` for an API token, which is no session."""
    with state.session() as session:
        mine = AccessToken.id == token_id, AccessToken.kind == "session"
        if session.scalar(delete(AccessToken).where(*mine).returning(AccessToken.id)) is None:
            raise Conflict("An API token is no session", remedy=f"Delete it: DELETE /api/v1/auth/tokens/{token_id}")
        audit.record(session, actor, "logout")


def end_sessions(session: Session, user_id: int) -> None:
    """All of a user's: the password has changed, or the user may not sign in any more."""
    session.execute(delete(AccessToken).where(AccessToken.user_id == user_id, AccessToken.kind == "session"))


def forget_old(session: Session, user_id: int) -> None:
    """Sessions long over; until then they tell where their user has signed in before."""
    long_ago = now() - REMEMBERED
    old = AccessToken.user_id == user_id, AccessToken.kind == "session", AccessToken.expires_at < long_ago
    session.execute(delete(AccessToken).where(*old))


# --- API tokens ----------------------------------------------------------------------------------------------------


def create(state: State, actor: Actor, user_id: int, name: str) -> tuple[str, dict[str, Any]]:
    """A user's new API token, which lasts until it is deleted: its value and what is listed of it."""
    with state.session() as session:
        value, row = issue(session, user_id, "api", name)
        audit.record(session, actor, "token.create", "token", row.id, name=name)
        return value, _as_dict(row)


def listing(
    state: State, user_id: int, limit: int, cursor: str | None = None
) -> tuple[list[dict[str, Any]], str | None]:
    """A user's API tokens, newest first, without their values."""
    query = select(AccessToken).where(AccessToken.user_id == user_id, AccessToken.kind == "api")
    with state.session() as session:
        found = page(session, query, AccessToken.id, limit, cursor)
    return [_as_dict(row) for row in found.rows], found.next_cursor


def remove(state: State, actor: Actor, user_id: int, token_id: int) -> None:
    """Raises `NotFound` for one that is not that user's."""
    with state.session() as session:
        row = session.get(AccessToken, token_id)
        if row is None or row.user_id != user_id or row.kind != "api":
            raise NotFound(f"There is no token {token_id}", remedy="See: GET /api/v1/auth/tokens")
        session.delete(row)
        audit.record(session, actor, "token.delete", "token", token_id, name=row.name)


def _as_dict(row: AccessToken) -> dict[str, Any]:
    return {"id": row.id, "name": row.name, "created_at": row.created_at, "used_at": row.used_at}


def _hash(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
