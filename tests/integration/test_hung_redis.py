"""A Redis that takes connections and answers nothing, as one whose machine swaps: no build waits for it."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

from servers import Redis

from dockwright.db.queue import Claim
from dockwright.queue.distributed import DistributedWorker, RedisBus
from dockwright.services.state import State
from dockwright.settings import load

ENOUGH = 60.0
"""Seconds: far more than it takes, and a fraction of what waiting for each answer would."""


def test_a_redis_that_hangs_holds_no_build_up(tmp_path: Path) -> None:
    with Redis() as redis:
        settings = load({"DOCKWRIGHT_HOME": str(tmp_path), "REDIS_URL": redis.url}, tmp_path / "none")
        state = State(settings, bus=RedisBus(settings))
        worker = DistributedWorker(state)
        claim = Claim(build_id=1, client_id=1, project_id=1, attempt=1, task_id="a-task")

        def build() -> None:
            for _ in range(40):
                state.bus.written(1)
            worker._tell(claim, "BUILDING", {"stage": "build"})

        assert redis.process is not None
        redis.process.send_signal(signal.SIGSTOP)
        thread = threading.Thread(target=build, daemon=True)
        thread.start()
        thread.join(timeout=ENOUGH)
        is_held_up = thread.is_alive()
        redis.process.send_signal(signal.SIGCONT)
        thread.join(timeout=ENOUGH)
        state.bus.close()
        state.close()
        assert not is_held_up
