"""`dockwright check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dockwright.cli.output import Json, print_json, say
from dockwright.errors import DockerfileSyntax


def check(
    path: Annotated[Path, typer.Argument(metavar="[PATH]", help="The folder that holds the Dockerfile.")] = Path(),
    as_json: Json = False,
) -> None:
    """Check a Dockerfile's syntax without building, with BuildKit's own parser.

    Example: dockwright check ~/my-app
    """
    from dockwright.insight.dockerfile import parse
    from dockwright.sources.detect import detect
    from dockwright.stages.plan import find_dockerfile

    detect(str(path))
    dockerfile = find_dockerfile(path, None)
    try:
        parsed = parse(dockerfile.read_text(encoding="utf-8", errors="surrogateescape"), "Dockerfile")
    except DockerfileSyntax as error:
        if as_json:
            finding = {"severity": "error", "message": error.message, "remedy": error.remedy, "place": str(dockerfile)}
            print_json({"ok": False, "findings": [finding]})
            raise typer.Exit(1) from error
        raise
    if as_json:
        print_json({"ok": True, "findings": []})
    else:
        targets = len(parsed.targets)
        say(f"{dockerfile}: the syntax is right ({targets} build target{'s' if targets != 1 else ''})")
