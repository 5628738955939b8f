"""The state database."""

from __future__ import annotations

import typer

from dockwright.cli.output import Json, print_json, say

db = typer.Typer(help="The state database.", no_args_is_help=True, rich_markup_mode=None)
db.callback()(lambda: None)


@db.command()
def upgrade(as_json: Json = False) -> None:
    """Bring the database to the newest schema; every other command does so by itself.

    Example: dockwright db upgrade
    """
    from dockwright import settings
    from dockwright.db import schema

    revision = schema.upgrade(settings.load())
    if as_json:
        print_json({"revision": revision})
    else:
        say(f"The database is at revision {revision}")
