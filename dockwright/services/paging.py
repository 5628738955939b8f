"""Lists in pieces: `limit` rows, and a cursor that leads to those behind them.

The cursor is the key of the last row shown, so that rows which come or go meanwhile neither repeat nor hide others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select
from sqlalchemy.orm import InstrumentedAttribute, Session

from dockwright.errors import UsageError
from dockwright.services.names import number_of

MAX_LIMIT = 200
DEFAULT_LIMIT = 50
MAX_KEY = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Page:
    rows: list[Any]
    """What the query selects: entities or single columns as they are, several of them as rows."""
    next_cursor: str | None
    """None where there is nothing behind these."""


def page(
    session: Session,
    query: Select[Any],
    key: InstrumentedAttribute[int],
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
    *,
    newest_first: bool = True,
) -> Page:
    """One piece of `query`, ordered by `key`, a unique number that must be part of what is selected by name or entity.

    Raises `UsageError` for a limit out of 1 to `MAX_LIMIT`, or a cursor that no answer gave.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise UsageError(f"A limit of {limit} cannot be", remedy=f"Use 1 to {MAX_LIMIT}")
    if cursor is not None:
        last = number_of(cursor)
        if last is None or last > MAX_KEY:
            raise UsageError("The cursor is none that a list has given", remedy="Send next_cursor as it was answered")
        query = query.where(key < last if newest_first else key > last)
    ordered = query.add_columns(key.label("paging_key")).order_by(key.desc() if newest_first else key.asc())
    found = session.execute(ordered.limit(limit + 1)).all()
    shown = found[:limit]
    next_cursor = str(shown[-1].paging_key) if len(found) > limit else None
    return Page(rows=[row[0] if len(row) == 2 else row[:-1] for row in shown], next_cursor=next_cursor)
