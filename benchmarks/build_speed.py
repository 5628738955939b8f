"""The whole process `dockwright build --until build` against `docker buildx build` on the same folder.

    .venv/bin/python benchmarks/build_speed.py [--runs 7] [--large-runs 3]

Both are run in turn, A B B A …, on a small context and on one of 20,000 files and 388 MB: with nothing changed, with
one file changed (each time in both), and without cache. Their Dockerfile is that of a Python app: it installs packages
with pip, from wheels that are made here, so that no package index has a part in the figures. Printed are the medians in
seconds and the median of the ratios pair by pair, which is what can be compared between machines. Each tool has a copy
of the context of its own, so that neither profits from what the other has sent, and BuildKit's cache is warm for both
before anything is counted.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import secrets
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

BASE = "localhost/base/python:3.11-slim"
PACKAGES = 12
MODULES = 100
"""In each package; pip compiles them all, which is what takes its time."""
DOCKERFILE = f"""\
FROM {BASE}
WORKDIR /app
COPY wheels /wheels
RUN pip install --no-index --no-cache-dir --find-links=/wheels {" ".join(f"library{n}" for n in range(PACKAGES))}
COPY . .
"""
DOCKER = shutil.which("docker") or "docker"
LABEL = f"benchmark={secrets.token_hex(6)}"
DOCKWRIGHT = Path(sys.executable).parent / "dockwright"


def make_context(folder: Path, files: int, size: int) -> None:
    """`files` files of together `size` bytes that do not compress, in folders of a hundred."""
    source = random.Random(1)
    for number in range(files):
        path = folder / f"d{number // 100}" / f"f{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.randbytes(size // files))
    for number in range(PACKAGES):
        make_wheel(folder / "wheels", f"library{number}")
    (folder / "Dockerfile").write_text(DOCKERFILE)


def make_wheel(folder: Path, name: str) -> None:
    """A package of pure Python, as pip takes it; the same bytes each time."""
    folder.mkdir(exist_ok=True)
    functions = "\n\n".join(
        f"def f{n}(a, b={n}):\n    return [x * b + {n} for x in a if x % 3] or {{'{n}': a}}" for n in range(150)
    )
    info = f"{name}-1.0.dist-info"
    files = {f"{name}/m{n}.py": f"N = {n}\n\n{functions}\n" for n in range(MODULES)}
    files[f"{name}/__init__.py"] = ""
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: benchmark\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(zipfile.ZipInfo(path), text, zipfile.ZIP_DEFLATED)


class Tool:
    """One of the two, with its own copy of the context."""

    def __init__(self, name: str, folder: Path, command: list[str], env: dict[str, str]) -> None:
        self.name, self.folder, self.command, self.env = name, folder, command, env

    def run(self, *options: str) -> float:
        started = time.perf_counter()
        command = [*self.command, *options, str(self.folder)]
        done = subprocess.run(command, check=False, env={**os.environ, **self.env}, capture_output=True, text=True)
        seconds = time.perf_counter() - started
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return seconds

    def change(self) -> None:
        # New bytes each time: BuildKit would know a content again that either tool has sent before.
        (self.folder / "d0" / "f0.bin").write_text(secrets.token_hex(16))


def tools(root: Path, context: Path) -> tuple[Tool, Tool]:
    home = root / "home"
    ours, theirs = root / f"{context.name}-ours", root / f"{context.name}-theirs"
    shutil.copytree(context, ours)
    shutil.copytree(context, theirs)
    dockwright = [str(DOCKWRIGHT), "build", "--until", "build"]
    docker = [DOCKER, "buildx", "build", "--label", LABEL, "--tag", f"benchmark-{context.name}"]
    return (
        Tool("dockwright", ours, dockwright, {"DOCKWRIGHT_HOME": str(home)}),
        Tool("docker buildx", theirs, docker, {}),
    )


def remove_images(home: Path) -> None:
    """All that both have left on the engine: some gigabytes."""
    with contextlib.closing(sqlite3.connect(home / "dockwright.db")) as database:
        (client,) = database.execute("SELECT slug FROM clients").fetchone()
    for label in (LABEL, f"dev.dockwright.client={client}"):
        command = [DOCKER, "image", "prune", "--all", "--force", "--filter", f"label={label}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def compare(title: str, pair: tuple[Tool, Tool], runs: int, prepare: Callable[[Tool], None], *options: str) -> None:
    seconds: dict[str, list[float]] = {tool.name: [] for tool in pair}
    for number in range(runs):
        for tool in pair[:: -1 if number % 2 else 1]:
            prepare(tool)
            # What the run before has left to write would be paid for by this one.
            os.sync()
            seconds[tool.name].append(tool.run(*options))
    ours, theirs = seconds.values()
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    print(
        f"{title:32} dockwright {statistics.median(ours):7.3f} s   {pair[1].name} {statistics.median(theirs):7.3f} s"
        f"   ratio {statistics.median(ratios):5.2f}  ({min(ratios):.2f} to {max(ratios):.2f})"
        f"   of the quickest runs {min(ours) / min(theirs):5.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--large-runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the contexts are made; a temporary folder unless set")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        root = Path(folder)
        for name, files, size, runs in (
            ("small", 20, 40_000, options.runs),
            ("large", 20_000, 388_000_000, options.large_runs),
        ):
            context = root / name
            make_context(context, files, size)
            pair = tools(root, context)
            for tool in pair:
                # Twice: a file's times are trusted only once they are older than the last look at it.
                tool.run()
                time.sleep(0.2)
                tool.run()
            compare(f"{name}, nothing changed", pair, runs, lambda _: None)
            compare(f"{name}, one file changed", pair, runs, Tool.change)
            compare(f"{name}, no cache", pair, runs, lambda _: None, "--no-cache")
        remove_images(root / "home")


if __name__ == "__main__":
    main()
