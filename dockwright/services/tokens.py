"""Sessions and API tokens: 256 random bits that are shown once and kept as their SHA-256."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, cast

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from dockwright.db.tables import AccessToken, User, now
from dockwright.domain.roles import Role
from dockwright.services.state import State

Kind = Literal["session", "api"]
PREFIX = "dwt_"
"""Known to scanners of repositories and logs, and to people who find one."""
IDLE = timedelta(hours=12)
"""How long a session lasts that nobody uses."""
LONGEST = timedelta(days=7)
"""How long a session lasts at most."""
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


def issue(session: Session, user_id: int, kind: Kind, name: str = "") -> tuple[str, AccessToken]:
    """A new token and its row: the only time that its value is known."""
    value = PREFIX + secrets.token_urlsafe(32)
    expires_at = now() + IDLE if kind == "session" else None
    row = AccessToken(user_id=user_id, kind=kind, name=name, token_hash=_hash(value), expires_at=expires_at)
    session.add(row)
    session.flush()
    return value, row


def identify(state: State, value: str) -> Identity | None:
    """None where the token is unknown or over, or its user may not sign in any more."""
    moment = now()
    with state.session() as session:
        found = session.execute(
            select(AccessToken, User)
            .join(User, User.id == AccessToken.user_id)
            .where(AccessToken.token_hash == _hash(value), User.is_active)
        ).first()
        if found is None:
            return None
        token, user = found
        if token.expires_at is not None and token.expires_at <= moment:
            return None
        _note_use(token, moment)
        return Identity(
            token_id=token.id,
            user_id=user.id,
            email=user.email,
            role=cast("Role", user.role),
            client_id=user.client_id,
        )


def _note_use(token: AccessToken, moment: datetime) -> None:
    if token.used_at is not None and moment - token.used_at < NOTED_EVERY:
        return
    token.used_at = moment
    if token.kind == "session":
        token.expires_at = min(moment + IDLE, token.created_at + LONGEST)


def end(session: Session, token_id: int) -> None:
    session.execute(delete(AccessToken).where(AccessToken.id == token_id))


def end_sessions(session: Session, user_id: int) -> None:
    session.execute(delete(AccessToken).where(AccessToken.user_id == user_id, AccessToken.kind == "session"))


def _hash(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
