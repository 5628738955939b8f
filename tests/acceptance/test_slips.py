"""What could not even be begun to build leaves nothing: no project, no row, no memory. What was begun keeps its log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from commandline import Home, get
from pages import PAGES

Folder = Callable[..., Path]
NOWHERE = "127.0.0.1:9"

SLIPS = {
    "no Dockerfile": ({"readme.md": "nothing to build"}, "no_dockerfile"),
    "syntax error": ({"Dockerfile": "FROM busybox\nRUNN make\n"}, "dockerfile_syntax"),
    "base out of reach": ({"Dockerfile": f"FROM {NOWHERE}/nothing:1\nCOPY . /\n"}, "registry_unreachable"),
}


def assert_no_trace(home: Home) -> None:
    for table in ("projects", "builds", "build_events", "build_artifacts"):
        assert home.rows(f"SELECT * FROM {table}") == [], table
    contexts = home.path / "contexts"
    assert not contexts.exists() or list(contexts.iterdir()) == []
    home.assert_nothing_left()


@pytest.mark.parametrize(("files", "code"), SLIPS.values(), ids=SLIPS.keys())
def test_folder_that_cannot_be_built(files: dict[str, str], code: str, home: Home, folder: Folder) -> None:
    root = folder("slip", files)
    answer = home.run("build", root, "--json", code=None)
    assert answer.json["error"]["code"] == code
    assert answer.json["build_id"] is None, "there is no such build any more"
    assert_no_trace(home)
    (root / "readme.md").unlink(missing_ok=True)
    for path, text in PAGES.items():
        (root / path).write_text(text)
    built = home.build(root)
    assert built["project"] == root.name and get(built["deployment_url"]) == (200, "first")


@pytest.mark.parametrize("url", [f"http://{NOWHERE}/app.git", "file:///no/such/repository"])
def test_repository_that_cannot_be_reached(url: str, home: Home) -> None:
    assert home.fail("build", f"{url}#main", code=3)["code"] == "git_unreachable"
    assert_no_trace(home)


def test_what_was_begun_keeps_its_log(home: Home, folder: Folder) -> None:
    root = folder("begun", {"Dockerfile": "FROM busybox\nRUN echo 'the well is dry' && exit 7\n"})
    failed = home.run("build", root, "--json", code=1).json
    assert (failed["error"]["code"], failed["build_id"]) == ("step_failed", 1)
    assert "the well is dry" in home.run("logs", "1").stdout
    # And from then on there is a project, whose slips are builds of it like any other.
    (root / "Dockerfile").write_text("RUNN\n")
    slip = home.run("build", root, "--json", code=1).json
    assert (slip["error"]["code"], slip["build_id"]) == ("dockerfile_syntax", 2)
    assert [row["status"] for row in home.rows("SELECT status FROM builds ORDER BY id")] == ["failed", "failed"]


def test_project_that_was_made_on_purpose_stays(home: Home) -> None:
    home.run("new", "chatbot", "Helper")
    failed = home.run("build", "Helper", "--json", code=None, env={"DOCKER_HOST": f"unix://{home.path}/nobody.sock"})
    assert failed.json["error"]["code"] == "engine_unreachable" and failed.json["build_id"] == 1
    assert [row["name"] for row in home.rows("SELECT name FROM projects")] == ["Helper"]
    assert [row["error_code"] for row in home.rows("SELECT error_code FROM builds")] == ["engine_unreachable"]
