"""ARG and ENV: secrets that stay in the image, variables that nobody has declared, arguments that nobody uses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from dockwright.insight.dockerfile import Instruction, Target, declared_args
from dockwright.insight.findings import Finding, found
from dockwright.insight.replay import SCRATCH, State
from dockwright.insight.secret_shapes import is_secret_name, is_value, shape_of
from dockwright.insight.subject import Subject
from dockwright.insight.variables import platform_args

_USE = re.compile(r"(?<!\\)\$(?:(?P<plain>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)(?P<rest>[^}]*)\})")
_PREDEFINED = frozenset(
    name
    for base in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
    for name in (base, base.lower())
) | {"SOURCE_DATE_EPOCH", "BUILDKIT_SYNTAX", "BUILDKIT_INLINE_CACHE"}
_PUT_IN = ("COPY", "ADD", "ENV", "LABEL", "USER", "WORKDIR", "EXPOSE", "VOLUME", "STOPSIGNAL")
_OWN = frozenset(("GIT_COMMIT", "BUILD_DATE", "CACHE_BUST"))
"""That a build passes to Dockerfiles that declare them; CACHE_BUST does its work without being used."""


def secrets(subject: Subject) -> Iterator[Finding]:
    above = [("ARG", name, value) for name, value in subject.dockerfile.global_args.items()]
    for keyword, name, value in above:
        yield from _secret(subject, None, keyword, name, value, is_in_image=False)
    in_image = {target.index for target in subject.chain(subject.final)}
    for target in subject.dockerfile.targets:
        for instruction in target.instructions:
            for name, value in _settings(instruction):
                is_in_image = target.index in in_image
                yield from _secret(subject, instruction, instruction.keyword, name, value, is_in_image=is_in_image)


def _settings(instruction: Instruction) -> Iterator[tuple[str, str | None]]:
    """Name and value; none for an ARG without a default."""
    if instruction.keyword == "ENV":
        yield from zip(instruction.operands[::2], instruction.operands[1::2], strict=False)
    elif instruction.keyword == "ARG":
        for operand in instruction.operands:
            name, equals, value = operand.partition("=")
            yield name, value if equals else None


def _secret(
    subject: Subject, instruction: Instruction | None, keyword: str, name: str, value: str | None, *, is_in_image: bool
) -> Iterator[Finding]:
    place = f"{subject.place}:{instruction.line if instruction else _line_above(subject, name)}"
    remedy = (
        f"Read it from a secret where it is needed: RUN --mount=type=secret,id={name.lower()} …, and pass it with "
        f"--secret id={name.lower()},src=FILE"
        if keyword == "ARG"
        else f"Take it out, and set it where the app runs: dockwright deploy PRODUCT --env {name}=…"
    )
    if value and (shape := shape_of(value)):
        who = "everybody who has the image" if is_in_image else "everybody who has this file, or the builder's cache,"
        code = "secret_value" if is_in_image else "secret_name"
        yield found(code, place, f"{keyword} {name} holds {shape}: {who} can read it", remedy)
    elif is_secret_name(name) and (value is None or is_value(value) or (keyword == "ENV" and "$" in value)):
        yield found(
            "secret_name",
            place,
            f"{keyword} {name} looks like a secret, and what stands there stays in the image and its history",
            remedy,
        )


def _line_above(subject: Subject, name: str) -> int:
    """Of an ARG above the first FROM, for which the parsed Dockerfile has no line."""
    lines = subject.text.splitlines()
    declares = re.compile(rf"\s*ARG\s(?:.*\s)?{re.escape(name)}(?:[=\s]|$)", re.IGNORECASE)
    return next((number for number, line in enumerate(lines, 1) if declares.match(line)), 1)


def undeclared(subject: Subject) -> Iterator[Finding]:
    for target in subject.needed:
        own = set(map(id, target.instructions))
        for instruction, state in subject.steps(target):
            if id(instruction) in own:
                yield from _undeclared(subject, target, instruction, state)


def _undeclared(subject: Subject, target: Target, instruction: Instruction, state: State) -> Iterator[Finding]:
    image = subject.image_of(target)
    is_base_known = image.name == SCRATCH or image.image in subject.images
    for name in _looked_for(instruction):
        if name in state.scope.values or name in state.scope.declared or name in _PREDEFINED:
            continue
        is_above = name in subject.dockerfile.global_args
        is_platform = name in platform_args("linux/amd64")
        if is_above or is_platform:
            cause = "stands above the first FROM, and" if is_above else "is the builder's own, and"
            yield subject.found(
                "variable_undeclared",
                instruction,
                f"${name} is empty here: ARG {name} {cause} this build target does not declare it",
                f"Add a line ARG {name} above, in this build target",
            )
        elif instruction.keyword != "RUN" and is_base_known:
            yield subject.found(
                "variable_undeclared",
                instruction,
                f"${name} is empty here: no ARG and no ENV sets it",
                f"Add ARG {name}, or correct the name; a dollar sign itself is written \\$",
            )


def _looked_for(instruction: Instruction) -> list[str]:
    """Names of variables that are to have a value; those with a default of their own may have none."""
    if instruction.keyword == "RUN":
        text = instruction.full_text
        names = [name for name in _plain_uses(text) if not _is_set_by_shell(text, name)]
    elif instruction.keyword in _PUT_IN:
        names = [name for word in instruction.operands if not word.startswith("'") for name in _plain_uses(word)]
    else:
        names = []
    return list(dict.fromkeys(names))


def _plain_uses(text: str) -> list[str]:
    return [use["plain"] or use["braced"] for use in _USE.finditer(text) if use["plain"] or not use["rest"]]


def _is_set_by_shell(text: str, name: str) -> bool:
    return bool(
        re.search(rf"(?:\b(?:for|read|local|export|declare)\s+(?:-\w+\s+)*)?\b{name}=|\b(?:for|read)\s+{name}\b", text)
    )


def unused(subject: Subject) -> Iterator[Finding]:
    for name in subject.dockerfile.global_args:
        words = [f"{target.base} {target.platform or ''}" for target in subject.dockerfile.targets]
        words += [value or "" for value in subject.dockerfile.global_args.values()]
        if not _is_used(name, words) and name not in _declared_in_targets(subject) | _PREDEFINED | _OWN:
            where = f"{subject.place}:{_line_above(subject, name)}"
            yield found("arg_unused", where, f"ARG {name} is used by no FROM and no build target", "Remove it")
    for target in subject.needed:
        for place, instruction in enumerate(target.instructions):
            if instruction.keyword == "ARG":
                yield from _unused_of(subject, target, place, instruction)


def _unused_of(subject: Subject, target: Target, place: int, instruction: Instruction) -> Iterator[Finding]:
    """A RUN has all arguments in its environment, so one that any RUN follows may be used by it."""
    following = list(target.instructions[place + 1 :])
    children = [other for other in subject.dockerfile.targets if target in subject.chain(other)[:-1]]
    following += [one for child in children for one in child.instructions]
    if any(one.keyword == "RUN" for one in following):
        return
    words = [one.full_text for one in following] + list(instruction.operands)
    for operand in instruction.operands:
        name = operand.partition("=")[0]
        if not _is_used(name, words) and name not in _PREDEFINED | _OWN:
            yield subject.found("arg_unused", instruction, f"ARG {name} is declared, and nothing uses it", "Remove it")


def _is_used(name: str, words: list[str]) -> bool:
    return any(re.search(rf"\$(?:{name}\b|\{{{name}\b)", word) for word in words)


def _declared_in_targets(subject: Subject) -> set[str]:
    return {
        operand.partition("=")[0]
        for target in subject.dockerfile.targets
        for instruction in target.instructions
        if instruction.keyword == "ARG"
        for operand in instruction.operands
    }


def unknown_args(subject: Subject, names: Iterable[str], place: str) -> Iterator[Finding]:
    """Build arguments that are passed, and that no ARG declares. `place`: where they are passed."""
    for name in names:
        if name not in declared_args(subject.dockerfile) | _PREDEFINED | platform_args("linux/amd64").keys():
            yield found(
                "arg_unknown",
                place,
                f"The build argument {name} is passed, and {subject.place} declares no ARG of that name",
                f"Add ARG {name} to the build target that needs it, or do not pass it",
            )


RULES = (secrets, undeclared, unused)
