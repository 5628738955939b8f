"""What a `.dockerignore` could leave out: what no instruction takes in, and what is known to be ballast.

Each pattern is tried on the whole context before it is suggested: one that would drop a file that an instruction takes
in, and that is no ballast, is not suggested. Neither is one that drops what an instruction names itself, or what an
exception in the user's own file takes in again.
"""

from __future__ import annotations

import stat
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dockwright.insight.ballast import Ballast, quoted
from dockwright.insight.ignore import Rules, parse_rules
from dockwright.insight.selection import Context

SMALLEST = 10_000
"""Bytes of what no instruction takes in that are worth a line."""
MOST = 60
"""Patterns of that kind; the largest come first."""
UNUSED = "no COPY, ADD or mount takes it in"
HEADER = '# What the image does not need; "dockwright context" says why.'


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    pattern: str
    bytes: int
    """That it saves beside those before it."""
    reason: str
    is_ballast: bool = False

    def as_dict(self) -> dict[str, str | int]:
        return {"pattern": self.pattern, "bytes": self.bytes, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Suggested:
    suggestions: tuple[Suggestion, ...]
    dropped: frozenset[str]
    """All that they leave out together."""


def suggest(
    context: Context, ballast: Sequence[Ballast], used: frozenset[str], named: frozenset[str], rules: Rules
) -> Suggested:
    """`used`: paths that instructions take in, `named` those that they name themselves. `rules`: today's."""
    sieve = _Sieve(context, used, named | _taken_in_again(context, rules))
    for one in ballast:
        sieve.try_ballast(one)
    for path in _unused(context, used, sieve.dropped):
        if len(sieve.found) >= MOST + len(ballast):
            break
        sieve.try_unused(path)
    ordered = sorted(sieve.found, key=lambda one: (-one.bytes, one.pattern))
    return Suggested(tuple(ordered), frozenset(sieve.dropped))


def extended(text: str, patterns: Iterable[str]) -> str:
    """The ignore file with these patterns at its end, below a comment; the user's own lines stay as they are."""
    lines = [pattern for pattern in patterns if pattern not in text.splitlines()]
    if not lines:
        return text
    ending = "" if not text or text.endswith("\n") else "\n"
    # Below our own comment where nobody has written anything since.
    is_ours_last = HEADER in text.splitlines() and not text.rpartition(HEADER)[2].count("\n\n")
    header = "" if is_ours_last else ("\n" if text.strip() else "") + HEADER + "\n"
    return text + ending + header + "".join(f"{line}\n" for line in lines)


class _Sieve:
    """Tries patterns one after another and keeps those that do no harm."""

    def __init__(self, context: Context, used: frozenset[str], protected: frozenset[str]) -> None:
        self.context, self.used = context, used
        self.protected = protected
        self.above_protected = {above for path in protected for above in _above(path)}
        self.dropped: set[str] = set()
        self.found: list[Suggestion] = []

    def try_ballast(self, ballast: Ballast) -> None:
        own = frozenset(path for root in ballast.paths for path in self._within(root))
        dropped = self._dropped_by(ballast.pattern)
        if dropped is not None and not (dropped - own) & self.used and self._is_harmless(dropped):
            self._keep(ballast.pattern, ballast.reason, dropped, is_ballast=True)
        elif len(ballast.paths) > 1:
            for path in ballast.paths:  # one of them must stay: the others need not
                self.try_ballast(Ballast(pattern=quoted(path), reason=ballast.reason, paths=(path,)))

    def try_unused(self, path: str) -> None:
        dropped = self._dropped_by(quoted(path))
        if dropped is not None and not dropped & self.used and self._is_harmless(dropped):
            self._keep(quoted(path), UNUSED, dropped)

    def _is_harmless(self, dropped: frozenset[str]) -> bool:
        return not dropped & self.protected and not dropped & self.above_protected

    def _keep(self, pattern: str, reason: str, dropped: frozenset[str], *, is_ballast: bool = False) -> None:
        new = dropped - self.dropped
        saved = sum(self._bytes(path) for path in new)
        if new and (saved or is_ballast):
            self.dropped |= new
            self.found.append(Suggestion(pattern=pattern, bytes=saved, reason=reason, is_ballast=is_ballast))

    def _bytes(self, path: str) -> int:
        facts = self.context.index.files[path]
        return facts[0] if stat.S_ISREG(facts[4]) else 0

    def _within(self, path: str) -> list[str]:
        return [path, *self.context.below(path)]

    def _dropped_by(self, pattern: str) -> frozenset[str] | None:
        """What the pattern leaves out of the context; none where no line of a file can hold it."""
        if pattern != pattern.strip() or len(pattern.splitlines()) != 1:
            return None
        (parsed,) = parse_rules(pattern).patterns
        if parsed.text in self.context.index.files:
            return frozenset(self._within(parsed.text))
        matched = [path for path in self.context.index.files if parsed.matches(path)]
        return frozenset(path for root in matched for path in self._within(root))


def _above(path: str) -> Iterator[str]:
    """The folders that a path lies in."""
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _taken_in_again(context: Context, rules: Rules) -> frozenset[str]:
    """What an exception of the user's names: `!keep.log`, `!public/*.txt`, not all below `!public`."""
    exceptions = [one for one in rules.patterns if one.is_exception and one.text.rpartition("/")[2] not in ("*", "**")]
    return frozenset(path for path in context.index.files if any(one.matches(path) for one in exceptions))


def _unused(context: Context, used: frozenset[str], dropped: set[str]) -> list[str]:
    """The highest folders, and the files, that hold nothing that is used: the largest first, the small left out.

    What is `dropped` already has no weight of its own.
    """
    keep = used.union(above for path in used for above in _above(path))
    found: dict[str, int] = {}
    for path, facts in context.index.files.items():
        if path in keep or path in dropped or any(above in found for above in _above(path)):
            continue
        if stat.S_ISDIR(facts[4]):
            found[path] = _weight(context, path, dropped)
        elif stat.S_ISREG(facts[4]):
            found[path] = facts[0]
    large = [path for path, weight in found.items() if weight >= SMALLEST]
    return sorted(large, key=lambda path: (-found[path], path))


def _weight(context: Context, folder: str, dropped: set[str]) -> int:
    files = context.index.files
    return sum(files[path][0] for path in context.below(folder) if path not in dropped and stat.S_ISREG(files[path][4]))


def largest_folders(context: Context, roots: Iterable[str], count: int = 10) -> list[tuple[str, int]]:
    """The folders with most in them, with what lies below included, as `du` counts; none below a `root` of ballast."""
    weights: dict[str, int] = {}
    for path, facts in context.index.files.items():
        if stat.S_ISREG(facts[4]):
            for above in _above(path):
                weights[above] = weights.get(above, 0) + facts[0]
    tops = sorted(set(roots))
    shown = [path for path in weights if not _is_below_any(path, tops)]
    return [(path, weights[path]) for path in sorted(shown, key=lambda path: (-weights[path], path))[:count]]


def _is_below_any(path: str, tops: list[str]) -> bool:
    return any((place := bisect_left(tops, above)) < len(tops) and tops[place] == above for above in _above(path))
