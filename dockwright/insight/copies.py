"""Where the source's files are in the image: for verifying by content what runs.

Only what is certain is a mapping. What cannot be compared is listed with the reason, so that "all files match" means
what it says.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dockwright.domain.plan import CopyMapping
from dockwright.insight.dockerfile import Dockerfile, Heredoc, Instruction, Target
from dockwright.insight.index import Index, digest_text
from dockwright.insight.replay import Origin, Recipe, State, resolve
from dockwright.insight.selection import (
    Context,
    Match,
    exclude_rules,
    files_below,
    is_heredoc,
    is_remote,
    with_parents,
)
from dockwright.insight.variables import expand
from dockwright.insight.wildcards import has_wildcard

_ARCHIVES = (".tar", ".gz", ".tgz", ".bz2", ".tbz2", ".tbz", ".xz", ".txz", ".zst")
_EVERY_IMAGE_HAS = (
    *("/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/media", "/mnt", "/opt", "/proc", "/root", "/run", "/sbin"),
    *("/srv", "/sys", "/usr", "/usr/bin", "/usr/lib", "/usr/local", "/usr/local/bin", "/usr/local/lib"),
    *("/usr/local/sbin", "/usr/local/share", "/usr/sbin", "/usr/share", "/var", "/var/cache", "/var/lib", "/var/log"),
    "/tmp",  # noqa: S108 (a folder of the image)
)


@dataclass(frozen=True, slots=True)
class Copies:
    mappings: tuple[CopyMapping, ...]
    """Files and links that came from the source, sorted by destination."""
    unverifiable: tuple[tuple[str, str], ...]
    """Path in the image and the reason why what is there cannot be compared."""
    either: Mapping[str, str]
    """Destination → where the file is instead, if the base image or a RUN has a folder at that destination."""
    run_after: Mapping[str, int]
    """Destination → line of the first RUN after the copy. That RUN may have edited the file."""
    doubts: Mapping[str, str]
    """Destination → what may have replaced the file later. Equal content proves a match; other proves nothing."""


NOTHING_COPIED = Copies((), (), {}, {}, {})


def copies(
    dockerfile: Dockerfile,
    *,
    target: str | None,
    args: Mapping[str, str],
    index: Index,
    workdir: str = "/",
    base_env: Mapping[str, Mapping[str, str]] | None = None,
    onbuild: Mapping[str, Sequence[str]] | None = None,
    platform: str = "linux/amd64",
) -> Copies:
    """What COPY and ADD of the final target, and of the targets that it is FROM, put where.

    `workdir` is that of the image that the final target comes from in the end. Raises as `inputs.manifest` does.
    """
    recipe = Recipe(dockerfile, args, platform, base_env, onbuild)
    final = recipe.final(target)
    tracer = _Tracer(recipe, Context(index), workdir)
    for needed in recipe.needed(final):
        tracer.build(needed, is_final=needed is final)
    return tracer.trees[final.index].as_copies()


@dataclass(slots=True)
class _Tree:
    """What is known of a target's files."""

    files: dict[str, CopyMapping] = field(default_factory=dict)
    folders: set[str] = field(default_factory=lambda: {"/"})
    unverifiable: dict[str, str] = field(default_factory=dict)
    either: dict[str, str] = field(default_factory=dict)
    run_after: dict[str, int] = field(default_factory=dict)
    doubts: dict[str, str] = field(default_factory=dict)
    is_complete: bool = True
    """Nothing is in it but what is known here: it is from scratch, and nothing ran."""

    def child(self) -> _Tree:
        return _Tree(
            dict(self.files),
            set(self.folders),
            dict(self.unverifiable),
            dict(self.either),
            dict(self.run_after),
            dict(self.doubts),
            self.is_complete,
        )

    def as_copies(self) -> Copies:
        mappings = tuple(self.files[path] for path in sorted(self.files))
        return Copies(mappings, tuple(sorted(self.unverifiable.items())), self.either, self.run_after, self.doubts)

    def add_folder(self, path: str) -> None:
        while path not in self.folders:
            self.folders.add(path)
            path = path.rpartition("/")[0] or "/"

    def put(self, destination: str, mapping: CopyMapping) -> None:
        self.forget(destination)
        self.files[destination] = replace(mapping, destination=destination)
        self.add_folder(destination.rpartition("/")[0] or "/")

    def forget(self, path: str) -> None:
        for known in (self.files, self.unverifiable, self.either, self.run_after, self.doubts):
            known.pop(path, None)

    def doubt(self, path: str, reason: str) -> None:
        """Something unknown lands at `path`: what was known there and below may be replaced by it."""
        for known in self.files:
            if _is_within(known, path):
                self.doubts[known] = f"{path} {reason}"
        self.unverifiable[path] = reason
        self.is_complete = False

    def run(self, line: int) -> None:
        self.is_complete = False
        for path in self.files:
            self.run_after.setdefault(path, line)

    def put_file(self, destination: str, is_folder: bool, name: str, mapping: CopyMapping) -> str:
        """A file called `name` that is copied to `destination`: into it where that is a folder. Tells its path."""
        inside = resolve(destination, name)
        if is_folder or destination in self.folders:
            self.add_folder(destination)
            self.put(inside, mapping)
            return inside
        may_be_folder = not self.is_complete and destination not in self.files
        self.put(destination, mapping)
        if may_be_folder:
            self.either[destination] = inside
        return destination


def _is_within(path: str, folder: str) -> bool:
    return folder in ("/", path) or path.startswith(f"{folder}/")


@dataclass(slots=True)
class _Tracer:
    recipe: Recipe
    context: Context
    workdir: str
    states: dict[int, State] = field(default_factory=dict)
    trees: dict[int, _Tree] = field(default_factory=dict)

    def build(self, target: Target, *, is_final: bool) -> None:
        state, triggers = self.recipe.start(target, self.states)
        base = self.recipe.bases[target.index]
        tree = self.trees[base.target.index].child() if base.target else _Tree()
        if base.image:
            state.workdir = self.workdir if is_final or self._is_base_of_final(target) else "/"
            tree.is_complete = False
            tree.folders.update(_EVERY_IMAGE_HAS)
            tree.add_folder(state.workdir)
        self.states[target.index], self.trees[target.index] = state, tree
        for instruction in self.recipe.instructions(target, triggers):
            try:
                self._step(target, instruction, state, tree)
            except ValueError as error:
                raise self.recipe.dockerfile.error(
                    instruction.line, str(error), "Correct that instruction and build again"
                ) from error

    def _is_base_of_final(self, target: Target) -> bool:
        """Asked only of targets that are needed: whether some other is FROM it."""
        return any(base.target is target for base in self.recipe.bases)

    def _step(self, target: Target, instruction: Instruction, state: State, tree: _Tree) -> None:
        if instruction.keyword in ("COPY", "ADD"):
            _Copy(self, target, instruction, state, tree).run()
        elif instruction.keyword == "RUN":
            tree.run(instruction.line)
        state.pass_by(instruction, set())
        if instruction.keyword == "WORKDIR":
            tree.add_folder(state.workdir)


@dataclass(slots=True)
class _Copy:
    """One COPY or ADD."""

    tracer: _Tracer
    target: Target
    instruction: Instruction
    state: State
    tree: _Tree
    chmod: str = ""
    owner: str | None = None

    def run(self) -> None:
        words = self.instruction.operands
        put_in = self.state.scope.put_in
        self.chmod = put_in(self.instruction.flag("chmod") or "")
        self.owner = put_in(self.instruction.flag("chown") or "") or None
        written = put_in(words[-1])
        destination = resolve(self.state.workdir, written)
        is_folder = written in (".", "") or written.endswith("/")
        sources = [put_in(word) for word in words[:-1] if not is_heredoc(word)]
        origins = self.tracer.recipe.origins_of(self.target, self.instruction)
        for source in sources:
            if origins:
                self._from_elsewhere(source, origins[0], destination, is_folder)
            elif is_remote(source):
                self.tree.doubt(destination, f"comes from {source}")
            else:
                self._from_context(source, destination, is_folder)
        for heredoc in self.instruction.heredocs:
            self._heredoc(heredoc, destination, is_folder)

    def _mode(self, mode: int) -> int:
        """Without permission bits where --chmod is not written in octal digits: what they will be is not known."""
        if not self.chmod or stat.S_ISLNK(mode):
            return mode
        is_octal = self.chmod.isdigit() and not set(self.chmod) & {"8", "9"}
        return stat.S_IFMT(mode) | (int(self.chmod, 8) if is_octal else 0)

    def _file(self, source: str) -> CopyMapping | None:
        """A file or a link of the context; pipes and devices have nothing to compare."""
        _, _, _, _, mode, digest = self.tracer.context.index.files[source]
        if not digest:
            return None
        return CopyMapping(
            source=source,
            destination="",
            mode=self._mode(mode),
            digest=digest,
            is_mode_set=bool(self.chmod),
            owner=self.owner,
        )

    def _put_below(self, source: str, landed: str) -> None:
        """Something that comes with a folder."""
        if self.tracer.context.is_folder(source):
            self.tree.add_folder(landed)
        elif mapping := self._file(source):
            self.tree.put(landed, mapping)

    def _from_context(self, source: str, destination: str, is_folder: bool) -> None:
        context = self.tracer.context
        if self.instruction.keyword == "COPY" and self.instruction.is_switched_on("parents"):
            for path, relative in with_parents(context, source):
                self._put_below(path, resolve(destination, relative))
            return
        for match in context.matches(source):
            if match.is_folder:
                self._folder(match, destination)
            elif self.instruction.keyword == "ADD" and match.path.lower().endswith(_ARCHIVES):
                self.tree.doubt(destination, f"comes out of the archive {match.path}")
            elif mapping := self._file(match.path):
                landed = self.tree.put_file(destination, is_folder, match.named.rpartition("/")[2], mapping)
                if self.instruction.keyword == "ADD":
                    self.tree.doubts[landed] = f"{landed} may come out of {match.path}: ADD unpacks what is an archive"

    def _folder(self, match: Match, destination: str) -> None:
        self.tree.add_folder(destination)
        start = len(match.path) + 1 if match.path else 0
        for path in files_below(self.tracer.context, match, exclude_rules(self.instruction)):
            self._put_below(path, resolve(destination, path[start:]))

    def _heredoc(self, heredoc: Heredoc, destination: str, is_folder: bool) -> None:
        values = self.state.scope.values
        content = expand(heredoc.content, values, quotes="plain") if heredoc.expand else heredoc.content
        mapping = CopyMapping(
            source=f"{self.tracer.recipe.dockerfile.path}:{self.instruction.line}",
            destination="",
            mode=self._mode(stat.S_IFREG | 0o644),
            digest=digest_text(content),
            is_mode_set=bool(self.chmod),
            owner=self.owner,
        )
        self.tree.put_file(destination, is_folder, heredoc.name, mapping)

    def _from_elsewhere(self, source: str, origin: Origin, destination: str, is_folder: bool) -> None:
        """A file that another target has from the context is followed through; all else is in doubt."""
        if origin.target is None:
            self.tree.doubt(destination, f"comes from image {origin.name}")
            return
        other = self.tracer.trees[origin.target.index]
        path = resolve("/", source)
        reason = f'comes from build target "{origin.name}"'
        if path in other.files and self._is_certain(other, path):
            self.tree.put_file(destination, is_folder, path.rpartition("/")[2], self._carried(other.files[path]))
            return
        if not other.is_complete or path not in other.folders or has_wildcard(path):
            self.tree.doubt(destination, reason)
        if not has_wildcard(path):
            self._carry_folder(other, path, destination)

    def _carry_folder(self, other: _Tree, path: str, destination: str) -> None:
        self._carry_doubts(other, path, destination)
        if path in other.folders:
            self.tree.add_folder(destination)
        prefix = path.rstrip("/") + "/"
        for known in sorted(other.files):
            if known.startswith(prefix) and self._is_certain(other, known):
                self.tree.put(resolve(destination, known[len(prefix) :]), self._carried(other.files[known]))

    def _carry_doubts(self, other: _Tree, path: str, destination: str) -> None:
        prefix = path.rstrip("/") + "/"
        for doubted, reason in other.unverifiable.items():
            if doubted.startswith(prefix):
                self.tree.doubt(resolve(destination, doubted[len(prefix) :]), reason)

    @staticmethod
    def _is_certain(tree: _Tree, path: str) -> bool:
        return not any(path in unsure for unsure in (tree.run_after, tree.either, tree.doubts))

    def _carried(self, mapping: CopyMapping) -> CopyMapping:
        is_mode_set = mapping.is_mode_set or bool(self.chmod)
        return replace(mapping, mode=self._mode(mapping.mode), is_mode_set=is_mode_set, owner=self.owner)


def sources_of(mappings: Iterable[CopyMapping]) -> frozenset[str]:
    """Paths of the context that are in the image."""
    return frozenset(mapping.source for mapping in mappings)
