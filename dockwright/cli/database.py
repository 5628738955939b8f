"""The state database."""

from __future__ import annotations

import click

from dockwright.cli.output import json_option, print_json, say


@click.group()
def db() -> None:
    """The state database.

    Example: dockwright db upgrade
    """


@db.command(short_help="Bring the database to the newest schema.")
@json_option
def upgrade(as_json: bool) -> None:
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
