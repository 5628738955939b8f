"""`dockwright … | head`: whoever read the output goes away before its end."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from commandline import COMMAND, Home

Folder = Callable[..., Path]
DOCKERFILE = "FROM busybox\nRUN for i in 1 2 3 4 5 6 7 8 9; do echo line $i; sleep 0.1; done\nRUN echo last\n"


def run_into_closed_pipe(home: Home, *arguments: str) -> tuple[int, str]:
    pipe = subprocess.PIPE
    with home.start(COMMAND, *arguments, stdout=pipe, stderr=pipe) as child:
        assert child.stdout is not None and child.stderr is not None
        child.stdout.close()
        said = child.stderr.read()
        return child.wait(timeout=60), said


def test_a_build_goes_on(home: Home, folder: Folder) -> None:
    code, said = run_into_closed_pipe(home, "build", str(folder("app", {"Dockerfile": DOCKERFILE})), "--no-cache")
    assert "Traceback" not in said, said
    assert code == 0
    assert home.rows("SELECT status, error_code FROM builds") == [{"status": "succeeded", "error_code": None}]
    assert any(row["text"] == "line 9" for row in home.rows("SELECT text FROM build_events"))


def test_a_listing_ends_without_a_word(home: Home, folder: Folder) -> None:
    home.build(folder("app", {"Dockerfile": DOCKERFILE}), "--until", "plan")
    assert run_into_closed_pipe(home, "builds") == (1, "")
    assert run_into_closed_pipe(home, "logs", "1") == (1, "")
