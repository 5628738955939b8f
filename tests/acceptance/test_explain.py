"""What is told of a build on the real engine: a small part of benchmarks/explain_evaluation.py, and the command."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commandline import Home
from own_engine import OwnEngine

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
from explain_evaluation import Bench, Evaluation
from explain_projects import samples

CHANGES = [
    ("plain", "two"),
    ("plain", "base moved"),
    ("two-targets", "front end"),
    ("two-targets", "evicted and edited"),
    ("mounts", "other target"),
    ("mounts", "failed between"),
    ("environment", "arg behind an env"),
    ("diamond", "shared"),
    ("substituted", "in"),
    ("substituted", "other builder"),
]


@pytest.fixture
def environment() -> Iterator[None]:
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.usefixtures("bases", "environment")
def test_known_causes_are_told(tmp_path: Path) -> None:
    names = {name for name, _ in CHANGES}
    with OwnEngine() as one, OwnEngine() as other:
        chosen = [sample for sample in samples() if sample.name in names]
        evaluation = Evaluation(Bench(tmp_path, [one, other]), seed=1, chosen=chosen)
        evaluation.begin()
        by_name = {sample.name: sample for sample in chosen}
        for name, change in CHANGES:
            evaluation.change(by_name[name], change)
    score = evaluation.score
    assert score.wrong == []
    assert (score.causes_right, score.details_right) == (score.causes, score.causes)
    assert (score.unknown, score.false) == (0, 0)


FILES = {
    "Dockerfile": "FROM busybox\nWORKDIR /app\nCOPY . .\nRUN echo pip install -r requirements.txt\n",
    ".dockerignore": "Dockerfile\n",
    "requirements.txt": "flask\n",
    "main.py": "1\n",
}


def test_the_command_tells_of_the_newest_build(home: Home, folder: Callable[..., Path]) -> None:
    root = folder("shop", {**FILES, "salt": os.urandom(4).hex()})
    first = home.build(root, "--until", "build")
    assert {step["cause"] for service in first["services"] for step in service["steps"]} <= {None, "first_build"}
    (root / "main.py").write_text("2\n")
    second = home.build(root, "--until", "build")
    ran = [step for step in second["services"][0]["steps"] if not step["cached"]]
    assert [(step["cause"], step["detail"]) for step in ran] == [
        ("files_changed", ["main.py"]),
        ("earlier_step", ran[0]["name"]),
    ]
    told = home.run("explain", "--json").json
    assert (told["build_id"], told["previous_build_id"]) == (second["build_id"], first["build_id"])
    (cause,) = told["causes"]
    assert (cause["cause"], cause["detail"], cause["steps"]) == (
        "files_changed",
        ["main.py"],
        [step["name"] for step in ran],
    )
    assert cause["first_step"] == ran[0]["name"]
    assert cause["advice"].startswith("Copy `requirements.txt` by itself above")
    assert told["cache"]["build"] == {"cached": 1, "steps": 3, "rate": 0.333}
    assert told["cache"]["project"]["builds"] == 2
    shown = home.run("explain").stdout
    assert "files changed  main.py" in shown and "→ Copy `requirements.txt`" in shown


def test_what_did_not_run_is_told_too(home: Home, folder: Callable[..., Path]) -> None:
    root = folder("shop", FILES)
    home.build(root, "--until", "build")
    home.build(root, "--until", "build")
    assert "nothing changed, its image is reused" in home.run("explain", "2").stdout
    assert home.run("explain", "2", "--json").json["causes"] == []
    (root / "Dockerfile").write_text(FILES["Dockerfile"] + "LABEL a=b\n")
    home.build(root, "--until", "build")
    assert "all was in the cache" in home.run("explain").stdout
    (root / "Dockerfile").write_text(FILES["Dockerfile"] + "RUN exit 3\n")
    home.build(root, "--until", "build", code=1)
    assert "It came to no image (failed): see dockwright logs 4" in home.run("explain").stdout


def test_a_build_that_is_not_there(home: Home) -> None:
    assert home.fail("explain", code=2)["message"] == "There are no builds yet"
    assert home.fail("explain", "9", code=2)["message"] == "There is no build 9"
