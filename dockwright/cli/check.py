"""`dockwright check`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from dockwright.cli.output import json_option, print_json, say
from dockwright.errors import DockerfileSyntax


@click.command(short_help="Check a Dockerfile's syntax without building.")
@click.argument("path", metavar="[PATH]", type=click.Path(path_type=Path), default=".")
@json_option
def check(path: Path, as_json: bool) -> None:
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
            sys.exit(1)
        raise
    if as_json:
        print_json({"ok": True, "findings": []})
    else:
        targets = len(parsed.targets)
        say(f"{dockerfile}: the syntax is right ({targets} build target{'s' if targets != 1 else ''})")
