"""Clients and their users, and the administrator that a server begins with."""

from __future__ import annotations

from typing import Any

from dockwright.db.tables import Client
from dockwright.errors import NotFound
from dockwright.services.state import State


def get_client(state: State, client_id: int) -> dict[str, Any]:
    """Raises `NotFound`."""
    with state.session() as session:
        row = session.get(Client, client_id)
        if row is None:
            raise no_such_client(client_id)
        return client_as_dict(row)


def no_such_client(client_id: int) -> NotFound:
    return NotFound(f"There is no client {client_id}", remedy="See: GET /api/v1/clients")


def client_as_dict(row: Client) -> dict[str, Any]:
    return {"id": row.id, "slug": row.slug, "name": row.name, "created_at": row.created_at}
