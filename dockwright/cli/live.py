"""A build's events on a terminal: the stages, the steps of the build as they run, and the newest lines of output."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live as RichLive
from rich.text import Text

from dockwright.cli.output import brief, printable, seconds
from dockwright.domain.build import STAGE_NAMES
from dockwright.domain.events import Event

_MARKS = {"done": ("✔", "green"), "skipped": ("–", "dim"), "failed": ("✘", "red"), "pending": ("·", "dim")}
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_NOTE_STYLES = {"pending": "dim", "skipped": "dim"}
OUTPUT_LINES = 4


class Live:
    """Redraws itself; what is left on the screen at the end is the summary of the build."""

    def __init__(self, stream: TextIO) -> None:
        self._states: dict[str, tuple[str, float]] = {**dict.fromkeys(STAGE_NAMES, ("pending", 0.0))}
        self._steps: dict[int, tuple[str, str, bool, float]] = {}
        self._started: dict[str, float] = {}
        self._notes: dict[str, str] = {}
        self._output: deque[str] = deque(maxlen=OUTPUT_LINES)
        self._live = RichLive(get_renderable=self._render, console=Console(file=stream), refresh_per_second=10)
        self._live.start()

    def __call__(self, event: Event) -> None:
        data = event.data or {}
        if event.kind == "stage" and event.stage:
            self._states[event.stage] = (data["status"], data.get("seconds", 0.0))
            self._started.setdefault(event.stage, time.monotonic())
            self._output.clear()
            if "reason" in data:
                self._notes[event.stage] = data["reason"]
        elif event.kind == "step" and data.get("is_instruction"):
            self._steps[data["index"]] = (event.text, data["state"], data["cached"], data["seconds"])
            self._started.setdefault(event.text, time.monotonic())
        elif event.kind == "log" and event.step:
            self._output.append(event.text)
        elif event.kind == "log" and event.stage and self._states[event.stage][0] == "running":
            self._notes[event.stage] = event.text

    def close(self) -> None:
        self._output.clear()
        self._live.stop()

    def _render(self) -> RenderableType:
        lines = [line for name in STAGE_NAMES for line in self._stage(name)]
        lines += [_line(("    │ ", "dim"), (printable(text), "dim")) for text in self._output]
        return Group(*lines)

    def _stage(self, name: str) -> Iterator[Text]:
        state, took = self._states[name]
        style = _NOTE_STYLES.get(state, "")
        note = printable(self._notes.get(name, ""))
        yield _line(
            self._mark(state), (f" {name:9}", style), (f"{self._took(name, state, took):>9}  ", style), (note, "dim")
        )
        if name == "build":
            yield from (self._step(*step) for step in self._steps.values())

    def _step(self, name: str, state: str, cached: bool, took: float) -> Text:
        state = "running" if state == "started" else state
        shown = "cached" if cached else self._took(name, state, took)
        style = "dim" if cached else ""
        return _line(("  ", ""), self._mark(state), (f"        {shown:>9}  ", style), (brief(printable(name)), style))

    def _took(self, name: str, state: str, took: float) -> str:
        if state == "running":
            return seconds(time.monotonic() - self._started[name])
        return seconds(took) if state in {"done", "failed"} else ""

    def _mark(self, state: str) -> tuple[str, str]:
        if state == "running":
            return _SPINNER[int(time.monotonic() * 10) % len(_SPINNER)], "cyan"
        return _MARKS[state]


def _line(*parts: tuple[str, str]) -> Text:
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")
