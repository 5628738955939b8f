"""The database's schema revision: what it is, what it must be, and how it gets there.

Every command asks it, through a DB-API connection; Alembic is loaded only when there is work to do.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from dockwright.db.connection import POSTGRES_OPTIONS, Connection, PostgresConnection, SqliteConnection
from dockwright.errors import DatabaseError
from dockwright.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine
    from sqlalchemy import Connection as AlchemyConnection

HEAD = "0002"
"""The newest migration; a test holds it against Alembic's own answer."""
_UPGRADE_LOCK = 0x0D0C4E58
REQUEST_THREADS = 40
"""Those that a server answers in, by anyio's default."""
OTHER_THREADS = 3
"""The upkeep, the reaper, and whoever starts them."""
POOL_SECONDS = 10.0
"""How long a thread waits for a connection, should there be too few all the same."""


def connect(settings: Settings) -> Connection:
    """The state database, its schema brought up to date first. Raises `DatabaseError`."""
    try:
        connection = _open(settings)
        if revision(connection) != HEAD:
            connection.close()
            upgrade(settings)
            connection = _open(settings)
    except DatabaseError:
        raise
    except Exception as error:
        raise _translated(error, settings) from error
    return connection


def _open(settings: Settings) -> Connection:
    file = settings.database_file
    if file is None:
        return PostgresConnection(settings.database_url)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    connection = sqlite3.connect(
        file, timeout=30, isolation_level=None, check_same_thread=False, factory=SqliteConnection
    )
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    # Whoever brings the log into the database waits for the disk, which a build on its way to a worker feels: this is a
    # tenth as often as by default.
    connection.execute("PRAGMA wal_autocheckpoint=10000")
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


def revision(connection: Connection | sqlite3.Connection) -> str | None:
    """The schema revision of the database, none for an empty one."""
    try:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except Exception as error:
        # By their names: psycopg is not loaded for SQLite's sake.
        if "no such table" in str(error) or type(error).__name__ == "UndefinedTable":
            return None
        raise
    return row[0] if row else None


def engine_url(settings: Settings) -> URL:
    """Put together from its parts: a folder's name may hold a question mark, which ends the path in a URL's text."""
    from sqlalchemy import URL, make_url

    if settings.database_file is None:
        return make_url(settings.database_url).set(drivername="postgresql+psycopg")
    return URL.create("sqlite", database=str(settings.database_file))


def create_engine(settings: Settings) -> Engine:
    import sqlalchemy
    from sqlalchemy import event

    url = engine_url(settings)
    is_postgres = settings.database_file is None
    kept = 20 if is_postgres else 5
    pool = {"pool_size": kept, "max_overflow": _most_threads(settings) - kept, "pool_timeout": POOL_SECONDS}
    if is_postgres:
        return sqlalchemy.create_engine(url, **pool, pool_pre_ping=True, connect_args=POSTGRES_OPTIONS)
    engine = sqlalchemy.create_engine(url, **pool, connect_args={"timeout": 30})
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA foreign_keys=ON"))
    return engine


def _most_threads(settings: Settings) -> int:
    """How many may ask at once, so many connections there may be: nobody waits for another's. Those that a rush opens
    are closed when it is over."""
    return REQUEST_THREADS + settings.max_workers + OTHER_THREADS


def upgrade(settings: Settings) -> str:
    """Runs the migrations that are missing; returns the revision reached. One process at a time does it."""
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    # Without the foreign keys of `create_engine` above: SQLite makes tables anew to change them.
    timeout = {"timeout": 60} if settings.database_file is not None else POSTGRES_OPTIONS
    engine = create_engine(engine_url(settings), connect_args=timeout)
    try:
        if settings.database_file is not None:
            settings.database_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with engine.connect() as connection:
            _lock_schema(connection)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
    except (SQLAlchemyError, OSError) as error:
        raise _translated(error, settings) from error
    except CommandError as error:
        raise DatabaseError(
            f"The database {shown(settings)} was written by a newer Dockwright ({error})",
            remedy="Install that version",
        ) from error
    finally:
        engine.dispose()
    return HEAD


def _lock_schema(connection: AlchemyConnection) -> None:
    """Taken before Alembic looks at the revision, so that two first starts do not both create the tables."""
    from sqlalchemy import text

    if connection.dialect.name == "sqlite":
        connection.execute(text("BEGIN IMMEDIATE"))
    else:
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _UPGRADE_LOCK})


def shown(settings: Settings) -> str:
    """Where the database is, without a password."""
    return str(settings.database_file or settings.database_url.rpartition("@")[2])


def _translated(error: Exception, settings: Settings) -> DatabaseError:
    remedy = "Check DATABASE_URL, and that the server runs and lets this user in"
    if settings.database_file is not None:
        remedy = "Check the folder's permissions and free space, or set DOCKWRIGHT_HOME to another folder"
    first = (str(error).splitlines() or [""])[0]
    return DatabaseError(f"The database {shown(settings)} cannot be used: {first}", remedy=remedy)
