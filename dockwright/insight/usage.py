"""Which files of the context each COPY, ADD and bind mount of a Dockerfile takes in, whatever target they stand in.

Only paths and modes are needed for that, so nothing is read: the index that is used here has no digests.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dockwright.errors import DockerfileSyntax
from dockwright.insight.context import Walk
from dockwright.insight.dockerfile import Dockerfile, Instruction, Target
from dockwright.insight.ignore import clean
from dockwright.insight.index import Index
from dockwright.insight.replay import Recipe, State, mounts_of
from dockwright.insight.selection import Context, exclude_rules, files_below, is_heredoc, is_remote, with_parents
from dockwright.insight.wildcards import has_wildcard


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One source of one instruction."""

    target: Target
    instruction: Instruction
    source: str
    """Its path in the context, variables put in and cleaned; "" is the whole context."""
    paths: frozenset[str]
    """Files, links and folders that it takes in."""
    names: frozenset[str]
    """Those of them that the source names itself, rather than a folder above them."""
    can_be_missing: bool
    """A wildcard may match nothing; any other source must be there."""

    @property
    def is_broad(self) -> bool:
        """Takes a whole folder, or what a lone `*` matches: nobody has chosen its files one by one."""
        return not self.source or self.source.rpartition("/")[2] in ("*", "**") or self.names < self.paths


def without_digests(root: Path | str, walk: Walk) -> Index:
    """Raises nothing: a link that vanishes meanwhile leads nowhere."""
    links = {}
    for path in walk.links:
        try:
            links[path] = os.readlink(os.path.join(root, path))
        except OSError:
            continue
    facts = {path: (size, mtime, ctime, inode, mode, "") for path, mode, size, mtime, ctime, inode in walk.entries}
    return Index(facts, links)


def uses(
    dockerfile: Dockerfile,
    context: Context,
    *,
    args: Mapping[str, str],
    base_env: Mapping[str, Mapping[str, str]] | None = None,
    onbuild: Mapping[str, Sequence[str]] | None = None,
) -> list[Use]:
    """Of all targets, in the file's order. Raises `DockerfileSyntax` with the line."""
    found = []
    for target, instruction, state in steps(Recipe(dockerfile, args, base_env=base_env, onbuild=onbuild)):
        try:
            found += [
                _use(context, target, instruction, source) for source in sources_of(instruction, state.scope.put_in)
            ]
        except ValueError as error:
            raise _wrong(dockerfile, instruction, error) from error
    return found


def steps(recipe: Recipe) -> Iterator[tuple[Target, Instruction, State]]:
    """Each instruction of each target, triggers of its base among them, with the state that it meets.

    The state goes on with the next: what it says must be asked at once. Raises `DockerfileSyntax` with the line.
    """
    states: dict[int, State] = {}
    for target in recipe.dockerfile.targets:
        state, triggers = recipe.start(target, states)
        states[target.index] = state
        for instruction in recipe.instructions(target, triggers):
            yield target, instruction, state
            try:
                state.pass_by(instruction, set())
            except ValueError as error:
                raise _wrong(recipe.dockerfile, instruction, error) from error


def _wrong(dockerfile: Dockerfile, instruction: Instruction, error: ValueError) -> DockerfileSyntax:
    return dockerfile.error(instruction.line, str(error), "Correct that instruction and build again")


def needed_by(dockerfile: Dockerfile, target: str | None, args: Mapping[str, str]) -> frozenset[int]:
    """Numbers of the build targets that the final one rests on, its own among them."""
    recipe = Recipe(dockerfile, args)
    return frozenset(needed.index for needed in recipe.needed(recipe.final(target)))


def sources_of(instruction: Instruction, put_in: object) -> Iterator[str]:
    """Sources in the context, variables put in by `put_in`."""
    assert callable(put_in)
    if instruction.keyword == "ADD" or (instruction.keyword == "COPY" and not instruction.flag("from")):
        for word in instruction.operands[:-1]:
            source = str(put_in(word))
            if not is_heredoc(word) and not is_remote(source):
                yield source
    if instruction.keyword == "RUN":
        for value in mounts_of(instruction):
            if value.takes_context:
                yield str(put_in(value.source))


def _use(context: Context, target: Target, instruction: Instruction, source: str) -> Use:
    paths: set[str] = set()
    names: set[str] = set()
    is_with_parents = instruction.keyword == "COPY" and instruction.is_switched_on("parents")
    if is_with_parents:
        paths.update(path for path, _ in with_parents(context, source))
    else:
        excludes = exclude_rules(instruction)
        for match in context.matches(source):
            names.update(path for path in (match.named, match.path, *match.links) if path)
            if match.is_folder:
                paths.update(files_below(context, match, excludes))
    cleaned = clean("/" + source).strip("/")
    return Use(
        target=target,
        instruction=instruction,
        source=cleaned,
        paths=frozenset(paths | names),
        names=frozenset(names),
        can_be_missing=is_with_parents or not cleaned or has_wildcard(cleaned),
    )


def used_paths(found: Sequence[Use], targets: frozenset[int] | None = None) -> frozenset[str]:
    """Paths that any of these takes in; only those of the `targets` with these numbers where they are given."""
    return frozenset().union(*(use.paths for use in found if targets is None or use.target.index in targets))


def is_there(use: Use) -> bool:
    """Whether the builder finds what the source names."""
    return use.can_be_missing or bool(use.names)


def size_of(context: Context, paths: frozenset[str]) -> int:
    """In bytes; a link and a folder have none."""
    return sum(facts[0] for path in paths if (facts := context.index.files.get(path)) and stat.S_ISREG(facts[4]))
