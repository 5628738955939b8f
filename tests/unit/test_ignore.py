"""The rules themselves are held to the real builder in tests/acceptance/test_context_semantics.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwright.errors import UsageError
from dockwright.insight.ignore import load_rules, parse_rules


@pytest.mark.parametrize(
    ("text", "out", "within"),
    [
        ("*.md", ["a.md"], ["a/b.md", "a.mdx"]),
        ("**/*.md", ["a.md", "a/b.md", "a/b/c.md"], ["a.mdx"]),
        ("foo", ["foo", "foo/bar", "foo/a/b"], ["foobar", "a/foo"]),
        ("/foo/", ["foo", "foo/bar"], ["a/foo"]),
        ("foo/**", ["foo/bar", "foo/a/b"], ["foo"]),
        ("**", ["a", "a/b"], []),
        ("**/foo", ["foo", "a/foo", "a/b/foo"], ["xfoo"]),
        ("**foo", ["foo", "xfoo", "a/foo"], ["foox"]),
        ("a/*/c", ["a/b/c"], ["a/c", "a/b/b/c"]),
        ("?", ["a"], ["ab"]),
        ("[ab]x", ["ax", "bx"], ["cx"]),
        ("*\n!a", ["b", "b/a"], ["a", "a/b"]),
        ("*\n!a\na/b", ["a/b"], ["a", "a/c"]),
        ("foo\n!foo/bar", ["foo", "foo/x"], ["foo/bar", "foo/bar/x"]),
        ("#foo\n\n  \n foo ", ["foo"], ["#foo"]),
        ("\ufefffoo", ["foo"], []),
        ("./foo/../bar", ["bar"], ["foo"]),
        ("..\n.\n/", [], ["a", ".a"]),
    ],
)
def test_patterns(text: str, out: list[str], within: list[str]) -> None:
    rules = parse_rules(text)
    assert [path for path in out if not rules.is_excluded(path)] == []
    assert [path for path in within if rules.is_excluded(path)] == []


@pytest.mark.parametrize(("text", "line"), [("a\n!\n", 2), ("[\n", 1), ("a\n\n# c\n[a-]", 4), ("x\\", 1)])
def test_a_wrong_pattern_is_named_with_its_line(text: str, line: int) -> None:
    with pytest.raises(UsageError, match=rf"\.dockerignore, line {line}: ") as caught:
        parse_rules(text)
    assert caught.value.remedy


def test_a_folder_is_entered_only_where_an_exception_may_match_below_it() -> None:
    rules = parse_rules("*\n!docs/keep\n!docs/all/**")
    assert rules.may_hold_exceptions("docs")
    assert not rules.may_hold_exceptions("src")
    assert parse_rules("*\n!**/keep").may_hold_exceptions("src")
    assert not parse_rules("*").may_hold_exceptions("src")


def test_the_file_beside_the_dockerfile_wins(tmp_path: Path) -> None:
    (tmp_path / ".dockerignore").write_text("a")
    recipe = tmp_path / "deploy" / "prod.Dockerfile"
    recipe.parent.mkdir()
    assert load_rules(tmp_path, recipe).is_excluded("a")
    (recipe.parent / "prod.Dockerfile.dockerignore").write_text("b")
    rules = load_rules(tmp_path, recipe)
    assert (rules.is_excluded("a"), rules.is_excluded("b")) == (False, True)
    assert rules.source == "prod.Dockerfile.dockerignore"
    assert not load_rules(recipe.parent).is_excluded("a")


@given(
    st.lists(st.text(alphabet="ab/*?![]^.\\#", max_size=8), max_size=5),
    st.lists(st.text(alphabet="ab.", min_size=1, max_size=3), min_size=1, max_size=4),
)
def test_one_path_and_a_walk_agree(lines: list[str], parts: list[str]) -> None:
    try:
        rules = parse_rules("\n".join(lines))
    except UsageError:
        return
    path = "/".join(parts)
    if not rules.has_exceptions:
        prefixes = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        assert rules.is_excluded(path) == any(rules.excludes(prefix) for prefix in prefixes)
    above: list[bool] = []
    for count in range(1, len(parts) + 1):
        is_out, above = rules.judge("/".join(parts[:count]), above)
    assert rules.is_excluded(path) == is_out
