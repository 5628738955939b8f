"""Starts and ends processes; nothing else in Dockwright does.

A process gets a session of its own, so that ending it ends its children too and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from dockwright.errors import BuildTimeout, Interrupted, ToolMissing

CANCEL_SECONDS = 0.1
"""How long a cancel may go unseen."""
GRACE_SECONDS = 5.0
"""How long a process may take to end after SIGTERM before it is killed."""


class Cancel:
    """Set once, by Ctrl-C, by a cancel or by the deadline; whoever waits for something looks at it.

    >>> cancel = Cancel(deadline=time.monotonic() + 1800)
    >>> cancel.check()
    """

    def __init__(self, deadline: float | None = None) -> None:
        self._event = threading.Event()
        self.deadline = deadline
        """In seconds of `time.monotonic`."""

    def set(self) -> None:
        self._event.set()

    @property
    def is_set(self) -> bool:
        return self._event.is_set() or self.is_late

    @property
    def is_late(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline

    def check(self) -> None:
        """Raises `Interrupted` or `BuildTimeout`."""
        if self._event.is_set():
            raise Interrupted("The build was interrupted", remedy="Start it again when you are ready")
        if self.is_late:
            raise BuildTimeout(
                "The build took longer than it may",
                remedy="Set BUILD_TIMEOUT_SECONDS to more seconds, or make it smaller",
            )

    def sleep(self, seconds: float) -> None:
        """Waits, but not past a cancel or the deadline; raises as `check` does."""
        if self.deadline is not None:
            seconds = min(seconds, max(0.0, self.deadline - time.monotonic()))
        self._event.wait(seconds)
        self.check()


def which(name: str, remedy: str) -> str:
    from shutil import which as find

    path = find(name)
    if path is None:
        raise ToolMissing(f'The program "{name}" is not installed', remedy=remedy)
    return path


def run(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    cancel: Cancel | None = None,
    on_stdout: Callable[[bytes], None] | None = None,
    on_stderr: Callable[[bytes], None] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Runs a command to its end and returns its exit status and output, whatever the status is.

    `env` is added to this process's environment. With `on_stdout` or `on_stderr` the chunks go there as they come
    (from a reader thread) and are not kept. On a cancel the whole process group is ended and `Interrupted` or
    `BuildTimeout` is raised; what may be canceled ends also when this process is killed.
    """
    child = subprocess.Popen(
        [*(_ending_with_us() if cancel else ()), *argv],
        cwd=cwd,
        env={**os.environ, **env} if env else None,
        stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    kept: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
    threads = [
        threading.Thread(target=_drain, args=(child.stdout, on_stdout or kept["stdout"].append), daemon=True),
        threading.Thread(target=_drain, args=(child.stderr, on_stderr or kept["stderr"].append), daemon=True),
    ]
    if stdin is not None:
        threads.append(threading.Thread(target=_feed, args=(child.stdin, stdin), daemon=True))
    for thread in threads:
        thread.start()
    try:
        _wait(child, cancel)
    except BaseException:
        end_group(child)
        raise
    finally:
        for thread in threads:
            thread.join(timeout=GRACE_SECONDS)
    return subprocess.CompletedProcess(argv, child.returncode, b"".join(kept["stdout"]), b"".join(kept["stderr"]))


def _ending_with_us() -> tuple[str, ...]:
    """The kernel sends SIGTERM to what this starts when we die without a word; none where there is no `setpriv`.

    A program of its own rather than a function between fork and exec, which is not safe beside threads.
    """
    from shutil import which as find

    setpriv = find("setpriv")
    return (setpriv, "--pdeathsig", "TERM", "--") if setpriv else ()


def _wait(child: subprocess.Popen[bytes], cancel: Cancel | None) -> None:
    if cancel is not None:
        # Popen.wait with a timeout sleeps up to 50 ms past the end; the descriptor tells it at once.
        ended = os.pidfd_open(child.pid)
        try:
            while not select.select([ended], [], [], CANCEL_SECONDS)[0]:
                cancel.check()
        finally:
            os.close(ended)
    child.wait()


def _drain(stream: IO[bytes] | None, sink: Callable[[bytes], object]) -> None:
    assert stream is not None
    with stream:
        while chunk := os.read(stream.fileno(), 65536):
            sink(chunk)


def _feed(stream: IO[bytes] | None, content: bytes) -> None:
    assert stream is not None
    # A process that ends before it has read all its input is judged by its exit status, not by the broken pipe.
    with contextlib.suppress(BrokenPipeError), stream:
        stream.write(content)


def end_group(child: subprocess.Popen[bytes]) -> None:
    """Ends a process that `run` started, and all that it started: SIGTERM, then SIGKILL."""
    for sign, seconds in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, GRACE_SECONDS)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=seconds)
            return
