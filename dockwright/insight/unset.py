"""Build arguments without a value: what a FROM or a COPY means is known only when somebody passes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from dockwright.insight.dockerfile import Dockerfile, Instruction
from dockwright.insight.ignore import clean
from dockwright.insight.replay import mounts_of
from dockwright.insight.subject import Subject
from dockwright.insight.usage import Use
from dockwright.insight.variables import expand, global_values

_DEMAND = re.compile(r"\$\{(\w+):?\?", re.ASCII)
STAND_IN = "unset"
"""Value of such an argument while a Dockerfile is looked at all the same: it can be part of an image's name."""


def unset_bases(
    dockerfile: Dockerfile, args: Mapping[str, str], is_name: Callable[[str], object]
) -> dict[int, tuple[str, ...]]:
    """Number of a build target → arguments without which its FROM names no image. `is_name`: whether a text can be one.

    Raises `ValueError` for an ARG above the first FROM that cannot be read.
    """
    values = global_values(dockerfile.global_args, args, "linux/amd64", dockerfile.escape)
    known = {name: value or "" for name, value in values.items()}
    found = {}
    for target in dockerfile.targets:
        used: set[str] = set()
        try:
            base = expand(target.base, known, escape=dockerfile.escape, used=used)
        except ValueError:  # "${BASE:?}", or what is told when the Dockerfile is read
            base = ""
        names = tuple(sorted(name for name in used if name in dockerfile.global_args and not known[name]))
        if names and not is_name(base):
            found[target.index] = names
    return found


def demanded(dockerfile: Dockerfile, args: Mapping[str, str]) -> Iterator[tuple[Instruction, str]]:
    """Instructions with `${NAME:?}` for an argument that has no default, and that nobody passes."""
    open_names = {name for name, default in dockerfile.global_args.items() if default is None}
    for target in dockerfile.targets:
        for instruction in target.instructions:
            if instruction.keyword == "ARG":
                open_names |= {operand for operand in instruction.operands if "=" not in operand}
            if instruction.keyword != "RUN":
                wanted = set(_DEMAND.findall(instruction.text)) & open_names - args.keys()
                yield from ((instruction, name) for name in sorted(wanted))


def unset_in(subject: Subject, use: Use) -> list[str]:
    """Names of the variables without a value here that the path of a source is made of."""
    for instruction, state in subject.steps(use.target):
        if instruction is not use.instruction:
            continue
        scope = state.scope
        is_open = subject.image_of(use.target).image not in (None, *subject.images)
        for word in _sources(instruction):
            used: set[str] = set()
            if clean("/" + scope.put_in(word, used)).strip("/") == use.source:
                empty = {name for name in used if not scope.values.get(name)} | (used & subject.unset_names)
                return sorted(name for name in empty if is_open or name in scope.declared)
    return []


def _sources(instruction: Instruction) -> Iterator[str]:
    """Words of COPY and ADD, and sources of mounts, as they are written."""
    if instruction.keyword in ("COPY", "ADD"):
        yield from instruction.operands[:-1]
    yield from (mount.source for mount in mounts_of(instruction))
