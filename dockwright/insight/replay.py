"""Goes through a Dockerfile as the builder does: which targets are needed, and what each instruction sees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from dockwright.errors import UsageError
from dockwright.insight.dockerfile import Dockerfile, Instruction, Target, parse_trigger
from dockwright.insight.ignore import clean
from dockwright.insight.mounts import Mount, parse_mount
from dockwright.insight.variables import Scope, expand, global_values

SCRATCH = "scratch"
_PUT_IN = ("COPY", "ADD", "LABEL", "USER", "EXPOSE", "VOLUME", "STOPSIGNAL")


@dataclass(slots=True)
class State:
    """What a build target is while its instructions pass."""

    scope: Scope
    workdir: str = "/"
    triggers: list[str] = field(default_factory=list)
    """Instructions that ONBUILD keeps for targets that are FROM this one."""

    def child(self) -> State:
        return State(self.scope.child(), self.workdir)

    def pass_by(self, instruction: Instruction, used: set[str]) -> None:
        """Moves on over an instruction; the names of variables that it looked for go into `used`.

        Raises `ValueError` for variables that cannot be put in.
        """
        operands = instruction.operands
        if instruction.keyword == "ARG":
            self.scope.declare(operands, used)
        elif instruction.keyword == "ENV":
            self.scope.set_env(operands, used)
        elif instruction.keyword == "WORKDIR":
            self.workdir = resolve(self.workdir, self.scope.put_in(operands[0], used))
        elif instruction.keyword == "ONBUILD":
            self.triggers.append(operands[0])
        elif instruction.keyword in _PUT_IN:
            for operand in operands:
                self.scope.put_in(operand, used)


def resolve(workdir: str, path: str) -> str:
    """An absolute path, cleaned."""
    return clean(path if path.startswith("/") else f"{workdir}/{path}")


@dataclass(frozen=True)
class Origin:
    """What a name in FROM, `COPY --from` or `from=` means; neither of the two for scratch."""

    target: Target | None = None
    image: str | None = None

    @property
    def name(self) -> str:
        return self.target.label if self.target else self.image or SCRATCH


class Recipe:
    """A Dockerfile with the arguments and the platform that it is built with.

    `base_env` and `onbuild` hold, by image as the Dockerfile names it, the environment that it sets and the
    instructions that it keeps for its children.
    """

    def __init__(
        self,
        dockerfile: Dockerfile,
        args: Mapping[str, str],
        platform: str = "linux/amd64",
        base_env: Mapping[str, Mapping[str, str]] | None = None,
        onbuild: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.dockerfile = dockerfile
        self.args = args
        self.base_env = base_env or {}
        self.onbuild = onbuild or {}
        try:
            self.globals = global_values(dockerfile.global_args, args, platform, dockerfile.escape)
        except ValueError as error:
            raise dockerfile.error(1, str(error), "Correct the ARG above the first FROM, or pass its value") from error

    @cached_property
    def bases(self) -> tuple[Origin, ...]:
        """What each target is FROM, by its number."""
        return tuple(self._base(target) for target in self.dockerfile.targets)

    def _base(self, target: Target) -> Origin:
        name = self._global(target, target.base)
        if not name:
            raise self.dockerfile.error(
                target.origin.line,
                f"the image of FROM {target.base} is blank",
                f"Pass a value with --build-arg, or give the ARG in {target.base} a default above the first FROM",
            )
        earlier = [other for other in self.dockerfile.targets[: target.index] if other.name == name]
        if earlier:
            return Origin(target=earlier[-1])
        return Origin() if name == SCRATCH else Origin(image=name)

    def _global(self, target: Target, word: str, used: set[str] | None = None) -> str:
        values = {name: value or "" for name, value in self.globals.items()}
        try:
            return expand(word, values, escape=self.dockerfile.escape, used=used)
        except ValueError as error:
            raise self.dockerfile.error(target.origin.line, str(error), "Correct the variable in that FROM") from error

    def globals_used(self, target: Target) -> dict[str, str]:
        """Arguments that a FROM looks at, with their values."""
        used: set[str] = set()
        self._global(target, target.base, used)
        self._global(target, target.platform or "", used)
        return {name: value for name in sorted(used) if (value := self.globals.get(name)) is not None}

    def final(self, name: str | None) -> Target:
        """The target that is built; the last unless `name` names another. Raises `UsageError`."""
        targets = self.dockerfile.targets
        if not name:
            return targets[-1]
        for target in reversed(targets):
            if name.lower() in (target.name, str(target.index)):
                return target
        known = ", ".join(target.label for target in targets)
        raise UsageError(
            f'{self.dockerfile.path} has no build target "{name}"', remedy=f"Use one of its targets: {known}"
        )

    def origin(self, name: str, user: Target, line: int) -> Origin:
        """What `--from=name` means in `user`. Raises `DockerfileSyntax` for a target that is not built before it."""
        targets = self.dockerfile.targets
        if name == SCRATCH:
            return Origin()
        named = [target for target in targets if target.name == name.lower()]
        if not named and name.isascii() and name.isdigit():
            named = list(targets[int(name) : int(name) + 1])
            if not named:
                raise self.dockerfile.error(line, f"there is no build target {name}", "Use the name of a target")
        if not named:
            return Origin(image=name)
        if named[-1].index >= user.index:
            raise self.dockerfile.error(
                line,
                f'cannot copy from build target "{name}": it must be defined before "{user.label}"',
                f'Move the target "{name}" above "{user.label}"',
            )
        return Origin(target=named[-1])

    def origins_of(self, target: Target, instruction: Instruction) -> list[Origin]:
        """Targets and images that an instruction copies or mounts from."""
        try:
            names = [mount.origin for mount in mounts_of(instruction) if mount.origin]
        except ValueError as error:  # of a trigger, which nobody has looked at before
            raise self.dockerfile.error(
                instruction.line, str(error), "Correct that instruction and build again"
            ) from error
        if instruction.keyword == "COPY" and (name := instruction.flag("from")):
            names.append(name)
        return [self.origin(name, target, instruction.line) for name in names]

    def needed(self, final: Target) -> list[Target]:
        """The targets that `final` rests on, and itself, in the file's order."""
        found: dict[int, Target] = {}
        pending = [final]
        while pending:
            target = pending.pop()
            if target.index in found:
                continue
            found[target.index] = target
            origins = [self.bases[target.index]]
            for instruction in self.instructions(target, self._triggers(target)):
                origins.extend(self.origins_of(target, instruction))
            pending.extend(origin.target for origin in origins if origin.target)
        return [found[index] for index in sorted(found)]

    def _triggers(self, target: Target) -> list[str]:
        """What runs first in it, because ONBUILD of what it is FROM says so."""
        base = self.bases[target.index]
        if base.target is None:
            return list(self.onbuild.get(base.image or "", ()))
        return [one.operands[0] for one in base.target.instructions if one.keyword == "ONBUILD"]

    def start(self, target: Target, states: Mapping[int, State]) -> tuple[State, list[str]]:
        """The state in which a target begins, and the triggers that run first; `states` are earlier targets'."""
        base = self.bases[target.index]
        if base.target:
            before = states[base.target.index]
            return before.child(), list(before.triggers)
        scope = Scope(self.args, self.globals, self.dockerfile.escape)
        scope.begin_with(self.base_env.get(base.image or "", {}))
        return State(scope), list(self.onbuild.get(base.image or "", ()))

    def instructions(self, target: Target, triggers: Sequence[str]) -> Iterator[Instruction]:
        """What runs in a target: its base's triggers, then its own."""
        for trigger in triggers:
            yield parse_trigger(trigger, target.origin.line)
        yield from target.instructions


def mounts_of(instruction: Instruction, scope: Scope | None = None) -> list[Mount]:
    if instruction.keyword != "RUN":
        return []
    put_in = scope.put_in if scope else None
    return [parse_mount(value, put_in) for value in instruction.flag_values("mount")]
