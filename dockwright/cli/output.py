"""How the commands speak: human text or JSON, the same words for sizes, times and errors everywhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from dockwright.errors import DockwrightError

number = click.IntRange(1, 2**63 - 1)
"""Of a build or a release."""
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")


def print_json(document: Any) -> None:
    """One document on standard output, a line of its own when another program reads it."""
    indent = 2 if sys.stdout.isatty() else None
    text = json.dumps(document, indent=indent, ensure_ascii=False, default=_plain)
    # A file's name need not be UTF-8, but the document must: JSON has an escape for each such byte.
    sys.stdout.write(text.encode("utf-8", "backslashreplace").decode() + "\n")


def _plain(value: object) -> str:
    """Times as RFC 3339 in UTC, as the events have them."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(value)


def say(text: str = "") -> None:
    """A line for a person; control characters that user text may hold do not reach the terminal."""
    sys.stdout.write(printable(text) + "\n")


def printable(text: str) -> str:
    return "".join(char if char.isprintable() or char in "\n\t" else f"\\x{ord(char):02x}" for char in text)


def show_error(error: DockwrightError, *, as_json: bool) -> None:
    """The cause and the remedy, a line each, on standard error; as JSON also on standard output."""
    if as_json:
        print_json({"error": error.as_dict()})
    for line in error.last_lines:
        sys.stderr.write(f"  │ {printable(line)}\n")
    sys.stderr.write(f"Error: {printable(error.message)}\n")
    sys.stderr.write(f"What to do: {printable(error.remedy)}\n")


def brief(name: str, width: int = 100) -> str:
    """A step's name on one line: a RUN of many lines is known by its beginning."""
    line = " ".join(name.split())
    return line if len(line) <= width else line[: width - 1] + "…"


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as their content, without frames: they can be cut and searched."""
    lines = [tuple(headers), *(tuple("" if cell is None else printable(str(cell)) for cell in row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    for line in lines:
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def size(count: float) -> str:
    """Decimal units, as Docker prints them."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def seconds(count: float) -> str:
    if count < 60:
        return f"{count:.1f} s" if count >= 0.95 else f"{count * 1000:.0f} ms"
    return f"{int(count // 60)} min {int(count % 60)} s"


def pairs(texts: Sequence[str], option: str, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """`K=V` options. Raises a usage error that names the option.

    With an `environ` a name alone takes its value from there, and is left out where it has none, as docker does.
    """
    values: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if environ is not None and name and not equals:
            values |= {name: environ[name]} if name in environ else {}
            continue
        if not equals or not name:
            raise click.BadParameter(f"{text!r} is not of the form NAME=VALUE", param_hint=option)
        values[name] = value
    return values
