"""Wildcards in the source of a COPY, as Go's `filepath.Match` has them: no `*` crosses a slash, `**` is two of them."""

from __future__ import annotations

import re
from collections.abc import Callable

from dockwright.insight.ignore import check_wildcards


def has_wildcard(name: str) -> bool:
    return re.search(r"[*?\[]", re.sub(r"\\.", "", name)) is not None


def compile_match(pattern: str) -> Callable[[str], bool]:
    """A test for whole paths. A pattern that is malformed matches nothing, as it does in the builder."""
    try:
        check_wildcards(pattern)
        fullmatch = re.compile(_expression(pattern), re.DOTALL).fullmatch
    except (ValueError, re.error):
        return lambda _path: False
    return lambda path: fullmatch(path) is not None


def _expression(pattern: str) -> str:
    parts = []
    at = 0
    while at < len(pattern):
        char, at = pattern[at], at + 1
        if char == "*":
            parts.append("[^/]*")
        elif char == "?":
            parts.append("[^/]")
        elif char == "\\":
            parts.append(re.escape(pattern[at]))
            at += 1
        elif char == "[":
            group, at = _class(pattern, at)
            parts.append(group)
        else:
            parts.append(re.escape(char))
    return "".join(parts)


def _class(pattern: str, at: int) -> tuple[str, int]:
    """The class that begins at `at`, after its bracket, and the place after it."""
    is_negated = pattern.startswith("^", at)
    at += is_negated
    members = []
    while True:
        low, at = _member(pattern, at)
        high = low
        if pattern.startswith("-", at):
            high, at = _member(pattern, at + 1)
        if low <= high:
            members.append(f"{re.escape(low)}-{re.escape(high)}")
        if pattern.startswith("]", at):
            break
    if not members:
        return ("(?s:.)" if is_negated else "(?!)"), at + 1
    return f"[{'^' * is_negated}{''.join(members)}]", at + 1


def _member(pattern: str, at: int) -> tuple[str, int]:
    at += pattern.startswith("\\", at)
    return pattern[at], at + 1
