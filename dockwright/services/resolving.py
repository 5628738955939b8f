"""Asks pip whether requirements can be installed together, what they need themselves included.

Nothing is installed and no package's code runs: pip is given names and versions alone, and may use wheels only. It
takes an index that answers and some seconds, so it is done where somebody asks for it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from dockwright import process
from dockwright.errors import BuildTimeout
from dockwright.insight.findings import Finding, found
from dockwright.insight.requirements import Files, applies
from dockwright.process import Cancel

SECONDS = 120.0
_IMPOSSIBLE = "conflicting dependencies"
"""pip has no exit status of its own for it; a text that it words otherwise is no finding."""
_INDEXES = ("--index-url", "-i ", "--extra-index-url", "--find-links", "-f ", "--pre")


def command(requirements: Path, constraints: Path, target: Path, python: str | None) -> list[str]:
    """`python` is a version like "3.11", none for that of this process."""
    version = python or f"{sys.version_info.major}.{sys.version_info.minor}"
    return [
        *(
            sys.executable,
            "-m",
            "pip",
            "install",
            "--dry-run",
            "--progress-bar=off",
            "--ignore-installed",
            "--no-input",
        ),
        *("--disable-pip-version-check", "--retries=1", "--timeout=10", "--only-binary=:all:"),
        *(f"--python-version={version}", f"--target={target}"),
        *(f"--requirement={requirements}", f"--constraint={constraints}"),
    ]


def resolve(files: Files, environment: Mapping[str, str], python: str | None, cancel: Cancel) -> Finding | None:
    """None where they fit together, or where nobody can tell: no index, no wheels, no time."""
    asked = [entry for entry in files.entries if applies(entry.requirement, environment) and not entry.requirement.url]
    if not asked:
        return None
    with TemporaryDirectory(prefix="dockwright-check-") as name:
        folder = Path(name)
        indexes = [line for line in files.options if line.startswith(_INDEXES)]
        (folder / "requirements.txt").write_text(
            "\n".join([*indexes, *(entry.text for entry in asked if not entry.is_constraint), ""]), encoding="utf-8"
        )
        (folder / "constraints.txt").write_text(
            "\n".join([*(entry.text for entry in asked if entry.is_constraint), ""]), encoding="utf-8"
        )
        said = _said(
            command(folder / "requirements.txt", folder / "constraints.txt", folder / "target", python), cancel
        )
    if _IMPOSSIBLE not in said:
        return None
    place = asked[0].place.rpartition(":")[0]
    return found(
        "requirements_conflict",
        place,
        f"pip finds no versions that fit together: {_cause(said)}",
        "Loosen one of the versions that are named, or take out the package that asks for the other",
    )


def _said(argv: list[str], cancel: Cancel) -> str:
    """What pip wrote; "" where it took too long."""
    limited = Cancel(deadline=time.monotonic() + SECONDS)
    try:
        done = process.run(argv, cancel=limited)
    except BuildTimeout:
        cancel.check()
        return ""
    return done.stderr.decode(errors="replace") + done.stdout.decode(errors="replace")


def _cause(said: str) -> str:
    """The lines below "The conflict is caused by:", in one."""
    _, _, below = said.partition("The conflict is caused by:")
    lines = []
    for line in below.strip().splitlines():
        if not line.strip():
            break
        lines.append(line.strip())
    return "; ".join(lines[:6]) or "see: pip install --dry-run"
