"""Clean-up beside what is not ours, of folders and of old builds; and what a full disk says of it."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commandline import LABEL, Home
from pages import PAGES

from dockwright import settings as settings_module
from dockwright.services import cleanup
from dockwright.services.state import State

Folder = Callable[..., Path]


@pytest.fixture
def foreign_tag(home: Home) -> Iterator[str]:
    name = f"dockwright-test-{secrets.token_hex(4)}:mine"
    yield name
    home.engine.remove_image(name, force=True)


def build_by_hand(folder: Folder, base: str, tag: str) -> None:
    root = folder("byhand", {"Dockerfile": f"FROM {base}\nRUN echo mine > /mine\n"})
    command = ["docker", "build", "--quiet", "--tag", tag, str(root)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def two_images(home: Home, root: Path) -> list[str]:
    """Of two builds; the first is not needed any more."""
    images = []
    for word in ("first", "second"):
        (root / "index.html").write_text(word)
        images.append(home.build(root, "--no-deploy")["services"][0]["image"])
    return images


def test_what_somebody_built_on_an_image_of_ours_stays(home: Home, folder: Folder, foreign_tag: str) -> None:
    """It has inherited all of our labels."""
    first, second = two_images(home, folder("ours", PAGES))
    build_by_hand(folder, first, foreign_tag)
    cleaned = home.run("cleanup", "--json").json
    assert cleaned["removed"] == [first] and cleaned["failed"] == []
    assert home.engine.image(foreign_tag) is not None and home.engine.image(second) is not None


def test_a_name_that_somebody_gave_an_image_of_ours_stays(home: Home, folder: Folder, foreign_tag: str) -> None:
    first, _ = two_images(home, folder("named", PAGES))
    home.engine.tag_image(first, foreign_tag)
    cleaned = home.run("cleanup", "--json").json
    assert cleaned["removed"] == [first] and cleaned["bytes"] == 0, "its layers are there still"
    assert home.engine.image(first) is None and home.engine.image(foreign_tag) is not None


def test_a_container_that_is_no_build_s_stays(home: Home, folder: Folder) -> None:
    """Such as the client's isolated builder."""
    home.build(folder("beside", PAGES), "--until", "plan")
    name = f"dockwright-test-{secrets.token_hex(4)}"
    config = {"Image": "localhost/base/busybox:latest", "Labels": home.labels(managed="true", builder=name)}
    home.engine.create_container(name, config)
    home.engine.create_network(name, labels=config["Labels"])  # type: ignore[arg-type]
    assert home.run("cleanup", "--json").json["removed"] == []
    assert home.engine.container(name) and home.engine.network(name)


def test_an_image_of_another_client_stays(home: Home, folder: Folder, new_home: Callable[[], Home]) -> None:
    images = two_images(new_home(), folder("theirs", PAGES))
    two_images(home, folder("ours", PAGES))
    assert home.run("cleanup", "--json").json["images"] == 1
    assert all(home.engine.image(name) is not None for name in images)


def test_folders_of_dead_builds_and_of_projects_that_are_gone(home: Home, folder: Folder) -> None:
    root = folder("here", PAGES)
    home.build(root, "--until", "plan")
    contexts, workspaces = home.path / "contexts", home.path / "generated-bots"
    (here,) = [one for one in contexts.iterdir() if one.is_dir()]
    gone, theirs = contexts / f"{home.client}.gone.app", contexts / "other.gone.app"
    dead, ours = workspaces / "build-999-abc", workspaces / "something"
    for one in (gone, theirs, dead, ours):
        one.mkdir(parents=True)
        (one / "file").write_bytes(secrets.token_bytes(1_000_000))
    (gone / "link").symlink_to(root, target_is_directory=True)

    expected = home.run("cleanup", "--dry-run", "--json").json
    assert sorted(expected["removed"]) == sorted([str(gone), str(dead)])
    assert 2_000_000 <= expected["bytes"] < 2_100_000
    cleaned = home.run("cleanup", "--json").json
    assert (cleaned["removed"], cleaned["bytes"]) == (expected["removed"], expected["bytes"])
    assert not gone.exists() and not dead.exists() and all(one.exists() for one in (here, theirs, ours))
    assert (root / "index.html").exists(), "what a link leads to is not ours"


def test_old_builds_go_and_those_of_releases_stay(home: Home, folder: Folder) -> None:
    root = folder("builds", PAGES)
    first = home.build(root)
    for _ in range(4):
        home.build(root, "--until", "plan")
    assert home.run("cleanup", "--keep-builds", "2", "--dry-run", "--json").json["builds"] == 2
    said = home.run("cleanup", "--keep-builds", "2").stdout
    assert said == "Freed 0 B in 0 images; 2 old builds\n"
    assert [row["id"] for row in home.rows("SELECT id FROM builds ORDER BY id")] == [first["build_id"], 4, 5]
    assert {row["build_id"] for row in home.rows("SELECT build_id FROM build_events")} == {1, 4, 5}
    assert home.run("verify", first["project"], "--json").json["ok"], "what is live has its build still"


def test_an_image_removed_by_hand_is_forgotten(home: Home, folder: Folder) -> None:
    first, second = two_images(home, folder("byhand", PAGES))
    home.engine.remove_image(second)
    home.run("cleanup")
    assert home.rows("SELECT id FROM docker_images WHERE tag = ?", second.partition(":")[2]) == []
    assert home.engine.image(first) is None, "it was needed by nobody"


def test_a_server_cleans_up_for_each_client_and_a_client_for_itself(home: Home, folder: Folder) -> None:
    ours = two_images(home, folder("ours", PAGES))
    other = f"local-{secrets.token_hex(4)}"
    home.rows("INSERT INTO clients (id, slug, name, created_at) VALUES (2, ?, 'Other', '2026-01-01')", other)
    workspace = home.path / "generated-bots" / "build-1-abc"
    workspace.mkdir(parents=True)
    state = State(settings_module.load({"DOCKWRIGHT_HOME": str(home.path)}, home.path / "none"))
    assert cleanup.cleanup(state.of_client(2))["removed"] == []
    assert home.engine.image(ours[0]) is not None and workspace.exists()
    answers = {answer["client"]: answer["removed"] for answer in cleanup.by_policy(state)}
    assert answers == {home.client: [str(workspace), ours[0]], other: []}


def test_a_builder_that_fails_keeps_no_other_client_from_being_cleaned_up(home: Home) -> None:
    assert home.run("builds", "--json").json == []  # makes the database
    left = home.path / "contexts" / "local-later.gone.web"
    left.mkdir(parents=True)
    for number, slug in ((2, "No Builder's Name"), (3, "local-later")):
        home.rows("INSERT INTO clients (id, slug, name, created_at) VALUES (?, ?, 'C', '2026-01-01')", number, slug)
    environ = {"DOCKWRIGHT_HOME": str(home.path), "BUILD_ISOLATION": "isolated"}
    answers = cleanup.by_policy(State(settings_module.load(environ, home.path / "none")))
    assert [answer["client"] for answer in answers][1:] == ["No Builder's Name", "local-later"]
    assert len(answers[1]["failed"]) == 1 and "No Builder's Name" in answers[1]["failed"][0]
    assert answers[2]["removed"] == [str(left)]


def test_too_little_disk_leaves_nothing_and_says_what_a_cleanup_frees(home: Home, folder: Folder) -> None:
    other = folder("other", PAGES)
    (other / "big").write_bytes(secrets.token_bytes(5_000_000))
    images = two_images(home, other)
    error = home.fail("build", folder("full", PAGES), code=1, env={"BUILD_DISK_MIN_FREE": "9000TB"})
    assert (error["code"], error["stage"]) == ("disk_full", "build")
    assert error["remedy"].startswith("Free some with: dockwright cleanup (it would free at least 5.")
    home.assert_nothing_left()
    names = {name for image in home.engine.images({f"{LABEL}client": str(home.client)}) for name in image["RepoTags"]}
    assert names == set(images)
    assert [row["status"] for row in home.rows("SELECT status FROM builds ORDER BY id")][-1] == "failed"
