"""The whole process `dockwright verify` of a running container of 10,000 files, against reading them by hand.

    .venv/bin/python benchmarks/verify_speed.py [--files 10000] [--bytes 100000000] [--runs 5]

The peer does by hand the least that such a proof needs: it reads and hashes the source's files (`sha256sum`), takes the
same files out of the container (`docker cp CONTAINER:/srv -`) and hashes them as they come, and compares the two. Both
are run in turn, each time with the files in the page cache; printed are the medians in seconds, and the median of the
ratios pair by pair. Under "index gone" `dockwright` must read the source as well; else it knows the digests of files
whose times did not change, as after any build.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from dockwright.docker.engine import Engine

BASE = "localhost/base/busybox"
DOCKERFILE = f'FROM {BASE}\nCOPY . /srv\nEXPOSE 8080\nCMD ["httpd", "-f", "-p", "8080", "-h", "/srv"]\n'
DOCKER = shutil.which("docker") or "docker"
DOCKWRIGHT = Path(sys.executable).parent / "dockwright"
BY_HAND = """
import hashlib, subprocess, sys, tarfile
docker, container, folder = sys.argv[1:]
command = "find . -type f -print0 | xargs -0 sha256sum"
found = subprocess.run(command, shell=True, cwd=folder, check=True, capture_output=True)
digest = lambda member: hashlib.sha256(archive.extractfile(member).read()).hexdigest()
source = {line[66:].removeprefix(b"./").decode(): line[:64].decode() for line in found.stdout.splitlines()}
with subprocess.Popen([docker, "cp", f"{container}:/srv", "-"], stdout=subprocess.PIPE) as child:
    with tarfile.open(fileobj=child.stdout, mode="r|") as archive:
        there = {member.name.removeprefix("srv/"): digest(member) for member in archive if member.isfile()}
differ = [path for path, digest in source.items() if there.get(path) != digest]
print(len(source), len(differ))
sys.exit(bool(differ))
"""


def make_source(folder: Path, files: int, size: int) -> None:
    source = random.Random(1)
    for number in range(files - 1):
        path = folder / f"d{number // 100}" / f"f{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.randbytes(size // files))
    (folder / "Dockerfile").write_text(DOCKERFILE)


def timed(command: list[str], env: dict[str, str]) -> tuple[float, str]:
    started = time.perf_counter()
    done = subprocess.run(command, check=False, env={**os.environ, **env}, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode != 0:
        sys.exit(f"{command[:3]} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return seconds, done.stdout


def compare(title: str, ours: Callable[[], float], theirs: Callable[[], float], runs: int) -> None:
    pairs = []
    for number in range(runs):
        if number % 2:
            hand, verified = theirs(), ours()
        else:
            verified, hand = ours(), theirs()
        pairs.append((verified, hand))
    ratios = [verified / hand for verified, hand in pairs]
    verified, hand = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(
        f"{title:18} dockwright verify {verified:6.3f} s   by hand {hand:6.3f} s"
        f"   ratio {statistics.median(ratios):5.2f}  ({min(ratios):.2f} to {max(ratios):.2f})",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--bytes", type=int, default=100_000_000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    engine = Engine()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / f"files-{secrets.token_hex(3)}"
        root.mkdir()
        make_source(root, options.files, options.bytes)
        env = {"DOCKWRIGHT_HOME": f"{place}/home", "DOCKER_NETWORK_NAME": f"benchmark-{secrets.token_hex(3)}"}
        try:
            _, out = timed([str(DOCKWRIGHT), "build", str(root), "--json"], env)
            build = json.loads(out)
            assert build["proof"]["files_checked"] == options.files, build["proof"]
            client = build["services"][0]["image"].partition("/")[0]
            (container,) = engine.containers({"dev.dockwright.client": client})
            measure(root, container["Id"], env, options.runs)
        finally:
            clean(engine, Path(place) / "home")


def measure(root: Path, container: str, env: dict[str, str], runs: int) -> None:
    verify = [str(DOCKWRIGHT), "verify", str(root), "--json"]
    hand = [sys.executable, "-c", BY_HAND, DOCKER, container, str(root)]

    def without_index() -> float:
        for path in (Path(env["DOCKWRIGHT_HOME"]) / "contexts").glob("*/index.json"):
            path.unlink()
        for path in (Path(env["DOCKWRIGHT_HOME"]) / "contexts").glob("*/memory.json"):
            path.unlink()
        return timed(verify, env)[0]

    timed(hand, env)
    timed(verify, env)
    compare("as after a build", lambda: timed(verify, env)[0], lambda: timed(hand, env)[0], runs)
    compare("index gone", without_index, lambda: timed(hand, env)[0], runs)


def clean(engine: Engine, home: Path) -> None:
    """All that was made for it, on the engine too."""
    import sqlite3

    from dockwright.targets import haproxy

    for folder in (home / "edge").glob("*/*"):
        with contextlib.suppress(Exception):
            os.kill(haproxy.process_id(folder), 9)
    if not (home / "dockwright.db").exists():
        return
    with contextlib.closing(sqlite3.connect(home / "dockwright.db")) as database:
        (client,) = database.execute("SELECT slug FROM clients").fetchone()
    label = {"dev.dockwright.client": client}
    for container in engine.containers(label):
        engine.remove_container(container["Id"], volumes=True)
    for network in engine.networks(label):
        engine.remove_network(network["Id"])
    for image in engine.images(label):
        engine.remove_image(image["Id"], force=True)


if __name__ == "__main__":
    main()
