"""Projects that share a name, and what an unknown name is answered with."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dockwright import settings as settings_module
from dockwright.domain.source import FolderSource
from dockwright.errors import Conflict, NotFound
from dockwright.services import projects
from dockwright.services.state import State


def test_an_unknown_name_is_answered_with_names_that_tell_projects_apart(tmp_path: Path) -> None:
    state = State(settings_module.load({"DOCKWRIGHT_HOME": str(tmp_path / "home")}, tmp_path / "none"))
    for place in ("here", "there"):
        path = str(tmp_path / place / "shop")
        projects.create_from_source(state, FolderSource(path=path), path, "shop")
    with pytest.raises(NotFound) as raised:
        projects.find(state, "shopp")
    assert raised.value.remedy == "There are: shop-2, shop"
    assert projects.find(state, "shop-2")["source"]["path"] == str(tmp_path / "there" / "shop")


def test_the_same_project_made_by_several_at_once_is_made_once(tmp_path: Path) -> None:
    settings = settings_module.load({"DOCKWRIGHT_HOME": str(tmp_path / "home")}, tmp_path / "none")
    _ = State(settings).client  # the schema first
    start = threading.Barrier(6)

    def make(name: str) -> str:
        state = State(settings)
        start.wait()
        try:
            return str(projects.create_from_template(state, "chatbot", name, {})["slug"])
        except Conflict as error:
            return error.message

    with ThreadPoolExecutor(6) as pool:
        answers = sorted(pool.map(make, ["Helper"] * 3 + ["helper!", "helper?", "Other"]))
    told = ['There is a project "Helper" already'] * 2
    assert answers == sorted([*told, "helper", "helper-2", "helper-3", "other"])
