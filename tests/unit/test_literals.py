"""User text as literals: whatever a string holds, it comes back as the same string and as nothing else."""

from __future__ import annotations

import ast
import json
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dockwright.insight import literals

TEXT = st.text(st.characters(exclude_categories=["Cs"])) | st.text(
    st.sampled_from(list("\"'\\{}%#$`\n\r\0\t;:=@ \u2028\u202e\u200f\U0001f600aé")), max_size=30
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_python_gives_an_equal_value(value: object) -> None:
    text = literals.python(value)
    assert text.isascii()
    assert ast.literal_eval(text) == value


@given(VALUES)
def test_json_gives_an_equal_value_and_cannot_end_a_script(value: object) -> None:
    text = literals.json_literal(value)
    assert text.isascii()
    assert "<" not in text
    assert json.loads(text) == value


@given(TEXT)
def test_yaml_gives_the_same_text(text: str) -> None:
    assert yaml.safe_load(f"key: {literals.yaml(text)}") == {"key": text}


@given(st.lists(TEXT))
def test_yaml_gives_the_same_list(items: list[str]) -> None:
    assert yaml.safe_load(literals.yaml(items)) == items


@given(TEXT)
def test_compose_leaves_no_variable(text: str) -> None:
    literal = literals.compose(text)
    assert re.sub(r"\$\$", "", literal).count("$") == 0
    assert yaml.safe_load(literal).replace("$$", "$") == text


@given(TEXT)
def test_a_dockerfile_word_is_one_line_and_one_word(text: str) -> None:
    literal = literals.dockerfile(text)
    assert len(literal.splitlines()) == 1
    assert re.fullmatch(r'"(?:[^"\\$]|\\["\\$])*"', literal)


@given(TEXT)
def test_a_comment_is_one_line_without_anything_invisible(text: str) -> None:
    literal = literals.comment(text)
    assert len(literal.splitlines()) == 1
    assert not re.search("coding[:=]", literal)
    assert not set(literal) & set("\u202e\u200f\0")


@given(TEXT)
def test_markdown_is_one_line_without_markup(text: str) -> None:
    literal = literals.markdown(text)
    assert len(literal.splitlines()) <= 1
    assert not re.search(r"(?<!\\)(?:\\\\)*[<`*_\[]", literal)


def test_nginx_refuses_what_it_has_no_escape_for() -> None:
    assert literals.nginx('a "b" \\') == '"a \\"b\\" \\\\"'
    with pytest.raises(ValueError, match="no way"):
        literals.nginx("$host")


@pytest.mark.parametrize("text", ["requests", "requests >=2.31,<3", "uvicorn[standard]; python_version > '3'"])
def test_a_requirement_is_a_package(text: str) -> None:
    assert literals.requirement(text)


@pytest.mark.parametrize(
    "text",
    [
        "--index-url=x",
        "-r other.txt",
        "a @ https://example.org/a.whl",
        "a\n-e .",
        "git+https://x/y",
        "./here",
        "",
        "a b",
    ],
)
def test_a_requirement_is_nothing_else(text: str) -> None:
    with pytest.raises(ValueError, match=r"package|address"):
        literals.requirement(text)


def test_numbers_without_a_literal_are_refused() -> None:
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError):
            literals.json_literal(value)
        with pytest.raises(ValueError, match="no literal"):
            literals.python(value)


def test_joining_literals_gives_ordinary_text() -> None:
    literal = literals.python("a")
    assert not isinstance(literal + "b", literals.Literal)
    assert not isinstance(literal.upper(), literals.Literal)
    assert not isinstance(literal[1:], literals.Literal)


@pytest.mark.parametrize(
    ("name", "allowed", "refused"),
    [
        ("Dockerfile", "dockerfile", "py"),
        ("settings.py", "py", "yaml"),
        ("docker-compose.yml", "compose", "yaml"),
        ("values.yaml", "yaml", "py"),
        ("nginx.conf", "nginx", "yaml"),
        ("requirements.txt", "requirement", "py"),
        ("README.md", "markdown", "comment"),
    ],
)
def test_a_file_gets_the_filters_of_its_language(name: str, allowed: str, refused: str) -> None:
    filters = literals.filters_for(name)
    assert allowed in filters
    assert refused not in filters
