"""Tickets, leads and tasks in one SQLite file on the volume.

Two containers of two releases may use the file at once during a cut-over: write-ahead logging and a busy timeout let
them take turns. What a record holds beside the columns is JSON: a release keeps the fields that it does not know, so an
older one may work on the records of a newer one.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BUSY_SECONDS = 5.0
SESSION_DAYS = 30

_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    session_id TEXT NOT NULL DEFAULT '',
    fields TEXT NOT NULL DEFAULT '{}',
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS records_by_status ON records (kind, status, id);
CREATE INDEX IF NOT EXISTS records_by_session ON records (kind, session_id, id);
CREATE TABLE IF NOT EXISTS sessions (
    id TEXT PRIMARY KEY,
    misses INTEGER NOT NULL DEFAULT 0,
    updated_at REAL NOT NULL
);
"""


class StoreUnavailable(Exception):
    """The volume cannot be read or written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    id: int
    kind: str
    status: str
    session_id: str
    fields: dict[str, Any]
    created_at: float
    updated_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a change of a record gives: its new status, and the fields that it sets."""

    status: str
    fields: Mapping[str, Any]


class Store:
    """Each call opens the file anew, so a Store may be used from any thread."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "assistant.db"
        self._has_schema = False

    def check(self) -> None:
        """Raises `StoreUnavailable`."""
        with self._writing():
            pass

    def create(self, kind: str, status: str, fields: Mapping[str, Any], session_id: str = "") -> Record:
        now = time.time()
        with self._writing() as connection:
            cursor = connection.execute(
                "INSERT INTO records (kind, status, session_id, fields, created_at, updated_at) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (kind, status, session_id, json.dumps(fields), now, now),
            )
            return self._get(connection, kind, int(cursor.lastrowid or 0))

    def get(self, kind: str, number: int) -> Record:
        """Raises `KeyError` where there is none."""
        with self._reading() as connection:
            return self._get(connection, kind, number)

    def change(self, kind: str, number: int, decide: Callable[[Record], Change]) -> Record:
        """Reads, decides and writes with nobody in between. Raises `KeyError`, and whatever `decide` raises."""
        with self._writing() as connection:
            record = self._get(connection, kind, number)
            change = decide(record)
            connection.execute(
                "UPDATE records SET status = ?, fields = ?, updated_at = ? WHERE id = ?",
                (change.status, json.dumps({**record.fields, **change.fields}), time.time(), number),
            )
            return self._get(connection, kind, number)

    def list(
        self,
        kind: str,
        *,
        status: str | None = None,
        session_id: str | None = None,
        fields: Mapping[str, str] | None = None,
        limit: int = 50,
        offset: int = 0,
    ) -> tuple[list[Record], int]:
        """Newest first, and how many there are in all. `fields` compares without regard to capitals."""
        where, values = ["kind = ?"], [kind]
        for column, value in (("status", status), ("session_id", session_id)):
            if value is not None:
                where.append(f"{column} = ?")
                values.append(value)
        for name, value in (fields or {}).items():
            where.append("json_extract(fields, ?) = ? COLLATE NOCASE")
            values += [f"$.{name}", value]
        clause = " AND ".join(where)
        with self._reading() as connection:
            total = connection.execute(f"SELECT count(*) FROM records WHERE {clause}", values).fetchone()[0]
            rows = connection.execute(
                f"SELECT * FROM records WHERE {clause} ORDER BY id DESC LIMIT ? OFFSET ?", [*values, limit, offset]
            )
            return [_record(row) for row in rows], total

    def count_miss(self, session_id: str, *, is_miss: bool) -> int:
        """How often in a row the assistant had no answer for this conversation, this time included."""
        now = time.time()
        with self._writing() as connection:
            connection.execute("DELETE FROM sessions WHERE updated_at < ?", (now - SESSION_DAYS * 86_400,))
            connection.execute(
                "INSERT INTO sessions (id, misses, updated_at) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
                "misses = CASE excluded.misses WHEN 0 THEN 0 ELSE misses + 1 END, updated_at = excluded.updated_at",
                (session_id, int(is_miss), now),
            )
            return int(connection.execute("SELECT misses FROM sessions WHERE id = ?", (session_id,)).fetchone()[0])

    def _get(self, connection: sqlite3.Connection, kind: str, number: int) -> Record:
        row = connection.execute("SELECT * FROM records WHERE kind = ? AND id = ?", (kind, number)).fetchone()
        if row is None:
            raise KeyError(number)
        return _record(row)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(self._open()) as connection:
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailable(str(error)) from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that holds the write lock from its start, so that what was read in it stays true."""
        with self._reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def _open(self) -> sqlite3.Connection:
        if not self._has_schema:
            self._file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._file, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA synchronous = NORMAL")
            if not self._has_schema:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(_SCHEMA)
                self._has_schema = True
        except BaseException:
            connection.close()
            raise
        return connection


def _record(row: sqlite3.Row) -> Record:
    return Record(
        id=row["id"],
        kind=row["kind"],
        status=row["status"],
        session_id=row["session_id"],
        fields=json.loads(row["fields"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
