"""Base images for networks without a registry."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from dockwright.cli.output import Json, print_json, say, size, table

Names = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME]…", help="debian, python, node, nginx, busybox; all unless given.")
]
List = Annotated[bool, typer.Option("--list", help="Only show which there are.")]
Force = Annotated[bool, typer.Option("--force", help="Make them again even where they are ready.")]


def base(names: Names = None, only_list: List = False, force: Force = False, as_json: Json = False) -> None:
    """Make base images from Debian packages, for networks without an image registry.

    Builds use them for the official images that a Dockerfile names, and say so.

    Example: dockwright base python node
    """
    from dockwright import settings
    from dockwright.process import Cancel
    from dockwright.services import bases

    read = settings.load()
    if only_list:
        found = bases.listing(read, names or ())
    else:
        found = bases.make(read, names or (), force=force, report=_report, cancel=Cancel())
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
