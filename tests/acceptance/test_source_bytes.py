"""The image always holds the source's bytes, and verify tells where what runs does not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from commandline import Home, get
from pages import DOCKERFILE, PAGES
from sleeper import PATIENCE, Sleeper, building, wait_until

Folder = Callable[..., Path]
LONG_AGO = 1_600_000_000


def write_dated(path: Path, text: str) -> None:
    """Always with the same mtime, as archives, templates and reproducible trees have it."""
    path.write_text(text)
    os.utime(path, (LONG_AGO, LONG_AGO))


def same_looking(root: Path, word: str) -> Path:
    root.mkdir(parents=True)
    write_dated(root / "Dockerfile", DOCKERFILE)
    write_dated(root / "index.html", word)
    return root


def shown_by(home: Home, image: str, path: str = "/www/index.html") -> str:
    """What a file holds in an image that is not deployed."""
    with home.start("docker", "run", "--rm", image, "cat", path, stdout=subprocess.PIPE) as child:
        return child.communicate(timeout=60)[0]


def test_two_folders_of_one_name_whose_files_look_the_same(home: Home, tmp_path: Path) -> None:
    """BuildKit keeps what it has seen by base name, path, size and mtime: the second image would get the first's."""
    one = home.build(same_looking(tmp_path / "one/ctx", "the bytes of one"))
    two = home.build(same_looking(tmp_path / "two/ctx", "the bytes of two"))
    assert one["project"] != two["project"]
    assert get(one["deployment_url"]) == (200, "the bytes of one")
    assert get(two["deployment_url"]) == (200, "the bytes of two")
    for side in ("one", "two"):
        assert home.run("verify", tmp_path / side / "ctx", "--json").json["ok"]


def test_two_homes_with_folders_of_one_name(new_home: Callable[[], Home], tmp_path: Path) -> None:
    """Two users of one engine, who know nothing of each other."""
    builds = []
    for word in ("ours", "them"):
        builds.append(new_home().build(same_looking(tmp_path / word / "shop", word)))
    assert [get(build["deployment_url"])[1] for build in builds] == ["ours", "them"]
    assert builds[0]["services"][0]["image"] != builds[1]["services"][0]["image"]


def test_folder_that_another_tree_is_moved_into(home: Home, folder: Folder, tmp_path: Path) -> None:
    """The same path holds another tree that looks the same: releases are unpacked like this."""
    root = same_looking(folder("moved") / "current", "tree one")
    assert get(home.build(root)["deployment_url"])[1] == "tree one"
    shutil.rmtree(root)
    same_looking(root, "tree two")
    assert get(home.build(root)["deployment_url"])[1] == "tree two"
    assert home.run("verify", root, "--json").json["ok"]


def test_edit_that_keeps_size_and_mtime(home: Home, folder: Folder) -> None:
    root = same_looking(folder("kept") / "ctx", "word 1")
    for number in range(1, 4):
        write_dated(root / "index.html", f"word {number}")
        build = home.build(root)
        assert get(build["deployment_url"])[1] == f"word {number}"
        assert build["proof"]["ok"]
    write_dated(root / "index.html", "word 1")
    back = home.build(root)
    assert back["services"][0]["reused"], "these very inputs were built before"
    assert get(back["deployment_url"])[1] == "word 1"


def test_edit_after_what_was_sent_is_forgotten(home: Home, folder: Folder) -> None:
    root = same_looking(folder("lost") / "ctx", "word 1")
    assert get(home.build(root)["deployment_url"])[1] == "word 1"
    (index,) = (home.path / "contexts").glob("*/index.json")
    index.unlink()
    write_dated(root / "index.html", "word 2")
    assert get(home.build(root)["deployment_url"])[1] == "word 2"
    assert index.exists()


BETWEEN = {
    "verified only": ("verify", DOCKERFILE),
    "planned only": ("build", DOCKERFILE.replace("FROM busybox", "FROM 127.0.0.1:9/nothing")),
    "refused by the builder": ("build", DOCKERFILE.replace("FROM busybox", "FROM --platform=linux/s390x busybox")),
}


@pytest.mark.parametrize(("command", "dockerfile"), BETWEEN.values(), ids=BETWEEN.keys())
def test_version_that_was_looked_at_and_never_sent(command: str, dockerfile: str, home: Home, folder: Folder) -> None:
    """What BuildKit has seen is the version before: one that looks like that one must not be taken for it."""
    root = same_looking(folder("between") / "ctx", "word 1")
    assert get(home.build(root)["deployment_url"])[1] == "word 1"
    (root / "index.html").write_text("another length and another time")
    write_dated(root / "Dockerfile", dockerfile)
    home.run(command, root, "--json", code=None)
    write_dated(root / "Dockerfile", DOCKERFILE)
    write_dated(root / "index.html", "word 2")
    assert get(home.build(root)["deployment_url"])[1] == "word 2"


def test_edits_in_quick_succession(home: Home, folder: Folder) -> None:
    """Each within the tick of the file system's clock, or nearly so."""
    root = same_looking(folder("quick") / "ctx", "edit 0")
    for number in range(4):
        with (root / "index.html").open("r+") as file:
            file.write(f"edit {number}")
        image = home.build(root, "--until", "build")["services"][0]["image"]
        assert shown_by(home, image) == f"edit {number}"


def test_dockerfile_edited_with_its_size_and_mtime_kept(home: Home, folder: Folder) -> None:
    root = folder("recipe")
    for word in ("aaaa", "bbbb"):
        write_dated(root / "Dockerfile", f"FROM busybox\nRUN echo {word} > /word\n")
        image = home.build(root)["services"][0]["image"]
        assert shown_by(home, image, "/word") == f"{word}\n"


def test_ignored_dockerfile_edited_with_its_size_and_mtime_kept(home: Home, folder: Folder) -> None:
    root = folder("recipe", {".dockerignore": "Dockerfile\n.dockerignore\n", "page": "any"})
    for word in ("aaaa", "bbbb"):
        write_dated(root / "Dockerfile", f"FROM busybox\nCOPY page /\nRUN echo {word} > /word\n")
        image = home.build(root)["services"][0]["image"]
        assert shown_by(home, image, "/word") == f"{word}\n"


def test_mode_alone_changed(home: Home, folder: Folder) -> None:
    root = folder("mode", {"Dockerfile": "FROM busybox\nCOPY tool /\nRUN ls -l /tool > /seen\n", "tool": "x"})
    for mode, shown in ((0o644, "-rw-r--r--"), (0o755, "-rwxr-xr-x")):
        (root / "tool").chmod(mode)
        image = home.build(root)["services"][0]["image"]
        assert shown_by(home, image, "/seen").startswith(shown)


def test_ignore_file_alone_changed(home: Home, folder: Folder) -> None:
    root = folder("ignore", {**PAGES, "extra.html": "extra", ".dockerignore": "extra.html\n"})
    url = home.build(root)["deployment_url"]
    assert get(url, "/extra.html")[0] == 404
    write_dated(root / ".dockerignore", "# nothing is\n")
    assert get(home.build(root)["deployment_url"], "/extra.html") == (200, "extra")


def test_build_argument_alone_changed(home: Home, folder: Folder) -> None:
    root = folder("args", {"Dockerfile": "FROM busybox\nARG WORD=none\nRUN echo $WORD > /word\n"})
    words = {}
    for word in ("one", "two", "one"):
        service = home.build(root, "--build-arg", f"WORD={word}")["services"][0]
        assert shown_by(home, service["image"], "/word") == f"{word}\n"
        words.setdefault(word, []).append(service["reused"])
    assert words == {"one": [False, True], "two": [False]}


# --- verify --------------------------------------------------------------------------------------------------------


def container_of(home: Home) -> str:
    (one,) = home.containers()
    return str(one["Id"])


def in_container(home: Home, *command: str) -> None:
    with home.start("docker", "exec", "-u", "0", container_of(home), *command) as child:
        assert child.wait(timeout=60) == 0


def test_tampered_file_is_named(home: Home, folder: Folder) -> None:
    root = folder("tamper", {**PAGES, "deep/er/page.html": "deep"})
    home.build(root)
    assert home.run("verify", root, "--json").json["ok"]
    in_container(home, "sh", "-c", "echo tampered > /www/deep/er/page.html")
    answer = home.run("verify", root, "--json", code=1)
    assert not answer.json["ok"] and answer.json["files_differ"] == ["/www/deep/er/page.html"]
    told = home.run("verify", root, code=1).stdout
    assert "/www/deep/er/page.html" in told


def test_removed_replaced_and_relinked_files_are_named(home: Home, folder: Folder) -> None:
    root = folder("tamper", {**PAGES, "a.html": "a", "b.html": "b", "c.html": "c"})
    (root / "link.html").symlink_to("a.html")
    home.build(root)
    in_container(home, "sh", "-c", "cd /www && rm a.html && rm b.html && mkdir b.html && ln -sf c.html link.html")
    proof = home.run("verify", root, "--json", code=1).json
    assert proof["files_differ"] == ["/www/a.html", "/www/b.html", "/www/link.html"]
    assert proof["files_checked"] == 6


def test_verify_by_the_name_of_the_product(home: Home, folder: Folder) -> None:
    root = folder("named", PAGES)
    build = home.build(root)
    assert home.run("verify", build["project"], "--json").json["files_checked"] == 2


def test_container_older_than_the_source(home: Home, folder: Folder) -> None:
    """The change was built but not deployed: what runs is not what was written."""
    root = folder("older", PAGES)
    url = home.build(root)["deployment_url"]
    (root / "index.html").write_text("second")
    home.build(root, "--no-deploy")
    proof = home.run("verify", root, "--json", code=1).json
    assert proof["files_differ"] == ["/www/index.html"] and proof["digest_ok"]
    assert get(url) == (200, "first")
    home.build(root)
    assert home.run("verify", root, "--json").json["ok"]


def test_file_that_a_run_edits_is_listed_with_its_reason(home: Home, folder: Folder) -> None:
    recipe = DOCKERFILE.replace("EXPOSE", "RUN sed -i s/first/edited/ index.html && rm gone.html\nEXPOSE")
    root = folder("edited", {"Dockerfile": recipe, "index.html": "first", "gone.html": "gone", "kept.html": "kept"})
    build = home.build(root)
    assert get(build["deployment_url"]) == (200, "edited")
    proof = home.run("verify", root, "--json").json
    assert proof["ok"] and proof["files_checked"] == 2 and proof["files_differ"] == []
    reasons = {one["path"]: one["reason"] for one in proof["files_unverifiable"]}
    assert set(reasons) == {"/www/index.html", "/www/gone.html"}
    assert all("sed -i s/first/edited/" in reason for reason in reasons.values())
    in_container(home, "sh", "-c", "echo tampered > /www/kept.html")
    assert home.run("verify", root, "--json", code=1).json["files_differ"] == ["/www/kept.html"]


def test_source_that_changes_once_it_is_sent(home: Home, folder: Folder) -> None:
    """The image holds what was there when the build began, and verify tells that this is not what is there now."""
    sleeper = Sleeper(seconds=2)
    recipe = DOCKERFILE.replace("EXPOSE", f"RUN sleep {sleeper.seconds}\nEXPOSE")
    root = folder("moving", {**PAGES, "Dockerfile": recipe})
    with building(home, root) as child:
        wait_until(lambda: sleeper.is_running, "the RUN")
        (root / "index.html").write_text("changed")
        stdout, stderr = child.communicate(timeout=PATIENCE)
    assert child.returncode == 0, stderr
    assert get(json.loads(stdout)["deployment_url"]) == (200, "first")
    assert home.run("verify", root, "--json", code=1).json["files_differ"] == ["/www/index.html"]
    assert get(home.build(root)["deployment_url"]) == (200, "changed")
    assert home.run("verify", root, "--json").json["ok"]


def test_source_that_changes_all_the_time(home: Home, folder: Folder) -> None:
    """The image could hold any version: the build fails, and what ran before still runs."""
    root = folder("moving", {**PAGES, "log.txt": "0"})
    url = home.build(root)["deployment_url"]
    (root / "index.html").write_text("second")
    writer = f"""
import itertools, time
for number in itertools.count():
    with open({str(root / "log.txt")!r}, "w") as file:
        file.write(str(number))
    time.sleep(0.002)
"""
    with home.start(sys.executable, "-c", writer) as child:
        error = home.fail("build", root, code=1)
        child.kill()
    assert error["code"] == "source_changed" and "log.txt" in error["message"]
    assert get(url) == (200, "first")
    home.assert_nothing_left(build_id=2)
    assert len(home.engine.images(home.labels())) == 1, "the image of which nobody knows what it holds is gone"
    assert get(home.build(root)["deployment_url"]) == (200, "second")
