"""`dockwright` as a user starts it, and what can be seen from outside of what it left."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import signal
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dockwright.docker.engine import Engine
from dockwright.docker.registry import is_reachable
from dockwright.errors import DockwrightError
from dockwright.targets import haproxy

COMMAND = str(Path(sys.executable).parent / "dockwright")
LABEL = "dev.dockwright."
SETTINGS = (
    "BUILD_",
    "DOCKWRIGHT_",
    "DOCKER_NETWORK_NAME",
    "DOCKER_REGISTRY_",
    "IMAGE_SUBSTITUTES",
    "DATABASE_URL",
    "EDGE_BIND",
)


@dataclass(frozen=True, slots=True)
class Answer:
    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)

    @property
    def lines(self) -> list[Any]:
        """The JSON documents of a stream, a line each."""
        return [json.loads(line) for line in self.stdout.splitlines()]


class Home:
    """A state folder, and the commands that work on it."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        clean = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
        network = f"dockwright-test-{secrets.token_hex(3)}"
        self.env = {**clean, "DOCKWRIGHT_HOME": str(path), "DOCKER_NETWORK_NAME": network}
        self.engine = Engine()
        self.slug: str | None = None
        """Of a client that is not in the folder's own database."""

    # --- commands ----------------------------------------------------------------------------------------------------

    def start(self, *argv: str, env: dict[str, str] | None = None, **options: Any) -> subprocess.Popen[str]:
        """A process that a test waits for itself; `argv` begins with the program."""
        return subprocess.Popen(argv, env={**self.env, **(env or {})}, cwd=self.path, text=True, **options)

    def run(self, *arguments: str | Path, code: int | None = 0, env: dict[str, str] | None = None) -> Answer:
        """Ends with the exit code, or the test fails with all that was said; `None` for whichever it may be."""
        pipe = subprocess.PIPE
        with self.start(COMMAND, *map(str, arguments), env=env, stdout=pipe, stderr=pipe) as child:
            stdout, stderr = child.communicate(timeout=200)
        answer = Answer(child.returncode, stdout, stderr)
        assert code is None or answer.code == code, f"exit code {answer.code}, not {code}\n{stdout}\n{stderr}"
        assert "Traceback" not in stderr, stderr
        return answer

    def build(self, source: str | Path, *options: str, code: int = 0, env: dict[str, str] | None = None) -> Any:
        return self.run("build", source, *options, "--json", code=code, env=env).json

    def fail(self, *arguments: str | Path, code: int, env: dict[str, str] | None = None) -> dict[str, Any]:
        """The error of a command that must fail: said to people in a line of cause and one of remedy, and as JSON."""
        answer = self.run(*arguments, "--json", code=code, env=env)
        error: dict[str, Any] = answer.json["error"]
        assert set(error) == {"code", "message", "remedy", "stage", "step", "exit_code", "last_lines"}
        said = answer.stderr.splitlines()[-2:]
        assert said == [f"Error: {error['message']}", f"What to do: {error['remedy']}"], answer.stderr
        return error

    # --- what is there -----------------------------------------------------------------------------------------------

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        with contextlib.closing(sqlite3.connect(self.path / "dockwright.db")) as connection:
            connection.row_factory = sqlite3.Row
            found = [dict(row) for row in connection.execute(query, values)]
            connection.commit()
            return found

    @property
    def client(self) -> str | None:
        """The name that all that was made from this home carries; none before the first command that needs one."""
        if self.slug is not None:
            return self.slug
        if not (self.path / "dockwright.db").exists():
            return None
        return next((str(row["slug"]) for row in self.rows("SELECT slug FROM clients WHERE id = 1")), None)

    def labels(self, **labels: str) -> dict[str, str]:
        return {f"{LABEL}{name}": text for name, text in {"client": self.client, **labels}.items() if text}

    def containers(self, **labels: str) -> list[dict[str, Any]]:
        """Of this home; `labels` without their prefix."""
        return self.engine.containers(self.labels(**labels)) if self.client else []

    def networks(self) -> list[dict[str, Any]]:
        """Of this home's builds; that of its products is none of them."""
        found = self.engine.networks(self.labels()) if self.client else []
        return [one for one in found if not one["Name"].startswith(self.env["DOCKER_NETWORK_NAME"])]

    def processes(self) -> list[str]:
        """Command lines that name this home, but for the edges."""
        lines = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    lines.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        return [line for line in lines if str(self.path) in line and "haproxy" not in line]

    def assert_nothing_left(self, build_id: int | None = None) -> None:
        """No container, network, process or folder of a build, whatever its outcome was."""
        found = self.containers(build=str(build_id)) if build_id else self.containers()
        assert [one["Names"] for one in found] == []
        assert [one["Name"] for one in self.networks()] == []
        workspaces = self.path / "generated-bots"
        assert not workspaces.exists() or list(workspaces.iterdir()) == []
        assert self.processes() == []

    # --- the end -----------------------------------------------------------------------------------------------------

    def clean(self) -> None:
        for folder in (self.path / "edge").glob("*/*"):
            with contextlib.suppress(DockwrightError, ProcessLookupError):
                os.kill(haproxy.process_id(folder), signal.SIGKILL)
        if self.client is None:
            return
        # What is removed is found by this name: one that other homes may have as well would take theirs along.
        assert self.client.startswith("local-"), self.client
        for container in self.containers():
            self.engine.remove_container(container["Id"], volumes=True)
        for network in self.engine.networks(self.labels()):
            self.engine.remove_network(network["Id"])
        for volume in self.engine.volumes(self.labels()):
            self.engine.remove_volume(volume["Name"])
        for image in self.engine.images(self.labels()):
            self.engine.remove_image(image["Id"], force=True)


@cache
def has_registry() -> bool:
    """Whether the images that Dockerfiles name can be pulled here."""
    return is_reachable("busybox")


def get(url: str, path: str = "/") -> tuple[int, str]:
    """Past any proxy that this machine may have."""
    host, _, port = url.removeprefix("http://").partition(":")
    with contextlib.closing(http.client.HTTPConnection(host, int(port), timeout=30)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
