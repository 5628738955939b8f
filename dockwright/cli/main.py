"""The command line: finds the command, loads it alone, and turns an error into a cause, a remedy and an exit code.

Click rather than Typer: what Typer loads for its parameters takes 40 ms, half of what a build of which nothing changed
may take in all.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

import click

from dockwright.errors import DockwrightError, Interrupted, UsageError

COMMANDS: dict[str, str] = {
    "serve": "serve:serve",
    "worker": "worker:worker",
    "new": "projects:new",
    "build": "build:build",
    "up": "compose:up",
    "down": "compose:down",
    "dev": "compose:dev",
    "check": "check:check",
    "context": "context:context",
    "explain": "explain:explain",
    "verify": "verify:verify",
    "builds": "builds:builds",
    "logs": "builds:logs",
    "cancel": "builds:cancel",
    "retry": "build:retry",
    "images": "images:images",
    "image": "images:image",
    "products": "products:products",
    "deploy": "products:deploy",
    "start": "products:start",
    "stop": "products:stop",
    "scale": "products:scale",
    "releases": "products:releases",
    "rollback": "products:rollback",
    "cleanup": "cleanup:cleanup",
    "disk": "disk:disk",
    "base": "base:base",
    "doctor": "doctor:doctor",
    "db": "database:db",
    "user": "users:user",
    "token": "tokens:token",
}
"""Command → module below `dockwright.cli` and the command or group in it, in the order of the help text."""


class Commands(click.Group):
    """Imports a command's module only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(f"dockwright.cli.{module}"), attribute)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dockwright")
def app() -> None:
    """Take a template, a Git tag or a folder to a tested, running container, and prove what runs.

    Example: dockwright build ~/my-app
    """


def main() -> None:
    """Ends the process at once when the command has: taking the interpreter apart costs a tenth of a quick build."""
    try:
        try:
            _run()
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        status = 1  # as Click has it for one that it meets itself
    os._exit(status)


def _run() -> None:
    try:
        app(prog_name="dockwright", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except (DockwrightError, click.ClickException, click.Abort) as error:
        from dockwright.cli.output import show_error

        shown = _as_dockwright_error(error)
        show_error(shown, as_json="--json" in sys.argv)
        sys.exit(shown.exit_code)


def _as_dockwright_error(error: Exception) -> DockwrightError:
    """Click's own errors speak as ours do: a line of cause, a line of remedy, and JSON where it was asked for."""
    if isinstance(error, DockwrightError):
        return error
    if isinstance(error, click.Abort):  # what Click makes of Ctrl-C
        return Interrupted("Interrupted", remedy="Start it again when you are ready")
    assert isinstance(error, click.ClickException)
    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context else "dockwright"
    return UsageError(error.format_message().rstrip("."), remedy=f"See: {command} --help")
