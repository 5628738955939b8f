"""One deployment of a product at a time, and one recovery of a build, whichever process or machine it runs on."""

from __future__ import annotations

import fcntl
import os

from dockwright.db.connection import Connection, PostgresConnection
from dockwright.errors import DatabaseError
from dockwright.process import Cancel
from dockwright.services.state import State


class Lock:
    """It ends with the process that holds it: the kernel lets go of a file's lock, PostgreSQL of those of a connection
    that is gone, its own restart included: see `check`. `release` is due also where it could not be had.
    """

    name = ""
    kind = 0
    """First half of the advisory locks' numbers, the second being that of what is locked."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._file: int | None = None
        self._connection: Connection | None = None
        self._number = 0

    def acquire(self, number: int, cancel: Cancel) -> None:
        """Waits for the other one to end; raises as `Cancel.check` does."""
        while not self.try_acquire(number):
            cancel.sleep(0.1)

    def try_acquire(self, number: int) -> bool:
        if self._state.settings.database_file is None:
            return self._lock_in_database(number)
        if self._file is None:
            path = self._state.settings.home / "locks" / f"{self.name}-{number}.lock"
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def check(self) -> None:
        """Before what cannot be undone. Raises `DatabaseError` where it is not held any more: PostgreSQL has been
        started anew, or has ended the connection, and somebody else may have had the lock since then.

        It is not simply taken again: what the other one has done is to be looked at from the beginning.
        """
        if self._connection is not None and not self._is_held_in_database():
            raise DatabaseError(
                f"PostgreSQL was started anew meanwhile, and has let go of the lock of the {self.name}",
                remedy="Start it again; a build of the queue is begun anew by itself",
            )

    def _is_held_in_database(self) -> bool:
        """By this very connection, which opens itself again after a restart, and then holds nothing."""
        assert self._connection is not None
        held = self._connection.execute(
            "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted"
            " AND classid = ? AND objid = ?",
            (self.kind, self._number),
        )
        return held.fetchone() is not None

    def _lock_in_database(self, number: int) -> bool:
        if self._connection is None:
            self._connection = PostgresConnection(self._state.settings.database_url)
        self._number = number
        row = self._connection.execute("SELECT pg_try_advisory_lock(?, ?)", (self.kind, number)).fetchone()
        return bool(row[0])

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class ProductLock(Lock):
    """Held from the look at what is live to the end of the cut-over."""

    name, kind = "product", 0x0D0C


class RecoveryLock(Lock):
    """Held by whoever removes what an earlier attempt of a build has left: its next attempt begins after that.

    By the last digits of the build's number, so that no file stays for each build.
    """

    name, kind = "recovery", 0x0D0D

    def try_acquire(self, number: int) -> bool:
        return super().try_acquire(number % 10)
