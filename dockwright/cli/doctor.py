"""What is missing on this machine, and what to do about it."""

from __future__ import annotations

import sys

import click

from dockwright.cli.output import json_option, print_json, say


@click.command(short_help="Check every part that Dockwright needs.")
@click.option("--quiet", is_flag=True, help="Show only what is not ok.")
@json_option
def doctor(quiet: bool, as_json: bool) -> None:
    """Check every part that Dockwright needs; each is ok, or it is said what to do.

    Ends with 3 when a needed part is missing.

    Example: dockwright doctor
    """
    from dockwright import settings
    from dockwright.services.doctor import examine

    findings = examine(settings.load())
    is_ok = all(finding.severity != "error" for finding in findings)
    shown = [finding for finding in findings if not quiet or finding.severity != "ok"]
    if as_json:
        print_json({"ok": is_ok, "findings": [finding.as_dict() for finding in shown]})
    else:
        for finding in shown:
            say(f"{finding.severity:8} {finding.place:13} {finding.message}")
            if finding.remedy:
                say(f"{'':8} {'':13} {finding.remedy}")
    if not is_ok:
        sys.exit(3)
