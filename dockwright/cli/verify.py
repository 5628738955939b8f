"""`dockwright verify`."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any

import click

from dockwright.cli.output import json_option, print_json, say
from dockwright.cli.session import use_cases

MAX_SHOWN = 20
MAX_LINES = 5


@click.command()
@click.argument("what", metavar="[PATH|PRODUCT|CONTAINER]", default=".")
@json_option
def verify(what: str, as_json: bool) -> None:
    """Prove that what runs equals the source, file by file.

    Of a folder: its product with all instances, and the services that `dockwright up` started. Each thing that is not
    as it should be is named, beside the container's status and the last lines of its log.

    Example: dockwright verify ~/my-app
    """
    result = use_cases().verify(what)
    if as_json:
        print_json(result)
    else:
        for instance in result["instances"]:
            _show(instance)
        if result["ok"]:
            say(f"What runs is what was written: {result['product']}")
        else:
            say(f"What runs is NOT what was written: {result['product']}")  # what to do stands beside each finding
    if not result["ok"]:
        sys.exit(1)


def _show(instance: dict[str, Any]) -> None:
    say(f"{'✔' if instance['ok'] else '✘'} {instance['name']} ({_status(instance['status'])}): {instance['summary']}")
    for finding in instance["findings"]:
        say(f"    {finding['severity']:<8} {finding['message']}")
        say(f"             {finding['remedy']}")
    for entry in instance["files_unverifiable"][:MAX_SHOWN]:
        say(f"    cannot compare   {entry['path']}: {entry['reason']}")
    for line in instance["last_lines"][-MAX_LINES:]:
        say(f"    │ {line}")


def _status(status: dict[str, Any]) -> str:
    told = [status["state"]]
    if status["health"]:
        told.append(status["health"])
    if status["exit_code"] is not None:
        told.append(f"exit code {status['exit_code']}")
    if status["restarts"]:
        told.append(f"restarted {status['restarts']} times")
    if status["build"]:
        told.append(f"build {status['build']}{_since(status['built_at'])}")
    return ", ".join(told)


def _since(built_at: datetime | str | None) -> str:
    """A time where a server tells it; here the text of the image's label, whoever has set that."""
    if isinstance(built_at, str):
        try:
            built_at = datetime.fromisoformat(built_at)
        except ValueError:
            return f" of {built_at}"
    return f" of {built_at:%Y-%m-%d %H:%M}" if built_at else ""
