"""Variables in a Dockerfile: how BuildKit puts their values in, and which of them an instruction sees.

The grammar is a shell's, made small: `$X ${X} ${X:-w} ${X-w} ${X:+w} ${X+w} ${X:?w} ${X?w} ${X#p} ${X##p} ${X%p}
${X%%p} ${X/p/r} ${X//p/r}`, quotes and escapes. Everything here was checked against a real builder; where the builder
differs from its documentation (an ARG below an ENV of the same name wins) the builder is followed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


class FatalPattern(ValueError):
    """`${X#}` or `${X%}`: with no pattern it ends the whole builder (BuildKit 0.13), so it must never be sent."""


Quotes = Literal["remove", "keep", "plain"]
"""What becomes of quotes: taken away, kept (as a RUN is shown), or no quotes at all (a heredoc's content)."""

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""PATH in a step whose base image sets none."""

_SPECIAL = "@*#?-$!0"
_END = ""


def expand(
    word: str,
    values: Mapping[str, str],
    *,
    escape: str = "\\",
    quotes: Quotes = "remove",
    keep_unset: bool = False,
    used: set[str] | None = None,
) -> str:
    """`word` with the values put in. Raises `ValueError` with the cause.

    `keep_unset` leaves a variable without a value as it was written. The names that were looked for go into `used`.

    >>> expand("${NAME:-world}/$X", {"X": "1"})
    'world/1'
    """
    if "$" not in word and escape not in word and '"' not in word and "'" not in word:
        return word
    return _Expansion(word, values, escape, quotes, keep_unset, used if used is not None else set()).until(_END)


@dataclass(slots=True)
class _Expansion:
    """One pass over one word."""

    word: str
    values: Mapping[str, str]
    escape: str
    quotes: Quotes
    keep_unset: bool
    used: set[str]
    at: int = 0

    def peek(self) -> str:
        return self.word[self.at : self.at + 1]

    def take(self) -> str:
        taken = self.peek()
        self.at += 1
        return taken

    def until(self, stop: str, *, raw_escapes: bool = False) -> str:
        """Up to `stop` (which is taken too), or to the end."""
        result: list[str] = []
        while (char := self.peek()) != _END:
            if char == stop:
                self.at += 1
                return "".join(result)
            if char == "$":
                result.append(self.dollar(raw_escapes))
            elif char == "'" and self.quotes != "plain":
                result.append(self.single_quoted())
            elif char == '"' and self.quotes != "plain":
                result.append(self.double_quoted(raw_escapes))
            elif char == self.escape:
                self.at += 1
                result.append((char if raw_escapes else "") + self.take())
            else:
                result.append(self.take())
        if stop != _END:
            raise ValueError(f"missing {stop!r} in {self.word!r}")
        return "".join(result)

    def single_quoted(self) -> str:
        end = self.word.find("'", self.at + 1)
        if end < 0:
            raise ValueError(f"a single quote is not closed in {self.word!r}")
        quoted = self.word[self.at : end + 1]
        self.at = end + 1
        return quoted if self.quotes == "keep" else quoted[1:-1]

    def double_quoted(self, raw_escapes: bool) -> str:
        mark = self.take() if self.quotes == "keep" else self.take()[1:]
        result = [mark]
        while (char := self.peek()) != '"':
            if char == _END:
                raise ValueError(f"a double quote is not closed in {self.word!r}")
            if char == "$":
                result.append(self.dollar(raw_escapes))
                continue
            self.at += 1
            if char == self.escape:
                result.append(self._escaped_in_quotes(raw_escapes))
            else:
                result.append(char)
        self.at += 1
        return "".join(result) + mark

    def _escaped_in_quotes(self, raw_escapes: bool) -> str:
        """Only a quote, a dollar and the escape itself can be escaped between double quotes."""
        following = self.peek()
        if following == _END:
            return ""
        if following in ('"', "$", self.escape):
            self.at += 1
            return (self.escape if raw_escapes else "") + following
        return (self.escape if raw_escapes else "") + self.escape

    def name(self) -> str:
        match = re.compile(r"\d+|[" + re.escape(_SPECIAL) + r"]|\w+").match(self.word, self.at)
        if match is None:
            return ""
        self.at = match.end()
        return match[0]

    def value(self, name: str) -> str | None:
        self.used.add(name)
        return self.values.get(name)

    def dollar(self, raw_escapes: bool) -> str:
        self.at += 1
        if self.peek() != "{":
            name = self.name()
            if not name:
                return "$"
            value = self.value(name)
            return f"${name}" if value is None and self.keep_unset else value or ""
        self.at += 1
        if self.peek() in ("", "{", "}", ":"):
            raise ValueError(f"bad substitution in {self.word!r}")
        return self.braced(self.name())

    def braced(self, name: str) -> str:
        """What stands between the braces after the name, and the closing one."""
        sign = self.take()
        value = self.value(name)
        if sign == "}":
            return f"${{{name}}}" if value is None and self.keep_unset else value or ""
        if sign == "/":
            return self.replaced(name, value)
        is_empty_unset = sign == ":"
        operator = self.take() if is_empty_unset else sign
        if operator not in ("+", "-", "?", "#", "%"):
            raise ValueError(f"unsupported modifier ({sign}{operator if is_empty_unset else ''}) in {self.word!r}")
        word = self.until("}", raw_escapes=operator in "#%")
        if operator in "#%" and not word:
            raise FatalPattern(f"${{{name}{operator}}} has no pattern to take away")
        if value is None and self.keep_unset:
            return f"${{{name}{':' if is_empty_unset else ''}{operator}{word}}}"
        return _modified(name, value, operator, word, is_empty_unset)

    def replaced(self, name: str, value: str | None) -> str:
        is_all = self.peek() == "/"
        self.at += is_all
        pattern = self.until("/", raw_escapes=True)
        replacement = self.until("}", raw_escapes=True)
        if value is None and self.keep_unset:
            return f"${{{name}/{pattern}/{replacement}}}"
        compiled = re.compile(_pattern(pattern, is_greedy=True))
        return compiled.sub(lambda _: replacement, value or "", count=0 if is_all else 1)


def _modified(name: str, value: str | None, operator: str, word: str, is_empty_unset: bool) -> str:
    is_set = value is not None and not (is_empty_unset and value == "")
    if operator == "-":
        return value if is_set and value is not None else word
    if operator == "+":
        return word if is_set else ""
    if operator == "?":
        if not is_set:
            raise ValueError(f"{name}: {word or 'is not allowed to be unset'}")
        return value or ""
    is_greedy = word.startswith(operator)
    return _trimmed(value or "", word[is_greedy:], operator, is_greedy)


def _trimmed(value: str, pattern: str, operator: str, is_greedy: bool) -> str:
    """`#` trims the pattern from the beginning, `%` from the end: its shortest match, or the longest when greedy."""
    if operator == "#":
        match = re.match(_pattern(pattern, is_greedy), value)
        return value[match.end() :] if match else value
    whole = re.compile(_pattern(pattern, is_greedy=True))
    starts = range(len(value) + 1) if is_greedy else range(len(value), -1, -1)
    return next((value[:start] for start in starts if whole.fullmatch(value, start)), value)


def _pattern(pattern: str, is_greedy: bool) -> str:
    """A shell pattern of `*`, `?` and escapes as a regular expression."""
    parts = []
    chars = iter(pattern)
    for char in chars:
        if char == "*":
            parts.append(".*" if is_greedy else ".*?")
        elif char == "?":
            parts.append(".")
        elif char == "\\":
            parts.append(re.escape(next(chars, "\\")))
        else:
            parts.append(re.escape(char))
    return "".join(parts)


@dataclass(slots=True)
class Scope:
    """The variables of one build target, moved on instruction by instruction."""

    passed: Mapping[str, str]
    """Arguments passed to the build."""
    known: Mapping[str, str | None]
    """Values of the arguments above the first FROM, and of the platform's."""
    escape: str = "\\"
    values: dict[str, str] = field(default_factory=dict)
    """The environment of the next step: the base image's, ENV, and declared arguments."""
    image_env: dict[str, str] = field(default_factory=dict)
    """What of it stays in the image: the base image's and ENV."""
    declared: set[str] = field(default_factory=set)
    """Names that an ARG of this target, or of one that it is FROM, has declared."""

    def child(self) -> Scope:
        """What a target that is FROM this one begins with: its arguments too, but ENV has the last word."""
        values = {**self.values, **self.image_env}
        return Scope(self.passed, self.known, self.escape, values, dict(self.image_env), set(self.declared))

    def put_in(self, word: str, used: set[str] | None = None) -> str:
        return expand(word, self.values, escape=self.escape, used=used)

    def declare(self, operands: tuple[str, ...], used: set[str]) -> None:
        """ARG: the passed value, else the default, else what the name has above the first FROM."""
        expanded = [self.put_in(operand, used) for operand in operands]
        for operand in expanded:
            name, has_default, default = operand.partition("=")
            self.declared.add(name)
            value = self.passed.get(name, default if has_default else self.known.get(name))
            if value is not None:
                self.values[name] = value

    def set_env(self, operands: tuple[str, ...], used: set[str]) -> None:
        """ENV: names and values by turns; all are put in before any is set."""
        expanded = [self.put_in(operand, used) for operand in operands]
        self._keep(dict(zip(expanded[::2], expanded[1::2], strict=True)))

    def begin_with(self, base_env: Mapping[str, str]) -> None:
        """The environment that the base image sets; PATH is always set."""
        self._keep({"PATH": DEFAULT_PATH, **base_env})

    def _keep(self, settings: Mapping[str, str]) -> None:
        self.values.update(settings)
        self.image_env.update(settings)

    def args_of(self, used: set[str] | None = None) -> dict[str, str]:
        """Declared arguments with a value; only those in `used` where it is given."""
        names = self.declared if used is None else self.declared & used
        return {name: self.values[name] for name in sorted(names) if name in self.values}


def global_values(
    defaults: Mapping[str, str | None], passed: Mapping[str, str], platform: str, escape: str
) -> dict[str, str | None]:
    """The arguments above the first FROM and the predefined platform ones, by name; None has no value."""
    values: dict[str, str | None] = {**platform_args(platform)}
    values.update((name, passed[name]) for name in values if name in passed)
    for name, default in defaults.items():
        if name in passed:
            values[name] = passed[name]
        elif default is not None:
            known = {key: value or "" for key, value in values.items()}
            values[name] = expand(default, known, escape=escape)
        else:
            values[name] = values.get(name)
    return values


def platform_args(platform: str) -> dict[str, str]:
    """`linux/arm64/v8` → TARGETPLATFORM, TARGETOS and so on; the builder's own platform is taken to be the same."""
    system, _, rest = platform.partition("/")
    architecture, _, variant = rest.partition("/")
    parts = {"PLATFORM": platform, "OS": system, "ARCH": architecture, "VARIANT": variant}
    return {f"{side}{name}": value for side in ("BUILD", "TARGET") for name, value in parts.items()}
