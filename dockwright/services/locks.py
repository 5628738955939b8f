"""One deployment of a product at a time, whichever process it runs in."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from dockwright.process import Cancel


class ProductLock:
    """Held from the look at what is live to the end of the cut-over. The kernel lets go of it when a process dies."""

    def __init__(self, home: Path, slug: str) -> None:
        self._path = home / "locks" / f"{slug}.lock"
        self._file: int | None = None

    def acquire(self, cancel: Cancel) -> None:
        """Waits for the other deployment to end; raises as `Cancel.check` does."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                cancel.sleep(0.1)
            else:
                return

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
