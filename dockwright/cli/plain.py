"""A build's events as plain lines, for files, pipes and CI."""

from __future__ import annotations

import os
from typing import TextIO

from dockwright.cli.output import brief, printable, seconds
from dockwright.domain.events import Event


class Plain:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, event: Event) -> None:
        line = _line(event)
        if line is not None:
            self._stream.write(printable(line) + "\n")
            self._stream.flush()

    def close(self) -> None:
        """Nothing is held back."""


class PlainBuild(Plain):
    """Of a build that runs here: it goes on when whoever listened is gone (`| head`), and speaks to nobody then."""

    def __call__(self, event: Event) -> None:
        try:
            super().__call__(event)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())


def _line(event: Event) -> str | None:
    data = event.data or {}
    stage = f"{event.stage or '':9}"
    if event.kind == "stage":
        took = f" in {seconds(data['seconds'])}" if data["status"] in {"done", "failed"} else ""
        return (
            None
            if data["status"] == "running"
            else f"{stage} {event.text.removeprefix(event.stage or '').strip()}{took}"
        )
    if event.kind == "step":
        if not data.get("is_instruction") or data["state"] == "started":
            return f"{stage} {brief(event.text)}" if data.get("is_instruction") else None
        outcome = "cached" if data["cached"] else f"{data['state']} in {seconds(data['seconds'])}"
        return f"{stage} {brief(event.text)}: {outcome}"
    if event.kind == "log":
        return f"{stage} {'│ ' if event.step else ''}{event.text}"
    return None
