"""One Dockerfile as the rules of a check see it: what it says, what it takes in, what it is built on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from dockwright.insight.dockerfile import Dockerfile, Instruction, Target
from dockwright.insight.findings import Finding, found
from dockwright.insight.replay import Origin, Recipe, State
from dockwright.insight.selection import Context
from dockwright.insight.usage import Use

ImageConfig = Mapping[str, Any]
"""As the engine has it: `User`, `Env`, `ExposedPorts`, `Healthcheck`, `WorkingDir` …"""
_SEPARATORS = re.compile(r"&&|\|\||;|\||\n|&(?=\s)")


@dataclass(frozen=True, kw_only=True)
class Subject:
    dockerfile: Dockerfile
    place: str
    """The Dockerfile's path from the folder that is checked."""
    text: str
    context: Context
    uses: tuple[Use, ...]
    target: str | None = None
    args: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, ImageConfig] = field(default_factory=dict)
    """Image, as the Dockerfile names it → its configuration, for those that are known."""
    read: Callable[[str], str] = lambda _path: ""
    """The text of a small file of the context, "" where it is none."""
    is_for_gpu: bool = False
    contexts: frozenset[str] = frozenset()
    """Names of contexts beside the main one, which stand for images of those names."""
    unset: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """Number of a build target → arguments without a value that its FROM is made of."""
    demanded: tuple[tuple[Instruction, str], ...] = ()
    """Arguments without a value, and the instructions that do without none: `${NAME:?}`."""

    @cached_property
    def recipe(self) -> Recipe:
        env = {name: environment(config) for name, config in self.images.items()}
        return Recipe(self.dockerfile, self.args, base_env=env)

    @cached_property
    def final(self) -> Target:
        return self.recipe.final(self.target)

    @cached_property
    def needed(self) -> list[Target]:
        return self.recipe.needed(self.final)

    @cached_property
    def unset_names(self) -> frozenset[str]:
        names = {name for names in self.unset.values() for name in names}
        return frozenset(names | {name for _, name in self.demanded})

    def is_elsewhere(self, image: str) -> bool:
        """Whether a context that is named like the image stands for it."""
        return bool({image, familiar(image)} & self.contexts)

    def chain(self, target: Target) -> list[Target]:
        """The targets that it is FROM, the first one first, and itself: what they do is all in its image."""
        chain = [target]
        while (base := self.recipe.bases[chain[0].index].target) is not None:
            chain.insert(0, base)
        return chain

    def instructions(self, target: Target) -> list[Instruction]:
        """Of its whole chain, in the order in which they run."""
        return [instruction for one in self.chain(target) for instruction in one.instructions]

    def image_of(self, target: Target) -> Origin:
        """What the chain begins with: an image, or scratch."""
        return self.recipe.bases[self.chain(target)[0].index]

    def config_of(self, target: Target) -> ImageConfig | None:
        """Of the image that the chain begins with; empty for scratch, none where it is not known."""
        image = self.image_of(target).image
        return self.images.get(image) if image else {}

    def steps(self, target: Target) -> Iterator[tuple[Instruction, State]]:
        """Each instruction of the chain with the state before it. Raises `ValueError` for what cannot be put in."""
        states: dict[int, State] = {}
        for one in self.chain(target):
            state, _ = self.recipe.start(one, states)
            states[one.index] = state
            for instruction in one.instructions:
                yield instruction, state
                state.pass_by(instruction, set())

    def found(self, code: str, instruction: Instruction, message: str, remedy: str) -> Finding:
        return found(code, f"{self.place}:{instruction.line}", message, remedy)


def familiar(image: str) -> str:
    """As BuildKit looks for an image among the named contexts."""
    return image.removeprefix("docker.io/").removeprefix("library/").removesuffix(":latest")


def environment(config: ImageConfig) -> dict[str, str]:
    """That an image sets."""
    return dict(str(variable).partition("=")[::2] for variable in config.get("Env") or ())


def commands(instruction: Instruction) -> list[list[str]]:
    """The commands of a RUN, roughly as a shell splits them: what is told by them is advice, not proof."""
    bodies = [heredoc.content for heredoc in instruction.heredocs]
    text = " ".join(instruction.operands) if instruction.is_json else instruction.text.partition(" ")[2]
    joined = "\n".join([text, *bodies]).replace("\\\n", " ")
    return [words for part in _SEPARATORS.split(joined) if (words := _words(part))]


def _words(command: str) -> list[str]:
    import shlex

    try:
        words = shlex.split(command, comments=False)
    except ValueError:  # a quote that another part closes
        words = command.split()
    while words and (words[0] in _BEFORE_COMMANDS or re.fullmatch(r"\w+=.*", words[0]) or words[0].startswith("--")):
        words = words[1:]
    return words


_BEFORE_COMMANDS = ("sudo", "then", "do", "else", "if", "{", "(", "!", "exec", "time", "env")
