import pytest

from dockwright.docker.bases import parse_substitutes, substitute_for
from dockwright.errors import InvalidSetting

PYTHON = {"python:*": "localhost/base/python:3.11-slim"}


@pytest.mark.parametrize(
    "ref",
    [
        "python",
        "python:3.12-slim-bookworm",
        "library/python:3",
        "docker.io/python:3",
        "docker.io/library/python:3.11",
        "index.docker.io/library/python",
        "registry-1.docker.io/library/python:3",
    ],
)
def test_any_tag_of_an_official_image_has_its_substitute(ref: str) -> None:
    assert substitute_for(ref, PYTHON) == "localhost/base/python:3.11-slim"


@pytest.mark.parametrize(
    "ref",
    [
        "pythonista:3",
        "acme/python:3",
        "registry.example.com/python:3",
        "registry.example.com:5000/python",
        "docker.io/acme/python:3",
        "python:3.12@sha256:" + "0" * 64,
        "python@sha256:" + "0" * 64,
        "scratch",
    ],
)
def test_another_image_or_a_digest_has_none(ref: str) -> None:
    assert substitute_for(ref, PYTHON) is None


def test_the_longest_pattern_wins() -> None:
    substitutes = {"python:*": "any", "python:3.12*": "twelve", "python:3.12-slim": "exact"}
    assert substitute_for("python:3.12-slim", substitutes) == "exact"
    assert substitute_for("python:3.12-alpine", substitutes) == "twelve"
    assert substitute_for("python:3.11", substitutes) == "any"


def test_a_pattern_may_name_a_registry_with_a_port_and_leave_out_the_tag() -> None:
    substitutes = {"registry.example.com:5000/team/*": "mine", "node": "nodes"}
    assert substitute_for("registry.example.com:5000/team/app:1", substitutes) == "mine"
    assert substitute_for("node:22-alpine", substitutes) == "nodes"


def test_a_digest_is_substituted_where_the_pattern_asks_for_it() -> None:
    assert substitute_for("python:3.12@sha256:ab", {"python:*@*": "mine"}) == "mine"


def test_a_dot_in_a_pattern_is_a_dot() -> None:
    assert substitute_for("python:3x11", {"python:3.11": "mine"}) is None


def test_the_setting_is_read() -> None:
    text = " python:*=localhost/base/python:3.11-slim , docker.io/library/node:18=localhost:5000/node@sha256:ab,"
    assert parse_substitutes(text) == {
        "python:*": "localhost/base/python:3.11-slim",
        "docker.io/library/node:18": "localhost:5000/node@sha256:ab",
    }
    assert parse_substitutes("") == {}


@pytest.mark.parametrize(
    "entry", ["python", "python:*=", "=image", "python:* = two words", "a=b=c", "-x=y", "a=-y", "a=b*"]
)
def test_a_wrong_entry_is_named(entry: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        parse_substitutes(f"node:*=fine,{entry}")
    assert entry in caught.value.message
    assert "python:*=" in caught.value.remedy
