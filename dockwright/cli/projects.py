"""Projects from templates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dockwright.cli.output import json_option, print_json, say
from dockwright.cli.session import use_cases

if TYPE_CHECKING:
    from dockwright.cli.use_cases import UseCases

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
    work = use_cases()
    project = work.create_project(template, name, _variables(work, template, values, list(assign)))
    if as_json:
        print_json(project)
    else:
        say(f'Made the project "{project["name"]}". Build and deploy it with: dockwright build "{project["name"]}"')


def _variables(work: UseCases, template: str, values: Path | None, assignments: list[str]) -> dict[str, Any]:
    """The variables, and the project's own `description` beside them where it was given."""
    from dockwright.errors import InvalidVariable
    from dockwright.sources.variables import assign, read_values

    variables = read_values(values) if values else {}
    if not isinstance(variables, dict):
        raise InvalidVariable(f"{values} holds no variables", remedy="Write them as name: value, a line each")
    own = [text.removeprefix(DESCRIPTION) for text in assignments if text.startswith(DESCRIPTION)]
    others = [text for text in assignments if not text.startswith(DESCRIPTION)]
    assigned = assign(work.template(template), others, variables)
    return {**assigned, "description": own[-1]} if own else assigned
