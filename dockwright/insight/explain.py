"""Why each step of a build ran: one root cause for each, told from two input manifests and what BuildKit reported.

A step's inputs are its own and the results of the steps that it rests on. What is new about its own is its cause; if
nothing is, and a step before it ran for a reason, it ran because of that one; if nothing at all is new, its result was
there before and is not any more. Whatever cannot be told is `unknown`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from dockwright.domain.explanation import Cause, Circumstances, ExplainedStep, Explanation, Forgotten, Previous
from dockwright.domain.image import Step
from dockwright.domain.plan import InputManifest
from dockwright.insight.differences import Difference, Passed, difference, followed, pairs
from dockwright.insight.graph import Keys, Node, graph, mark_of
from dockwright.insight.vertices import image_display


@dataclass(frozen=True, slots=True)
class Root:
    """A difference, and the step that it is one of."""

    difference: Difference
    node: Node


def explain(
    manifest: InputManifest,
    steps: Sequence[Step],
    circumstances: Circumstances,
    previous: Previous | Forgotten | None,
    substitutes: Iterable[str] = (),
) -> Explanation:
    """`steps` are as BuildKit reported them, in its order; `substitutes` images that local ones stood for.

    A step that is none of the manifest's is unknown.
    """
    names = frozenset(map(image_display, substitutes))
    told = _Explainer(manifest, steps, circumstances, previous, names).steps()
    return Explanation(
        previous_build_id=previous.build_id if previous else None,
        steps=told,
        causes=_causes(told),
        circumstances=circumstances,
    )


class _Explainer:
    def __init__(
        self,
        manifest: InputManifest,
        steps: Sequence[Step],
        circumstances: Circumstances,
        previous: Previous | Forgotten | None,
        substitutes: frozenset[str],
    ) -> None:
        keys = Keys()
        self._reported, self._now, self._previous = steps, circumstances, previous
        self._nodes = graph(manifest, keys)
        self._is_single = len({step.target for step in manifest.steps}) == 1
        marks = ((node.mark(substitutes), node) for node in reversed(self._nodes))
        self._of = {self._told_apart(mark): node for mark, node in marks if mark}
        ran = [node for step in steps if not step.cached and (node := self._node(step)) and not node.is_image]
        # BuildKit runs what two targets have in common once, and reports it under the name of one of them.
        self._ran = {node.key for node in ran}
        self._roots: dict[int, Root | None] = {}
        if isinstance(previous, Previous):
            self._old = graph(previous.manifest, keys)
            self._old_keys = {node.key for node in self._old}
            self._pairs = pairs(self._old, self._nodes)
            self._unpaired = [node for node in self._nodes if not _is_as_it_was(node, self._pairs)]
            self._passed = Passed(previous.circumstances.args, circumstances.args)

    def _told_apart(self, mark: tuple[str, int] | None) -> tuple[str, int]:
        """Where there is one target, BuildKit gives it a name or none, as what else takes part in the build has it."""
        target, number = mark or ("", 0)
        return ("" if self._is_single else target), number

    def _node(self, step: Step) -> Node | None:
        mark, shown = mark_of(step.name), step.name.partition("] ")[2]
        node = self._of.get(self._told_apart(mark))
        return node if node and shown.removeprefix("LINK ").startswith(f"{node.step.instruction} ") else None

    def steps(self) -> tuple[ExplainedStep, ...]:
        # Of a step that several targets have in common, the place of the first of them.
        order = {node.key: place for place, node in reversed(list(enumerate(self._nodes)))}
        carriers: dict[int, str] = {}
        told: dict[int, ExplainedStep] = {}
        places = [(order[node.key] if (node := self._node(step)) else -1) for step in self._reported]
        # A root is told before the steps that follow from it, whenever BuildKit came to them.
        for place in sorted(range(len(self._reported)), key=places.__getitem__):
            step = self._reported[place]
            told[place] = self._step(step, self._node(step), carriers)
        return tuple(told[place] for place in range(len(self._reported)))

    def _step(self, step: Step, node: Node | None, carriers: dict[int, str]) -> ExplainedStep:
        is_image = node.is_image if node else "] FROM " in step.name
        plain = ExplainedStep(
            name=step.name,
            cached=step.cached or is_image,
            seconds=step.seconds,
            line=node.step.line if node else None,
            index=node.step.index if node else None,
        )
        if plain.cached:
            return plain
        root = self._root(node) if node else None
        if root is None:
            found = Difference("unknown", "it is no step of the plan")
            return replace(plain, cause=found.cause, detail=found.detail)
        own = root.difference
        carrier = carriers.setdefault(root.node.key, step.name)
        if carrier == step.name:
            return replace(plain, cause=own.cause, detail=own.detail)
        return replace(plain, cause="earlier_step", detail=carrier)

    # --- why a step ran --------------------------------------------------------------------------------------------

    def _root(self, node: Node) -> Root:
        """Of a step that ran."""
        if (overall := self._overall()) is not None:
            return Root(overall, node)
        return self._origin(node) or Root(self._lost(node), node)

    def _overall(self) -> Difference | None:
        """What holds for every step of this build."""
        if self._previous is None:
            return Difference("first_build", None)
        if self._now.no_cache is not None:
            return Difference("no_cache", self._now.no_cache)
        if isinstance(self._previous, Forgotten):
            return Difference("unknown", f"what build {self._previous.build_id} was made of is not kept any more")
        return None

    def _origin(self, node: Node) -> Root | None:
        """Why its inputs are not what they were; None where they are."""
        if node.key in self._old_keys:
            return None
        if id(node) not in self._roots:
            self._roots[id(node)] = self._find_origin(node)
        return self._roots[id(node)]

    def _find_origin(self, node: Node) -> Root:
        before = self._pairs.get(id(node))
        own = difference(node, before, self._passed)
        parent = self._origin(node.parent) if node.parent else None
        if node.parent and node.parent.is_image and parent and (own is None or parent.difference.rank <= own.rank):
            return parent
        follows = parent is not None and node.parent is not None and node.parent.key in self._ran
        if parent is not None and follows and own in (None, parent.difference):
            return parent
        if own is not None:
            return Root(own, node)
        if node.key in self._ran and (source := self._source_that_ran(node)) is not None:
            return source
        return self._from_cached(node, before, parent)

    def _source_that_ran(self, node: Node) -> Root | None:
        """Of a step that copies or mounts from another target: what made that one anew."""
        anew = (source for source in node.sources if source.key in self._ran or source.is_image)
        return next((root for source in anew if (root := self._origin(source)) is not None), None)

    def _from_cached(self, node: Node, before: Node | None, parent: Root | None) -> Root:
        """Nothing that it rests on ran, and yet that is not what it was: an earlier build had made it."""
        if parent is not None:
            return parent
        if any(self._origin(source) for source in node.sources):
            return Root(Difference("unknown", _CHANGED_BEFORE), node)
        if before is not None and (found := followed(node, before, self._unpaired)):
            return Root(found, node)
        return Root(Difference("unknown", None), node)

    def _elsewhere(self, node: Node) -> list[str]:
        """Named contexts that it rests on."""
        names = {**self._now.contexts, **self._before.contexts}
        behind = list(node.behind())
        used = {name for one in behind for name in one.step.depends_on}
        images = {one.start.resolved.partition(" ")[2] for one in behind}
        return [name for name in names if name in used or image_display(name) in images]

    @property
    def _before(self) -> Circumstances:
        assert isinstance(self._previous, Previous)
        return self._previous.circumstances

    def _lost(self, node: Node) -> Difference:
        """All its inputs are what they were, and its result was not there."""
        before, now = self._before, self._now
        if hidden := next((reason for one in node.behind() if (reason := one.hidden_input())), None):
            return Difference("unknown", hidden)
        if (before.builder, before.engine) != (now.builder, now.engine):
            names = (before.builder, now.builder)
            return Difference("other_builder", " → ".join(names) if names[0] != names[1] else f"{names[0]}: new engine")
        if before.version != now.version:
            return Difference("unknown", f"the engine was {before.version} and is {now.version}")
        if moved := next((name for name in self._elsewhere(node) if _kinds(name, before) != _kinds(name, now)), None):
            return Difference("unknown", f"{moved} was {_kinds(moved, before)} and is {_kinds(moved, now)}")
        if before.front_end != now.front_end:
            return Difference("unknown", f"the front end was {before.front_end} and is {now.front_end}")
        return Difference("evicted", None)


def _is_as_it_was(node: Node, pairs: Mapping[int, Node]) -> bool:
    """Whether one of before was this very step, in its place."""
    before = pairs.get(id(node))
    return before is not None and before.step.text == node.step.text


_CHANGED_BEFORE = "what it copies was made anew, and whether that is another content cannot be told"


def _kinds(name: str, circumstances: Circumstances) -> str:
    return _KINDS.get(circumstances.contexts.get(name, ""), "something else")


_KINDS = {"service": "built in the same run", "docker-image": "an image", "folder": "a folder"}


# --- the causes by what they cost ------------------------------------------------------------------------------------


def _causes(steps: Iterable[ExplainedStep]) -> tuple[Cause, ...]:
    groups: dict[str, list[ExplainedStep]] = {}
    heads: dict[str, str] = {}
    ran = [step for step in steps if step.cause is not None]
    for step in ran:
        if step.cause != "earlier_step":
            heads[step.name] = f"{step.cause} {step.detail}"
    for step in ran:
        name = step.detail if step.cause == "earlier_step" else step.name
        assert isinstance(name, str)
        groups.setdefault(heads[name], []).append(step)
    return tuple(sorted(map(_cause, groups.values()), key=lambda cause: -cause.seconds))


def _cause(steps: list[ExplainedStep]) -> Cause:
    steps = sorted(steps, key=lambda step: step.line or 0)
    head = next(step for step in steps if step.cause != "earlier_step")
    assert head.cause is not None and head.cause != "earlier_step"
    names = (head.name, *(step.name for step in steps if step is not head))
    return Cause(
        cause=head.cause, detail=head.detail, steps=names, seconds=sum(step.seconds for step in steps), line=head.line
    )


# --- in words ---------------------------------------------------------------------------------------------------------


def sentence(cause: Cause) -> str:
    """`3 steps ran because requirements.txt changed: 12.1 s`."""
    count = len(cause.steps)
    return f"{count} step{'' if count == 1 else 's'} ran because {because(cause)}: {cause.seconds:.1f} s"


def because(cause: Cause) -> str:
    """What stands behind "because"."""
    detail = cause.detail
    if isinstance(detail, list):
        more = f" and {len(detail) - 3} more files" if len(detail) > 4 else ""
        return f"{', '.join(detail[:3] if more else detail)}{more} changed"
    return _BECAUSE[cause.cause].format(detail=detail) if detail else _BECAUSE_ALONE[cause.cause]


_BECAUSE = {
    "first_build": "{detail}",
    "no_cache": "{detail} asks for it",
    "base_moved": "the image {detail} moved",
    "instruction_changed": "the instruction {detail} changed",
    "arg_changed": "the argument {detail} changed",
    "evicted": "{detail}",
    "other_builder": "the builder is another one ({detail})",
    "unknown": "of a reason that cannot be told ({detail})",
}
_BECAUSE_ALONE = {
    **_BECAUSE,
    "first_build": "there is no earlier build",
    "evicted": "their results were not in the builder's cache any more",
    "unknown": "of a reason that cannot be told",
}
