"""A server of ours as its operator runs it, with either queue, and what its builds come to."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any, Literal, Self

from commandline import COMMAND, LABEL, Home
from servers import free_port
from sleeper import wait_until

from dockwright import settings as settings_module
from dockwright.domain.source import FolderSource
from dockwright.domain.transitions import FINISHED
from dockwright.queue.distributed import RedisBus
from dockwright.services import projects, queueing
from dockwright.services.state import State

Backend = Literal["embedded", "celery"]
BUILD_PATIENCE = 120.0
"""For what a busy machine takes its time for; what must be right within 30 s is waited for that long."""
SLOW = str(Path(__file__).with_name("slow_server.py"))


def _command(slow: str | None, seconds: float) -> list[str]:
    return [sys.executable, SLOW, slow, str(seconds)] if slow else [COMMAND]


class Serving:
    """`dockwright serve`, and with `celery` a `dockwright worker` beside it. Builds are queued through its database."""

    def __init__(self, home: Home, backend: Backend = "embedded", env: dict[str, str] | None = None) -> None:
        self.home, self.backend = home, backend
        self.port = free_port()
        self.env = {"ADMIN_PASSWORD": "a password for tests", "BUILD_QUEUE_BACKEND": backend, **(env or {})}
        self._log = home.path.with_name(f"{home.path.name}-server.log")
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._state: State | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # --- its processes -----------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._state is not None:
            self._state.bus.close()
            self._state.close()

    def start(self, slow: str | None = None, seconds: float = 20.0) -> None:
        """Returns when it answers. `slow`: the stage in which its builds stay for so many seconds."""
        self._start("serve", *_command(slow, seconds), "serve", "--port", str(self.port))
        if self.backend == "celery":
            self.start_worker(slow, seconds)
        wait_until(self.answers, "the server's start", self.log, BUILD_PATIENCE)
        self.home.slug = self.state.client

    def _start(self, name: str, *argv: str) -> None:
        with self._log.open("a") as log:
            self._processes[name] = self.home.start(*argv, env=self.env, stdout=log, stderr=log)

    def answers(self) -> bool:
        process = self._processes["serve"]
        assert process.poll() is None, self.log()
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/healthz", timeout=5) as answer:
            return bool(answer.status == 200)
        return False

    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def start_worker(self, slow: str | None = None, seconds: float = 20.0) -> None:
        self._start("worker", *_command(slow, seconds), "worker")

    def pid(self, name: str = "serve") -> int:
        return self._processes[name].pid

    def kill(self, name: str | None = None) -> None:
        """As a crash does: `serve`, `worker`, or whoever runs the builds."""
        name = name or ("worker" if self.backend == "celery" else "serve")
        process = self._processes.pop(name)
        process.kill()
        process.wait(timeout=20)

    def stop(self) -> None:
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            process.wait(timeout=60)
        self._processes.clear()

    # --- its builds --------------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        if self._state is None:
            settings = settings_module.load({**self.home.env, **self.env}, Path("no such file"))
            bus = RedisBus(settings) if self.backend == "celery" else None
            self._state = State(settings, bus=bus)
        return self._state

    def project(self, root: Path) -> int:
        return projects.create_from_source(self.state, FolderSource(path=str(root)), f"folder:{root}", root.name)

    def queue(self, root: Path, **options: Any) -> int:
        return queueing.queue_build(self.state, self.project(root), **options).build_id

    def rows(self, query: str, *values: object) -> list[Any]:
        return self.state.connection.execute(query, values).fetchall()

    def build(self, build_id: int) -> dict[str, Any]:
        names = ("status", "stage", "attempt", "error_code", "error_message", "progress", "lease_until")
        row = self.rows(f"SELECT {', '.join(names)} FROM builds WHERE id = ?", build_id)[0]
        return dict(zip(names, row, strict=True))

    def wait(self, build_id: int) -> dict[str, Any]:
        """Its row, once it has finished."""
        wait_until(
            lambda: self.build(build_id)["status"] in FINISHED, f"the end of build {build_id}", self.log, BUILD_PATIENCE
        )
        return self.build(build_id)

    def wait_for_stage(self, build_id: int, stage: str) -> None:
        wait_until(
            lambda: self.build(build_id)["stage"] == stage,
            f"stage {stage} of build {build_id}",
            self.log,
            BUILD_PATIENCE,
        )

    def events(self, build_id: int) -> list[tuple[int, str, str, dict[str, Any]]]:
        query = "SELECT seq, kind, text, data FROM build_events WHERE build_id = ? ORDER BY seq"
        return [(seq, kind, text, json.loads(data or "{}")) for seq, kind, text, data in self.rows(query, build_id)]

    def assert_dense(self, build_id: int) -> None:
        numbers = [event[0] for event in self.events(build_id)]
        assert numbers == list(range(1, len(numbers) + 1))

    def deployments(self, build_id: int) -> list[str]:
        return [row[0] for row in self.rows("SELECT status FROM deployments WHERE build_id = ? ORDER BY id", build_id)]

    def assert_clean(self, build_id: int) -> None:
        """Of the build nothing is left but the containers of a release that is live."""
        labels = self.home.labels(build=str(build_id))
        test_containers = [
            one["Names"] for one in self.home.engine.containers(labels) if f"{LABEL}product" not in one["Labels"]
        ]
        assert test_containers == []
        assert [one["Name"] for one in self.home.engine.networks(labels)] == []
        workspaces = self.home.path / "generated-bots"
        left = [path.name for path in workspaces.glob(f"build-{build_id}-*")] if workspaces.exists() else []
        assert left == []
