"""What BuildKit refuses although its parser reads it: unknown instructions and flags, operands that are missing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from dockwright.errors import DockerfileSyntax
from dockwright.insight.dockerfile import Instruction
from dockwright.insight.mounts import parse_mount

_VALUE = "value"
_SWITCH = "switch"
_REPEATED = "repeated"

_COPY_FLAGS = {"chown": _VALUE, "chmod": _VALUE, "link": _SWITCH, "exclude": _REPEATED}
_FLAGS: dict[str, dict[str, str]] = {
    "FROM": {"platform": _VALUE},
    "COPY": {**_COPY_FLAGS, "from": _VALUE, "parents": _SWITCH},
    "ADD": {**_COPY_FLAGS, "keep-git-dir": _SWITCH, "checksum": _VALUE, "unpack": _SWITCH},
    "RUN": {"mount": _REPEATED, "network": _VALUE, "security": _VALUE, "device": _REPEATED},
    "HEALTHCHECK": dict.fromkeys(("interval", "timeout", "start-period", "start-interval", "retries"), _VALUE),
}
"""Each instruction's flags, those of newer front ends included: which one will build is not known here."""

_KEYWORDS = (
    *("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER"),
    *("ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
)
_NEED_ONE = ("ENV", "LABEL", "ARG", "EXPOSE", "VOLUME", "SHELL", "ONBUILD", "HEALTHCHECK")
_NEED_EXACTLY_ONE = ("WORKDIR", "USER", "STOPSIGNAL", "MAINTAINER")
_TARGET_NAME = re.compile(r"[a-z][a-z0-9\-_.]*\Z")


def check_instruction(instruction: Instruction, path: str) -> None:
    """Raises `DockerfileSyntax` where the instruction cannot be meant, whatever stands around it."""
    if instruction.keyword not in _KEYWORDS:
        raise _unknown(instruction, path)
    cause = _flags_fault(instruction) or _operands_fault(instruction)
    if cause:
        raise DockerfileSyntax(
            f"{path}, line {instruction.line}: {cause}", remedy=f"Correct that line of {path} and build again"
        )


def check_order(instructions: Iterable[Instruction], path: str) -> None:
    """Nothing but ARG may stand before the first FROM, and there must be one."""
    for instruction in instructions:
        if instruction.keyword == "FROM":
            return
        if instruction.keyword != "ARG":
            raise DockerfileSyntax(
                f"{path}, line {instruction.line}: {instruction.keyword} stands before the first FROM",
                remedy="Begin the Dockerfile with FROM and an image; only ARG may stand above it",
            )
    raise DockerfileSyntax(f"{path} has no FROM", remedy="Begin the Dockerfile with FROM and an image")


def _unknown(instruction: Instruction, path: str) -> DockerfileSyntax:
    near = _nearest(instruction.keyword, _KEYWORDS)
    guess = f" (did you mean {near}?)" if near else ""
    return DockerfileSyntax(
        f"{path}, line {instruction.line}: unknown instruction: {instruction.text.split(' ')[0]}{guess}",
        remedy=f"Write {near} there" if near else f"Use one of {', '.join(_KEYWORDS)}",
    )


def _nearest(word: str, choices: Iterable[str]) -> str | None:
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, list(choices), n=1, cutoff=0.6)), None)


def _flags_fault(instruction: Instruction) -> str | None:
    if instruction.keyword in ("ARG", "STOPSIGNAL", "ONBUILD"):  # BuildKit does not look at theirs
        return None
    known = _FLAGS.get(instruction.keyword, {})
    seen: set[str] = set()
    for flag in instruction.flags:
        name, has_value, value = flag[2:].partition("=")
        if name not in known:
            near = _nearest(name, known)
            return f"unknown flag: {name}" + (f" (did you mean {near}?)" if near else "")
        if name in seen and known[name] != _REPEATED:
            return f"duplicate flag specified: {name}"
        seen.add(name)
        if known[name] == _SWITCH and has_value and value.lower() not in ("true", "false"):
            return f"expecting boolean value for flag {name}, not: {value}"
        if known[name] != _SWITCH and not has_value:
            return f"missing a value on flag: {name}"
    return None


def _operands_fault(instruction: Instruction) -> str | None:
    keyword, count = instruction.keyword, len(instruction.operands)
    if keyword in _NEED_ONE and not count:
        return f"{keyword} requires at least one argument"
    if keyword in _NEED_EXACTLY_ONE and count != 1:
        return f"{keyword} requires exactly one argument"
    check = _CHECKS.get(keyword)
    return check(instruction) if check else None


def _from_fault(instruction: Instruction) -> str | None:
    words = instruction.operands
    if len(words) not in (1, 3) or (len(words) == 3 and words[1].lower() != "as"):
        return "FROM requires either one argument, or three: FROM <image> AS <name>"
    if len(words) == 3 and not _TARGET_NAME.match(words[2].lower()):
        return f"invalid name for a build target: {words[2]!r}; it can't start with a number or contain symbols"
    return None


def _copy_fault(instruction: Instruction) -> str | None:
    if len(instruction.operands) < 2:
        return f"{instruction.keyword} requires at least two arguments: a source and a destination"
    if re.match(r"\d*<<-?[^<]+$", instruction.operands[-1]):
        return f"{instruction.keyword} cannot accept a heredoc as a destination"
    return None


def _run_fault(instruction: Instruction) -> str | None:
    network = instruction.flag("network")
    if network is not None and network not in ("default", "none", "host"):
        return f"invalid network mode {network!r}; use default, none or host"
    for mount in instruction.flag_values("mount"):
        try:
            parse_mount(mount)
        except ValueError as error:
            return str(error)
    return None


def _pairs_fault(instruction: Instruction) -> str | None:
    names = (
        [operand.partition("=")[0] for operand in instruction.operands]
        if instruction.keyword == "ARG"
        else instruction.operands[::2]
    )
    return None if all(names) else f"{instruction.keyword} names can not be blank"


def _shell_fault(instruction: Instruction) -> str | None:
    return None if instruction.is_json else 'SHELL requires the arguments to be in JSON form: SHELL ["/bin/sh", "-c"]'


def _health_fault(instruction: Instruction) -> str | None:
    kind = instruction.operands[0].upper()
    if kind == "NONE":
        return "HEALTHCHECK NONE takes no arguments" if len(instruction.operands) > 1 else None
    if kind != "CMD":
        return f'Unknown type "{kind}" in HEALTHCHECK (try CMD)'
    return None if len(instruction.operands) > 1 else "Missing command after HEALTHCHECK CMD"


def _onbuild_fault(instruction: Instruction) -> str | None:
    trigger = instruction.operands[0].split(maxsplit=1)[0].upper()
    if trigger == "ONBUILD":
        return "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"
    return f"{trigger} isn't allowed as an ONBUILD trigger" if trigger in ("FROM", "MAINTAINER") else None


_CHECKS: dict[str, Callable[[Instruction], str | None]] = {
    "FROM": _from_fault,
    "COPY": _copy_fault,
    "ADD": _copy_fault,
    "RUN": _run_fault,
    "ENV": _pairs_fault,
    "LABEL": _pairs_fault,
    "ARG": _pairs_fault,
    "SHELL": _shell_fault,
    "HEALTHCHECK": _health_fault,
    "ONBUILD": _onbuild_fault,
}
