"""API tokens of a server: of the one that DOCKWRIGHT_URL names, else of the one that this state folder belongs to."""

from __future__ import annotations

import sys
from typing import TextIO

import click

from dockwright.cli.output import json_option, print_json, say
from dockwright.cli.session import use_cases
from dockwright.cli.users import password_from


@click.group()
def token() -> None:
    """API tokens, with which programs speak to the server.

    Example: dockwright token create --name ci
    """


@token.command(short_help="Make an API token.")
@click.option("--name", default="command line", show_default=True, help="What it is for.")
@click.option("--user", "email", metavar="EMAIL", help="Whose it is; the administrator's unless set.")
@click.option(
    "--password-file", type=click.File("r", encoding="utf-8"), help="Of a user of a server; - for standard input."
)
@json_option
def create(name: str, email: str | None, password_file: TextIO | None, as_json: bool) -> None:
    """Make an API token, and print it this once. It may do what its user may.

    At a server (DOCKWRIGHT_URL) it is made for whom DOCKWRIGHT_TOKEN is, or, with --user, for a user who gives the
    password: it is asked for, or is the first line of standard input or of a file.

    Example: dockwright token create --name ci
    """
    made = use_cases().create_token(name, email, lambda: password_from(password_file, is_new=False))
    if as_json:
        print_json(made)
        return
    say(made["token"])
    sys.stderr.write("It is not shown again\n")
