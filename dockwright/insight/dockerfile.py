"""Reads a Dockerfile: its build targets, their instructions, and the arguments that stand before the first FROM.

The syntax is read by BuildKit's own parser. What that parser lets through and BuildKit refuses only later (an unknown
instruction, a COPY without a destination) is refused here too, by `dockerfile_rules`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dockwright.errors import DockerfileSyntax

_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*$")
_HEREDOC_WORD = re.compile(r"(?:^|[\s\d])<<(-?)(\"[^\"<]+\"|'[^'<]+'|[^\s<\"']+)")
_LEADING_TABS = re.compile(r"^\t+", re.MULTILINE)
_BOM = "\ufeff"
# The parser ends the whole process over a byte that is no UTF-8 ("surrogateescape" in a text of ours), which BuildKit
# takes as it is; so a character of the private area, one for each byte, stands for it while the parser reads.
_STAND_INS = {0xDC00 + byte: 0xF700 + byte for byte in range(0x80, 0x100)}
_BYTES = {stand_in: surrogate for surrogate, stand_in in _STAND_INS.items()}


@dataclass(frozen=True, slots=True)
class Heredoc:
    name: str
    content: str
    """Without the leading tabs that `<<-` takes away."""
    expand: bool
    """Variables are put in (the name was not quoted)."""
    raw: str
    """The content as it stands in the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    line: int
    """First line, from 1."""
    end_line: int
    keyword: str
    """In capitals."""
    text: str
    """As written, continued lines joined, without heredocs."""
    flags: tuple[str, ...] = ()
    """`--name=value`, as written."""
    operands: tuple[str, ...] = ()
    """Words, or the members of the JSON form; ENV and LABEL: name, value, name, value …; ONBUILD: its trigger."""
    is_json: bool = False
    heredocs: tuple[Heredoc, ...] = ()

    def flag(self, name: str) -> str | None:
        """The value of `--name`, "" where it has none, None where the flag is not there."""
        values = self.flag_values(name)
        return values[-1] if values else None

    def flag_values(self, name: str) -> tuple[str, ...]:
        pairs = (flag[2:].partition("=") for flag in self.flags)
        return tuple(value for key, _, value in pairs if key == name)

    def is_switched_on(self, name: str) -> bool:
        """Of a flag that is true or false."""
        value = self.flag(name)
        return value is not None and value.lower() in ("", "true")

    @property
    def full_text(self) -> str:
        """With the heredocs, as a shell would read it."""
        return self.text + "".join(f"\n{heredoc.raw}{heredoc.name}" for heredoc in self.heredocs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    index: int
    name: str | None
    """In lower case, as BuildKit compares names."""
    base: str
    """Image or build target, variables not yet put in."""
    platform: str | None
    origin: Instruction
    """Its FROM."""
    instructions: tuple[Instruction, ...]
    """Those after its FROM."""

    @property
    def label(self) -> str:
        """Its name, or its number as text."""
        return self.name or str(self.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dockerfile:
    targets: tuple[Target, ...]
    global_args: Mapping[str, str | None]
    """ARG before the first FROM: name → default as written, in order."""
    syntax: str | None
    """The image that `# syntax=` names."""
    escape: str = "\\"
    path: str = "Dockerfile"

    def error(self, line: int, cause: str, remedy: str) -> DockerfileSyntax:
        return DockerfileSyntax(f"{self.path}, line {line}: {cause}", remedy=remedy)


def parse(text: str, path: str = "Dockerfile") -> Dockerfile:
    """Raises `DockerfileSyntax` with the line for what `docker build` would refuse to begin with."""
    from dockwright.insight.dockerfile_rules import check_instruction, check_order

    text = text.removeprefix(_BOM)
    directives = dict(_directives(text))
    escape = directives.get("escape", "\\")
    instructions = [_instruction(command) for command in _commands(text, path)]
    for instruction in instructions:
        check_instruction(instruction, path)
    check_order(instructions, path)
    return Dockerfile(
        targets=tuple(_targets(instructions)),
        global_args=_global_args(instructions),
        syntax=directives["syntax"].split(" ")[0] if "syntax" in directives else None,
        escape=escape,
        path=path,
    )


def parse_trigger(trigger: str, line: int) -> Instruction:
    """An instruction that ONBUILD kept, as one that stands at `line`."""
    from dataclasses import replace

    return replace(_instruction(_commands(trigger, "ONBUILD")[0]), line=line, end_line=line)


def declared_args(dockerfile: Dockerfile) -> frozenset[str]:
    """Names of all arguments that the Dockerfile declares anywhere."""
    declarations = (
        operand.partition("=")[0]
        for target in dockerfile.targets
        for instruction in target.instructions
        if instruction.keyword == "ARG"
        for operand in instruction.operands
    )
    return frozenset(dockerfile.global_args) | frozenset(declarations)


def without_syntax(text: str) -> str:
    """The same Dockerfile for the builder's own front end: no `# syntax=`, and every other line where it was.

    Directives must stand at the very top, so the gap that is left is a comment below the last of them.
    """
    bom = _BOM if text.startswith(_BOM) else ""
    lines = text.removeprefix(_BOM).splitlines(keepends=True)
    directives = [name for name, _ in _directives("".join(lines))]
    if "syntax" not in directives:
        return text
    ending = lines[directives.index("syntax")][-1:]
    del lines[directives.index("syntax")]
    lines.insert(len(directives) - 1, "#" + (ending if ending == "\n" else ""))
    return bom + "".join(lines)


def syntax_of(text: str) -> str | None:
    """The image that `# syntax=` names, without reading the rest."""
    found = dict(_directives(text.removeprefix(_BOM))).get("syntax")
    return found.split(" ")[0] if found else None


def _directives(text: str) -> Iterator[tuple[str, str]]:
    seen = set()
    for line in text.splitlines():
        match = _DIRECTIVE.match(line)
        name = match[1].lower() if match else ""
        if match is None or name not in ("syntax", "escape") or name in seen:
            return
        seen.add(name)
        yield name, match[2]


def _commands(text: str, path: str) -> tuple[Any, ...]:
    import dockerfile

    if "\0" in text:
        raise DockerfileSyntax(
            f"{path}, line {text[: text.index(chr(0))].count(chr(10)) + 1}: a zero byte",
            remedy=f"Save {path} as plain text in UTF-8",
        )
    readable = text.translate(_STAND_INS)
    try:
        commands = tuple(dockerfile.parse_string(readable))
    except (dockerfile.GoParseError, dockerfile.GoIOError) as error:
        cause = str(error)
        if cause == "file with no instructions":
            raise DockerfileSyntax(f"{path} holds no instruction", remedy="Begin it with FROM and an image") from error
        raise DockerfileSyntax(
            f"{path}, line {_line_of_error(readable)}: {cause}", remedy=f"Correct that line of {path} and build again"
        ) from error
    return commands if readable == text else _with_bytes(commands)


def _with_bytes(value: Any) -> Any:
    """What the parser gave, with the bytes in it again for which characters stood."""
    if isinstance(value, str):
        return value.translate(_BYTES)
    if isinstance(value, tuple):
        parts = map(_with_bytes, value)
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value


def _line_of_error(text: str) -> int:
    """The parser names no line. The instruction at fault is the one after the longest beginning that can be read."""
    import dockerfile

    lines = text.splitlines(keepends=True)
    for count in range(len(lines) - 1, 0, -1):
        try:
            commands = dockerfile.parse_string("".join(lines[:count]))
        except dockerfile.GoParseError:
            continue
        last = commands[-1]
        # The beginning may end inside an instruction that goes on: then that one is at fault.
        is_open = last.end_line == count and lines[count - 1].rstrip().endswith(("\\", "`"))
        return int(last.start_line) if is_open else _next_instruction(lines, count)
    return _next_instruction(lines, 0)


def _next_instruction(lines: list[str], start: int) -> int:
    for number, line in enumerate(lines[start:], start + 1):
        if line.strip() and not line.lstrip().startswith("#"):
            return number
    return len(lines)


def _instruction(command: Any) -> Instruction:
    text = command.original.split("\n", 1)[0].strip()
    keyword = command.cmd.upper()
    operands = tuple(command.value)
    if keyword == "ONBUILD":
        trigger = command.original.strip()[len("ONBUILD") :].strip()
        operands = (trigger,) if trigger else ()
    elif not command.json:
        operands = tuple(operand for operand in operands if operand or keyword in ("ENV", "LABEL"))
    return Instruction(
        line=command.start_line,
        end_line=command.end_line,
        keyword=keyword,
        text=text,
        flags=tuple(command.flags),
        operands=operands,
        is_json=command.json,
        heredocs=_heredocs(text, command.heredocs),
    )


def _heredocs(text: str, found: tuple[Any, ...]) -> tuple[Heredoc, ...]:
    words = {word.strip("\"'"): (dash == "-", word[0] in "\"'") for dash, word in _HEREDOC_WORD.findall(text)}
    heredocs = []
    for heredoc in found:
        is_chomped, is_quoted = words.get(heredoc.name, (False, True))
        content = _LEADING_TABS.sub("", heredoc.content) if is_chomped else heredoc.content
        heredocs.append(Heredoc(heredoc.name, content, not is_quoted, heredoc.content))
    return tuple(heredocs)


def _targets(instructions: list[Instruction]) -> Iterator[Target]:
    starts = [place for place, instruction in enumerate(instructions) if instruction.keyword == "FROM"]
    for index, (start, end) in enumerate(zip(starts, [*starts[1:], len(instructions)], strict=True)):
        origin = instructions[start]
        yield Target(
            index=index,
            name=origin.operands[2].lower() if len(origin.operands) == 3 else None,
            base=origin.operands[0],
            platform=origin.flag("platform"),
            origin=origin,
            instructions=tuple(instructions[start + 1 : end]),
        )


def _global_args(instructions: list[Instruction]) -> dict[str, str | None]:
    defaults: dict[str, str | None] = {}
    for instruction in instructions:
        if instruction.keyword == "FROM":
            break
        for operand in instruction.operands:
            name, has_default, default = operand.partition("=")
            defaults[name] = default if has_default else None
    return defaults
