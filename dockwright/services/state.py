"""What every use case works on: the settings, the state database and the caller's client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from dockwright.db import build_rows, schema
from dockwright.db.connection import Connection
from dockwright.errors import DatabaseBusy
from dockwright.services.bus import Bus
from dockwright.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy.orm import Session, sessionmaker

LOCAL_CLIENT_ID = 1
"""The client that commands without a server act for; the first migration makes it."""


class State:
    """One client's view. A server makes one a caller with `of_client`, and one a build with `apart`."""

    def __init__(self, settings: Settings, client_id: int = LOCAL_CLIENT_ID, bus: Bus | None = None) -> None:
        self.settings = settings
        self.client_id = client_id
        self.bus = bus or Bus()
        self.actor: str | None = None
        """Whose doing it is, by e-mail address: written beside what is deployed."""
        self._is_first = True
        """The sessions' connections are this one's to close."""

    def of_client(self, client_id: int) -> State:
        """The same database through the same connections, for another client."""
        state = self.apart(client_id)
        state.connection = self.connection
        return state

    def apart(self, client_id: int) -> State:
        """With a connection of its own, for a build that writes its journal beside others; closed by `close`."""
        state = State(self.settings, client_id, self.bus)
        state._sessions, state._is_first = self._sessions, False
        return state

    def close(self) -> None:
        if "connection" in self.__dict__:
            self.connection.close()
        if self._is_first and "_sessions" in self.__dict__:
            self._sessions.kw["bind"].dispose()

    @cached_property
    def connection(self) -> Connection:
        """For the plain SQL of `db/`: opened when first needed, brought to the newest schema."""
        return schema.connect(self.settings)

    @cached_property
    def client(self) -> str:
        """The client's slug, which the names of all its images, containers, networks and volumes carry."""
        return build_rows.client_slug(self.connection, self.client_id)

    @cached_property
    def _sessions(self) -> sessionmaker[Session]:
        from sqlalchemy.orm import sessionmaker

        _ = self.connection  # the schema first
        return sessionmaker(schema.create_engine(self.settings), expire_on_commit=False)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """One transaction: committed at the end, rolled back by an exception. Raises `DiskFull` or `DatabaseError`.

        A thread that has one does not begin another: `schema.create_engine` counts one connection for each thread.
        """
        from sqlalchemy.exc import DBAPIError
        from sqlalchemy.exc import TimeoutError as PoolTimeout

        try:
            with self._sessions.begin() as session:
                yield session
        except PoolTimeout as error:
            raise DatabaseBusy(
                "All connections to the state database are in use",
                remedy="Try again in a moment; if it stays so, something holds up the database",
            ) from error
        except DBAPIError as error:
            translated = self.connection.translated(error.orig) if isinstance(error.orig, Exception) else None
            if translated is not None:
                raise translated from error
            raise
