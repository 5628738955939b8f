"""What decides each step of an image, as BuildKit's cache sees it: steps with equal keys share their result.

Measured on BuildKit 0.12 and 0.13: the owner and the times of a file do not count, nor does the mode of a folder; all
variables in scope count for a RUN, in the order in which they were set; SHELL and USER count for a RUN, and USER for a
WORKDIR; LABEL, EXPOSE, CMD, VOLUME and the like count for nothing; the name of a target does not either.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from dockwright.domain.plan import InputManifest, InputStep
from dockwright.insight.ignore import clean
from dockwright.insight.inputs import remote_sources_of
from dockwright.insight.replay import resolve
from dockwright.insight.selection import is_remote

IMAGE, SERVICE_IMAGE, FOLDER = "sha256:", "manifest:", "context:"
"""How the digests begin that a base has: of an image, of one that is built from a manifest, of a named folder."""
KNOWN = (IMAGE, SERVICE_IMAGE, FOLDER)
DEFAULT_SHELL = ("/bin/sh", "-c")
_MARK = re.compile(r"\[(?:(\S+) +)?(\d+)/\d+\] ")
_FROM = re.compile(r"(?:(?<=,)|(?<=--mount=)|(?<=^--))from=([^,]*)")
_RUNS = ("RUN", "COPY", "ADD", "WORKDIR")


@dataclass(slots=True)
class Setting:
    """What the instructions so far have set for those that follow, and which of them did."""

    values: dict[str, str] = field(default_factory=dict)
    """Variables of ENV, and names of ARG with an empty value, in the order in which BuildKit passes them."""
    env_by: dict[str, InputStep] = field(default_factory=dict)
    arg_by: dict[str, InputStep] = field(default_factory=dict)
    user: InputStep | None = None
    shell: InputStep | None = None
    workdir: str = "/"

    def child(self) -> Setting:
        return Setting(dict(self.values), dict(self.env_by), dict(self.arg_by), self.user, self.shell, self.workdir)

    def pass_by(self, step: InputStep) -> None:
        if step.instruction == "ENV":
            for name, value in step.sets:
                self._put(name, value)
                self.env_by[name] = step
        elif step.instruction == "ARG":
            for word in step.resolved.split()[1:]:
                name = word.partition("=")[0]
                self.arg_by[name] = step
                self._put(name, "")
        elif step.instruction == "USER":
            self.user = step
        elif step.instruction == "SHELL":
            self.shell = step
        elif step.instruction == "WORKDIR":
            self.workdir = resolve(self.workdir, _rest(step.resolved))

    def _put(self, name: str, value: str) -> None:
        """BuildKit takes a name away before it sets it anew, which moves it to the end."""
        self.values.pop(name, None)
        self.values[name] = value

    def environment(self, args: dict[str, str]) -> tuple[tuple[str, str], ...]:
        """Of a RUN that has `args` in scope."""
        known = {name for name in self.values if name in self.env_by or name in args}
        pairs = [(name, args.get(name, value)) for name, value in self.values.items() if name in known]
        # Arguments that a target inherits are in no ARG of its own.
        return (*pairs, *((name, value) for name, value in args.items() if name not in known))


@dataclass(frozen=True, slots=True)
class Own:
    """What decides a step beside the steps that it rests on."""

    command: tuple[Any, ...]
    environment: tuple[tuple[str, str], ...] = ()
    files: tuple[str, ...] = ()
    """Path, mode (of a folder its type alone) and digest, with zeros between: there may be tens of thousands."""
    base: str | None = None


@dataclass(eq=False, slots=True)
class Node:
    """A FROM of an image, or an instruction that BuildKit runs."""

    step: InputStep
    setting: Setting
    own: Own
    parent: Node | None
    sources: tuple[Node, ...]
    """The last nodes of the targets that it copies or mounts from."""
    start: InputStep
    """The FROM of its target."""
    key: int
    """Equal for equal inputs, within one `Keys`."""

    @property
    def is_image(self) -> bool:
        return self.step.instruction == "FROM"

    def mark(self, substitutes: frozenset[str]) -> tuple[str, int] | None:
        """As `mark_of` finds it in the name under which BuildKit reports it.

        Where a local image stands for the one of its FROM, BuildKit does not count the FROM.
        """
        found = mark_of(self.step.vertex)
        if found is None:
            return None
        is_counted = self.start.resolved.partition(" ")[2] not in substitutes
        return found if is_counted else (found[0], found[1] - 1)

    def hidden_input(self) -> str | None:
        """What decides the step too and stands in no manifest, where there is such a thing."""
        if remote := remote_sources_of(self.step):
            return f"{self.step.instruction} {remote[0]} has no checksum: what it gets may have changed"
        if unknown := [one for one in (self.step.base or "").split(", ") if one and not one.startswith(KNOWN)]:
            return f"what it takes from {unknown[0]} may have changed"
        if self.step.instruction == "RUN" and any(_is_written_mount(word) for word in _flags(self.step.resolved)):
            return "a mount of the context that may be written to is not always found in the cache"
        return None

    def behind(self) -> Iterator[Node]:
        """Itself and all that it rests on, the nearest first, each once."""
        seen: set[int] = set()
        pending = [self]
        while pending:
            node = pending.pop(0)
            if id(node) not in seen:
                seen.add(id(node))
                yield node
                pending += [node.parent] if node.parent else []
                pending += node.sources


def mark_of(vertex: str) -> tuple[str, int] | None:
    """Target and number: `[build 2/5] RUN …` → ("build", 2); "" for the target where there is one alone."""
    found = _MARK.match(vertex)
    return (found[1] or "", int(found[2])) if found else None


class Keys:
    """Numbers what decides a step: the same number for the same inputs, in however many manifests."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[Any, ...], int] = {}

    def number(self, own: Own, parent: Node | None, sources: Sequence[Node]) -> int:
        inputs = (own, parent.key if parent else None, tuple(source.key for source in sources))
        return self._numbers.setdefault(inputs, len(self._numbers))


def graph(manifest: InputManifest, keys: Keys) -> list[Node]:
    """In the order of the manifest, in which a node stands behind all that it rests on."""
    nodes: list[Node] = []
    last: dict[str, Node] = {}
    settings: dict[str, Setting] = {}
    starts: dict[str, InputStep] = {}
    for step in manifest.steps:
        label = step.target
        if step.instruction == "FROM" and label not in settings:
            starts[label] = step
            base = step.depends_on[0] if step.depends_on else None
            settings[label] = settings[base].child() if base in settings else Setting()
            if base in last:
                last[label] = last[base]
                continue
        setting = settings[label]
        before = setting.workdir
        setting.pass_by(step)
        if step.instruction != "FROM" and (step.instruction not in _RUNS or not step.vertex):
            continue
        parent = last.get(label)
        sources = tuple(last[name] for name in step.depends_on if name in last and step.instruction != "FROM")
        images = frozenset(step.depends_on) - last.keys()
        own = _own(step, setting, before, manifest.platform, images)
        node = Node(step, setting.child(), own, parent, sources, starts[label], keys.number(own, parent, sources))
        last[label] = node
        nodes.append(node)
    return nodes


def _own(step: InputStep, setting: Setting, workdir: str, platform: str, images: frozenset[str]) -> Own:
    """`images` are what it copies or mounts from that is no target: a target's name makes no difference."""
    if step.instruction == "FROM":
        return Own(("FROM", step.resolved, platform), base=step.base)
    if step.instruction == "WORKDIR":
        return Own(("WORKDIR", setting.workdir, setting.user.resolved if setting.user else None))
    files = tuple([f"{path}\0{_counted(mode)}\0{digest}" for path, mode, digest in step.files])
    if step.instruction == "RUN":
        user = setting.user.resolved if setting.user else None
        command = ("RUN", *_run(step, setting, images), user, workdir)
        return Own(command, setting.environment(dict(step.args)), files, step.base)
    return Own(_copy(step, workdir, images), files=files, base=step.base)


def _counted(mode: int) -> int:
    return mode if mode >= stat.S_IFREG else stat.S_IFDIR


def _run(step: InputStep, setting: Setting, images: frozenset[str]) -> tuple[Any, ...]:
    """Flags with variables put in, and what is executed."""
    flags = _flags(step.resolved)
    # The text as it was written: BuildKit leaves variables to the shell.
    words = step.text.split(maxsplit=1 + len(flags))
    text = words[-1].strip() if len(words) > 1 + len(flags) else ""
    arguments = _json_words(text)
    if arguments is None:
        shell = _json_words(_rest(setting.shell.text)) if setting.shell else None
        arguments = (*(shell or DEFAULT_SHELL), text)
    return tuple(sorted(_without_targets(flag, images) for flag in flags)), arguments


def _without_targets(flag: str, images: frozenset[str]) -> str:
    return _FROM.sub(lambda match: match[0] if match[1] in images else "", flag)


def _copy(step: InputStep, workdir: str, images: frozenset[str]) -> tuple[Any, ...]:
    """Keyword, flags, sources, where they go, and the content of here-documents."""
    line, _, contents = step.resolved.partition("\n")
    flags = _flags(line)
    rest = _rest(line)
    for flag in flags:
        rest = rest.removeprefix(flag).lstrip()
    words = _json_words(rest) or tuple(rest.split())
    sources = tuple(source if is_remote(source) else clean(f"/{source}") for source in words[:-1])
    destination = words[-1] if words else ""
    slash = "/" if destination.endswith(("/", "/.")) or destination == "." else ""
    counted = tuple(sorted(_without_targets(flag, images) for flag in flags))
    return step.instruction, counted, sources, resolve(workdir, destination) + slash, contents


def _rest(text: str) -> str:
    return text.partition(" ")[2].strip()


def _flags(text: str) -> list[str]:
    flags = []
    for word in text.partition("\n")[0].split()[1:]:
        if not word.startswith("--"):
            break
        flags.append(word)
    return flags


def _json_words(text: str) -> tuple[str, ...] | None:
    if not text.startswith("["):
        return None
    try:
        words = json.loads(text)
    except ValueError:
        return None
    return tuple(words) if all(isinstance(word, str) for word in words) else None


def _is_written_mount(flag: str) -> bool:
    name, _, value = flag.partition("=")
    fields = dict(part.partition("=")[::2] for part in value.split(","))
    is_bind = fields.get("type", "bind") == "bind"
    # `rw` alone means true.
    switches = (fields.get("rw"), fields.get("readwrite"))
    return name == "--mount" and is_bind and any(switch in {"", "true", "1"} for switch in switches)
