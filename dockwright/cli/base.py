"""Base images for networks without a registry."""

from __future__ import annotations

import signal
import sys

import click

from dockwright.cli.output import json_option, print_json, say, size, table


@click.command(short_help="Make base images from Debian packages.")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--list", "only_list", is_flag=True, help="Only show which there are.")
@click.option("--force", is_flag=True, help="Make them again even where they are ready.")
@click.option("--if-needed", is_flag=True, help="Only where no image registry can be reached.")
@json_option
def base(names: tuple[str, ...], only_list: bool, force: bool, if_needed: bool, as_json: bool) -> None:
    """Make base images from Debian packages, for networks without an image registry.

    Builds use them for the official images that a Dockerfile names, and say so.

    Example: dockwright base python node
    """
    from dockwright import settings
    from dockwright.process import Cancel
    from dockwright.services import bases

    read = settings.load()
    found = bases.listing(read, names)
    if not only_list and not (if_needed and not bases.are_needed(found)):
        cancel = Cancel()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: cancel.set())
        found = bases.make(read, names, force=force, report=_report, cancel=cancel)
    if as_json:
        print_json([one.as_dict() for one in found])
        return
    table(
        ("BASE", "IMAGE", "STANDS FOR", "STATE", "SIZE"),
        (
            (one.name, one.image, ", ".join(one.substitutes), one.state, size(one.size) if one.size else "")
            for one in found
        ),
    )
    if any(one.state != "ready" for one in found):
        say("Make those that are not ready with: dockwright base")


def _report(line: str) -> None:
    """Progress goes to standard error: standard output holds the result alone."""
    sys.stderr.write(line + "\n")
