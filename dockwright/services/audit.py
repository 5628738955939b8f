"""Who did what: entries that are written with what was done, and read page by page."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session

from dockwright.db.connection import Connection
from dockwright.db.stored import storable, timestamp
from dockwright.db.tables import AuditEntry
from dockwright.services.paging import page
from dockwright.services.state import State

MAX_ACTOR = 255


class Actor(Protocol):
    """Whoever does something; the API's `Caller` is one."""

    @property
    def user_id(self) -> int | None: ...
    @property
    def email(self) -> str: ...
    @property
    def client_id(self) -> int | None: ...
    @property
    def address(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Someone:
    """An actor that came by no request, or has not signed in."""

    email: str
    client_id: int | None = None
    user_id: int | None = None
    address: str | None = None


SYSTEM = Someone("system")
COMMAND_LINE = Someone("command line")
"""Whoever may write the state folder; no sign-in is asked for there."""


def acting_for(actor: Actor, client_id: int) -> Someone:
    """An administrator who does something to another client: the entry is that client's."""
    return Someone(actor.email, client_id=client_id, user_id=actor.user_id, address=actor.address)


def record(
    session: Session,
    actor: Actor,
    action: str,
    object_type: str | None = None,
    object_id: int | None = None,
    **detail: Any,
) -> None:
    """In the transaction of what was done. `action` is `project.create`, `login.failed`…; `detail` goes into JSON."""
    session.add(
        AuditEntry(
            client_id=actor.client_id,
            user_id=actor.user_id,
            actor=storable(actor.email)[:MAX_ACTOR],
            action=action,
            object_type=object_type,
            object_id=object_id,
            address=actor.address,
            detail=detail,
        )
    )


def write(
    state: State, actor: Actor, action: str, object_type: str | None = None, object_id: int | None = None, **detail: Any
) -> None:
    """An entry of its own, for what is done outside of a session: a build queued, a product started."""
    with state.session() as session:
        record(session, actor, action, object_type, object_id, **detail)


def insert(connection: Connection, actor: Actor, action: str, object_type: str, object_id: int, **detail: Any) -> None:
    """The same as `record`, in a transaction of the queue's plain SQL."""
    connection.execute(
        "INSERT INTO audit (at, client_id, user_id, actor, action, object_type, object_id, address, detail)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            timestamp(time.time()),
            actor.client_id,
            actor.user_id,
            storable(actor.email)[:MAX_ACTOR],
            action,
            object_type,
            object_id,
            actor.address,
            json.dumps(detail),
        ),
    )


def listing(
    state: State, limit: int, cursor: str | None = None, *, of_all_clients: bool = False
) -> tuple[list[dict[str, Any]], str | None]:
    """Newest first, and the cursor of what is behind them."""
    query = select(AuditEntry)
    if not of_all_clients:
        query = query.where(AuditEntry.client_id == state.client_id)
    with state.session() as session:
        found = page(session, query, AuditEntry.id, limit, cursor)
    return [_as_dict(row) for row in found.rows], found.next_cursor


def _as_dict(row: AuditEntry) -> dict[str, Any]:
    names = ("id", "at", "client_id", "user_id", "actor", "action", "object_type", "object_id", "address", "detail")
    return {name: getattr(row, name) for name in names}
