"""Projects from templates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dockwright.cli.output import json_option, print_json, say

DESCRIPTION = "description="


@click.command()
@click.argument("template")
@click.argument("name")
@click.option("--values", metavar="FILE", type=click.Path(path_type=Path), help="A YAML or JSON file with variables.")
@click.option(
    "--set", "assign", metavar="K=V", multiple=True, help="One variable, or the description; dots lead into it."
)
@json_option
def new(template: str, name: str, values: Path | None, assign: tuple[str, ...], as_json: bool) -> None:
    """Make a project from a template.

    Example: dockwright new chatbot Support --set assistant_type=customer_support --set personality.tone=warm
    """
    from dockwright import settings
    from dockwright.services import projects
    from dockwright.services.state import State

    loaded = settings.load()
    variables = _variables(loaded, template, values, list(assign))
    project = projects.create_from_template(State(loaded), template, name, variables)
    if as_json:
        print_json(project)
    else:
        say(f'Made the project "{project["name"]}". Build and deploy it with: dockwright build "{project["name"]}"')


def _variables(loaded: Any, template: str, values: Path | None, assignments: list[str]) -> dict[str, Any]:
    """The variables, and the project's own `description` beside them where it was given."""
    from dockwright.errors import InvalidVariable
    from dockwright.sources.template import load_template
    from dockwright.sources.variables import assign, read_values

    variables = read_values(values) if values else {}
    if not isinstance(variables, dict):
        raise InvalidVariable(f"{values} holds no variables", remedy="Write them as name: value, a line each")
    own = [text.removeprefix(DESCRIPTION) for text in assignments if text.startswith(DESCRIPTION)]
    others = [text for text in assignments if not text.startswith(DESCRIPTION)]
    assigned = assign(load_template(template, loaded), others, variables)
    return {**assigned, "description": own[-1]} if own else assigned
