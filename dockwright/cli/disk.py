"""`dockwright disk`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from dockwright.cli.output import counted, json_option, print_json, say, size, table
from dockwright.cli.session import use_cases


@click.command(short_help="What is held, what of it is ours, what could go.")
@json_option
def disk(as_json: bool) -> None:
    """Show what the engine and the state folder hold, what of it is ours, and what a clean-up would free.

    Of a server that DOCKWRIGHT_URL names: how much room it has, and what its clean-up would free for your client.

    Example: dockwright disk --json
    """
    result = use_cases().disk()
    if as_json:
        print_json(result)
        return
    if "engine" in result:
        table(("ON THE ENGINE", "COUNT", "SIZE", "OURS", "SIZE OF OURS"), _engine_rows(result["engine"]))
        say()
        table(("IN THE STATE FOLDER", "SIZE"), _state_rows(result["state"]))
        say()
    _say_what_could_go(result)


def _engine_rows(engine: dict[str, dict[str, int]]) -> Iterator[tuple[object, ...]]:
    for kind, one in engine.items():
        ours = (one["ours"], size(one["ours_bytes"])) if "ours" in one else ("", "")
        yield kind.replace("_", " "), one["count"], size(one["bytes"]), *ours


def _state_rows(state: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    for part in ("workspaces", "contexts", "artifacts", "database", "other"):
        yield part, size(state[part])


def _say_what_could_go(result: dict[str, Any]) -> None:
    room = result["disk"]
    if "cleanup" in result:
        freed = result["cleanup"]
        what = ", ".join(counted(freed[name], name[:-1]) for name in ("images", "containers", "builds"))
        say(f"A clean-up would free at least {size(freed['bytes'])}: {what}.  dockwright cleanup --dry-run")
    if "engine" in result:
        cache = result["engine"]["build_cache"]
        unused = size(cache["bytes"] - cache["in_use_bytes"])
        say(f"Of the build cache {unused} are not in use.  docker builder prune")
    say(f"{size(room['free_bytes'])} of {size(room['total_bytes'])} are free; builds need {size(room['needed_bytes'])}")
