"""The one form of every finding of a check, how grave each is, and the comments that silence one.

Each code is explained in `docs/check.md`; a test holds the two together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Literal

Severity = Literal["error", "warning", "info"]

SEVERITIES: dict[str, Severity] = {
    # the Dockerfile cannot be built
    "dockerfile_syntax": "error",
    "copy_source_missing": "error",
    "copy_source_missing_unused": "warning",
    "arg_without_value": "warning",
    "copy_from_unknown": "error",
    "target_unknown": "error",
    "base_missing": "error",
    "base_unchecked": "info",
    # it can be built, and is not what was meant
    "base_not_pinned": "warning",
    "add_without_checksum": "warning",
    "variable_undeclared": "warning",
    "arg_unknown": "warning",
    "arg_unused": "info",
    "workdir_relative": "warning",
    "several_commands": "warning",
    "command_in_shell_form": "warning",
    "port_not_exposed": "info",
    "no_healthcheck": "warning",
    "runs_as_root": "warning",
    "secret_value": "error",
    "secret_name": "warning",
    # it is larger or slower than it need be
    "layer_doubled": "warning",
    "copy_before_install": "warning",
    "gpu_packages": "warning",
    "apt_update_alone": "warning",
    "apt_recommends": "info",
    "apt_lists": "info",
    "pip_cache": "info",
    "pipe_to_shell": "warning",
    # the context
    "dockerignore_missing": "warning",
    "context_large": "warning",
    "context_ballast": "warning",
    "secret_in_image": "error",
    "secret_in_context": "warning",
    "env_file_in_image": "warning",
    # requirements files
    "requirements_conflict": "error",
    "requirements_unreadable": "error",
    "requirements_missing": "error",
    "requirements_duplicate": "warning",
    # the compose file
    "compose_invalid": "error",
    "compose_no_image": "error",
    "compose_port_conflict": "error",
    "compose_path_missing": "error",
    "compose_unknown_service": "error",
    "compose_secret": "warning",
}
"""Code → severity. Only an error makes `check` fail."""

_ORDER: tuple[Severity, ...] = ("error", "warning", "info")
_SILENCES = re.compile(r"#\s*dockwright:\s*ignore=([a-z_]+(?:\s*,\s*[a-z_]+)*)\s*$", re.IGNORECASE)
_PLACE = re.compile(r"(.+):(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    severity: Severity
    code: str
    place: str
    """File, and where there is one the line: `Dockerfile:12`. Paths are seen from the folder that is checked."""
    message: str
    remedy: str

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


def found(code: str, place: str, message: str, remedy: str) -> Finding:
    return Finding(severity=SEVERITIES[code], code=code, place=place, message=message, remedy=remedy)


def softened(finding: Finding) -> Finding:
    """No error: what it names is seldom built."""
    return replace(finding, severity="warning") if finding.severity == "error" else finding


def arranged(findings: Iterable[Finding]) -> list[Finding]:
    """The gravest first, then by file and line; what was found twice is there once."""
    return sorted(dict.fromkeys(findings), key=lambda one: (_ORDER.index(one.severity), *_split(one.place), one.code))


def _split(place: str) -> tuple[str, int]:
    match = _PLACE.fullmatch(place)
    return (match[1], int(match[2])) if match else (place, 0)


def without_silenced(findings: Iterable[Finding], texts: Mapping[str, str]) -> list[Finding]:
    """Those that no comment `# dockwright: ignore=CODE,…` silences. `texts`: file, as places name it → its text.

    The comment stands among the comment lines right above the line; at the top of a Dockerfile, above all
    instructions, it holds for all findings of the folder.
    """
    lines = {path: text.splitlines() for path, text in texts.items()}
    everywhere = {
        code
        for path, of_file in lines.items()
        if "dockerfile" in path.lower()
        for code in _codes_above(of_file, _first_instruction(of_file))
    }
    return [one for one in findings if one.code not in everywhere | _silenced_at(one, lines)]


def _silenced_at(finding: Finding, lines: Mapping[str, list[str]]) -> set[str]:
    path, line = _split(finding.place)
    return _codes_above(lines[path], line - 1) if line and path in lines else set()


def _first_instruction(lines: list[str]) -> int:
    is_content = (place for place, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#"))
    return next(is_content, len(lines))


def _codes_above(lines: list[str], at: int) -> set[str]:
    """In the comments right above the line with index `at`."""
    codes: set[str] = set()
    for line in reversed(lines[:at]):
        if not line.lstrip().startswith("#"):
            break
        if match := _SILENCES.search(line):
            codes.update(code.strip().lower() for code in match[1].split(","))
    return codes
