"""Clean-up while a build runs, and which image is the newest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from commandline import Home

Folder = Callable[..., Path]
DOCKERFILE = "FROM busybox\nCOPY word /word\n"


def test_an_image_that_a_running_build_has_just_made_stays(home: Home, folder: Folder) -> None:
    root = folder("app", {"Dockerfile": DOCKERFILE, "word": "one"})
    image = home.build(root, "--until", "build")["services"][0]["image"]
    # As it is between the end of the build stage and the build's own end.
    home.rows("DELETE FROM docker_images")
    home.rows("UPDATE builds SET status = 'building', lease_until = '2999-01-01 00:00:00.000000'")
    assert image not in home.run("cleanup", "--json").json["removed"]
    home.rows("UPDATE builds SET status = 'failed', lease_until = NULL")
    assert image in home.run("cleanup", "--json").json["removed"]


def test_a_tag_that_was_built_again_is_the_newest(home: Home, folder: Folder) -> None:
    images, root = [], folder("app", {"Dockerfile": DOCKERFILE})
    for word, options in (("one", ["--tag", "v1"]), ("two", []), ("three", ["--tag", "v1"])):
        (root / "word").write_text(word)
        images.append(home.build(root, "--until", "build", *options)["services"][0]["image"])
    assert images[0] == images[2] != images[1]
    home.run("cleanup")
    assert [row["image"] for row in home.rows("SELECT name || ':' || tag AS image FROM docker_images")] == [images[2]]
