"""Which files of the context a COPY, an ADD or a bind mount takes in."""

from __future__ import annotations

import stat
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from dockwright.insight.dockerfile import Instruction
from dockwright.insight.ignore import Rules, clean, parse_rules
from dockwright.insight.index import Index
from dockwright.insight.wildcards import compile_match, has_wildcard

_MOST_LINKS = 255


@dataclass(frozen=True, slots=True)
class Match:
    """One thing of the context that a source names."""

    named: str
    """Its path as the source, wildcards put in, names it; "" is the context itself."""
    path: str
    """Where that is, links followed."""
    is_folder: bool
    links: tuple[str, ...] = ()
    """Links that were followed on the way."""


class Context:
    """The context's tree, seen from its index."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self._paths = list(index.files)

    def below(self, folder: str) -> list[str]:
        """Paths of all that lies below a folder, "" for everything; sorted."""
        if not folder:
            return self._paths
        # "0" is the character after "/".
        return self._paths[bisect_left(self._paths, f"{folder}/") : bisect_left(self._paths, f"{folder}0")]

    def mode(self, path: str) -> int | None:
        facts = self.index.files.get(path)
        return facts[4] if facts else None

    def is_folder(self, path: str) -> bool:
        mode = self.mode(path)
        return not path or (mode is not None and stat.S_ISDIR(mode))

    def follow(self, path: str) -> tuple[str, tuple[str, ...]] | None:
        """Where `path` leads, links followed with the context as their root, and those links; None where to nothing."""
        links: list[str] = []
        rest = [part for part in path.split("/") if part][::-1]
        done: list[str] = []
        while rest:
            part = rest.pop()
            if part in (".", ""):
                continue
            if part == "..":
                done = done[:-1]
                continue
            here = "/".join([*done, part])
            target = self.index.links.get(here)
            if target is None:
                done.append(part)
                continue
            links.append(here)
            if len(links) > _MOST_LINKS:
                return None
            done = [] if target.startswith("/") else done
            # The builder shortens "a/../b" to "b" before it looks whether "a" is there, or a link itself.
            rest.extend(clean(target).split("/")[::-1])
        found = "/".join(done)
        return (found, tuple(links)) if not found or found in self.index.files else None

    def matches(self, source: str) -> list[Match]:
        """What a source names, in the order in which it is copied; nothing where it names nothing."""
        parts = clean("/" + source).strip("/").split("/")
        wild = next((place for place, part in enumerate(parts) if has_wildcard(part)), None)
        if wild is None:
            named = "/".join(parts)
            match = self._match(named)
            return [match] if match else []
        start = self.follow("/".join(parts[:wild]))
        if start is None:
            return []
        prefix = f"{start[0]}/" if start[0] else ""
        is_match = compile_match("/".join(parts[wild:]))
        depth = len(parts) - wild - 1
        found = (path[len(prefix) :] for path in self.below(start[0]))
        named_paths = sorted(
            (name for name in found if name.count("/") == depth and is_match(name)), key=lambda name: name.split("/")
        )
        return [match for name in named_paths if (match := self._match(prefix + name, start[1]))]

    def _match(self, named: str, links: tuple[str, ...] = ()) -> Match | None:
        found = self.follow(named)
        return Match(named, found[0], self.is_folder(found[0]), (*links, *found[1])) if found else None


def is_remote(source: str) -> bool:
    """Whether an ADD gets this from elsewhere: a URL or a Git repository."""
    return "://" in source.split("?", maxsplit=1)[0] or source.startswith("git@")


def is_heredoc(operand: str) -> bool:
    return operand.lstrip("0123456789").startswith("<<") and "<" not in operand.lstrip("0123456789")[2:]


def files_below(context: Context, match: Match, excludes: Rules) -> Iterator[str]:
    """Paths of what a folder brings with it, `--exclude` left out; the folder itself is not among them."""
    prefix = f"{match.path}/" if match.path else ""
    for path in context.below(match.path):
        if not excludes.patterns or not excludes.is_excluded(path[len(prefix) :]):
            yield path


def exclude_rules(instruction: Instruction) -> Rules:
    return parse_rules("\n".join(instruction.flag_values("exclude")), "--exclude")


def with_parents(context: Context, source: str) -> list[tuple[str, str]]:
    """For `--parents`: paths of the context and where each lands below the destination, folders included."""
    pivot, has_pivot, pattern = source.partition("/./")
    root = clean("/" + (pivot if has_pivot else "")).strip("/")
    wanted = parse_rules(clean("/" + (pattern if has_pivot else source)).lstrip("/"))
    prefix = f"{root}/" if root else ""
    landed = ((path, path[len(prefix) :]) for path in context.below(root))
    return [(path, relative) for path, relative in landed if wanted.is_excluded(relative)]
