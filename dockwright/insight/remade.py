"""Whether a build makes a folder of the context anew: packages that a RUN installs, an output that a RUN builds.

Only then is what lies in the folder of no use. A RUN counts where it works in the very folder that the files land in;
what cannot be told for certain (a loop, a condition, another tool) does not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from dockwright.insight.dockerfile import Dockerfile, Instruction, Target
from dockwright.insight.needs import has_no_node
from dockwright.insight.possible import Possible, possible
from dockwright.insight.replay import Recipe, State, resolve
from dockwright.insight.selection import Context
from dockwright.insight.subject import commands
from dockwright.insight.usage import sources_of, steps

Kind = Literal["packages", "output"]
_UNSURE = re.compile(r"[(`]|\b(?:if|case|for|while|until|pushd|popd|xargs)\b|\bsh\s+-\w*c\b")
_INSTALLS = {
    "npm": ("ci", "i", "install", "clean-install"),
    "pnpm": ("i", "install"),
    "yarn": ("", "install"),
    "bun": ("i", "install"),
}
_FOLDER_OPTIONS = ("--prefix", "-C", "--cwd", "--dir")
_VALUE_OPTIONS = (
    *("--omit", "--include", "--only", "--loglevel", "--registry", "--cache", "--network-timeout", "--cache-folder"),
    *("--network-concurrency", "--store-dir", "--reporter", "--maxsockets", "--fetch-timeout", "--fetch-retries"),
)
_NOT_ALL = re.compile(
    r"-g|--global|--location=global|-v|--version|-h|--help|--dry-run|--package-lock-only|--lockfile-only"
    r"|-w|--workspaces?(?:=.*)?|--filter(?:=.*)?|-F|--mode=.*"
)
_BUILD = re.compile(
    r"(?:npm|pnpm|yarn|bun) (?:run )?(?:\S*build\S*|generate)|(?:vite|next) build|(?:tsc|webpack)(?: build)?"
)


@dataclass(frozen=True, slots=True)
class _Taken:
    """A source of a COPY, and the folder that it goes to; none for a mount."""

    target: Target
    source: str
    folder: str | None
    possible: Possible
    has_parents: bool


@dataclass(slots=True)
class Remade:
    """One Dockerfile with its arguments, and the context. Raises `DockerfileSyntax`."""

    dockerfile: Dockerfile
    args: Mapping[str, str]
    context: Context
    says: str = ""
    """What else tells how the image is started: scripts that it names, the service that runs it."""
    _recipe: Recipe = field(init=False)
    _taken: list[_Taken] = field(init=False, default_factory=list)
    _worked: dict[tuple[int, Kind], set[str]] = field(init=False, default_factory=dict)
    _brought: dict[int, list[tuple[int | None, str, str]]] = field(init=False, default_factory=dict)
    """Target → of its COPY --from: number of the target that it is from, source, destination."""

    def __post_init__(self) -> None:
        self._recipe = Recipe(self.dockerfile, self.args)
        for target, instruction, state in steps(self._recipe):
            if instruction.keyword == "RUN":
                for kind, folder in _work(instruction, state):
                    self._worked.setdefault((target.index, kind), set()).add(folder)
            if instruction.keyword in ("COPY", "ADD") and instruction.flag("from"):
                self._bring(target, instruction, state)
            elif instruction.keyword in ("COPY", "ADD", "RUN"):
                self._take(target, instruction, state)

    def _take(self, target: Target, instruction: Instruction, state: State) -> None:
        open_ones = possible([(target, instruction, state)], self.dockerfile, self.context)
        folder = None
        if instruction.keyword != "RUN":
            folder = resolve(state.workdir, state.scope.put_in(instruction.operands[-1]))
        for source in sources_of(instruction, state.scope.put_in):
            has_parents = instruction.flag("parents") is not None
            self._taken.append(_Taken(target, source, folder, open_ones, has_parents))

    def _bring(self, target: Target, instruction: Instruction, state: State) -> None:
        origin = self._recipe.origins_of(target, instruction)[0].target
        landed = resolve(state.workdir, state.scope.put_in(instruction.operands[-1]))
        for word in instruction.operands[:-1]:
            one = (origin.index if origin else None, state.scope.put_in(word), landed)
            self._brought.setdefault(target.index, []).append(one)

    def makes(self, kind: Kind, path: str, packages: Sequence[str], is_fine_without_node: bool) -> bool:
        """Whether each target that takes the folder `path` in makes it anew, or has no Node where that will do.

        `packages`: folders whose package.json brings it about; its own, and those of workspaces above.
        """
        return all(
            (is_fine_without_node and self._has_no_node(taken.target))
            or self._is_made_after(taken, kind, path, packages)
            for taken in self._taken
        )

    def _has_no_node(self, target: Target) -> bool:
        chain = self._chain(target)
        text = "\n".join(one.full_text for part in chain for one in part.instructions)
        return has_no_node(self._recipe.bases[chain[-1].index].image, f"{text}\n{self.says}")

    def _is_made_after(self, taken: _Taken, kind: Kind, path: str, packages: Sequence[str]) -> bool:
        above = [match for match in self.context.matches(taken.source) if _below(path, match.path) is not None]
        if not above and not any(one in taken.possible.paths for one in (path, *self.context.below(path))):
            return True
        origins = ["" if taken.has_parents else match.path for match in above] or list(packages)
        return (
            taken.folder is not None
            and bool(origins)
            and all(self._lands(taken, kind, path, packages, origin) for origin in origins)
        )

    def _lands(self, taken: _Taken, kind: Kind, path: str, packages: Sequence[str], origin: str) -> bool:
        """`origin`: the folder of the context whose content lands in the destination."""
        assert taken.folder is not None
        places = [resolve(taken.folder, below) for one in packages if (below := _below(one, origin)) is not None]
        rest = _below(path, origin)
        chain = self._chain(taken.target)
        if any(place in self._worked.get((target.index, kind), ()) for target in chain for place in places):
            return True
        made = resolve(taken.folder, rest) if rest is not None else None
        return any(self._brings(target, kind, made, places) for target in chain)

    def _brings(self, target: Target, kind: Kind, made: str | None, places: Sequence[str]) -> bool:
        for origin, source, landed in self._brought.get(target.index, ()):
            if made is not None and source.rstrip("/").endswith("/" + made.rpartition("/")[2]) and landed == made:
                return True
            before = self._chain(self.dockerfile.targets[origin]) if origin is not None else []
            is_made_there = any(source.rstrip("/") in self._worked.get((one.index, kind), ()) for one in before)
            if is_made_there and landed in places:
                return True
        return False

    def _chain(self, target: Target) -> list[Target]:
        """What it is FROM, and itself."""
        chain = [target]
        while (base := self._recipe.bases[chain[-1].index].target) is not None:
            chain.append(base)
        return chain


def _below(path: str, folder: str) -> str | None:
    """The way from a folder to what lies in it, "" to itself; none to what lies elsewhere."""
    if not folder or path == folder:
        return path if not folder else ""
    return path[len(folder) + 1 :] if path.startswith(f"{folder}/") else None


def _work(instruction: Instruction, state: State) -> Iterator[tuple[Kind, str]]:
    """What a RUN installs or builds, and in which folder."""
    text = instruction.full_text
    for flag in instruction.flags:
        text = text.replace(flag, "")
    if _UNSURE.search(text):
        return
    folder = state.workdir
    for words in commands(instruction):
        tool = words[0].rpartition("/")[2]
        if tool == "cd" and len(words) == 2 and "$" not in words[1]:
            folder = resolve(folder, words[1])
        elif tool in ("cd", "[", "test", "[["):
            return
        else:
            yield from _made(words[1:] if tool in ("npx", "corepack") else words, folder)


def _made(words: Sequence[str], folder: str) -> Iterator[tuple[Kind, str]]:
    if not words or any(_NOT_ALL.fullmatch(word) for word in words):
        return
    plain = []
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if name in _FOLDER_OPTIONS:
            folder = resolve(folder, value if equals else next(rest, "."))
        elif word in _VALUE_OPTIONS:
            next(rest, None)
        elif not word.startswith("-"):
            plain.append(word)
    if "$" in folder or not plain:
        return
    tool = plain[0].rpartition("/")[2]
    if tool in _INSTALLS and " ".join(plain[1:]) in _INSTALLS[tool]:
        yield "packages", folder
    elif _BUILD.fullmatch(" ".join([tool, *plain[1:]])):
        yield "output", folder
