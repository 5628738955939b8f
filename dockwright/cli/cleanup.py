"""`dockwright cleanup`."""

from __future__ import annotations

from typing import Annotated

import typer

from dockwright.cli.output import Json, print_json, say, size


def cleanup(
    keep: Annotated[int, typer.Option(help="Newest releases of each product that stay.", min=1)] = 5,
    older_than: Annotated[
        float | None, typer.Option(help="Only images older than so many days.", metavar="D", min=0)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed.")] = False,
    as_json: Json = False,
) -> None:
    """Remove images, containers and folders that Dockwright made and nothing needs any more.

    Example: dockwright cleanup --keep 3 --dry-run
    """
    from dockwright import settings
    from dockwright.services.cleanup import cleanup as run
    from dockwright.services.state import State

    result = run(State(settings.load()), keep=keep, older_than_days=older_than, dry_run=dry_run)
    if as_json:
        print_json(result)
        return
    for name in result["removed"]:
        say(f"{'Would remove' if dry_run else 'Removed'} {name}")
    say(f"{'Would free' if dry_run else 'Freed'} {size(result['bytes'])} in {result['images']} images")
