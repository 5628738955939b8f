"""An engine of a test's own on this host, which may be killed: the machine's is other people's."""

from __future__ import annotations

import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Self

from sleeper import wait_until

from dockwright.docker.engine import Engine
from dockwright.errors import DockwrightError


class OwnEngine:
    """`dockerd` with a bridge, a folder and a socket of its own, without a touch on the host's firewall. Needs root."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="dockwright-engine-"))
        self.socket = self.folder / "docker.sock"
        self._bridge = f"dwt{secrets.token_hex(3)}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        return f"unix://{self.socket}"

    def __enter__(self) -> Self:
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("addr", "add", f"10.{200 + secrets.randbelow(50)}.{secrets.randbelow(250)}.1/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(timeout=60)
        _ip("link", "del", self._bridge)
        self._unmount()
        shutil.rmtree(self.folder)

    def _unmount(self) -> None:
        """What a killed engine, and BuildKit at its end, leave mounted: else gigabytes stay on the machine's disk."""
        lines = Path("/proc/self/mounts").read_text().splitlines()
        points = [line.split(" ")[1] for line in lines]
        for point in sorted((point for point in points if point.startswith(f"{self.folder}/")), reverse=True):
            subprocess.run(["umount", "--lazy", point], check=True)

    def start(self) -> None:
        """Returns when it answers."""
        paths = {"data-root": "data", "exec-root": "exec", "pidfile": "pid"}
        options = [f"--{name}={self.folder / path}" for name, path in paths.items()]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["dockerd", "-H", self.host, *options, f"--bridge={self._bridge}", "--iptables=false"],
                stdout=log,
                stderr=log,
            )
        wait_until(self.answers, "the engine's start", lambda: (self.folder / "log").read_text()[-2000:])

    def answers(self) -> bool:
        try:
            Engine(self.host).ping()
        except DockwrightError:
            return False
        return True

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=20)
        self._process = None
        self.socket.unlink(missing_ok=True)

    def copy(self, image: str) -> None:
        """From the machine's engine."""
        saved = subprocess.run(["docker", "save", image], check=True, capture_output=True).stdout
        subprocess.run(["docker", "-H", self.host, "load"], check=True, input=saved, stdout=subprocess.DEVNULL)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
