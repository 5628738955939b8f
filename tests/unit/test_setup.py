"""What `make setup` says on a machine that it cannot set up."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def script(name: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [str(REPOSITORY / "scripts" / name)]
    return subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, check=False)


def test_an_engine_elsewhere_that_does_not_answer_is_one_line_with_its_remedy(tmp_path: Path) -> None:
    done = script("setup.sh", DOCKER_HOST="tcp://127.0.0.1:1", DOCKWRIGHT_HOME=str(tmp_path / "home"))
    assert done.returncode == 3
    [line] = done.stderr.splitlines()
    assert "tcp://127.0.0.1:1" in line
    assert "unset DOCKER_HOST" in line
    assert not (tmp_path / "home").exists()


def test_stop_ends_no_process_that_setup_did_not_start(tmp_path: Path) -> None:
    engine = tmp_path / "engine"
    engine.mkdir()
    # A process of that number there is, but it is no engine: the file is of a time before the machine was restarted.
    (engine / "dockerd.pid").write_text(f"{os.getpid()}\n")
    done = script("stop.sh", DOCKER_HOST="tcp://127.0.0.1:1", DOCKWRIGHT_HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert (engine / "dockerd.pid").exists()
