"""What every use case works on: the settings, the state database and the caller's client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from dockwright.db import journal, schema
from dockwright.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy.orm import Session, sessionmaker

LOCAL_CLIENT_ID = 1
"""The client that commands without a server act for; the first migration makes it."""


class State:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.client_id = LOCAL_CLIENT_ID

    @cached_property
    def connection(self) -> journal.Connection:
        """For `db.journal`: opened when first needed, brought to the newest schema."""
        return schema.connect(self.settings)

    @cached_property
    def client(self) -> str:
        """The client's slug, which the names of all its images, containers, networks and volumes carry."""
        return journal.client_slug(self.connection, self.client_id)

    @cached_property
    def _sessions(self) -> sessionmaker[Session]:
        from sqlalchemy import create_engine, event
        from sqlalchemy.orm import sessionmaker

        _ = self.connection  # the schema first
        engine = create_engine(schema.engine_url(self.settings), connect_args={"timeout": 30})
        event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA foreign_keys=ON"))
        return sessionmaker(engine, expire_on_commit=False)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """One transaction: committed at the end, rolled back by an exception. Raises `DiskFull` or `DatabaseError`."""
        import sqlite3

        from sqlalchemy.exc import OperationalError

        try:
            with self._sessions.begin() as session:
                yield session
        except OperationalError as error:
            if isinstance(error.orig, sqlite3.OperationalError):
                raise journal.translated(error.orig) from error
            raise
