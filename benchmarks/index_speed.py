"""The digests of 20,000 files by the index, as every build after the first gets them, against reading them all.

    .venv/bin/python benchmarks/index_speed.py [--files 20000] [--bytes 388000000] [--runs 7]

The index knows a file by path, size, mtime, ctime, inode and mode, so the second look costs a walk; where the walk
finds that nothing changed, the index need not even be loaded. The peers read every byte: our own first look, which
has no index yet, and `sha256sum` (a program in C, two processes at once). All have the files in the page cache: from
a disk the peers take longer still. Printed are medians in seconds, and the median of the ratios to each peer, run by
run. Loading and writing the index file is counted.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from dockwright.insight import index
from dockwright.insight.context import walk


def make_files(folder: Path, files: int, size: int) -> None:
    source = random.Random(1)
    for number in range(files):
        path = folder / f"d{number // 100}" / f"f{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.randbytes(size // files))


def first_look(root: Path, kept: Path) -> int:
    found = index.update(root, walk(root))
    index.save(found, kept)
    return len(found.files)


def nothing_changed(root: Path, kept: Path) -> int:
    found = walk(root)
    assert found.fingerprint == kept.with_suffix(".fingerprint").read_text()
    return found.files


def one_changed(root: Path, kept: Path) -> int:
    """Of 20,000 files one is read. It is the work of a build that follows an edit."""
    previous = index.load(kept)
    assert previous is not None
    (root / "d0" / "f0.bin").write_text(str(time.time_ns()))
    found = index.update(root, walk(root), previous)
    assert sum(facts is not previous.files[path] for path, facts in found.files.items()) == 1
    return len(found.files)


def sha256sum(root: Path, _: Path) -> int:
    command = "find . -type f -print0 | xargs -0 -P 2 -n 500 sha256sum"
    done = subprocess.run(command, shell=True, cwd=root, check=True, capture_output=True)
    return done.stdout.count(b"\n")


def seconds(look: Callable[[Path, Path], int], root: Path, kept: Path) -> float:
    started = time.perf_counter()
    look(root, kept)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--bytes", type=int, default=388_000_000)
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    peers = {"first look, all read": first_look, "sha256sum, two at once": sha256sum}
    looks = {"nothing changed": nothing_changed, "one file changed": one_changed}
    rows = []
    with tempfile.TemporaryDirectory() as place:
        root, kept = Path(place) / "files", Path(place) / "index"
        make_files(root, options.files, options.bytes)
        for _ in range(options.runs):
            time.sleep(0.2)  # what was touched a moment ago is read again
            row = {name: seconds(look, root, kept) for name, look in peers.items()}
            kept.with_suffix(".fingerprint").write_text(walk(root).fingerprint)
            rows.append(row | {name: seconds(look, root, kept) for name, look in looks.items()})
    print(f"{options.files} files, {options.bytes / 1e6:.0f} MB, {options.runs} runs")
    for peer in peers:
        print(f"{peer:24} {statistics.median(row[peer] for row in rows):7.3f} s")
    for look in looks:
        print(f"second look, {look:17} {statistics.median(row[look] for row in rows):7.3f} s", end="")
        for peer in peers:
            ratios = [row[peer] / row[look] for row in rows]
            print(f"   {statistics.median(ratios):5.1f} ({min(ratios):.1f} to {max(ratios):.1f})", end="")
        print("   times as quick as the two")


if __name__ == "__main__":
    main()
