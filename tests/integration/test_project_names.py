"""Projects that share a name, and what an unknown name is answered with."""

from __future__ import annotations

from pathlib import Path

import pytest

from dockwright import settings as settings_module
from dockwright.domain.source import FolderSource
from dockwright.errors import NotFound
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
