"""`dockwright disk`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from dockwright.cli.output import counted, json_option, print_json, say, size, table


@click.command(short_help="What is held, what of it is ours, what could go.")
@json_option
def disk(as_json: bool) -> None:
    """Show what the engine and the state folder hold, what of it is ours, and what a clean-up would free.

    Example: dockwright disk --json
    """
    from dockwright import settings
    from dockwright.errors import UsageError
    from dockwright.services.disk import disk as look
    from dockwright.services.state import State

    loaded = settings.load()
    if loaded.server_url is not None:
        raise UsageError(
            "disk looks at the machine that it runs on, not at a server",
            remedy="Run it there, or see the server's room with: GET /api/v1/system",
        )
    result = look(State(loaded))
    if as_json:
        print_json(result)
        return
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
    freed, cache, room = result["cleanup"], result["engine"]["build_cache"], result["disk"]
    what = ", ".join(counted(freed[name], name[:-1]) for name in ("images", "containers", "builds"))
    say(f"A clean-up would free at least {size(freed['bytes'])}: {what}.  dockwright cleanup --dry-run")
    say(f"Of the build cache {size(cache['bytes'] - cache['in_use_bytes'])} are not in use.  docker builder prune")
    say(f"{size(room['free_bytes'])} of {size(room['total_bytes'])} are free; builds need {size(room['needed_bytes'])}")
