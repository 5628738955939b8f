"""Looks at a folder before any build: its Dockerfiles, what they take in, what its ignore file leaves out.

`context` and `check` share it. Nothing is sent, nothing built, no file's content is read but that of small texts.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from dockwright.errors import DockwrightError, NoDockerfile, UsageError
from dockwright.insight import context as contexts
from dockwright.insight import evidence as evidences
from dockwright.insight import ignore, suggestions, usage
from dockwright.insight.ballast import ballast
from dockwright.insight.compose_file import ComposeFile, ServiceBuild, builds, read_compose
from dockwright.insight.dockerfile import Dockerfile, parse
from dockwright.insight.findings import Finding
from dockwright.insight.inputs import image_refs
from dockwright.insight.possible import Possible, possible
from dockwright.insight.remade import Kind, Remade
from dockwright.insight.replay import Recipe
from dockwright.insight.selection import Context
from dockwright.insight.subject import ImageConfig, environment
from dockwright.insight.suggestions import Suggested
from dockwright.insight.usage import Use
from dockwright.process import Cancel
from dockwright.services.known_images import KnownImages
from dockwright.services.sharers import Sharer, Sharers, sharers

COMPOSE_FILES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
"""In the order in which compose looks for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One image that the folder says how to build."""

    context: Path
    dockerfile: Path
    target: str | None = None
    args: Mapping[str, str] = field(default_factory=dict)
    service: ServiceBuild | None = None


@dataclass(frozen=True, kw_only=True)
class Folder:
    """What PATH holds."""

    root: Path
    units: tuple[Unit, ...]
    compose: ComposeFile | Finding | None
    compose_files: tuple[Path, ...]

    def place(self, path: Path) -> str:
        """As findings name it: seen from the folder."""
        return os.path.relpath(path, self.root)


def look(path: Path) -> Folder:
    """Raises `PathNotFound` and `NoDockerfile`."""
    from dockwright.sources.detect import detect

    source = detect(str(path))
    if not hasattr(source, "path"):
        raise UsageError(f"{path} is no folder of this machine", remedy="Check it out, and give the folder")
    root = Path(source.path)
    files = tuple(root / name for name in COMPOSE_FILES if (root / name).is_file())[:1]
    compose = _compose(root, files[0]) if files else None
    found = units_of(root, builds(compose) if isinstance(compose, ComposeFile) else ())
    if not found and not files:
        raise NoDockerfile(
            f"{root} has no Dockerfile and no compose file",
            remedy="Write a Dockerfile there, or give the folder that has one",
        )
    return Folder(root=root, units=found, compose=compose, compose_files=files)


def units_of(
    root: Path, built: Iterable[ServiceBuild], inline: Callable[[ServiceBuild], Path] | None = None
) -> tuple[Unit, ...]:
    """What is built, each image once, the folder's own Dockerfile first.

    `inline` answers where a Dockerfile lies that stands in the compose file; without it there are none of those.
    """
    found = [
        Unit(
            context=(root / build.context).resolve(),
            dockerfile=(root / build.context / build.dockerfile).resolve()
            if build.inline is None or inline is None
            else inline(build),
            target=build.target,
            args=build.args,
            service=build,
        )
        for build in built
        if build.inline is None or inline is not None
    ]
    own = root / "Dockerfile"
    if own.is_file() and not any(unit.dockerfile == own.resolve() for unit in found):
        found.insert(0, Unit(context=root, dockerfile=own))
    return _distinct(found)


def _distinct(units: Sequence[Unit]) -> tuple[Unit, ...]:
    """Several services may share an image."""
    known: dict[object, Unit] = {}
    for unit in units:
        known.setdefault((unit.context, unit.dockerfile, unit.target, tuple(sorted(unit.args.items()))), unit)
    return tuple(known.values())


def _compose(root: Path, file: Path) -> ComposeFile | Finding:
    values = dict(os.environ)
    with suppress(OSError, UnicodeDecodeError):
        for line in (root / ".env").read_text(encoding="utf-8").splitlines():
            name, equals, value = line.strip().partition("=")
            if equals and not name.startswith("#"):
                values.setdefault(name.removeprefix("export ").strip(), value.strip().strip("\"'"))
    return read_compose(file.read_text(encoding="utf-8", errors="replace"), file.name, values)


@dataclass(frozen=True, slots=True)
class _Reading:
    """What a Dockerfile takes in, and what it may take in with other arguments."""

    sharer: Sharer
    dockerfile: Dockerfile
    args: Mapping[str, str]
    uses: list[Use]
    possible: Possible


class Survey:
    """One context, and the Dockerfiles that are built with it."""

    def __init__(
        self,
        unit: Unit,
        others: Sequence[Unit],
        known: KnownImages,
        rules_text: str | None = None,
        shared: Sharers | None = None,
    ) -> None:
        """`others` may be built with the same ignore file. `rules_text` stands for the ignore file's own.

        `shared` is what an earlier look at the same context has found.
        """
        self.known = known
        self.root, self.unit, self.others = unit.context, unit, others
        self._shared = shared
        if rules_text is None:
            self.rules = ignore.load_rules(self.root, unit.dockerfile)
        else:
            self.rules = ignore.parse_rules(rules_text)
        self.walk = contexts.walk(self.root, self.rules)
        self.context = Context(usage.without_digests(self.root, self.walk))
        self.read = evidences.reader(self.root)

    @cached_property
    def text(self) -> str:
        return _text_of(self.unit.dockerfile)

    @cached_property
    def dockerfile(self) -> Dockerfile:
        """Raises `DockerfileSyntax`."""
        return parse(self.text, self.unit.dockerfile.name)

    @cached_property
    def uses(self) -> list[Use]:
        """Raises `DockerfileSyntax`."""
        return self._uses_of(self.dockerfile, self.unit.args)

    @cached_property
    def images(self) -> dict[str, ImageConfig]:
        """Of the images that any build target is built on, as far as the engine has them. Raises `DockerfileSyntax`."""
        return self.known.configs(_refs(self.dockerfile, self.unit.args))

    def _uses_of(self, dockerfile: Dockerfile, args: Mapping[str, str]) -> list[Use]:
        """What a base image's ONBUILD takes in is among them."""
        configs = self.images if dockerfile is self.dockerfile else self.known.configs(_refs(dockerfile, args))
        env = {name: environment(config) for name, config in configs.items()}
        triggers = {name: list(config.get("OnBuild") or ()) for name, config in configs.items()}
        return usage.uses(dockerfile, self.context, args=args, base_env=env, onbuild=triggers)

    @property
    def ignore_file(self) -> Path:
        """The one that is there and counts, else the one to write."""
        own = self.unit.dockerfile
        return own.with_name(f"{own.name}.dockerignore") if _has_own(own) else self.root / ".dockerignore"

    # --- what of it is used ----------------------------------------------------------------------------------------

    @cached_property
    def used(self) -> frozenset[str]:
        """By the final target and those that it rests on."""
        return usage.used_paths(self.uses, usage.needed_by(self.dockerfile, self.unit.target, self.unit.args))

    @cached_property
    def used_by_any(self) -> frozenset[str]:
        """By any build target of any Dockerfile that is built with this context, or may be, with any arguments."""
        if None in self._readings:
            return frozenset(self.context.index.files)
        found = [reading for reading in self._readings if reading]
        return self._watched.union(*(usage.used_paths(one.uses) | one.possible.paths for one in found))

    @cached_property
    def _watched(self) -> frozenset[str]:
        """What compose brings into running containers when it changes, unless it is ignored."""
        places = [path.relative_to(self.root.resolve()).as_posix() for path in self.shared.watched]
        return frozenset().union(*([one, *self.context.below("" if one == "." else one)] for one in places)) - {"."}

    @cached_property
    def named(self) -> frozenset[str]:
        """What instructions name themselves: it is wanted, whatever it looks like.

        A lone `*` names nothing but the folder in which it looks.
        """
        found = [use for one in self._readings if one for use in one.uses]
        chosen = [use for use in found if not _is_lone_wildcard(use)]
        places = {use.source.rpartition("/")[0] for use in found if _is_lone_wildcard(use)}
        folders = {
            part for place in places if (led := self.context.follow(place)) for part in (led[0], *led[1]) if part
        }
        open_names = (one.possible.names for one in self._readings if one)
        return frozenset().union(folders, *(use.names for use in chosen), *open_names)

    @cached_property
    def shared(self) -> Sharers:
        """What else is built with the context, or may be."""
        return self._shared or sharers(self.root, Cancel())

    @cached_property
    def doubt(self) -> DockwrightError | None:
        """Why it cannot be told what is taken in. Raises `DockerfileSyntax` for this Dockerfile's own."""
        _ = self.dockerfile
        unread = next((one for one, reading in self._read_sharers if reading is None), None)
        if unread is not None and self.shared.doubt is None:
            return UsageError(
                f"{unread.path.name} is no Dockerfile that can be read, and may take in anything",
                remedy='Correct it; "dockwright check" says what is wrong',
            )
        return self.shared.doubt

    @cached_property
    def _sharers(self) -> list[Sharer]:
        """Of the same ignore file: this Dockerfile first."""
        own = self.unit.dockerfile
        units = [one for one in self.others if one.context == self.root and one.dockerfile.is_file()]
        found = [Sharer(path=one.dockerfile, text=_text_of(one.dockerfile), args=one.args) for one in units]
        mine = Sharer(path=own, text=self.text, args=self.unit.args)
        return [
            mine,
            *(
                one
                for one in [*found, *self.shared.found]
                if one.is_inline or one.path == own or not _has_own(one.path)
            ),
        ]

    @cached_property
    def _readings(self) -> list[_Reading | None]:
        """None for a Dockerfile that cannot be read: it may take in anything."""
        return [reading for _, reading in self._read_sharers]

    @cached_property
    def _read_sharers(self) -> list[tuple[Sharer, _Reading | None]]:
        """Each text once for the same arguments."""
        found: dict[object, tuple[Sharer, _Reading | None]] = {}
        for one in self._sharers:
            key = (one.text, tuple(sorted(one.args.items())), one.starts)
            if key not in found:
                found[key] = (one, self._reading(one))
        return list(found.values())

    def _reading(self, sharer: Sharer) -> _Reading | None:
        try:
            dockerfile = parse(sharer.text, sharer.path.name)
            # An image that only --build-arg names stands in the way of nothing here.
            unnamed = {name: "unknown" for name, default in dockerfile.global_args.items() if default is None}
            args = {**unnamed, **sharer.args}
            steps = usage.steps(Recipe(dockerfile, args))
            return _Reading(
                sharer, dockerfile, args, self._uses_of(dockerfile, args), possible(steps, dockerfile, self.context)
            )
        except DockwrightError:
            return None

    # --- what could be left out ------------------------------------------------------------------------------------

    @cached_property
    def suggested(self) -> Suggested:
        """Nothing where there is a `doubt`. Raises `DockerfileSyntax`."""
        if self.doubt is not None:
            return Suggested((), frozenset())
        texts = [_instructions(one.text) for one in self._sharers]
        started = [*self.shared.starts, *(one.starts for one in self._sharers)]
        links = self.context.index.links
        found = ballast(evidences.gather(self.walk, self.read, [*texts, *started], links, self._is_remade))
        return suggestions.suggest(self.context, found, self.used_by_any, self.named, self.rules)

    def _is_remade(self, kind: Kind, path: str, packages: Sequence[str], is_fine_without_node: bool) -> bool:
        return all(one.makes(kind, path, packages, is_fine_without_node) for one in self._remade)

    @cached_property
    def _remade(self) -> list[Remade]:
        sizes = {entry[0]: entry[2] for entry in self.walk.entries}
        starts = "\n".join(self.shared.starts)
        found = []
        for one in self._readings:
            assert one is not None
            says = f"{starts}\n{one.sharer.starts}"
            scripts = evidences.scripts(sizes, f"{_instructions(one.sharer.text)}\n{says}", self.read)
            found.append(Remade(one.dockerfile, one.args, self.context, "\n".join([says, *scripts])))
        return found

    def left_out_bytes(self) -> int:
        """Of all that the ignore file leaves out today. What may not be read there does not count."""
        if not self.rules.patterns:
            return 0
        return max(0, _tree_bytes(self.root) - self.walk.bytes)


def _is_lone_wildcard(use: Use) -> bool:
    return use.source.rpartition("/")[2] in ("*", "**")


def _has_own(dockerfile: Path) -> bool:
    """Whether it has an ignore file of its own, beside which the folder's does not count."""
    return dockerfile.with_name(f"{dockerfile.name}.dockerignore").is_file()


def _text_of(dockerfile: Path) -> str:
    return dockerfile.read_text(encoding="utf-8", errors="surrogateescape")


def _instructions(text: str) -> str:
    """Without comments."""
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))


def _refs(dockerfile: Dockerfile, args: Mapping[str, str]) -> set[str]:
    """Images from elsewhere that any build target needs."""
    names = [target.label for target in dockerfile.targets]
    return {ref for name in names for ref in image_refs(dockerfile, target=name, args=args)}


def _tree_bytes(root: Path) -> int:
    """Of regular files, links not followed; folders that may not be entered are passed by, and so is what vanishes."""
    total = 0
    for folder, _, names in os.walk(root):
        for name in names:
            with suppress(OSError):
                facts = os.lstat(os.path.join(folder, name))
                total += facts.st_size if stat.S_ISREG(facts.st_mode) else 0
    return total
