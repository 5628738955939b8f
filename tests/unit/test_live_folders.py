"""Which changes of a folder `dev` takes notice of, where the compose file has rules for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dockwright.insight.ignore import parse_rules
from dockwright.insight.watching import WatchRule
from dockwright.services.dev import folder_of_rule

FILES = ("src/app.py", "src/cache/x", "src/cache/keep", "src/a.tmp", "src/own/y", "notes/n.md", "notes/deep/n.md")


def changed(root: Path, rules: str, path: str, *, build: bool = True, name: str = ".dockerignore") -> set[str]:
    (root / name).write_text(rules)
    service = {"build": {"context": str(root), "dockerfile": "Dockerfile"}} if build else {"image": "x"}
    rule = WatchRule(path=str(root / path), action="sync", target="/app", ignore=("own/",))
    folder = folder_of_rule(rule, service)
    for file in FILES:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text("new")
    return folder.changed(lambda: None)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "notes").mkdir()
    return tmp_path


def test_what_the_context_leaves_out_is_no_change(root: Path) -> None:
    assert changed(root, "src/cache\n**/*.tmp\n", "src") == {"app.py"}


def test_exceptions_count_from_the_context_on(root: Path) -> None:
    assert changed(root, "*\n!src\nsrc/cache\n!src/cache/keep\n", "src") == {"app.py", "a.tmp", "cache/keep"}


def test_folder_that_is_left_out_as_a_whole(root: Path) -> None:
    assert changed(root, "notes\n", "notes/") == set()


def test_own_ignore_file_of_the_dockerfile(root: Path) -> None:
    assert changed(root, "src/a.tmp\n", "src", name="Dockerfile.dockerignore") == {"app.py", "cache/x", "cache/keep"}


def test_service_that_is_not_built(root: Path) -> None:
    assert changed(root, "src/cache\n", "src", build=False) == {"app.py", "a.tmp", "cache/x", "cache/keep"}


def test_rules_seen_from_a_folder_below(root: Path) -> None:
    below = parse_rules("*\n!a/b\na/b/c\n!a/b/c/d\n!z\n").below("a/b")
    assert not below.is_excluded("x") and below.is_excluded("c/x") and not below.is_excluded("c/d/x")
    assert below.may_hold_exceptions("c") and not below.may_hold_exceptions("x")
    assert parse_rules("a\n").below("a/b").is_excluded("x")
