"""The whole process `dockwright build --until build` of two services together against `docker compose build`.

    .venv/bin/python benchmarks/services_speed.py [--runs 9]

Both are run in turn, A B B A …, on a folder with a compose file and two services, each with a context of 200 files and
a Dockerfile that installs six packages with pip, from wheels that are made here: with nothing changed, with one file of
one service changed, with one of both, and without cache. Printed are the medians in seconds and the median of the
ratios pair by pair. Each tool has a copy of the folder of its own, and BuildKit's cache is warm for both.
"""

from __future__ import annotations

import argparse
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from build_speed import BASE, DOCKER, DOCKWRIGHT, LABEL, Tool, compare, make_context, remove_images

SERVICES = ("one", "two")
FILES, SIZE = 200, 2_000_000


def make_folder(root: Path, name: str) -> Path:
    """The two services differ, so that neither is built from the other's steps."""
    folder = root / name
    for number, service in enumerate(SERVICES):
        make_context(folder / service, FILES, SIZE)
        packages = " ".join(f"library{n}" for n in range(6 * number, 6 * number + 6))
        (folder / service / "Dockerfile").write_text(
            f"FROM {BASE}\nWORKDIR /{service}\nCOPY wheels /wheels\n"
            f"RUN pip install --no-index --no-cache-dir --find-links=/wheels {packages}\nCOPY . .\nLABEL {LABEL}\n"
        )
    services = "".join(f"  {service}: {{build: ./{service}}}\n" for service in SERVICES)
    (folder / "compose.yaml").write_text(f"services:\n{services}")
    return folder


def change_one(tool: Tool) -> None:
    _change(tool, SERVICES[0])


def change_all(tool: Tool) -> None:
    for service in SERVICES:
        _change(tool, service)


def _change(tool: Tool, service: str) -> None:
    # New bytes each time: BuildKit would know a content again that either tool has sent before.
    (tool.folder / service / "d0" / "f0.bin").write_text(secrets.token_hex(16))


class Compose(Tool):
    def run(self, *options: str) -> float:
        started = time.perf_counter()
        command = [*self.command, *options]
        done = subprocess.run(command, check=False, cwd=self.folder, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--no-cache-runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        ours = make_folder(root, "services-ours")
        theirs = root / "services-theirs"
        shutil.copytree(ours, theirs)
        home = {"DOCKWRIGHT_HOME": str(root / "home")}
        compose = [DOCKER, "compose", "--progress=plain", f"--project-name=benchmark-{secrets.token_hex(4)}", "build"]
        pair = (
            Tool("dockwright", ours, [str(DOCKWRIGHT), "build", "--until", "build"], home),
            Compose("docker compose", theirs, compose, {}),
        )
        for tool in pair:
            # Twice: a file's times are trusted only once they are older than the last look at it.
            tool.run()
            time.sleep(0.2)
            tool.run()
        compare("nothing changed", pair, options.runs, lambda _: None)
        compare("one file of one changed", pair, options.runs, change_one)
        compare("one file of each changed", pair, options.runs, change_all)
        compare("no cache", pair, options.no_cache_runs, lambda _: None, "--no-cache")
        remove_images(root / "home")


if __name__ == "__main__":
    main()
