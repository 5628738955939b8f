"""`dockwright check`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dockwright.cli.output import counted, json_option, pairs, print_json, say, size
from dockwright.cli.session import cancel_on_signal

if TYPE_CHECKING:
    from dockwright.insight.findings import Finding

_MARKS = {"error": "✘", "warning": "!", "info": "·"}


@click.command(short_help="Find what is wrong before anything is built.")
@click.argument("path", metavar="[PATH]", type=click.Path(path_type=Path), default=".")
@click.option(
    "--build-arg",
    metavar="K=V",
    multiple=True,
    help="A build argument; a name alone takes its value from the environment.",
)
@click.option("--resolve", is_flag=True, help="Ask pip whether requirements fit together; takes an index and seconds.")
@json_option
def check(path: Path, build_arg: tuple[str, ...], resolve: bool, as_json: bool) -> None:
    """Find what is wrong with a folder before anything is built.

    Dockerfile, compose file, requirements, secrets, the context, base images. Only errors make it fail.
    A comment "# dockwright: ignore=CODE" above a line silences a finding.

    Example: dockwright check ~/my-app
    """
    from dockwright import settings
    from dockwright.services.check import check as look

    args = pairs(build_arg, "--build-arg", os.environ)
    checked = look(settings.load(), path, cancel_on_signal(), with_pip=resolve, args=args)
    if as_json:
        findings = [one.as_dict() for one in checked.findings]
        print_json({"ok": checked.is_ok, "findings": findings, "contexts": list(checked.contexts)})
    else:
        for finding in checked.findings:
            _show(finding)
        _sum_up(checked.findings, checked.contexts)
    if not checked.is_ok:
        sys.exit(1)


def _show(finding: Finding) -> None:
    say(f"{_MARKS[finding.severity]} {finding.place}  {finding.message}  [{finding.code}]")
    say(f"    {finding.remedy}")


def _sum_up(findings: tuple[Finding, ...], contexts: tuple[dict[str, Any], ...]) -> None:
    for one in contexts:
        where = "the folder" if one["path"] == "." else one["path"]
        say(f"Sent to the builder from {where}: {size(one['bytes'])} in {counted(one['files'], 'file')}")
    counts = [(name, sum(one.severity == name for one in findings)) for name in ("error", "warning")]
    notes = sum(one.severity == "info" for one in findings)
    told = [counted(count, name) for name, count in counts if count] + ([counted(notes, "note")] if notes else [])
    say(", ".join(told) if told else "Nothing is wrong")
