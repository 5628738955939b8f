"""Settings: defaults, the file, and that whatever is wrong is named."""

from pathlib import Path

import pytest

from dockwright.errors import InvalidSetting
from dockwright.settings import load


def test_defaults_lie_below_home(tmp_path: Path) -> None:
    settings = load({"DOCKWRIGHT_HOME": str(tmp_path)}, tmp_path / "none")
    assert settings.workspace_dir == tmp_path / "generated-bots"
    assert settings.template_dir == tmp_path / "build-templates"
    assert settings.database_file == tmp_path / "dockwright.db"
    assert settings.timeout_seconds == 1800
    assert settings.network_name == "dockwright"


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / ".env.build"
    file.write_text("# builds\nBUILD_TIMEOUT_SECONDS=5\nBUILD_DISK_MIN_FREE='2GB'\n")
    settings = load({"DOCKWRIGHT_HOME": str(tmp_path), "BUILD_TIMEOUT_SECONDS": "7"}, file)
    assert (settings.timeout_seconds, settings.disk_min_free) == (7, 2 * 10**9)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BUILD_TIMEOUT_SECONDS", "0"),
        ("BUILD_TIMEOUT_SECONDS", "soon"),
        ("BUILD_DISK_MIN_FREE", "much"),
        ("DATABASE_URL", "mysql://x"),
        ("CA_BUNDLE", "/nowhere/ca.crt"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(InvalidSetting, match=name):
        load({"DOCKWRIGHT_HOME": str(tmp_path), name: value}, tmp_path / "none")


def test_an_unknown_name_in_the_file_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / ".env.build"
    file.write_text("\nBUILD_TIMEOUT=5\n")
    with pytest.raises(InvalidSetting, match=r"line 2.*BUILD_TIMEOUT"):
        load({"DOCKWRIGHT_HOME": str(tmp_path)}, file)


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / ".env.build"
    file.mkdir() if content is None else file.write_bytes(content)
    with pytest.raises(InvalidSetting, match=r"\.env\.build"):
        load({"DOCKWRIGHT_HOME": str(tmp_path)}, file)


def test_a_relative_database_lies_below_the_home_like_every_other_relative_path(tmp_path: Path) -> None:
    for url, file in (("sqlite:///own.db", tmp_path / "own.db"), ("sqlite:////var/own.db", Path("/var/own.db"))):
        settings = load({"DOCKWRIGHT_HOME": str(tmp_path), "DATABASE_URL": url}, tmp_path / "none")
        assert settings.database_file == file
