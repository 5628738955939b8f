"""A DB-API connection for the plain SQL of the journal and the queue: SQLite or PostgreSQL, behind the same few calls.

SQL is written with `?` for parameters, `TRUE`, `RETURNING` and `ON CONFLICT`, which both understand. JSON and times are
text on both. `after(seconds)` is the database's own clock, so that workers on machines whose clocks differ agree.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from dockwright.errors import DatabaseError, DiskFull

if TYPE_CHECKING:
    import psycopg


class Rows(Protocol):
    """What both kinds of cursor can do."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """Shared by the threads of a build: whoever is in a transaction holds its lock."""

    lock: threading.RLock
    begin: str
    """The statement that begins a transaction which is going to write."""

    @property
    def in_transaction(self) -> bool: ...
    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Rows: ...
    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> Any: ...
    def after(self, seconds: float) -> str: ...
    def translated(self, error: Exception) -> DockwrightDatabaseError | None: ...
    def close(self) -> None: ...


POSTGRES_OPTIONS: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
"""A machine that vanishes does not say so: without these, whoever waits for its answer waits for hours. With them for
some 20 s. In seconds, the last one in milliseconds, as libpq has them."""

DockwrightDatabaseError = DiskFull | DatabaseError


class _Fetched:
    def __init__(self, rows: list[Any], rowcount: int) -> None:
        self.rowcount = rowcount
        self._rows = iter(rows)

    def fetchone(self) -> Any:
        return next(self._rows, None)

    def fetchall(self) -> list[Any]:
        return list(self._rows)

    def __iter__(self) -> Iterator[Any]:
        return self._rows


class SqliteConnection(sqlite3.Connection):
    begin = "BEGIN IMMEDIATE"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.lock = threading.RLock()

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Rows:  # type: ignore[override]
        """All rows at once, and none while another thread is in a transaction.

        A row that is read later would hold on to an old state of the database, in which SQLite lets nobody begin to
        write, and two threads that ask the same would share one prepared statement.
        """
        with self.lock:
            cursor = super().execute(sql, parameters)
            return _Fetched(cursor.fetchall(), cursor.rowcount)

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> None:  # type: ignore[override]
        with self.lock:
            super().executemany(sql, rows)

    def after(self, seconds: float) -> str:
        """SQL for the time in so many seconds, in the form in which SQLAlchemy keeps it."""
        return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', '{seconds:+f} seconds')"

    def translated(self, error: Exception) -> DockwrightDatabaseError | None:
        if not isinstance(error, sqlite3.OperationalError):
            return None
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            return DiskFull(
                "The disk that holds the state database is full", remedy="Free some space below DOCKWRIGHT_HOME"
            )
        return DatabaseError(
            f"The state database cannot be used: {error}", remedy="Check DOCKWRIGHT_HOME with: dockwright doctor"
        )


class PostgresConnection:
    """Opened again by itself where the server was away, at the beginning of a transaction only."""

    begin = "BEGIN"

    def __init__(self, url: str) -> None:
        self.lock = threading.RLock()
        self._url = url
        self._connection = self._open()

    def _open(self) -> psycopg.Connection[Any]:
        import psycopg
        from psycopg.types.string import TextLoader

        connection = psycopg.connect(
            self._url, autocommit=True, options="-c timezone=UTC", application_name="dockwright", **POSTGRES_OPTIONS
        )
        for name in ("json", "timestamptz"):
            connection.adapters.register_loader(name, TextLoader)
        return connection

    @property
    def in_transaction(self) -> bool:
        from psycopg.pq import TransactionStatus

        return not self._connection.closed and self._connection.info.transaction_status != TransactionStatus.IDLE

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Rows:
        """Raises `DiskFull` or `DatabaseError`, also for a look outside of a transaction."""
        with self.lock, self._translating():
            if not self.in_transaction and self._is_gone():
                self._connection = self._open()
            return self._connection.execute(_with_percent(sql), parameters)

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> None:
        with self.lock, self._translating(), self._connection.cursor() as cursor:
            cursor.executemany(_with_percent(sql), rows)

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if (translated := self.translated(error)) is not None:
                raise translated from error
            raise

    def _is_gone(self) -> bool:
        """A server that went away has closed the socket: there is something to read from it, which is its end."""
        import select

        if self._connection.closed or self._connection.broken:
            return True
        poll = select.poll()
        poll.register(self._connection.fileno(), select.POLLIN)
        readable = poll.poll(0)
        if readable:
            self._connection.close()
        return bool(readable)

    def after(self, seconds: float) -> str:
        return f"(clock_timestamp() + interval '{seconds:f} seconds')"

    def translated(self, error: Exception) -> DockwrightDatabaseError | None:
        import psycopg

        if isinstance(error, psycopg.errors.DiskFull):
            return DiskFull("The disk of the PostgreSQL server is full", remedy="Free some space on that machine")
        if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
            return DatabaseError(
                f"PostgreSQL cannot be reached: {_first_line(error)}", remedy="Check DATABASE_URL and the server"
            )
        return None

    def close(self) -> None:
        self._connection.close()


def _with_percent(sql: str) -> Any:
    return sql.replace("?", "%s")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """Raises `DiskFull` or `DatabaseError`, and then nothing of it is written."""
    with connection.lock:
        try:
            connection.execute(connection.begin)
            yield
            connection.execute("COMMIT")
        except BaseException as error:
            _roll_back(connection)
            translated = connection.translated(error) if isinstance(error, Exception) else None
            if translated is not None:
                raise translated from error
            raise


def _roll_back(connection: Connection) -> None:
    if connection.in_transaction:
        try:
            connection.execute("ROLLBACK")
        except Exception as error:
            # A server that is gone has rolled back; anything else is told.
            if not isinstance(error, DatabaseError) and connection.translated(error) is None:
                raise
