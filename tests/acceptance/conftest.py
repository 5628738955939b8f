"""The real command on the real engine, each test in a home of its own. Without an engine these tests fail."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commandline import COMMAND, Home, has_registry

BASES = ("debian", "python", "node", "nginx", "busybox")


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the folders are built on, where no registry gives it."""
    if has_registry():
        return
    done = Home(tmp_path_factory.mktemp("bases")).start(COMMAND, "base", *BASES).wait(timeout=280)
    assert done == 0


@pytest.fixture(scope="session")
def server_bases(tmp_path_factory: pytest.TempPathFactory) -> None:
    """PostgreSQL, Redis and the registry as images: our own even where a registry has the official ones."""
    done = Home(tmp_path_factory.mktemp("servers")).run("base", "postgres", "redis", "registry", "--json")
    assert {one["state"] for one in done.json} == {"ready"}


@pytest.fixture
def new_home(tmp_path: Path, bases: None) -> Iterator[Callable[[], Home]]:
    """Homes that know nothing of each other. All that was made from them is gone after the test."""
    homes: list[Home] = []

    def make() -> Home:
        homes.append(Home(tmp_path / f"home{len(homes)}"))
        return homes[-1]

    yield make
    for home in homes:
        home.clean()


@pytest.fixture
def home(new_home: Callable[[], Home]) -> Home:
    return new_home()


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """`folder(name, {path: text})`: a folder whose base name is no other test's, so neither is its image's."""

    def make(name: str = "app", files: dict[str, str] | None = None) -> Path:
        root = tmp_path / f"{name}-{secrets.token_hex(3)}"
        root.mkdir()
        for path, text in (files or {}).items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        return root

    return make
