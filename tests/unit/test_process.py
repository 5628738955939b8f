"""Processes are started, read to the end and ended with all that they started."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from dockwright import process
from dockwright.errors import DiskFull, Interrupted
from dockwright.process import Cancel


def test_a_signal_that_comes_while_another_is_handled_does_not_wait_for_itself() -> None:
    cancel, depth = Cancel(), 0

    def trace(frame: object, event: str, arg: object) -> object:
        """A second signal at each line of the first one's handling."""
        nonlocal depth
        if depth < 3:
            depth += 1
            cancel.set()
            depth -= 1
        return trace

    def interrupt() -> None:
        sys.settrace(trace)  # type: ignore[arg-type]
        cancel.set()
        sys.settrace(None)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    thread.join(timeout=20)
    assert not thread.is_alive()
    assert cancel.is_set
    with pytest.raises(Interrupted):
        cancel.sleep(20)


def test_whoever_waits_hears_of_a_cancel_and_so_do_those_beside_it() -> None:
    cancel, heard = Cancel(), []

    def wait() -> None:
        try:
            cancel.sleep(20)
        except Interrupted:
            heard.append(True)

    threads = [threading.Thread(target=wait, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    cancel.set()
    for thread in threads:
        thread.join(timeout=10)
    assert heard == [True] * 3


def test_what_a_sink_raises_is_raised_and_the_process_is_not_killed_by_a_closed_pipe(tmp_path: Path) -> None:
    def sink(chunk: bytes) -> None:
        raise DiskFull("no room", remedy="make some")

    script = f"import sys; sys.stderr.write('x' * 1000000); open({str(tmp_path / 'end')!r}, 'w')"
    with pytest.raises(DiskFull, match="no room"):
        process.run([sys.executable, "-c", script], cancel=Cancel(), on_stderr=sink)
    assert (tmp_path / "end").exists()


def test_a_slow_sink_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.05)
    taken: list[bytes] = []

    def sink(chunk: bytes) -> None:
        time.sleep(0.3)
        taken.append(chunk)

    process.run(["sh", "-c", "echo one; sleep 0.1; echo two >&2; echo three"], on_stdout=sink)
    assert b"".join(taken) == b"one\nthree\n"


def test_a_cancel_ends_the_children_that_outlive_the_first_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.5)
    note = tmp_path / "pid"
    stubborn = f"(trap '' TERM; echo up; exec sh -c 'echo $$ > {note}; sleep 60 & wait; sleep 60') & exec sleep 60"
    cancel = Cancel()

    def interrupt() -> None:
        _wait_for(note)
        cancel.set()

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(Interrupted):
        process.run(["sh", "-c", stubborn], cancel=cancel)
    assert _has_ended(int(note.read_text()))


def _wait_for(note: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not (note.exists() and note.read_text().strip()):
        time.sleep(0.01)


def _has_ended(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    return False
