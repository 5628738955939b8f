"""The help texts: an example in each, and a list of the commands that is not cut off on 80 columns."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from dockwright.cli.main import app

GROUPS = (("image",), ("db",), ("user",), ("token",))


def _all(command: click.Command, *path: str) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from _all(below, *path, name)


@pytest.mark.parametrize("path", _all(app), ids=" ".join)
def test_help_has_an_example_of_its_own_command(path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*path, "--help"], terminal_width=80).output
    assert " ".join(["Example: dockwright", *path]) in " ".join(shown.split())


@pytest.mark.parametrize("path", [(), *GROUPS], ids=" ".join)
def test_lists_of_commands_are_whole_sentences(path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*path, "--help"], terminal_width=80).output
    lines = shown.partition("Commands:")[2].strip().splitlines()
    assert lines and all(line.endswith(".") and not line.endswith("...") for line in lines), shown


def test_every_command_takes_json() -> None:
    for path in _all(app):
        if path and path not in GROUPS:
            assert "--json" in CliRunner().invoke(app, [*path, "--help"]).output, path
