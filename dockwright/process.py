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
from queue import Empty, SimpleQueue
from typing import IO, NoReturn

from dockwright.errors import BuildTimeout, DockwrightError, Interrupted, ToolMissing

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
        self._is_set = False
        self._reason: DockwrightError | None = None
        # An Event has a lock, and a signal that comes while it is held would wait for itself; this queue has none.
        self._wake: SimpleQueue[None] = SimpleQueue()
        self.deadline = deadline
        """In seconds of `time.monotonic`."""

    def set(self, reason: DockwrightError | None = None) -> None:
        """From any thread, and from a signal's handler. `reason` is what `check` raises; the first one counts."""
        self._reason = self._reason or reason
        self._is_set = True
        self._wake.put(None)

    @property
    def is_set(self) -> bool:
        return self._is_set or self.is_late

    @property
    def is_late(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline

    def check(self) -> None:
        """Raises the reason that it was set with, `Interrupted` or `BuildTimeout`."""
        if self._is_set:
            if self._reason is not None:
                raise self._reason
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
        with contextlib.suppress(Empty):
            self._wake.get(timeout=seconds)
            self._wake.put(None)  # for whoever waits beside us
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
    readers = [
        _Reader(child.stdout, on_stdout or kept["stdout"].append),
        _Reader(child.stderr, on_stderr or kept["stderr"].append),
    ]
    feeder = threading.Thread(target=_feed, args=(child.stdin, stdin), daemon=True)
    for thread in readers if stdin is None else [*readers, feeder]:
        thread.start()
    try:
        _wait(child, cancel)
    except BaseException:
        end_group(child)
        raise
    finally:
        for reader in readers:
            reader.finish()
    for reader in readers:
        if reader.error is not None:
            raise reader.error
    return subprocess.CompletedProcess(argv, child.returncode, b"".join(kept["stdout"]), b"".join(kept["stderr"]))


class Fork:
    """Work in a copy of this process, on a core of its own; its answer comes through a pipe.

    Only before there are threads: what one of them holds at that moment, the copy would wait for for ever.
    """

    def __init__(self, work: Callable[[], bytes]) -> None:
        self._pipe, writing = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            _answer(work, writing)
        os.close(writing)

    @property
    def is_at_work(self) -> bool:
        return not select.select([self._pipe], [], [], 0)[0]

    def answer(self) -> bytes | None:
        """None where the work failed: whoever asks does it himself, and meets the reason."""
        with open(self._pipe, "rb") as pipe:
            content = pipe.read()
        _, status = os.waitpid(self._pid, 0)
        return content if status == 0 else None


def _answer(work: Callable[[], bytes], writing: int) -> NoReturn:
    """Ends the copy at once, so that nothing that belongs to the process is closed or written twice."""
    status = 1
    try:
        content = work()
        with open(writing, "wb") as pipe:
            pipe.write(content)
        status = 0
    finally:
        os._exit(status)


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


class _Reader(threading.Thread):
    """Hands a process's output on, chunk by chunk."""

    def __init__(self, stream: IO[bytes] | None, sink: Callable[[bytes], object]) -> None:
        super().__init__(daemon=True)
        self._stream, self._sink = stream, sink
        self._is_handing_on = False
        self.error: BaseException | None = None
        """What the sink raised. The process is read to its end all the same: a closed pipe would kill it."""

    def run(self) -> None:
        assert self._stream is not None
        with self._stream:
            while chunk := os.read(self._stream.fileno(), 65536):
                self._is_handing_on = True
                self._hand_on(chunk)
                self._is_handing_on = False

    def _hand_on(self, chunk: bytes) -> None:
        if self.error is None:
            try:
                self._sink(chunk)
            except BaseException as error:  # noqa: BLE001 - raised again by whoever started the process
                self.error = error

    def finish(self) -> None:
        """Waits for the end of the output; not for ever where something that lives on holds the pipe open."""
        self.join(timeout=GRACE_SECONDS)
        while self._is_handing_on and self.is_alive():
            self.join(timeout=CANCEL_SECONDS)


def _feed(stream: IO[bytes] | None, content: bytes) -> None:
    assert stream is not None
    # A process that ends before it has read all its input is judged by its exit status, not by the broken pipe.
    with contextlib.suppress(BrokenPipeError), stream:
        stream.write(content)


def end_group(child: subprocess.Popen[bytes]) -> None:
    """Ends a process that `run` started, and all that it started: SIGTERM, and in the end SIGKILL for what is left."""
    _signal_group(child, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    # The first one is waited for, and then those of its group, which may live longer than it does.
    while child.poll() is None or _signal_group(child, 0):
        if time.monotonic() >= deadline:
            _signal_group(child, signal.SIGKILL)
            child.wait(timeout=GRACE_SECONDS)
            return
        time.sleep(0.01)


def _signal_group(child: subprocess.Popen[bytes], number: int) -> bool:
    """Whether there is anybody left in the group."""
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:
        return False
    return True


# --- who runs ------------------------------------------------------------------------------------------------------


def identity() -> str:
    """Names this process so that another one can tell whether it lives: `host/boot/pid namespace/pid/start time`."""
    boot, namespace = _machine()
    return f"{os.uname().nodename}/{boot}/{namespace}/{os.getpid()}/{_started_at(os.getpid())}"


def is_alive(name: str) -> bool | None:
    """Whether the process that `identity` named still runs; none where that cannot be told from here."""
    _, boot, namespace, pid, started = (*name.split("/"), "", "", "", "")[:5]
    our_boot, our_namespace = _machine()
    # Another machine, or this one before it was started anew: the host's name does not tell, two may share one.
    if boot != our_boot:
        return None
    if namespace != our_namespace or not pid.isdigit():
        return None
    return _started_at(int(pid)) == started


def _machine() -> tuple[str, str]:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return boot[:8], str(os.stat("/proc/self/ns/pid").st_ino)


def _started_at(pid: int) -> str:
    """In ticks since the machine was started; empty where there is no such process, or it has ended already."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] in {"Z", "X"} else fields[19]
