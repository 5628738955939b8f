"""BUILD_ISOLATION=isolated: a builder for each client, and what it builds deployed on the engine of the host."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commandline import LABEL, Home, get
from pages import PAGES
from serving import Serving

from dockwright.docker import builders

Folder = Callable[..., Path]


@pytest.fixture
def home(bases: None) -> Iterator[Home]:
    """In a folder of a short name: it holds the builder's socket, whose path may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="dwi-", ignore_cleanup_errors=True) as folder:
        home = Home(Path(folder) / "h")
        yield home
        home.clean()


def test_a_queued_build_runs_on_the_client_s_own_builder(home: Home, folder: Folder) -> None:
    with Serving(home, env={"BUILD_ISOLATION": "isolated"}) as served:
        root = folder("pages", PAGES)
        try:
            build = served.queue(root)
            assert served.wait(build)["status"] == "deployed", served.log()
            assert served.rows("SELECT builder FROM builds WHERE id = ?", build) == [(f"isolated-{home.client}",)]
            own = [one for one in home.engine.containers(home.labels()) if f"{LABEL}builder" in one["Labels"]]
            assert len(own) == 1
            [[url]] = served.rows("SELECT deployment_url FROM builds WHERE id = ?", build)
            assert get(url, "/index.html") == (200, "first")
            again = served.queue(root)
            assert served.wait(again)["status"] == "deployed"
            assert any("Nothing changed" in event[2] for event in served.events(again)), "the image is found again"
            (root / "index.html").write_text("second")
            assert served.wait(served.queue(root))["status"] == "deployed"
            assert get(url, "/index.html") == (200, "second")
        finally:
            served.stop()
            assert home.client is not None
            builders.remove(served.state.settings, home.client)
