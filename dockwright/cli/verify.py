"""`dockwright verify`."""

from __future__ import annotations

import sys

import click

from dockwright.cli.output import json_option, print_json, say
from dockwright.cli.session import use_cases

MAX_SHOWN = 20


@click.command()
@click.argument("what", metavar="[PATH|PRODUCT]", default=".")
@json_option
def verify(what: str, as_json: bool) -> None:
    """Prove that what runs equals the source, file by file.

    Example: dockwright verify ~/my-app
    """
    result = use_cases().verify(what)
    if as_json:
        print_json(result)
    else:
        for instance in result["instances"]:
            say(f"{'✔' if instance['ok'] else '✘'} {instance['name']}: {instance['summary']}")
            for path in instance["files_differ"][:MAX_SHOWN]:
                say(f"    differs          {path}")
            for entry in instance["files_unverifiable"][:MAX_SHOWN]:
                say(f"    cannot compare   {entry['path']}: {entry['reason']}")
        if result["ok"]:
            say(f"What runs is what was written: {result['product']}")
        else:
            say(f"What runs is NOT what was written: {result['product']}")
            say(f"What to do: Build it again with: dockwright build {what}")
    if not result["ok"]:
        sys.exit(1)
