"""`dockwright context`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from dockwright.cli.output import counted, json_option, print_json, printable, say, size, table

MAX_SHOWN = 15


@click.command(short_help="What is sent to the builder, and what of it is of use.")
@click.argument("path", metavar="[PATH]", type=click.Path(path_type=Path), default=".")
@click.option("--write", "write_file", is_flag=True, help="Add what is suggested to .dockerignore.")
@json_option
def context(path: Path, write_file: bool, as_json: bool) -> None:
    """Show what is sent to the builder, what of it any COPY takes in, and what to ignore.

    With --write a .dockerignore is made or extended. It never drops a file that the image needs.

    Example: dockwright context ~/my-app --write
    """
    from dockwright import settings
    from dockwright.services import context as service

    doubts: list[str] = []
    result = service.context(settings.load(), path, write_file=write_file, warn=doubts.append)
    for doubt in doubts:
        sys.stderr.write(f"{printable(doubt)}\n")
    if as_json:
        print_json(result)
        return
    _show(result)
    saved = sum(one["bytes"] for one in result["suggestions"])
    if write_file and result["suggestions"]:
        say(f"\nWritten: {counted(len(result['suggestions']), 'line')}. {size(saved)} stay out of each build")
    elif result["suggestions"]:
        say(f"\nThat would save {size(saved)}. Write it with: dockwright context {path} --write")
    elif not doubts:
        say("\nNothing to ignore: what is sent is of use")


def _show(result: dict[str, Any]) -> None:
    say(f"Sent to the builder   {size(result['bytes'])} in {counted(result['files'], 'file')}")
    say(f"Used by the image     {size(result['used_bytes'])}")
    say(f"Left out              {size(result['ignored_bytes'])}")
    if result["largest"]:
        say()
        table(("SIZE", "FOLDER"), ((size(one["bytes"]), one["path"]) for one in result["largest"]))
    found = result["suggestions"]
    if found:
        say()
        table(
            ("SAVES", "IGNORE", "BECAUSE"), ((size(o["bytes"]), o["pattern"], o["reason"]) for o in found[:MAX_SHOWN])
        )
    if len(found) > MAX_SHOWN:
        say(f"… and {len(found) - MAX_SHOWN} more: see --json")
