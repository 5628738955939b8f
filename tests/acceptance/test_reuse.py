"""A build that would change nothing writes the same row and the same events, whichever way it found that out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from commandline import Home
from pages import PAGES

Folder = Callable[..., Path]
ITS_OWN = {"id", "created_at", "started_at", "completed_at", "result", "worker"}
"""Columns in which every build differs from every other."""
TIMES = {"seconds", "seconds_to_ready", "seconds_to_healthy"}


def forget(home: Home, *, digests: bool = False) -> None:
    """Away with what the plan remembers: the question is asked in full, and without digests every file is read.

    When a content was first seen, which is BUILD_DATE, stays: nothing else tells it.
    """
    (memory,) = (home.path / "contexts").glob("*/memory.json")
    facts = json.loads(memory.read_text())
    memory.write_text(json.dumps({name: facts[name] for name in ("format", "salt", "first_seen")}))
    if digests:
        (memory.parent / "index.json").unlink()


def row(home: Home, build_id: int) -> dict[str, Any]:
    (found,) = home.rows("SELECT * FROM builds WHERE id = ?", build_id)
    return {name: value for name, value in found.items() if name not in ITS_OWN}


def result(home: Home, build_id: int) -> Any:
    (found,) = home.rows("SELECT result FROM builds WHERE id = ?", build_id)
    return without_times({**json.loads(found["result"]), "build_id": None})


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_times(each) for name, each in value.items() if name not in TIMES}
    return [without_times(each) for each in value] if isinstance(value, list) else value


def events(home: Home, build_id: int) -> list[dict[str, Any]]:
    lines = home.run("logs", str(build_id), "--json").lines
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1)), "dense"
    names = ("kind", "stage", "step", "stream", "text", "data")
    return [without_times({name: line[name] for name in names}) for line in lines]


def same_build(home: Home, root: Path, *options: str) -> dict[str, Any]:
    """Builds twice, the second time without the memory, and holds the two against each other."""
    quick = home.build(root, *options)
    forget(home)
    long = home.build(root, *options)
    forget(home, digests=True)
    longest = home.build(root, *options)
    assert quick["services"][0]["reused"]
    for other in (long, longest):
        assert row(home, quick["build_id"]) == row(home, other["build_id"])
        assert result(home, quick["build_id"]) == result(home, other["build_id"])
        assert events(home, quick["build_id"]) == events(home, other["build_id"])
    return quick


def test_quick_path_writes_what_the_long_one_writes(home: Home, folder: Folder) -> None:
    root = folder("reuse", {**PAGES, "link": ""})
    (root / "link").unlink()
    (root / "link").symlink_to("index.html")
    first = home.build(root, "--until", "build")
    quick = same_build(home, root, "--until", "build")
    assert quick["services"][0]["steps"] == [] and first["services"][0]["steps"] != []
    assert quick["services"][0]["image"] == first["services"][0]["image"]
    # And what a real build writes is told by the same columns and the same kinds of events in the same stages.
    real, reused = row(home, first["build_id"]), row(home, quick["build_id"])
    assert {name for name in real if real[name] is not None} == {name for name in reused if reused[name] is not None}
    assert shape(events(home, first["build_id"])) == shape(events(home, quick["build_id"]))


def shape(found: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """What every build says, however much its steps and their output say besides."""
    told = [one for one in found if one["kind"] in {"stage", "status"}]
    return [(one["kind"], one["stage"] or "", one["data"]["status"]) for one in told]


def test_reuse_with_everything_that_may_stand_in_a_question(home: Home, folder: Folder) -> None:
    recipe = """\
ARG TAG=latest
FROM busybox:$TAG AS one
ARG GIT_COMMIT
ARG BUILD_DATE
ARG CACHE_BUST
ARG WORD
RUN echo "$GIT_COMMIT $BUILD_DATE $CACHE_BUST $WORD" > /facts
FROM busybox
COPY --from=one /facts /
COPY . /all
"""
    root = folder("facts", {**PAGES, "Dockerfile": recipe, ".dockerignore": "*.log\n", "some.log": "noise"})
    options = ("--build-arg", "WORD=a b", "--until", "build")
    home.build(root, *options)
    same_build(home, root, *options)
    (root / "some.log").write_text("other noise")
    assert home.build(root, *options)["services"][0]["reused"], "what is not sent changes nothing"
    assert not home.build(root, "--build-arg", "WORD=c", "--until", "build")["services"][0]["reused"]


def test_no_reuse_where_it_was_asked_not_to(home: Home, folder: Folder) -> None:
    root = folder("anew", {"Dockerfile": "FROM busybox\nCOPY page /\nRUN cat /proc/uptime > /when\n", "page": "any"})
    digests = {home.build(root)["services"][0]["digest"]}
    for options in (("--no-cache",), ("--profile", "dev")):
        service = home.build(root, *options)["services"][0]
        assert not service["reused"] and not any(step["cached"] for step in service["steps"])
        digests.add(service["digest"])
    assert len(digests) == 3


def test_image_that_is_gone_is_built_again(home: Home, folder: Folder) -> None:
    root = folder("gone", PAGES)
    first = home.build(root, "--until", "build")["services"][0]
    home.engine.remove_image(first["digest"], force=True)
    again = home.build(root, "--until", "build")["services"][0]
    assert not again["reused"]
    assert home.engine.image(again["image"]) is not None


def test_damaged_memory_is_no_harm(home: Home, folder: Folder) -> None:
    root = folder("damaged", PAGES)
    home.build(root, "--until", "build")
    for name in ("memory.json", "index.json"):
        for path in (home.path / "contexts").glob(f"*/{name}"):
            path.write_bytes(path.read_bytes()[:20])
        assert home.build(root, "--until", "build")["services"][0]["reused"]
    shutil.rmtree(home.path / "contexts")
    assert home.build(root, "--until", "build")["services"][0]["reused"]


def test_another_tag_names_the_same_image(home: Home, folder: Folder) -> None:
    root = folder("tagged", PAGES)
    first = home.build(root, "--until", "build")["services"][0]
    second = home.build(root, "--until", "build", "--tag", "v1.0")["services"][0]
    assert second["reused"] and second["digest"] == first["digest"] and second["image"].endswith(":v1.0")
    names = {f"{one['name']}:{one['tag']}" for one in home.run("images", "--json").json}
    assert names == {first["image"], second["image"]}
