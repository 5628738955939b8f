"""`dockwright cleanup`."""

from __future__ import annotations

import click

from dockwright.cli.output import counted, json_option, print_json, say, size
from dockwright.cli.session import use_cases


@click.command(short_help="Remove what Dockwright made and nothing needs.")
@click.option(
    "--keep", type=click.IntRange(min=1), default=5, show_default=True, help="Releases of a product that stay."
)
@click.option(
    "--older-than", metavar="D", type=click.FloatRange(min=0), help="Only images and builds older than so many days."
)
@click.option(
    "--keep-builds",
    metavar="N",
    type=click.IntRange(min=1),
    help="Finished builds of a project that stay; BUILD_KEEP unless set.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@json_option
def cleanup(keep: int, older_than: float | None, keep_builds: int | None, dry_run: bool, as_json: bool) -> None:
    """Remove images, containers, folders and old builds that Dockwright made and nothing needs any more.

    Example: dockwright cleanup --keep 3 --dry-run
    """
    result = use_cases().cleanup(keep=keep, keep_builds=keep_builds, older_than_days=older_than, dry_run=dry_run)
    if as_json:
        print_json(result)
        return
    for name in result["removed"]:
        say(f"{'Would remove' if dry_run else 'Removed'} {name}")
    for line in result["failed"]:
        say(f"Could not remove {line}")
    freed = "Would free at least" if dry_run else "Freed"
    builds = f"; {counted(result['builds'], 'old build')}" if result["builds"] else ""
    say(f"{freed} {size(result['bytes'])} in {counted(result['images'], 'image')}{builds}")
