"""Each test that takes `database` is run on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from api_caller import Api


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> dict[str, str]:
    """The settings that name it."""
    if request.param == "sqlite":
        return {}
    return {"DATABASE_URL": request.getfixturevalue("database_url")}


@pytest.fixture
def api(tmp_path: Path, database: dict[str, str]) -> Iterator[Api]:
    api = Api(tmp_path / "home", database)
    yield api
    api.close()


@pytest.fixture
def project(api: Api) -> int:
    body = {"name": "Bot", "source": {"kind": "template", "template": "chatbot"}}
    return int(api.caller("member").post("projects", body, status=201)["id"])
