"""A home on a disk of its own, which a test can fill."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from commandline import Home, has_registry


@contextlib.contextmanager
def home_on_small_disk(place: Path, size: str) -> Iterator[Home]:
    """`size` as mount takes it: "4m"."""
    place.mkdir()
    in_our_mounts("mount", "-t", "tmpfs", "-o", f"size={size},uid={os.geteuid()}", "dockwright-test", str(place))
    try:
        home = Home(place)
        yield home
        fill(place, 0)
        home.clean()
    finally:
        in_our_mounts("umount", "-l", str(place))


def in_our_mounts(*command: str) -> None:
    """What only root may do to the machine's mounts: whoever may use the engine may have it done there."""
    image = "busybox" if has_registry() else "localhost/base/busybox:latest"
    enter = ["--entrypoint=nsenter", image, f"--target={os.getpid()}", "--mount", "--", *command]
    subprocess.run(["docker", "run", "--rm", "--privileged", "--pid=host", "--network=none", *enter], check=True)


def fill(place: Path, free: int) -> None:
    """Leaves so many bytes free."""
    (place / "filler").unlink(missing_ok=True)
    if free:
        with (place / "filler").open("wb") as file, contextlib.suppress(OSError):
            file.write(bytes(shutil.disk_usage(place).free - free))
