"""Whether what a COPY takes in comes into the final image, or stays behind in a build target."""

from __future__ import annotations

from collections.abc import Iterator

from dockwright.insight.dockerfile import Instruction, Target
from dockwright.insight.replay import mounts_of, resolve
from dockwright.insight.subject import Subject
from dockwright.insight.usage import Use
from dockwright.insight.wildcards import has_wildcard


class Reach:
    """Of one Dockerfile. Where it cannot be told, it comes into the image."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._final = {target.index for target in subject.chain(subject.final)}
        self._needed = {target.index for target in subject.needed}
        self._destinations = {id(one): place for one, place in _destinations(subject)}
        self._carried = [(index, path) for target in subject.needed for index, path in self._taken_by(target)]

    def is_needed(self, use: Use) -> bool:
        return use.target.index in self._needed

    def is_in_image(self, use: Use, path: str) -> bool:
        if use.target.index in self._final:
            return True
        destination = self._destinations.get(id(use.instruction))
        sources = [source for index, source in self._carried if index == use.target.index]
        return any(_may_hold(source, destination, path) for source in sources)

    def _taken_by(self, target: Target) -> Iterator[tuple[int, str]]:
        """Number of a target that others are copied or mounted from, with the path there; those that it is FROM too."""
        for instruction in target.instructions:
            origins = self._subject.recipe.origins_of(target, instruction)
            paths = list(instruction.operands[:-1]) if instruction.keyword == "COPY" else _mounted(instruction)
            for origin in origins:
                if origin.target is not None:
                    chain = self._subject.chain(origin.target)
                    yield from ((one.index, path) for one in chain for path in paths)


def _mounted(instruction: Instruction) -> list[str]:
    return [mount.source or "/" for mount in mounts_of(instruction) if mount.origin]


def _destinations(subject: Subject) -> Iterator[tuple[Instruction, str]]:
    """Of each COPY and ADD; not of those below a working folder that only the base image knows."""
    for target in subject.needed:
        is_known = False
        for instruction, state in subject.steps(target):
            if instruction.keyword == "WORKDIR":
                is_known = is_known or state.scope.put_in(instruction.operands[0]).startswith("/")
            if instruction.keyword in ("COPY", "ADD"):
                place = state.scope.put_in(instruction.operands[-1])
                if is_known or place.startswith("/"):
                    yield instruction, resolve(state.workdir, place)


def _may_hold(source: str, destination: str | None, path: str) -> bool:
    """Whether what is taken from `source` may hold a file of the context that was copied to `destination`."""
    if destination is None or has_wildcard(source) or "$" in source:
        return True
    taken = resolve("/", source)
    parts = path.split("/")
    landed = [destination, *(resolve(destination, "/".join(parts[start:])) for start in range(len(parts)))]
    return any(f"{one}/".startswith(f"{taken.rstrip('/')}/") for one in landed[1:]) or taken == destination
