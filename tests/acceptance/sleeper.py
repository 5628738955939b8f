"""A RUN that takes its time, and can be told from every other process of the machine."""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from commandline import COMMAND, Home

PATIENCE = 30.0
"""Seconds until what must happen is held to have failed."""


class Sleeper:
    def __init__(self, seconds: int = 300) -> None:
        self.seconds = f"{seconds}.{secrets.randbelow(10**9):09}"
        self.dockerfile = f"FROM busybox\nCOPY . /src\nRUN echo it begins && sleep {self.seconds}\n"

    @property
    def is_running(self) -> bool:
        return any(line.startswith("sleep") and self.seconds in line for line in command_lines())


def command_lines() -> Iterator[str]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                yield (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:  # it ended meanwhile
                continue


def wait_until(is_so: Callable[[], Any], what: str, told: Callable[[], str] = str, seconds: float = PATIENCE) -> Any:
    """`told` says more where it did not happen: a server's log, say."""
    end = time.monotonic() + seconds
    while not (found := is_so()):
        assert time.monotonic() < end, f"{what} did not happen within {seconds:.0f} s\n{told()}"
        time.sleep(0.05)
    return found


@contextmanager
def building(home: Home, root: Path) -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    with home.start(COMMAND, "build", str(root), "--json", stdout=pipe, stderr=pipe) as child:
        yield child
        if child.poll() is None:
            child.kill()
