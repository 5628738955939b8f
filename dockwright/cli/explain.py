"""`dockwright explain`: the root causes by what they cost, the steps under each, and what to change."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from dockwright.cli.output import brief, counted, json_option, number, print_json, printable, say, seconds
from dockwright.cli.session import use_cases

WIDTH = 76
"""Of a line up to its seconds."""
MAX_STEPS = 6
MAX_PATHS = 4
_WORDS = {
    "first_build": "first build",
    "no_cache": "without cache",
    "base_moved": "base moved",
    "instruction_changed": "instruction changed",
    "arg_changed": "argument changed",
    "files_changed": "files changed",
    "evicted": "not in the cache any more",
    "other_builder": "other builder",
    "unknown": "cannot be told",
}
_COLORS = {"unknown": "yellow", "first_build": "cyan", "no_cache": "cyan"}


@click.command(short_help="Tell why each step of a build ran, and what it cost.")
@click.argument("build", type=number, required=False)
@json_option
def explain(build: int | None, as_json: bool) -> None:
    """Tell why each step of a build ran, what that cost, and what to change.

    Of the newest build unless you name one.

    Example: dockwright explain 12
    """
    told = use_cases().explain(build)
    if as_json:
        print_json(told)
        return
    _head(told)
    is_one_of_several = len(told["services"]) > 1
    by_name = {(one["service"], step["name"]): step for one in told["services"] for step in one["steps"]}
    for cause in told["causes"]:
        say()
        _cause(cause, by_name, is_one_of_several)
    for service in told["services"]:
        if not any(not step["cached"] for step in service["steps"]):
            say()
            _quiet(service)


def _head(told: dict[str, Any]) -> None:
    against = f", held against build {told['previous_build_id']}" if told["previous_build_id"] else ""
    _write(_styled(f"Build {told['build_id']} of {told['project']} ({told['profile']})", bold=True) + against)
    if not told["services"]:
        say(f"It came to no image ({told['status']}): see dockwright logs {told['build_id']}")
        return
    cache = told["cache"]
    of_build, of_project = cache["build"], cache["project"]
    if of_build["steps"]:
        ran = of_build["steps"] - of_build["cached"]
        say(f"{ran} of {counted(of_build['steps'], 'step')} ran; cached {_percent(of_build)}{_project(of_project)}")


def _project(rate: dict[str, Any]) -> str:
    if rate["builds"] < 2 or not rate["steps"]:
        return ""
    reused = f", {rate['reused']} of them reused" if rate["reused"] else ""
    return f" (over {counted(rate['builds'], 'build')} of the project {_percent(rate)}{reused})"


def _percent(rate: dict[str, Any]) -> str:
    return f"{rate['rate'] * 100:.0f} %"


def _cause(cause: dict[str, Any], steps: dict[tuple[str, str], Any], with_service: bool) -> None:
    service = f"{cause['service']}: " if with_service else ""
    words = f"{service}{_WORDS[cause['cause']]}"
    detail = _detail(cause["detail"])
    room = max(20, WIDTH - len(words) - 4)
    shown = detail if len(detail) <= room else ""
    mark = _styled("●", fg=_COLORS.get(cause["cause"], "red"))
    title = f"{words}  {shown}".rstrip()
    _write(f"{mark} {_styled(title, bold=True)}{' ' * max(1, WIDTH - len(title) - 2)} {seconds(cause['seconds']):>8}")
    if detail and not shown:
        say(f"    {detail}")
    names = cause["steps"]
    for name in names[:MAX_STEPS]:
        took = seconds(steps[cause["service"], name]["seconds"])
        say(f"    {brief(name, WIDTH - 5):<{WIDTH - 4}} {took:>8}")
    if len(names) > MAX_STEPS:
        rest = sum(steps[cause["service"], name]["seconds"] for name in names[MAX_STEPS:])
        more = f"… and {counted(len(names) - MAX_STEPS, 'step')} more"
        say(f"    {more:<{WIDTH - 4}} {seconds(rest):>8}")
    if cause["advice"]:
        _write(_styled(f"  → {cause['advice']}", fg="green"))


def _write(line: str) -> None:
    """A line of which all user text has gone through `_styled`."""
    sys.stdout.write(line + "\n")


def _styled(text: str, **style: Any) -> str:
    """Colors are for terminals alone."""
    return click.style(printable(text), **style) if sys.stdout.isatty() else printable(text)


def _detail(detail: str | Sequence[str] | None) -> str:
    if detail is None:
        return ""
    if isinstance(detail, str):
        return detail
    more = len(detail) - MAX_PATHS
    return ", ".join(detail[:MAX_PATHS]) + (f" and {more} more" if more > 0 else "")


def _quiet(service: dict[str, Any]) -> None:
    why = "nothing changed, its image is reused" if service["reused"] else "all was in the cache"
    say(f"Nothing ran for {service['image']}: {why}")
