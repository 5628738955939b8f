"""Celery and Huey, each with a worker of its own, for `queue_speed.py`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import redis


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running_redis(folder: Path) -> Iterator[str]:
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
    try:
        client = redis.Redis(port=port)
        for _ in range(200):
            try:
                client.ping()
                break
            except redis.ConnectionError:
                time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(timeout=10)


def celery_task(url: str) -> tuple[Any, Any]:
    from celery import Celery

    app = Celery("peer", broker=url)
    app.conf.update(
        task_serializer="json", accept_content=["json"], task_ignore_result=True, worker_prefetch_multiplier=1
    )

    @app.task(name="begin")
    def begin(key: str) -> None:
        now = time.time()
        redis.Redis.from_url(url).rpush(key, repr(now))

    return app, begin


def huey_task(url: str) -> tuple[Any, Any]:
    from huey import RedisHuey

    huey = RedisHuey("peer", url=url, results=False)

    @huey.task()
    def begin(key: str) -> None:
        now = time.time()
        redis.Redis.from_url(url).rpush(key, repr(now))

    return huey, begin


class Peer:
    def __init__(self, name: str, url: str, folder: Path) -> None:
        self.name = name
        self._redis = redis.Redis.from_url(url, socket_timeout=90)
        self._task = (celery_task if name == "celery" else huey_task)(url)[1]
        with (folder / f"{name}.log").open("w") as log:
            # Imported rather than run: Huey finds a task by the name of its module.
            code = f"import peers; peers.work({name!r}, {url!r})"
            self._worker = subprocess.Popen(
                [sys.executable, "-c", code], cwd=Path(__file__).parent, stdout=log, stderr=log
            )
        self._count = 0

    def __enter__(self) -> Self:
        self.start_one()
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.terminate()
        self._worker.wait(timeout=30)

    def start_one(self) -> float:
        """Seconds from the call until the task's first line, by the worker's clock."""
        self._count += 1
        key = f"{self.name}:{self._count}"
        began = time.time()
        if self.name == "celery":
            self._task.delay(key)
        else:
            self._task(key)
        _, at = self._redis.blpop([key], timeout=60) or (None, b"inf")
        return float(at) - began


def work(name: str, url: str) -> None:
    """As each one's documentation starts it, with three threads."""
    warnings.simplefilter("ignore")
    if name == "celery":
        os.environ["C_FORCE_ROOT"] = "1"
        celery_task(url)[0].Worker(pool="threads", concurrency=3, loglevel="WARNING").start()
    else:
        huey_task(url)[0].create_consumer(workers=3, worker_type="thread").run()
