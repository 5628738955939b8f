"""The input manifest: for each step that the final target needs, everything that decides its result.

Two builds with equal manifests give the same image; where they differ, the difference is why a step ran again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dockwright.domain.plan import InputFile, InputManifest, InputStep
from dockwright.errors import DockerfileSyntax
from dockwright.insight.dockerfile import Dockerfile, Instruction, Target
from dockwright.insight.index import Index
from dockwright.insight.replay import Origin, Recipe, State, mounts_of
from dockwright.insight.selection import Context, exclude_rules, files_below, is_heredoc, is_remote, with_parents
from dockwright.insight.variables import expand
from dockwright.insight.vertices import Numbering, display, image_display

_COPIES = ("COPY", "ADD")
_PUT_IN_WHOLE = ("WORKDIR", "USER", "EXPOSE", "VOLUME", "LABEL", "STOPSIGNAL", "ENV", "ARG")


def manifest(
    dockerfile: Dockerfile,
    *,
    target: str | None,
    args: Mapping[str, str],
    platform: str,
    bases: Mapping[str, str],
    index: Index,
    base_env: Mapping[str, Mapping[str, str]] | None = None,
    onbuild: Mapping[str, Sequence[str]] | None = None,
) -> InputManifest:
    """All steps in the order in which they run, instructions that only set metadata included (`number` is "" there).

    `bases` maps images, as `image_refs` names them, to digests; `base_env` to the environment that they set;
    `onbuild` to the instructions that they keep for their children. Raises `DockerfileSyntax` with the line for what
    can be refused only now that the arguments are known, `UsageError` for an unknown target.
    """
    recipe = Recipe(dockerfile, args, platform, base_env, onbuild)
    writer = _Writer(recipe, Context(index), bases)
    steps = tuple(
        replace(step, index=place) for place, step in enumerate(writer.steps(recipe.needed(recipe.final(target))))
    )
    return InputManifest(platform=platform, target=target, steps=steps, digest=digest(platform, steps))


def image_refs(dockerfile: Dockerfile, *, target: str | None, args: Mapping[str, str]) -> tuple[str, ...]:
    """Images from elsewhere that the needed steps name, in the order in which they appear, `scratch` left out."""
    recipe = Recipe(dockerfile, args)
    refs: dict[str, None] = {}
    for needed in recipe.needed(recipe.final(target)):
        origins = [recipe.bases[needed.index]]
        for instruction in needed.instructions:
            origins.extend(recipe.origins_of(needed, instruction))
        refs.update((origin.image, None) for origin in origins if origin.image)
    return tuple(refs)


def digest(platform: str, steps: Iterable[InputStep]) -> str:
    """SHA-256 in hexadecimal of what decides the image, in canonical JSON.

    Where an instruction stands and how its target is named do not: a comment above it changes nothing.
    """
    document = {"platform": platform, "steps": [_deciding(step) for step in steps]}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _deciding(step: InputStep) -> dict[str, Any]:
    return {
        "text": step.text,
        "resolved": step.resolved,
        "args": dict(step.args),
        "base": step.base,
        "depends_on": step.depends_on,
        "files": _files_digest(step.files),
    }


def _files_digest(files: tuple[InputFile, ...]) -> str | None:
    """One digest for all of them: JSON of 20,000 files takes three times as long. None of the parts can hold a zero."""
    if not files:
        return None
    text = "\0".join(f"{path}\0{mode}\0{digest}" for path, mode, digest in files)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def as_json(manifest: InputManifest) -> str:
    """As it is kept with the build; `dataclasses.asdict` takes a quarter of a second for 20,000 files."""
    return json.dumps(manifest, default=lambda part: {name: getattr(part, name) for name in part.__slots__})


def from_json(text: str) -> InputManifest:
    """What `as_json` has written. Files stay lists of path, mode and digest: a large context has very many."""
    document = json.loads(text)
    steps = [
        InputStep(
            **{
                **step,
                "depends_on": tuple(step["depends_on"]),
                "sets": tuple((name, value) for name, value in step.get("sets", ())),
            }
        )
        for step in document["steps"]
    ]
    return InputManifest(**{**document, "steps": tuple(steps)})


def remote_sources(manifest: InputManifest) -> tuple[str, ...]:
    """What ADD gets from elsewhere without a checksum or a commit: no manifest can tell whether it changed."""
    return tuple(word for step in manifest.steps for word in remote_sources_of(step))


def remote_sources_of(step: InputStep) -> tuple[str, ...]:
    if step.instruction != "ADD" or "--checksum=" in step.resolved:
        return ()
    return tuple(word for word in step.resolved.partition("\n")[0].split()[1:] if is_remote(word))


@dataclass(slots=True)
class _Writer:
    recipe: Recipe
    context: Context
    bases: Mapping[str, str]

    def steps(self, targets: list[Target]) -> Iterator[InputStep]:
        states: dict[int, State] = {}
        is_single = self._is_single()
        for target in targets:
            state, triggers = self.recipe.start(target, states)
            states[target.index] = state
            base = self.recipe.bases[target.index]
            numbering = Numbering(target, has_image=base.image is not None, is_single=is_single)
            yield self._first(target, base, numbering)
            for instruction in self.recipe.instructions(target, triggers):
                try:
                    yield self._step(target, instruction, state, numbering)
                except ValueError as error:
                    raise self._wrong(instruction, error) from error

    def _wrong(self, instruction: Instruction, error: ValueError) -> DockerfileSyntax:
        return self.recipe.dockerfile.error(instruction.line, str(error), "Correct that instruction and build again")

    def _is_single(self) -> bool:
        """BuildKit leaves the name out where there is one target, and counts each image and mount as one more."""
        targets = self.recipe.dockerfile.targets
        return len(targets) == 1 and not any(
            instruction.flag_values("mount") or instruction.flag("from")
            for instruction in targets[0].instructions
            if instruction.keyword in ("RUN", "COPY")
        )

    def _first(self, target: Target, base: Origin, numbering: Numbering) -> InputStep:
        resolved = f"FROM {image_display(base.image) if base.image else base.name}"
        number = numbering.next() if base.image else ""
        return InputStep(
            index=0,
            target=target.label,
            number=number,
            line=target.origin.line,
            instruction="FROM",
            text=target.origin.text,
            resolved=resolved,
            args=self.recipe.globals_used(target),
            base=self.bases.get(base.image) if base.image else None,
            depends_on=(base.target.label,) if base.target else (),
            vertex=numbering.vertex(number, resolved),
        )

    def _step(self, target: Target, instruction: Instruction, state: State, numbering: Numbering) -> InputStep:
        used: set[str] = set()
        keyword, scope = instruction.keyword, state.scope
        resolved, shown = self._resolved(instruction, state, used)
        files = self._files(instruction, state, used)
        args = scope.args_of() if keyword == "RUN" else scope.args_of(used)
        origins = self.recipe.origins_of(target, instruction)
        names = [scope.put_in(operand) for operand in instruction.operands[::2]] if keyword == "ENV" else []
        state.pass_by(instruction, used)
        has_vertex = keyword in ("RUN", *_COPIES) or (keyword == "WORKDIR" and state.workdir != "/")
        number = numbering.next() if has_vertex else ""
        digests = [self.bases[origin.image] for origin in origins if origin.image and origin.image in self.bases]
        return InputStep(
            index=0,
            target=target.label,
            number=number,
            line=instruction.line,
            instruction=keyword,
            text=instruction.full_text,
            resolved=resolved,
            args=args,
            base=", ".join(digests) or None,
            depends_on=tuple(dict.fromkeys(origin.name for origin in origins)),
            files=files,
            vertex=numbering.vertex(number, shown),
            sets=tuple((name, scope.image_env[name]) for name in names),
        )

    def _resolved(self, instruction: Instruction, state: State, used: set[str]) -> tuple[str, str]:
        """With variables put in, and as BuildKit shows it; they differ where there are heredocs."""
        keyword, scope = instruction.keyword, state.scope
        if keyword in ("RUN", *_COPIES):
            shown = display(instruction, scope.values, scope.escape, used)
            contents = [
                expand(heredoc.content, scope.values, quotes="plain", used=used)
                if heredoc.expand and keyword != "RUN"
                else heredoc.content
                for heredoc in instruction.heredocs
            ]
            return "\n".join([shown, *contents]), shown
        if keyword in _PUT_IN_WHOLE:
            shown = display(instruction, scope.values, scope.escape, used)
            return shown, shown
        return instruction.full_text, instruction.text

    def _files(self, instruction: Instruction, state: State, used: set[str]) -> tuple[InputFile, ...]:
        paths: set[str] = set()
        if instruction.keyword == "ADD" or (instruction.keyword == "COPY" and not instruction.flag("from")):
            for word in instruction.operands[:-1]:
                source = state.scope.put_in(word, used)
                if not is_heredoc(word) and not is_remote(source):
                    paths.update(self._taken(source, instruction))
        for mount in mounts_of(instruction, state.scope):
            if mount.takes_context:
                paths.update(self._taken(mount.source, instruction))
        known = self.context.index.files
        return tuple([InputFile(path, *known[path][4:]) for path in sorted(paths) if path])

    def _taken(self, source: str, instruction: Instruction) -> Iterator[str]:
        if instruction.keyword == "COPY" and instruction.is_switched_on("parents"):
            yield from (path for path, _ in with_parents(self.context, source))
            return
        excludes = exclude_rules(instruction)
        for match in self.context.matches(source):
            yield match.path
            yield from match.links
            if match.is_folder:
                yield from files_below(self.context, match, excludes)


def vertex_name(step: InputStep, manifest: InputManifest) -> str:
    """The name under which BuildKit reports a step, "" for one that it does not run.

    A FROM may be reported with `@sha256:…` added: see `is_vertex_of`.
    """
    return step.vertex


def is_vertex_of(name: str, step: InputStep) -> bool:
    """Whether a vertex that BuildKit reports is this step's: the same target, number and kind of instruction.

    The rest of its name may differ where the base image's environment is not known here, or a digest is added.
    """
    if not step.vertex or not step.vertex.startswith("["):
        return bool(step.vertex) and name == step.vertex
    bracket, _, _ = step.vertex.partition("] ")
    shown = name.removeprefix(f"{bracket}] ")
    return shown != name and shown.removeprefix("LINK ").startswith(f"{step.instruction} ")
