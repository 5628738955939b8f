"""Projects from templates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dockwright.cli.output import Json, print_json, say


def new(
    template: Annotated[str, typer.Argument(metavar="TEMPLATE", help="The template's name, such as chatbot.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the project is to be called.")],
    values: Annotated[Path | None, typer.Option(help="A YAML or JSON file with variables.", metavar="FILE")] = None,
    assign: Annotated[
        list[str] | None, typer.Option("--set", help="One variable; dots lead into it.", metavar="K=V")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a project from a template.

    Example: dockwright new chatbot Support --set assistant_type=customer_support --set personality.tone=warm
    """
    from dockwright import settings
    from dockwright.services import projects
    from dockwright.services.state import State

    loaded = settings.load()
    variables = _variables(loaded, template, values, assign or [])
    project = projects.create_from_template(State(loaded), template, name, variables)
    if as_json:
        print_json(project)
    else:
        say(f'Made the project "{project["name"]}". Build and deploy it with: dockwright build "{project["name"]}"')


def _variables(loaded: Any, template: str, values: Path | None, assignments: list[str]) -> dict[str, Any]:
    from dockwright.sources.template import load_template
    from dockwright.sources.variables import assign, read_values

    variables = read_values(values) if values else {}
    return assign(load_template(template, loaded), assignments, variables)
