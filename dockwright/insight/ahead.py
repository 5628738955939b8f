"""A walk of a folder's context that is begun before it is asked for, while most of Dockwright is still being loaded."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from dockwright.insight import context, ignore
from dockwright.insight.context import Walk
from dockwright.insight.ignore import Rules
from dockwright.process import Fork

FRESH_SECONDS = 1.0
"""A build that waited for its turn for longer than this looks anew."""
_begun: dict[Path, tuple[Fork, float]] = {}


def begin(folder: str) -> None:
    """Where the folder has a Dockerfile, and this process has no threads yet."""
    root = Path(os.path.realpath(folder))
    dockerfile = root / "Dockerfile"
    if not dockerfile.is_file() or threading.active_count() > 1:
        return

    def work() -> bytes:
        rules = ignore.load_rules(root, dockerfile)
        walked = context.walk(root, rules)
        return json.dumps([rules.lines, walked.started_ns]).encode() + b"\n" + walked.columns

    _begun[root] = (Fork(work), time.monotonic())


def walk(root: Path, rules: Rules, meanwhile: Callable[[], object]) -> Walk:
    """As `context.walk`, which it is where none was begun a moment ago under the same rules.

    `meanwhile` is called where the one that was begun still takes.
    """
    fork, begun_at = _begun.pop(root, (None, 0.0))
    is_fresh = time.monotonic() - begun_at < FRESH_SECONDS
    if fork is not None and is_fresh and fork.is_at_work:
        meanwhile()
    answer = fork.answer() if fork is not None else None
    if answer is not None and is_fresh:
        head, _, columns = answer.partition(b"\n")
        lines, started_ns = json.loads(head)
        if lines == rules.lines:
            return Walk(columns, started_ns)
    return context.walk(root, rules)
