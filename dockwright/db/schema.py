"""The database's schema revision: what it is, what it must be, and how it gets there.

`is_current` uses SQLite's own module, since every command asks it; Alembic is loaded only when there is work to do.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from dockwright.db.journal import Connection
from dockwright.errors import DatabaseError
from dockwright.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import URL

HEAD = "0001"
"""The newest migration; a test holds it against Alembic's own answer."""


def connect(settings: Settings) -> Connection:
    """The state database in WAL mode, its schema brought up to date first."""
    file = settings.database_file
    assert file is not None
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        connection = _open(file)
        if revision(connection) != HEAD:
            connection.close()
            upgrade(settings)
            connection = _open(file)
    except (sqlite3.Error, OSError) as error:
        raise _translated(error, file) from error
    return connection


def _open(file: Path) -> Connection:
    connection = sqlite3.connect(file, timeout=30, isolation_level=None, check_same_thread=False, factory=Connection)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


def revision(connection: sqlite3.Connection) -> str | None:
    """The schema revision of the database, none for an empty one."""
    try:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return None
        raise
    return row[0] if row else None


def engine_url(settings: Settings) -> URL:
    """Put together from its parts: a folder's name may hold a question mark, which ends the path in a URL's text."""
    from sqlalchemy import URL

    return URL.create("sqlite", database=str(settings.database_file))


def upgrade(settings: Settings) -> str:
    """Runs the migrations that are missing; returns the revision reached. One process at a time does it."""
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import SQLAlchemyError

    file = settings.database_file
    assert file is not None
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    engine = create_engine(engine_url(settings), connect_args={"timeout": 60})
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with engine.connect() as connection:
            # Taken before Alembic looks at the revision, so that two first starts do not both create the tables.
            connection.execute(text("BEGIN IMMEDIATE"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
    except (SQLAlchemyError, OSError) as error:
        raise _translated(error, file) from error
    except CommandError as error:
        raise DatabaseError(
            f"The database {file} was written by a newer Dockwright ({error})", remedy="Install that version"
        ) from error
    finally:
        engine.dispose()
    return HEAD


def _translated(error: Exception, file: Path) -> DatabaseError:
    return DatabaseError(
        f"The database {file} cannot be used: {error}",
        remedy="Check the folder's permissions and free space, or set DOCKWRIGHT_HOME to another folder",
    )
