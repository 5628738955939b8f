"""`dockwright disk`: the engine's own figures, ours among them, and what a clean-up then frees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from commandline import Home

FILES = {"Dockerfile": "FROM busybox\nCOPY a /a\n", "a": "a"}


def disk(home: Home) -> dict[str, Any]:
    found = home.run("disk", "--json").json
    assert set(found) == {"engine", "state", "cleanup", "disk"}
    return dict(found)


def test_what_a_build_leaves_is_seen_and_what_a_cleanup_frees_is_told(home: Home, folder: Callable[..., Path]) -> None:
    root = folder("disk", FILES)
    home.build(root, "--until", "build")
    first = disk(home)
    assert first["cleanup"] == {"builds": 0, "images": 0, "containers": 0, "bytes": 0}
    assert first["engine"]["images"]["count"] >= first["engine"]["images"]["ours"] >= 1
    (root / "a").write_bytes(b"b" * 3_000_000)
    home.build(root, "--until", "build")
    second = disk(home)
    assert second["cleanup"]["images"] == 1, "the image before the newest"
    asked = home.run("cleanup", "--dry-run", "--json").json
    assert second["cleanup"] == {name: asked[name] for name in ("builds", "images", "containers", "bytes")}
    home.run("cleanup")
    assert disk(home)["cleanup"]["images"] == 0


def test_the_state_folder_is_shown_by_its_parts(home: Home, folder: Callable[..., Path]) -> None:
    home.build(folder("state", FILES), "--until", "build")
    (home.path / "generated-bots").mkdir(exist_ok=True)
    (home.path / "generated-bots" / "note").write_bytes(b"x" * 500_000)
    (home.path / "elsewhere").write_bytes(b"x" * 300_000)
    state = disk(home)["state"]
    assert 500_000 <= state["workspaces"] < 600_000 and state["other"] >= 300_000
    assert state["database"] > 50_000 and state["contexts"] > 0
    parts = ("workspaces", "contexts", "artifacts", "database", "other")
    assert state["bytes"] == sum(state[part] for part in parts)


def test_people_see_tables_and_what_to_do(home: Home) -> None:
    said = home.run("disk").stdout
    assert "ON THE ENGINE" in said and "build cache" in said and "dockwright cleanup --dry-run" in said


def test_an_engine_that_does_not_answer(home: Home) -> None:
    gone = {"DOCKER_HOST": f"unix://{home.path}/none.sock"}
    assert home.fail("disk", code=3, env=gone)["code"] == "engine_unreachable"
