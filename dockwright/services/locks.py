"""One deployment of a product at a time, and one recovery of a build, whichever process or machine it runs on."""

from __future__ import annotations

import fcntl
import os

from dockwright.db.connection import Connection, PostgresConnection
from dockwright.process import Cancel
from dockwright.services.state import State


class Lock:
    """It ends with the process that holds it: the kernel lets go of a file's lock, PostgreSQL of those of a connection
    that is gone. `release` is due also where it could not be had.
    """

    name = ""
    kind = 0
    """First half of the advisory locks' numbers, the second being that of what is locked."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._file: int | None = None
        self._connection: Connection | None = None

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

    def _lock_in_database(self, number: int) -> bool:
        if self._connection is None:
            self._connection = PostgresConnection(self._state.settings.database_url)
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
