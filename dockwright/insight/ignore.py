"""What `.dockerignore` leaves out of the context, exactly as BuildKit decides it.

Each line is a pattern over whole paths from the context's root; the last that matches a path, or a folder above it,
wins; `!` takes a path in again. `*` and `?` stop at a slash, `**` does not. Oddities of the real matcher (`**x` also
matches `yx`, a `[` is a regular expression's) are kept, because a path that we judge otherwise than the builder is a
wrong answer, however sensible.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from dockwright.errors import UsageError

_GLOB = re.compile(r"[*\[\]?^\\]")
_META = frozenset(".+()|{}$")

Predicate = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Pattern:
    text: str
    """Cleaned, without `!`."""
    is_exception: bool
    matches: Predicate

    @property
    def literal_prefix(self) -> str | None:
        """The path that all it matches lies at or below, None where a wildcard stands in the way."""
        prefix = self.text.removesuffix("/**").removesuffix("/*")
        return None if _GLOB.search(prefix) else prefix


class Rules:
    """The patterns of one ignore file. Without any, everything is taken in."""

    def __init__(self, patterns: Iterable[Pattern] = (), source: str = ".dockerignore") -> None:
        self.patterns = tuple(patterns)
        self.source = source
        """Name of the file they came from."""
        self.has_exceptions = any(pattern.is_exception for pattern in self.patterns)
        self.excludes = _any_of(self.patterns)
        """Whether a path is left out, where no pattern is an exception and no folder above it was left out."""
        prefixes = [pattern.literal_prefix for pattern in self.patterns if pattern.is_exception]
        self._prefixes = None if None in prefixes else [f"{prefix}/" for prefix in prefixes]

    @property
    def lines(self) -> list[str]:
        """What they say, which two that are the same have in common."""
        return [f"{'!' * pattern.is_exception}{pattern.text}" for pattern in self.patterns]

    def may_hold_exceptions(self, folder: str) -> bool:
        """Whether something below a folder that is left out could be taken in again."""
        if not self.has_exceptions:
            return False
        return self._prefixes is None or any(prefix.startswith(f"{folder}/") for prefix in self._prefixes)

    def judge(self, path: str, above: list[bool]) -> tuple[bool, list[bool]]:
        """Whether `path` is left out, and which patterns matched: `above` for what lies below it.

        `above` is the answer for the folder that holds it, [] at the root.
        """
        is_out = False
        matched = []
        for place, pattern in enumerate(self.patterns):
            does_match = above[place] if above else False
            if not does_match and pattern.is_exception == is_out:
                does_match = pattern.matches(path)
            matched.append(does_match)
            if does_match:
                is_out = not pattern.is_exception
        return is_out, matched

    def below(self, folder: str) -> Rules:
        """The same rules for paths that count from a folder of the context on; "" is the context itself."""
        if not folder:
            return self
        above: list[bool] = []
        parts = folder.split("/")
        for count in range(1, len(parts) + 1):
            _, above = self.judge("/".join(parts[:count]), above)
        both = zip(self.patterns, above, strict=True)
        return Rules([_below(pattern, is_matched, f"{folder}/") for pattern, is_matched in both], self.source)

    def is_excluded(self, path: str) -> bool:
        """For one path alone; a walk is quicker with `judge`."""
        above: list[bool] = []
        parts = path.split("/")
        for count in range(1, len(parts) + 1):
            is_out, above = self.judge("/".join(parts[:count]), above)
        return is_out


def parse_rules(text: str, source: str = ".dockerignore") -> Rules:
    """Raises `UsageError` with the line of a pattern that BuildKit would refuse."""
    patterns = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        if line.startswith("#") or not line.strip():
            continue
        try:
            patterns.append(_parse_pattern(line.strip()))
        except ValueError as error:
            raise UsageError(f"{source}, line {number}: {error}", remedy=f"Correct that pattern in {source}") from error
    return Rules(patterns, source)


def load_rules(context: Path, dockerfile: Path | None = None) -> Rules:
    """The rules for building `dockerfile` with `context`.

    `<Dockerfile>.dockerignore` beside the Dockerfile wins, even an empty one, over `.dockerignore` in the context.
    """
    candidates = [context / ".dockerignore"]
    if dockerfile is not None:
        candidates.insert(0, dockerfile.with_name(f"{dockerfile.name}.dockerignore"))
    for candidate in candidates:
        try:
            text = candidate.read_bytes().decode("utf-8", "surrogateescape")
        except (FileNotFoundError, IsADirectoryError):
            continue
        except PermissionError as error:
            raise UsageError(f"{candidate} cannot be read", remedy="Give yourself the right to read it") from error
        return parse_rules(text, candidate.name)
    return Rules()


def _parse_pattern(line: str) -> Pattern:
    is_exception = line.startswith("!")
    text = line[1:].strip() if is_exception else line
    text = clean(text) if text else ""
    if is_exception and text in ("", "/"):
        raise ValueError('illegal exclusion pattern: "!"')
    if len(text) > 1:
        text = text.removeprefix("/")
    check_wildcards(text)
    return Pattern(text, is_exception, _compile(text))


def clean(path: str) -> str:
    """As Go's `path.Clean`: two slashes at the beginning are one."""
    cleaned = posixpath.normpath(path)
    return cleaned[1:] if cleaned.startswith("//") else cleaned


def check_wildcards(pattern: str) -> None:
    """Raises `ValueError` where brackets or escapes are not closed."""
    chars = iter(pattern)
    for char in chars:
        if char == "\\" and next(chars, None) is None:
            raise ValueError(f"syntax error in pattern {pattern!r}")
        if char == "[":
            _check_class(chars, pattern)


def _check_class(chars: Iterable[str], pattern: str) -> None:
    """A class holds at least one character or range; `-` and `]` must be escaped in it."""
    rest = iter(chars)
    fault = ValueError(f"syntax error in pattern {pattern!r}")

    def character(char: str | None) -> str | None:
        if char in (None, "-", "]"):
            raise fault
        following = next(rest, None) if char == "\\" else char
        if following is None:
            raise fault
        return next(rest, None)

    char = next(rest, None)
    if char == "^":
        char = next(rest, None)
    while True:
        char = character(char)
        if char == "-":
            char = character(next(rest, None))
        if char == "]":
            return


def _below(pattern: Pattern, is_matched: bool, prefix: str) -> Pattern:
    """`is_matched`: the folder, or one above it, matches, and with it all that lies below."""
    text = "" if is_matched else pattern.text.removeprefix(prefix)
    return Pattern(text, pattern.is_exception, lambda path: is_matched or pattern.matches(prefix + path))


def _any_of(patterns: tuple[Pattern, ...]) -> Predicate:
    predicates = [pattern.matches for pattern in patterns]
    if not predicates:
        return lambda _path: False
    if len(predicates) == 1:
        return predicates[0]
    return lambda path: any(matches(path) for matches in predicates)


def _compile(text: str) -> Predicate:
    """The matcher's own translation, oddities included; most patterns need no regular expression."""
    kind, expression = "exact", ""
    at = 0
    while at < len(text):
        char, at = text[at], at + 1
        if char == "*" and text.startswith("*", at):
            kind, expression, at = _double_star(text, at, kind, expression)
        elif char in "*?":
            kind, expression = "regexp", expression + ("[^/]*" if char == "*" else "[^/]")
        elif char == "\\":
            kind, expression, at = "regexp", expression + "\\" + text[at : at + 1], at + 1
        elif char in "[]":
            kind, expression = "regexp", expression + char
        else:
            expression += f"\\{char}" if char in _META else char
    if kind == "exact":
        return text.__eq__
    if kind == "prefix":
        prefix = text[:-2]
        return lambda path: path.startswith(prefix)
    if kind == "suffix":
        return _suffix(text[2:])
    return _regexp(expression, text)


def _double_star(text: str, at: int, kind: str, expression: str) -> tuple[str, str, int]:
    """`at` is its second star. Answers the kind, the expression and the place after it and its slash."""
    is_first = at == 1
    at += 1
    if text.startswith("/", at):
        at += 1
    if at == len(text):
        kind, expression = ("prefix", expression) if kind == "exact" else ("regexp", expression + ".*")
    else:
        kind, expression = "regexp", expression + "(?:.*/)?"
    return ("suffix" if is_first else kind), expression, at


def _suffix(suffix: str) -> Predicate:
    if suffix.startswith("/"):
        whole = suffix[1:]
        return lambda path: path.endswith(suffix) or path == whole
    return lambda path: path.endswith(suffix)


def _regexp(expression: str, text: str) -> Predicate:
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # a "[" inside a class means itself, here and there
            fullmatch = re.compile(expression).fullmatch
    except re.error as error:
        raise ValueError(f"syntax error in pattern {text!r}") from error
    return lambda path: fullmatch(path) is not None
