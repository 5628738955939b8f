"""A walk that was begun ahead: the same as one that is made when it is asked for, or not used."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockwright.errors import UsageError
from dockwright.insight import ahead, context
from dockwright.insight.ignore import load_rules, parse_rules


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    root = tmp_path / "app"
    (root / "src").mkdir(parents=True)
    (root / "Dockerfile").write_text("FROM scratch\n")
    (root / ".dockerignore").write_text("*.log\n")
    (root / "src" / "odd\n \udcff.py").write_text("x")
    (root / "a.log").write_text("")
    # The tests are run by a process that has threads of its own; none of them holds what a walk needs.
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    yield root
    for fork, _ in ahead._begun.values():
        fork.answer()
    ahead._begun.clear()


def nothing() -> None:
    """Beside the walk."""


def until_done(root: Path) -> None:
    fork, _ = ahead._begun[root]
    deadline = time.monotonic() + 20
    while fork.is_at_work:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_is_the_walk_from_the_moment_in_which_it_was_begun(folder: Path) -> None:
    expected = context.walk(folder, load_rules(folder))
    ahead.begin(str(folder))
    until_done(folder)
    (folder / "later").write_text("")
    found = ahead.walk(folder, load_rules(folder), nothing)
    assert found.entries == expected.entries
    assert found.fingerprint == expected.fingerprint
    assert found.started_ns > expected.started_ns


def test_it_is_used_once(folder: Path) -> None:
    ahead.begin(str(folder))
    ahead.walk(folder, load_rules(folder), nothing)
    (folder / "later").write_text("")
    assert "later" in [entry[0] for entry in ahead.walk(folder, load_rules(folder), nothing).entries]


def test_not_under_other_rules(folder: Path) -> None:
    ahead.begin(str(folder))
    found = ahead.walk(folder, parse_rules("src\n"), nothing)
    assert [entry[0] for entry in found.entries] == [".dockerignore", "Dockerfile", "a.log"]


def test_not_after_a_while(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was waited for in between may have taken long."""
    ahead.begin(str(folder))
    until_done(folder)
    (folder / "later").write_text("")
    monkeypatch.setattr(ahead, "FRESH_SECONDS", 0.0)
    assert "later" in [entry[0] for entry in ahead.walk(folder, load_rules(folder), nothing).entries]


def test_the_reason_of_one_that_failed_is_met_by_whoever_asks(folder: Path) -> None:
    (folder / ".dockerignore").write_text("[\n")
    ahead.begin(str(folder))
    with pytest.raises(UsageError):
        load_rules(folder)
    found = ahead.walk(folder, parse_rules("*.log\n"), nothing)
    assert found.entries == context.walk(folder, parse_rules("*.log\n")).entries


def test_a_linked_folder_is_known_by_its_own_path(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    ahead.begin(str(tmp_path / "link"))
    assert list(ahead._begun) == [folder]


def test_none_without_a_dockerfile(tmp_path: Path) -> None:
    ahead.begin(str(tmp_path))
    ahead.begin(str(tmp_path / "missing"))
    ahead.begin("https://example.invalid/app.git#main")
    assert not ahead._begun


def test_none_beside_threads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "active_count", lambda: 2)
    ahead.begin(str(folder))
    assert not ahead._begun


def test_something_else_is_done_while_it_takes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = context.walk

    def slow(*arguments: object) -> context.Walk:
        time.sleep(0.5)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(context, "walk", slow)
    ahead.begin(str(folder))
    called: list[int] = []
    ahead.walk(folder, load_rules(folder), lambda: called.append(1))
    assert called == [1]
    monkeypatch.setattr(context, "walk", real)
    ahead.begin(str(folder))
    until_done(folder)
    ahead.walk(folder, load_rules(folder), lambda: called.append(2))
    assert called == [1]
