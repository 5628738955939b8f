"""A server that is stopped: who hears of it when."""

from __future__ import annotations

import gc
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import uvicorn

from dockwright import settings as settings_module
from dockwright.api.app import create_app
from dockwright.api.server import Server
from dockwright.api.stopping import StreamServer
from dockwright.services.state import State
from dockwright.services.upkeep import Upkeep


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    state = State(settings_module.load({"DOCKWRIGHT_HOME": str(tmp_path)}, tmp_path / "none"))
    yield state
    state.close()


def test_the_queue_hears_of_it_while_the_upkeep_is_at_something_long(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(state, "127.0.0.1", 0)
    queue_was_told, at_work, told = [], threading.Event(), threading.Event()

    def work(_: Upkeep) -> None:
        at_work.set()
        queue_was_told.append(told.wait(5))

    monkeypatch.setattr(Upkeep, "_ensure_edges", work)
    with ExitStack() as running:
        server._start(running)
        worker = server.app.state.queue.worker
        monkeypatch.setattr(worker, "stop", lambda stop=worker.stop: (stop(), told.set()))
        assert at_work.wait(10)
    gc.unfreeze()
    assert queue_was_told == [True]


def test_the_others_hear_of_it_while_a_request_is_answered(state: State) -> None:
    """Builds end meanwhile, rather than afterwards."""
    app, asked, told, answers = create_app(state), threading.Event(), threading.Event(), []

    @app.get("/long")
    def answer() -> bool:
        asked.set()
        return told.wait(5)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/long"
        server = StreamServer(uvicorn.Config(app, log_config=None), app.state.tails, told.set)
        serving = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        asking = threading.Thread(target=lambda: answers.append(urllib.request.urlopen(url).read()))
        for thread in (serving, asking):
            thread.start()
        assert asked.wait(10)
        server.should_exit = True
        for thread in (asking, serving):
            thread.join()
    assert answers == [b"true"]
