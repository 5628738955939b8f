"""The command line: finds the command, loads it alone, and turns an error into a cause, a remedy and an exit code."""

from __future__ import annotations

import sys
from importlib import import_module

import typer

COMMANDS: dict[str, str] = {
    "new": "projects:new",
    "build": "build:build",
    "check": "check:check",
    "verify": "verify:verify",
    "builds": "builds:builds",
    "logs": "builds:logs",
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
    "base": "base:base",
    "doctor": "doctor:doctor",
    "db": "database:db",
}
"""Command → module below `dockwright.cli` and the function or group in it. In the order of the help text."""


def make_app(names: list[str]) -> typer.Typer:
    """The app with these commands; a command's module is imported only when it is among them."""
    app = typer.Typer(
        name="dockwright",
        help="Take a template, a Git tag or a folder to a tested, running container, and prove that it runs.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(lambda: None)
    for name in names:
        module, _, attribute = COMMANDS[name].partition(":")
        command = getattr(import_module(f"dockwright.cli.{module}"), attribute)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    return app


def main() -> None:
    asked = next((argument for argument in sys.argv[1:] if not argument.startswith("-")), None)
    app = make_app([asked] if asked in COMMANDS else list(COMMANDS))
    from dockwright.errors import DockwrightError

    try:
        app()
    except DockwrightError as error:
        from dockwright.cli.output import show_error

        show_error(error, as_json="--json" in sys.argv)
        sys.exit(error.exit_code)
