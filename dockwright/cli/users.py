"""Users of a server: of the one that DOCKWRIGHT_URL names, else of the one that this state folder belongs to."""

from __future__ import annotations

import sys
from typing import TextIO

import click

from dockwright.cli.output import json_option, print_json, say
from dockwright.cli.session import use_cases
from dockwright.domain.roles import ROLES


@click.group()
def user() -> None:
    """Users, who sign in to the server.

    Example: dockwright user add ada@example.com --role owner
    """


@user.command(short_help="Make a user.")
@click.argument("email")
@click.option("--role", type=click.Choice(ROLES), default="member", show_default=True)
@click.option("--client", "slug", metavar="SLUG", help="The client that the user belongs to; the local one unless set.")
@click.option(
    "--password-file", type=click.File("r", encoding="utf-8"), help="Its first line is the password; - for stdin."
)
@json_option
def add(email: str, role: str, slug: str | None, password_file: TextIO | None, as_json: bool) -> None:
    """Make a user. The password is asked for, or is the first line of standard input or of a file.

    Example: dockwright user add ada@example.com --role owner --password-file ada.txt
    """
    made = use_cases().add_user(email, password_from(password_file, is_new=True), role, slug)
    if as_json:
        print_json(made)
    else:
        say(f"{made['email']} may sign in now, as {made['role']}")


def password_from(file: TextIO | None, *, is_new: bool) -> str:
    """Never an argument, which every user of the machine can see."""
    if file is not None:
        with file as opened:
            return str(opened.readline().rstrip("\r\n"))
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=is_new, err=True))
