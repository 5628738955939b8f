"""How often `explain` is right: random changes of known cause to 13 Dockerfiles, built by the real pipeline.

    .venv/bin/python benchmarks/explain_evaluation.py [--changes 240] [--seed 1] [--only NAME]

Needs root, and leaves nothing: it starts two engines of its own on this machine, one to build with and one to move to,
because it empties their caches. Every change is made to a folder that was built before; then it is built again, and
what is told is held against the truth: the causes, their details, the step that each began with, a cause for every
step that ran and none for those that did not. Beside changes of files, instructions and arguments there are bases that
moved, builds without cache and in the other profile, caches that were emptied, another builder, a build between that
failed, and changes of which nothing may run.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "acceptance"))

from explain_projects import BASE, MOVER, QUIET, TRIGGER, Change, Expected, Folder, Sample, Truth, samples
from own_engine import OwnEngine

from dockwright import settings
from dockwright.docker.engine import Engine
from dockwright.process import Cancel
from dockwright.queue.runner import run_claimed
from dockwright.services.build import BuildOptions, claim_build
from dockwright.services.explain import explain
from dockwright.services.state import State

Document = dict[str, Any]


class Bench:
    """Builds folders by the pipeline, in this process, on engines of its own."""

    def __init__(self, home: Path, engines: list[OwnEngine]) -> None:
        self.engines, self.folders = engines, home / "folders"
        for engine in engines:
            engine.copy(BASE)
        own = {"DOCKWRIGHT_HOME": str(home), "DOCKER_HOST": engines[0].host, "BUILD_DISK_MIN_FREE": "0"}
        os.environ.update({**own, "IMAGE_SUBSTITUTES": f"busybox:1.3*={BASE}"})
        self.state = State(settings.load())
        self.moves = 0
        self.pruned = 0
        """How often a cache was emptied, which is that of all folders."""
        self.built_in_dev: set[str] = set()
        self.move_base()
        self._make(TRIGGER, f"FROM {BASE}\nONBUILD COPY trigger.txt /trigger.txt\nONBUILD RUN cat /trigger.txt\n")

    def _make(self, name: str, dockerfile: str) -> None:
        """The very same image on all engines."""
        docker = ["docker", "-H", self.engines[0].host]
        build = [*docker, "build", "-q", "--provenance=false", f"--tag={name}", "-"]
        subprocess.run(build, input=dockerfile.encode(), check=True, capture_output=True)
        saved = subprocess.run([*docker, "save", name], check=True, capture_output=True).stdout
        for engine in self.engines[1:]:
            subprocess.run(["docker", "-H", engine.host, "load"], input=saved, check=True, capture_output=True)

    def move_base(self) -> tuple[str, str]:
        """Makes the base anew under its name; the beginnings of the old digest and of the new."""
        engine = Engine(self.engines[0].host)
        old = engine.image(MOVER)
        self.moves += 1
        self._make(MOVER, f"FROM {BASE}\nRUN echo {self.moves} {os.urandom(4).hex()} > /version\n")
        new = engine.image(MOVER)
        assert new is not None
        return (old["Id"][:19] if old else "", new["Id"][:19])

    @contextmanager
    def on(self, engine: OwnEngine) -> Iterator[None]:
        before = os.environ["DOCKER_HOST"]
        os.environ["DOCKER_HOST"] = engine.host
        try:
            yield
        finally:
            os.environ["DOCKER_HOST"] = before

    def build(self, folder: Folder, **options: Any) -> Document:
        secret = folder.root.with_suffix(".secret")
        secret.write_text(folder.secret)
        secrets = (f"id=token,src={secret}",)
        asked = BuildOptions(args=dict(folder.args), secrets=secrets, until="build", deploy=False, **options)
        return run_claimed(self.state, claim_build(self.state, str(folder.root), asked), Cancel())

    def good_build(self, folder: Folder, **options: Any) -> Document:
        document = self.build(folder, **options)
        assert document["error"] is None, document["error"]
        return document

    def evict(self, digest: str) -> None:
        """Away with the image and with all that the cache of this engine holds."""
        host = os.environ["DOCKER_HOST"]
        Engine(host).remove_image(digest, force=True)
        subprocess.run(["docker", "-H", host, "builder", "prune", "-af"], check=True, capture_output=True)
        self.pruned += 1

    def warm(self, folder: Folder, seen: int) -> int:
        """All steps in the cache again, and the last build here: what runs next runs for its change alone."""
        if seen != self.pruned:
            while (image := self.good_build(folder)["services"][0])["reused"]:
                Engine().remove_image(image["digest"], force=True)
        return self.pruned


# --- what is held against the truth ----------------------------------------------------------------------------------


@dataclass(slots=True)
class Score:
    builds: int = 0
    causes: int = 0
    causes_right: int = 0
    details_right: int = 0
    unknown: int = 0
    false: int = 0
    """Causes that were told with certainty and are not the true ones."""
    quiet: int = 0
    """Builds of which nothing was to run, and nothing ran."""
    by_cause: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def judge(self, name: str, told: Document, truth: Truth) -> None:
        self.builds += 1
        left = list(told["causes"])
        if not left and all(expected.may_be_cached for expected in truth):
            self.quiet += 1
            truth = []
        problems = list(_problems(told))
        for expected in truth:
            self.causes += 1
            self.by_cause[expected.cause] += 1
            match = next((cause for cause in left if _is_cause(expected, cause)), None)
            if match is None:
                problems.append(f"not told: {expected}")
                continue
            left.remove(match)
            self.causes_right += 1
            is_right = _is_detail(expected, match["detail"])
            self.details_right += is_right
            problems += [] if is_right else [f"the detail {match['detail']!r}, not {expected}"]
        unknown = [cause for cause in left if cause["cause"] == "unknown"]
        self.unknown += len(unknown)
        self.false += len(left) - len(unknown)
        problems += [f"told: {one['cause']} {one['detail']} at {one['first_step']}" for one in left]
        self.wrong += [f"{name}: {problem}" for problem in problems]


def _is_cause(expected: Expected, cause: Document) -> bool:
    return cause["cause"] == expected.cause and expected.first in cause["first_step"]


def _is_detail(expected: Expected, detail: Any) -> bool:
    return bool(expected.detail(detail) if callable(expected.detail) else expected.detail == detail)


def _problems(told: Document) -> Iterator[str]:
    """What must hold of every explanation."""
    for service in told["services"]:
        heads = {step["name"] for step in service["steps"] if step["cause"] not in {None, "earlier_step"}}
        for step in service["steps"]:
            if step["cached"] != (step["cause"] is None):
                yield f"{step['name']} cached {step['cached']} with the cause {step['cause']}"
            if step["cause"] == "earlier_step" and step["detail"] not in heads:
                yield f"{step['name']} points at {step['detail']}"
        ran = sorted(step["name"] for step in service["steps"] if not step["cached"])
        if ran != sorted(name for cause in told["causes"] for name in cause["steps"]):
            yield "the causes' steps are not those that ran"


# --- the changes that are no edit ------------------------------------------------------------------------------------

Special = Callable[[Bench, Sample, Folder, random.Random], tuple[Document, Truth]]
_FILES = ("edit", "api", "source", "file", "copied", "a", "kept", "first", "owned", "left", "own", "app")
"""Changes of a file that all samples have one of."""


def _ran(document: Document) -> list[Document]:
    return [step for service in document["services"] for step in service["steps"] if not step["cached"]]


def _all_because(document: Document, cause: str, detail: Any) -> Truth:
    return [Expected(cause, detail, "")] if _ran(document) else []


def without_cache(bench: Bench, sample: Sample, folder: Folder, rng: random.Random) -> tuple[Document, Truth]:
    document = bench.good_build(folder, no_cache=True)
    return document, _all_because(document, "no_cache", "--no-cache")


def other_profile(bench: Bench, sample: Sample, folder: Folder, rng: random.Random) -> tuple[Document, Truth]:
    """The first in dev is a first build, those behind it are without cache."""
    document = bench.good_build(folder, profile="dev")
    is_first = sample.name not in bench.built_in_dev
    bench.built_in_dev.add(sample.name)
    return document, _all_because(document, *(("first_build", None) if is_first else ("no_cache", "the profile dev")))


def evicted(bench: Bench, sample: Sample, folder: Folder, rng: random.Random) -> tuple[Document, Truth]:
    bench.evict(bench.good_build(folder)["services"][0]["digest"])
    document = bench.good_build(folder)
    return document, _all_because(document, "evicted", None)


def evicted_and_edited(bench: Bench, sample: Sample, folder: Folder, rng: random.Random) -> tuple[Document, Truth]:
    """The files are the cause for the step that takes them and those behind it, the empty cache for all others."""
    bench.evict(bench.good_build(folder)["services"][0]["digest"])
    name = rng.choice([name for name in sample.changes if name in _FILES])
    (edited,) = sample.changes[name](folder, rng)
    document = bench.good_build(folder)
    is_all = edited.first in _ran(document)[0]["name"] and len(_targets(document)) == 1
    return document, [edited] if is_all else [edited, Expected("evicted", None, "")]


def _targets(document: Document) -> set[str]:
    return {step["name"].partition("] ")[0].rpartition(" ")[0] for step in _ran(document)}


def other_builder(bench: Bench, sample: Sample, folder: Folder, rng: random.Random) -> tuple[Document, Truth]:
    bench.good_build(folder)
    with bench.on(bench.engines[1]):
        document = bench.good_build(folder)
        truth = _all_because(document, "other_builder", "shared: new engine")
        if _ran(document):
            bench.evict(document["services"][0]["digest"])
    return document, truth


def failed_between(bench: Bench, sample: Sample, folder: Folder, rng: random.Random) -> tuple[Document, Truth]:
    """What changed for a build that failed is the cause in the next one, though its own step is cached by then."""
    assert sample.fails is not None
    path, behind = sample.fails
    bench.good_build(folder)
    folder.write(path, f"failed {folder.number}\n")
    folder.secret = "fail"
    failed = bench.build(folder)
    assert failed["error"] is not None and failed["error"]["code"] == "step_failed", failed["error"]
    folder.secret = "good"
    return bench.good_build(folder), [Expected("files_changed", [path], behind)]


def back_again(bench: Bench, sample: Sample, folder: Folder, rng: random.Random) -> tuple[Document, Truth]:
    """As it was two builds ago: nothing may run."""
    bench.good_build(folder)
    text = folder.dockerfile
    folder.write("Dockerfile", f"{text}COPY Dockerfile /between{folder.number}\n")
    if (folder.root / ".dockerignore").exists():
        folder.write("Dockerfile", f"{text}WORKDIR /between{folder.number}\n")
    bench.good_build(folder)
    folder.write("Dockerfile", text)
    return bench.good_build(folder), []


def moved_base(bench: Bench, sample: Sample, folder: Folder, rng: random.Random) -> tuple[Document, Truth]:
    bench.good_build(folder)  # on the base as it is now: another sample may have moved it
    old, new = bench.move_base()
    return bench.good_build(folder), [Expected("base_moved", f"{MOVER}: {old} → {new}", sample.moves)]


SPECIALS: dict[str, Special] = {
    "no cache": without_cache,
    "dev": other_profile,
    "evicted": evicted,
    "evicted and edited": evicted_and_edited,
    "other builder": other_builder,
    "failed between": failed_between,
    "back again": back_again,
    "base moved": moved_base,
}
ONE_IN = 4
"""How many of the changes are such."""


def specials_of(sample: Sample) -> list[str]:
    known = {"base moved": bool(sample.moves), "failed between": sample.fails is not None}
    return [name for name in SPECIALS if known.get(name, True)]


# --- the run ---------------------------------------------------------------------------------------------------------


class Evaluation:
    def __init__(self, bench: Bench, seed: int, chosen: list[Sample]) -> None:
        self.bench, self.rng, self.samples = bench, random.Random(seed), chosen
        self.score = Score()
        self.folders: dict[str, Folder] = {}
        self.warm_since: dict[str, int] = {}
        self.number = 0

    def begin(self) -> None:
        """The first build of each sample."""
        for sample in self.samples:
            root = self.bench.folders / f"{sample.name}-{os.urandom(3).hex()}"
            root.mkdir(parents=True)
            self.folders[sample.name] = folder = sample.make(root)
            document = self.bench.good_build(folder)
            self._judge(f"{sample.name}, first", document, _all_because(document, "first_build", None))

    def change(self, sample: Sample, name: str) -> None:
        """Builds what was changed, and judges what is told of it."""
        self.number += 1
        folder = self.folders[sample.name]
        folder.number = self.number
        self.warm_since[sample.name] = self.bench.warm(folder, self.warm_since.get(sample.name, 0))
        if name in SPECIALS:
            document, truth = SPECIALS[name](self.bench, sample, folder, self.rng)
            self.warm_since[sample.name] = -1 if name == "other builder" else self.bench.pruned
        else:
            if sample.moves:
                self.bench.good_build(folder)  # another sample may have moved the base
            changes: dict[str, Change] = {**sample.changes, **QUIET}
            truth = changes[name](folder, self.rng)
            document = self.bench.good_build(folder)
        self._judge(f"{self.number} {sample.name}, {name}", document, truth)

    def random_change(self) -> None:
        sample = self.rng.choice(self.samples)
        is_special = self.rng.randrange(ONE_IN) == 0
        self.change(sample, self.rng.choice(specials_of(sample) if is_special else [*sample.changes, *QUIET]))

    def _judge(self, name: str, document: Document, truth: Truth) -> None:
        self.score.judge(name, explain(self.bench.state, document["build_id"]), truth)


def show(score: Score) -> None:
    print(f"\n{score.builds} builds, {score.quiet} of which nothing ran, with {score.causes} root causes:")
    for cause, count in score.by_cause.most_common():
        print(f"  {cause:<20} {count}")
    print(f"causes right     {score.causes_right} of {score.causes}")
    print(f"details right    {score.details_right} of {score.causes}")
    print(f"unknown          {score.unknown}")
    print(f"false certainty  {score.false}")
    for line in score.wrong:
        print(f"  WRONG {line}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=240)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="the name of one sample")
    asked = parser.parse_args()
    chosen = [sample for sample in samples() if asked.only in {None, sample.name}]
    with tempfile.TemporaryDirectory(prefix="explain-") as home, OwnEngine() as one, OwnEngine() as other:
        evaluation = Evaluation(Bench(Path(home), [one, other]), asked.seed, chosen)
        started = time.monotonic()
        evaluation.begin()
        for number in range(1, asked.changes + 1):
            evaluation.random_change()
            if number % 20 == 0:
                passed = time.monotonic() - started
                print(f"{number} changes, {len(evaluation.score.wrong)} wrong, {passed:.0f} s", flush=True)
        show(evaluation.score)
    sys.exit(1 if evaluation.score.wrong else 0)


if __name__ == "__main__":
    main()
