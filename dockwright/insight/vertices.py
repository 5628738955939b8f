"""How BuildKit names what it runs: `[build  3/12] RUN pip install …`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from dockwright.insight.dockerfile import Instruction, Target
from dockwright.insight.variables import FatalPattern, expand

_COUNTED = ("ADD", "COPY", "RUN", "WORKDIR")


class Numbering:
    """Counts the steps of one target."""

    def __init__(self, target: Target, *, has_image: bool, is_single: bool) -> None:
        self.total = has_image + sum(instruction.keyword in _COUNTED for instruction in target.instructions)
        self.count = 0
        self.name = "" if is_single else f"{target.name or f'stage-{target.index}'} "

    def next(self) -> str:
        """`3/12`. Triggers of a base image are counted, though not in the total."""
        self.count += 1
        return f"{self.count}/{self.total}"

    def vertex(self, number: str, shown: str) -> str:
        """The whole name, "" for a step without a number. The number is as wide as the total."""
        if not number:
            return ""
        if not self.total:
            return shown
        count, _, total = number.partition("/")
        return f"[{self.name}{count:>{len(total)}}/{total}] {shown}"


def display(instruction: Instruction, values: Mapping[str, str], escape: str, used: set[str]) -> str:
    """An instruction as BuildKit shows it: variables that are known put in, a heredoc as its first line."""
    text = instruction.text
    is_run = instruction.keyword == "RUN"
    if is_run and instruction.heredocs and _is_script(instruction):
        text += f" ({_summary(instruction.heredocs[0].raw)})"
    try:
        shown = expand(text, values, escape=escape, quotes="keep" if is_run else "remove", keep_unset=is_run, used=used)
    except FatalPattern:
        raise
    except ValueError:  # BuildKit shows what it cannot read as it was written
        shown = text
    keyword, space, rest = shown.partition(" ")
    return f"{keyword.upper()}{space}{rest}"


def _is_script(instruction: Instruction) -> bool:
    """The RUN is the heredoc alone, rather than a command that reads it."""
    return re.fullmatch(r"\d*<<-?[^<\s]+", " ".join(instruction.operands)) is not None


def _summary(content: str) -> str:
    first, newline, _ = content.strip().replace("\r\n", "\n").partition("\n")
    return first + "..." * bool(newline)


def image_display(image: str) -> str:
    """`python:3.11` → `docker.io/library/python:3.11`, as BuildKit names images."""
    domain, slash, rest = image.partition("/")
    if not slash or not (re.search(r"[.:]", domain) or domain == "localhost" or domain != domain.lower()):
        domain, rest = "docker.io", image
    if domain in ("docker.io", "index.docker.io"):
        domain = "docker.io"
        rest = rest if "/" in rest else f"library/{rest}"
    has_tag = "@" in rest or ":" in rest.rpartition("/")[2]
    return f"{domain}/{rest}" + ("" if has_tag else ":latest")
