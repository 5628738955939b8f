"""What explaining adds to a build: the time of its own work, beside the builder and behind it, and the build's.

    .venv/bin/python benchmarks/explain_cost.py [--runs 7] [--files 20000]

Needs root: it builds on an engine of its own. One file changes before each build, in a small folder and in one of
20,000 files. `beside` is what is gathered while the builder works, in this process' own CPU time, of which nobody waits
for any; `behind` is what is reckoned once the builder has ended, by the clock: that is what a build takes longer. The
share is both together of the build, as if nothing of it went on beside.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from explain_evaluation import Bench
from explain_projects import BASE, Folder
from own_engine import OwnEngine

from dockwright.domain.explanation import Explanation
from dockwright.domain.image import Step
from dockwright.stages import explaining

DOCKERFILE = f"FROM {BASE}\nWORKDIR /app\nCOPY requirements.txt ./\nRUN echo install\nCOPY . .\nRUN echo build\n"


class Clock:
    """Takes the times of what explaining does, where it is done."""

    def __init__(self) -> None:
        self.beside = self.behind = 0.0
        gather, answer = explaining.Question.gather, explaining.Question.answer

        def timed_gather(question: explaining.Question) -> None:
            started = time.thread_time()
            gather(question)
            self.beside = time.thread_time() - started

        def timed_answer(question: explaining.Question, steps: tuple[Step, ...]) -> Explanation:
            started = time.perf_counter()
            told = answer(question, steps)
            self.behind = time.perf_counter() - started
            return told

        explaining.Question.gather = timed_gather  # type: ignore[method-assign]
        explaining.Question.answer = timed_answer  # type: ignore[method-assign]


def make(root: Path, files: int) -> Folder:
    root.mkdir(parents=True)
    folder = Folder(root, secret="correct-horse-battery-staple")
    folder.write("Dockerfile", DOCKERFILE)
    folder.write("requirements.txt", "flask\n")
    for number in range(files):
        folder.write(f"d{number // 100}/f{number}.txt", f"{number}\n" * 20)
    return folder


def measure(bench: Bench, clock: Clock, folder: Folder, runs: int) -> list[tuple[float, float, float]]:
    """Beside, behind and the whole build, in seconds."""
    bench.good_build(folder)
    found = []
    for run in range(runs):
        folder.write("d0/f0.txt", f"run {run}\n")
        seconds = bench.good_build(folder)["seconds"]
        found.append((clock.beside, clock.behind, seconds))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--files", type=int, default=20_000)
    asked = parser.parse_args()
    clock = Clock()
    with tempfile.TemporaryDirectory(prefix="explain-") as home, OwnEngine() as engine:
        bench = Bench(Path(home), [engine])
        for count in (20, asked.files):
            found = measure(bench, clock, make(bench.folders / f"f{count}", count), asked.runs)
            beside, behind, build = (statistics.median(column) for column in zip(*found, strict=True))
            share = statistics.median((one + other) / whole for one, other, whole in found)
            print(
                f"{count} files: beside {beside * 1000:.1f} ms, behind {behind * 1000:.1f} ms,"
                f" build {build:.3f} s: {share:.2%}"
            )


if __name__ == "__main__":
    main()
