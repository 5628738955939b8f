"""A build's events on a terminal: the stages, the steps of the build as they run, and the newest lines of output."""

from __future__ import annotations

import time
from collections import deque
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live as RichLive
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from dockwright.cli.output import printable, seconds
from dockwright.domain.build import STAGE_NAMES
from dockwright.domain.events import Event

_MARKS = {"done": ("✔", "green"), "skipped": ("–", "dim"), "failed": ("✘", "red"), "pending": ("·", "dim")}


class Live:
    def __init__(self, stream: TextIO) -> None:
        self._states: dict[str, tuple[str, float, str]] = dict.fromkeys(STAGE_NAMES, ("pending", 0.0, ""))
        self._steps: dict[int, tuple[str, str, bool, float]] = {}
        self._started: dict[str, float] = {}
        self._output: deque[str] = deque(maxlen=4)
        self._notes: dict[str, str] = {}
        self._live = RichLive(
            get_renderable=self._render, console=Console(file=stream), refresh_per_second=8, transient=False
        )
        self._live.start()

    def __call__(self, event: Event) -> None:
        data = event.data or {}
        if event.kind == "stage" and event.stage:
            self._states[event.stage] = (data["status"], data.get("seconds", 0.0), data.get("reason", ""))
            self._started.setdefault(event.stage, time.monotonic())
            self._output.clear()
        elif event.kind == "step" and data.get("is_instruction"):
            self._steps[data["index"]] = (event.text, data["state"], data["cached"], data["seconds"])
            self._started.setdefault(event.text, time.monotonic())
        elif event.kind == "log" and event.stage:
            (self._output.append(event.text) if event.step else self._notes.__setitem__(event.stage, event.text))

    def close(self) -> None:
        self._output.clear()
        self._live.stop()

    def _render(self) -> RenderableType:
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=1)
        grid.add_column(width=9)
        grid.add_column(justify="right", width=8)
        grid.add_column(overflow="ellipsis", no_wrap=True)
        for name, (state, took, reason) in self._states.items():
            note = reason or self._notes.get(name, "")
            grid.add_row(self._mark(state), name, self._took(name, state, took), Text(printable(note), style="dim"))
            if name == "build":
                self._add_steps(grid)
        lines = [
            Text(f"    │ {printable(line)}", style="dim", no_wrap=True, overflow="ellipsis") for line in self._output
        ]
        return Group(grid, *lines)

    def _add_steps(self, grid: Table) -> None:
        for name, state, cached, took in self._steps.values():
            shown = "cached" if cached else self._took(name, "running" if state == "started" else state, took)
            mark = self._mark("running" if state == "started" else state)
            text = Text(printable(name), style="dim" if cached else "", no_wrap=True, overflow="ellipsis")
            grid.add_row("", Group(mark) if isinstance(mark, Spinner) else mark, shown, text)

    def _took(self, name: str, state: str, took: float) -> str:
        if state == "running":
            return seconds(time.monotonic() - self._started[name])
        return seconds(took) if state in {"done", "failed"} else ""

    def _mark(self, state: str) -> Text | Spinner:
        if state == "running":
            return Spinner("dots", style="cyan")
        mark, style = _MARKS[state]
        return Text(mark, style=style)
