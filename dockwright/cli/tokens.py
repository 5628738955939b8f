"""API tokens of the server that this state folder belongs to."""

from __future__ import annotations

import sys

import click

from dockwright.cli.output import json_option, print_json, say
from dockwright.cli.session import open_state


@click.group()
def token() -> None:
    """API tokens, with which programs speak to the server.

    Example: dockwright token create --name ci
    """


@token.command(short_help="Make an API token.")
@click.option("--name", default="command line", show_default=True, help="What it is for.")
@click.option("--user", "email", metavar="EMAIL", help="Whose it is; the administrator's unless set.")
@json_option
def create(name: str, email: str | None, as_json: bool) -> None:
    """Make an API token, and print it this once. It may do what its user may.

    Example: dockwright token create --name ci
    """
    from dockwright.services import accounts, audit, tokens

    state = open_state()
    owner = email or state.settings.admin_email
    value, made = tokens.create(state, audit.COMMAND_LINE, accounts.user_id_of(state, owner), name)
    if as_json:
        print_json({**made, "user": owner, "token": value})
        return
    say(value)
    sys.stderr.write("It is not shown again\n")
