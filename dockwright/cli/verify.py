"""`dockwright verify`."""

from __future__ import annotations

from typing import Annotated

import typer

from dockwright.cli.output import Json, print_json, say
from dockwright.process import Cancel

MAX_SHOWN = 20


def verify(
    what: Annotated[str, typer.Argument(metavar="[PATH|PRODUCT]", help="A folder, a Git URL or a product.")] = ".",
    as_json: Json = False,
) -> None:
    """Prove that what runs equals the source, file by file.

    Example: dockwright verify ~/my-app
    """
    from dockwright import settings
    from dockwright.services.state import State
    from dockwright.services.verify import verify as run

    result = run(State(settings.load()), what, Cancel())
    if as_json:
        print_json(result)
    else:
        for instance in result["instances"]:
            say(f"{'✔' if instance['ok'] else '✘'} {instance['name']}: {instance['summary']}")
            for path in instance["files_differ"][:MAX_SHOWN]:
                say(f"    differs          {path}")
            for entry in instance["files_unverifiable"][:MAX_SHOWN]:
                say(f"    cannot compare   {entry['path']}: {entry['reason']}")
        say(
            f"{'What runs is what was written' if result['ok'] else 'What runs is NOT what was written'}: {result['product']}"
        )
        if not result["ok"]:
            say("What to do: build it again with: dockwright build")
    if not result["ok"]:
        raise typer.Exit(1)
