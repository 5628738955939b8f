"""Builds and their logs."""

from __future__ import annotations

import json
import sys

import click

from dockwright.cli.output import json_option, number, print_json, say, seconds, table
from dockwright.cli.session import use_cases


@click.command()
@click.option("--limit", type=click.IntRange(1, 1000), default=20, help="How many, the newest first.")
@json_option
def builds(limit: int, as_json: bool) -> None:
    """List the newest builds.

    Example: dockwright builds --limit 5
    """
    rows = use_cases().builds(limit)
    if as_json:
        print_json(rows)
    elif not rows:
        say("There are no builds yet. Start one with: dockwright build PATH")
    else:
        table(
            ("BUILD", "PROJECT", "STATUS", "PROFILE", "COMMIT", "STARTED", "TOOK", "WHAT CAME OF IT"),
            (
                (
                    one["id"],
                    one["project"],
                    one["status"],
                    one["profile"],
                    (one["revision"] or "")[:12],
                    one["created_at"].strftime("%Y-%m-%d %H:%M"),
                    "" if one["seconds"] is None else seconds(one["seconds"]),
                    one["error"] or one["deployment_url"] or one["image_name"] or "",
                )
                for one in rows
            ),
        )


@click.command(short_help="Show what a build said.")
@click.argument("build", type=number)
@click.option("-f", "--follow", is_flag=True, help="Go on until the build has ended.")
@click.option("--json", "as_json", is_flag=True, help="Print every event, a JSON document a line.")
def logs(build: int, follow: bool, as_json: bool) -> None:
    """Show what a build said, from its beginning.

    Example: dockwright logs 12
    """
    from dockwright.cli.plain import Plain
    from dockwright.domain.events import event_of

    show = Plain(sys.stdout)
    for event in use_cases().events(build, follow=follow):
        if as_json:
            sys.stdout.write(json.dumps(event, ensure_ascii=False) + "\n")
            sys.stdout.flush()
        else:
            show(event_of(event))


@click.command()
@click.argument("build", type=number)
@json_option
def cancel(build: int, as_json: bool) -> None:
    """End a build that is queued or runs; what it had begun is undone.

    Example: dockwright cancel 12
    """
    status = use_cases().cancel(build)
    if as_json:
        print_json({"build_id": build, "status": status})
    else:
        say(f"Build {build} is canceled" if status == "canceled" else f"Build {build} is being ended")
