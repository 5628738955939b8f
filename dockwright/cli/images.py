"""Images that builds have left."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from dockwright.cli.output import json_option, print_json, say, size, table
from dockwright.cli.session import use_cases


@click.group(short_help="Show or remove one image.")
def image() -> None:
    """Show or remove one image: by its number or name:tag, as `dockwright images` shows it.

    Example: dockwright image show 3
    """


@click.command()
@json_option
def images(as_json: bool) -> None:
    """List the images that builds have left, the newest first.

    Example: dockwright images
    """
    rows = use_cases().images()
    if as_json:
        print_json(rows)
    elif not rows:
        say("There are no images yet. Build one with: dockwright build PATH")
    else:
        table(
            ("ID", "IMAGE", "PROJECT", "STATUS", "SIZE", "BUILT", "DIGEST"),
            (
                (
                    one["id"],
                    f"{one['name']}:{one['tag']}",
                    one["project"],
                    one["build_status"],
                    size(one["size"]),
                    one["built_at"].strftime("%Y-%m-%d %H:%M") if one["built_at"] else "",
                    (one["digest"] or "").removeprefix("sha256:")[:12],
                )
                for one in rows
            ),
        )


@image.command()
@click.argument("image_id", metavar="ID")
@json_option
def show(image_id: str, as_json: bool) -> None:
    """Show one image: what it is made of, and who needs it.

    Example: dockwright image show 3
    """
    found = use_cases().image(image_id)
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        if name == "labels":
            for label, text in sorted(value.items()):
                say(f"{'label':18}{label}={text}")
        else:
            say(f"{name:18}{size(value) if name == 'size' else _shown(value)}".rstrip())


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M")
    return ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)


@image.command()
@click.argument("image_id", metavar="ID")
@json_option
def rm(image_id: str, as_json: bool) -> None:
    """Remove one image that no release needs.

    Example: dockwright image rm 3
    """
    removed = use_cases().remove_image(image_id)
    if as_json:
        print_json(removed)
    else:
        say(f"Removed {removed['name']}:{removed['tag']}")
