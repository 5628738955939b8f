"""What a Dockerfile may take in, whatever values its arguments are given.

One build knows its arguments; an ignore file serves all builds. So each variable in a source stands for any text here,
slashes included: rather too much counts as used than too little.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dockwright.insight.dockerfile import Dockerfile, Instruction, Target, parse_trigger
from dockwright.insight.ignore import clean
from dockwright.insight.replay import State
from dockwright.insight.selection import Context, is_remote
from dockwright.insight.usage import sources_of
from dockwright.insight.wildcards import has_wildcard

TOOLS_FOLDERS = frozenset(
    ("node_modules", ".git", ".svn", ".hg", "__pycache__", ".venv", "site-packages", ".tox", ".nox", ".cache")
)
"""Nobody means what lies in these by an argument, though a folder above them may well be meant."""
_ANY = "\ue000"
"""Stands for the value of a variable. No path of a tree is written with it."""
_NAME = re.compile(r"\w+|.?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Possible:
    paths: frozenset[str]
    """All that some value makes an instruction take in."""
    names: frozenset[str]
    """Those of them that the value itself may name, rather than a folder above them."""


def possible(steps: Iterable[tuple[Target, Instruction, State]], dockerfile: Dockerfile, context: Context) -> Possible:
    """Of the sources with variables, and of what ONBUILD keeps for others; `steps` as `usage.steps` has them.

    Raises `DockerfileSyntax`.
    """
    paths: set[str] = set()
    names: set[str] = set()
    for _, instruction, state in steps:
        try:
            for source in _open_sources(instruction, state):
                if source.strip("./*") == "":  # everything, which nobody has chosen one by one
                    paths.update(context.below(""))
                    continue
                for path in _named(context, source):
                    names.add(path)
                    paths.update((path, *_with_content(context, path)))
        except ValueError as error:
            raise dockerfile.error(instruction.line, str(error), "Correct that instruction and build again") from error
    return Possible(frozenset(paths), frozenset(names))


def _open_sources(instruction: Instruction, state: State) -> Iterator[str]:
    if instruction.keyword == "ONBUILD":
        kept = parse_trigger(instruction.operands[0], instruction.line)
        yield from sources_of(kept, with_any)
        return
    now = sources_of(instruction, state.scope.put_in)
    words = [one for one in sources_of(instruction, lambda word: word) if not is_remote(one)]
    if any("$" in word for word in words):
        # An ADD that gets something from elsewhere today does not take in a file tomorrow.
        is_local = list(now) or instruction.keyword != "ADD"
        yield from (with_any(word) for word in words if "$" in word and is_local)


def with_any(word: str) -> str:
    """A word with each variable, whatever its braces do with its value, replaced by what stands for any text."""
    parts, at = [], 0
    while (start := word.find("$", at)) >= 0:
        parts += [word[at:start].removesuffix("\\"), _ANY]
        at = _end_of_variable(word, start)
    return "".join([*parts, word[at:]]).replace('"', "").replace("'", "")


def _end_of_variable(word: str, start: int) -> int:
    if not word.startswith("{", start + 1):
        match = _NAME.match(word, start + 1)
        return match.end() if match else start + 1
    depth = 0
    for place in range(start + 1, len(word)):
        depth += {"{": 1, "}": -1}.get(word[place], 0)
        if not depth:
            return place + 1
    return len(word)


def _named(context: Context, source: str) -> Iterator[str]:
    """Paths that a source may name; links that lead to them, and to what they lead, are among them."""
    parts = clean("/" + source).strip("/").split("/")
    loose = next((at for at, part in enumerate(parts) if _ANY in part or has_wildcard(part)), len(parts))
    start = context.follow("/".join(parts[:loose]))
    if start is None:
        return
    folder, links = start
    yield from links
    if loose == len(parts):
        yield folder
        return
    is_match = re.compile("".join(_expressions(parts[loose:])), re.DOTALL).fullmatch
    is_direct = re.compile("".join(_expressions(parts[loose:], any_text="[^/]*")), re.DOTALL).fullmatch
    for path in context.below(folder):
        below = path[len(folder) + 1 :] if folder else path
        if is_direct(below) or (TOOLS_FOLDERS.isdisjoint(below.split("/")) and is_match(below)):
            yield path
        elif path in context.index.links and _ANY in source:
            yield path  # the value may lead through it


def _expressions(parts: Sequence[str], any_text: str = ".*") -> Iterator[str]:
    for place, part in enumerate(parts):
        is_last = place == len(parts) - 1
        if part.strip(_ANY):
            yield _expression(part, any_text) + ("" if is_last else "/")
        else:
            yield any_text if is_last else f"(?:{any_text}/)?"


def _expression(part: str, any_text: str) -> str:
    """Wildcards are taken wider than the builder takes them."""
    tokens = re.findall(r"\*\*|\\.|\[(?:\\.|[^\]])*\]?|.", part, re.DOTALL)
    wide = {_ANY: any_text, "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(wide.get(token) or ("[^/]" if token.startswith("[") else re.escape(token[-1])) for token in tokens)


def _with_content(context: Context, path: str) -> Iterator[str]:
    """What lies below it, or where it leads as a link."""
    found = context.follow(path)
    if found is None:
        return
    place, links = found
    yield from links
    if place:
        yield place
    yield from context.below(place) if context.is_folder(place) else ()
