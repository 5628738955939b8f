"""What is new about a step: the one difference between its own inputs and those that it had before.

Only what the two manifests show is told. Where a step is not the same and nothing shows why, there is no difference
to name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher

from dockwright.domain.explanation import CAUSES, CauseName, Detail
from dockwright.domain.plan import InputStep
from dockwright.insight.graph import FOLDER, Node, Setting

MAX_TEXT = 160
"""Characters of an instruction that are shown."""
MAX_PATHS = 1000
"""Of `files_changed` that are told."""
UNSET = "(unset)"
_SET_FOR = {"RUN": ("user", "shell"), "WORKDIR": ("user",)}


@dataclass(frozen=True, slots=True)
class Difference:
    cause: CauseName
    detail: Detail

    @property
    def rank(self) -> int:
        return CAUSES.index(self.cause)


@dataclass(frozen=True, slots=True)
class Passed:
    """Build arguments on the command line, or of the project: before and now."""

    before: Mapping[str, str]
    now: Mapping[str, str]

    def differs(self, name: str) -> bool:
        return self.before.get(name) != self.now.get(name)


# --- which step was which -------------------------------------------------------------------------------------------


def pairs(old: list[Node], new: list[Node]) -> dict[int, Node]:
    """`id` of a new node → the old one that it was; steps that are new have none."""
    targets = _target_pairs(old, new)
    found: dict[int, Node] = {}
    for label, before in targets.items():
        news = [node for node in new if node.step.target == label]
        olds = [node for node in old if node.step.target == before]
        found.update((id(one), other) for one, other in _aligned(olds, news))
    return found


def _target_pairs(old: list[Node], new: list[Node]) -> dict[str, str]:
    """New target → old target: by name, and where it has none or another, by how much of it is the same."""
    olds = list(dict.fromkeys(node.step.target for node in old))
    news = list(dict.fromkeys(node.step.target for node in new))
    same = {label: label for label in news if label in olds and not label.isdigit()}
    free = [label for label in olds if label not in same]
    for label in news:
        if label in same or not free:
            continue
        best = max(free, key=lambda other: (_likeness(old, other, new, label), other == label))
        same[label] = best
        free.remove(best)
    return same


def _likeness(old: list[Node], before: str, new: list[Node], label: str) -> int:
    olds = {node.step.text for node in old if node.step.target == before}
    return sum(node.step.text in olds for node in new if node.step.target == label)


def _aligned(olds: list[Node], news: list[Node]) -> Iterator[tuple[Node, Node]]:
    """New and old: equal texts, and between those the instructions of one kind, in their order."""
    matcher = SequenceMatcher(None, [_line(node) for node in olds], [_line(node) for node in news], autojunk=False)
    for tag, start, end, new_start, new_end in matcher.get_opcodes():
        before, now = olds[start:end], news[new_start:new_end]
        if tag == "equal":
            yield from zip(now, before, strict=True)
        elif tag == "replace":
            for node in now:
                match = next((one for one in before if one.step.instruction == node.step.instruction), None)
                if match is not None:
                    before.remove(match)
                    yield node, match


def _line(node: Node) -> str:
    # Whatever it is FROM, a target begins there.
    return "FROM" if node.is_image else node.step.text


# --- what became of it -----------------------------------------------------------------------------------------------


def difference(node: Node, before: Node | None, passed: Passed) -> Difference | None:
    """The first of its own differences in the order of precedence; None where its own inputs are the same.

    `before` is the same step of the previous build, None for one that was not there.
    """
    if before is None:
        return Difference("instruction_changed", f"{shown(node.step.text)} (new)")
    if node.own == before.own:
        return None
    found = [one for one in _differences(node, before, passed) if one is not None]
    return min(found, key=lambda one: one.rank, default=None)


def _differences(node: Node, before: Node, passed: Passed) -> Iterator[Difference | None]:
    yield _moved(node, before)
    if node.own.command != before.own.command:
        if not _is_same_text(node.step, before.step):
            yield changed(before.step, node.step)
        yield _setters_changed(node, before)
    yield from _variables(node, before, passed)
    if node.own.files != before.own.files:
        yield Difference("files_changed", _paths(node, before))


def _is_same_text(step: InputStep, old: InputStep) -> bool:
    return step.instruction == old.instruction and step.text.split(maxsplit=1)[1:] == old.text.split(maxsplit=1)[1:]


def _moved(node: Node, before: Node) -> Difference | None:
    """The image that the same name means now. Behind another name it is another image, which has not moved."""
    step, old = node.step, before.step
    if step.base == old.base or step.resolved != old.resolved:
        return None
    if folders := _changed_folders(step, old):
        return Difference("files_changed", folders)
    targets = {source.step.target for source in node.sources}
    names = [_image_name(step)] if node.is_image else [name for name in step.depends_on if name not in targets]
    return Difference("base_moved", f"{', '.join(names)}: {_digests(old.base)} → {_digests(step.base)}")


def _changed_folders(step: InputStep, old: InputStep) -> list[str]:
    """Names of contexts beside the main one, where it is such a folder that is not as it was."""
    digests = (step.base or "").split(", "), (old.base or "").split(", ")
    if not all(one.startswith(FOLDER) for one in {*digests[0]} ^ {*digests[1]}):
        return []
    return [name for name in step.depends_on if name] or [_image_name(step)]


def _image_name(step: InputStep) -> str:
    """As the Dockerfile has it; with variables put in as BuildKit names it."""
    name = next((word for word in step.text.split()[1:] if not word.startswith("--")), "")
    return name if name and "$" not in name else step.resolved.partition(" ")[2]


def _digests(base: str | None) -> str:
    return ", ".join(digest[: len("sha256:") + 12] for digest in base.split(", ")) if base else UNSET


def changed(old: InputStep | None, new: InputStep | None) -> Difference:
    """An instruction that is another one, or new, or gone."""
    if old is None or new is None:
        (step, fate) = (new, "new") if new else (old, "removed")
        assert step is not None
        return Difference("instruction_changed", f"{shown(step.text)} ({fate})")
    before, now = _apart(old.text, new.text)
    return Difference("instruction_changed", f"{before} → {now}")


def _apart(old: str, new: str) -> tuple[str, str]:
    """Both, so that one sees what is different: of long ones, or of many lines, the first line that is."""
    if shown(old) != shown(new) and not ("\n" in old and "\n" in new):
        return shown(old), shown(new)
    first = old.partition("\n")[0].split(" ")[0]
    lines = zip(old.splitlines(), new.splitlines(), strict=False)
    differing = next((pair for pair in lines if pair[0] != pair[1]), (old.splitlines()[-1], new.splitlines()[-1]))
    start = max(0, _common(*differing) - MAX_TEXT // 4)
    ellipsis = "…" if start else ""
    before, now = (f"{first} … {ellipsis}{shown(text[start:])}" for text in differing)
    return before, now


def _common(one: str, other: str) -> int:
    """How many characters they begin with in common."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _setters_changed(node: Node, before: Node) -> Difference | None:
    """USER and SHELL, which a step does not name; WORKDIR is a step of its own but for the root folder."""
    for name in _SET_FOR.get(node.step.instruction, ()):
        now, old = getattr(node.setting, name), getattr(before.setting, name)
        if (now and now.text) != (old and old.text):
            return changed(old, now)
    return None


# --- variables -------------------------------------------------------------------------------------------------------


def _variables(node: Node, before: Node, passed: Passed) -> Iterator[Difference | None]:
    names = list(_differing(node, before))
    args = []
    for name in names:
        found = _setter_changed(name, node.setting, before.setting)
        if found is not None:
            yield found
        elif not _is_env(name, node, before):
            args.append(name)
        else:
            # The ENV is as it was: a variable that it looks at is not.
            args += [used for used in _used_by_env(name, node, before) if used not in args and used not in names]
    told = [name for name in args if _value(name, node) != _value(name, before)]
    yield from (_default_changed(name, node, before) for name in told if not passed.differs(name))
    if moved := [name for name in told if passed.differs(name)]:
        yield Difference("arg_changed", ", ".join(_shift(name, node, before) for name in moved))
    if not names and node.own.environment != before.own.environment:
        yield _reordered(node, before)


def _differing(node: Node, before: Node) -> Iterator[str]:
    """Names of variables in scope that are not as they were: of a RUN all, of others those that they look at."""
    if node.step.instruction == "RUN":
        now, old = dict(node.own.environment), dict(before.own.environment)
        yield from (name for name in dict.fromkeys([*now, *old]) if now.get(name) != old.get(name))
        return
    if node.own.command == before.own.command:
        return
    named = set(re.findall(r"\$\{?(\w+)", _text_with_user(node) + _text_with_user(before)))
    known = dict.fromkeys([*node.step.args, *before.step.args, *node.setting.env_by, *before.setting.env_by])
    yield from (name for name in known if name in named and _value(name, node) != _value(name, before))


def _text_with_user(node: Node) -> str:
    return node.step.text + (node.setting.user.text if node.setting.user else "")


def _value(name: str, node: Node) -> str | None:
    value = node.step.args.get(name)
    if value is None and name in node.setting.env_by:
        value = node.setting.values.get(name)
    if value is None and (setter := _env_that_uses(name, node)) is not None:
        value = setter.args.get(name)
    return value


def _env_that_uses(name: str, node: Node) -> InputStep | None:
    return next((step for step in node.setting.env_by.values() if name in step.args), None)


def _is_env(name: str, node: Node, before: Node) -> bool:
    return any(name in one.setting.env_by and name not in one.step.args for one in (node, before))


def _used_by_env(name: str, node: Node, before: Node) -> list[str]:
    now, old = node.setting.env_by.get(name), before.setting.env_by.get(name)
    if now is None or old is None:
        return []
    return [used for used in now.args if now.args[used] != old.args.get(used)]


def _setter_changed(name: str, now: Setting, old: Setting) -> Difference | None:
    """The ENV or ARG that sets it is new or gone, or an ENV is another one."""
    for which in ("env_by", "arg_by"):
        step, before = getattr(now, which).get(name), getattr(old, which).get(name)
        is_other = which == "env_by" and step and before and step.text != before.text
        if is_other or (step is None) != (before is None):
            return changed(before, step)
    return None


def _default_changed(name: str, node: Node, before: Node) -> Difference | None:
    """Nobody passes it: the Dockerfile gives it another value."""
    step, old = node.setting.arg_by.get(name), before.setting.arg_by.get(name)
    if step is not None and old is not None and step.text != old.text:
        return changed(old, step)
    values = (_value(name, before), _value(name, node))
    # Above the first FROM, which is no step.
    texts = [f"ARG {name}" + ("" if value is None else f"={value}") for value in values]
    return Difference("instruction_changed", " → ".join(map(shown, texts)))


def _shift(name: str, node: Node, before: Node) -> str:
    old, now = (_value(name, one) for one in (before, node))
    return f"{name}: {_shown_value(old)} → {_shown_value(now)}"


def _shown_value(value: str | None) -> str:
    if value is None:
        return UNSET
    return shown(value) or '""'


def _reordered(node: Node, before: Node) -> Difference | None:
    """The same variables, set in another order."""
    now, old = dict(node.own.environment), dict(before.own.environment)
    name = next(name for name, other in zip(now, old, strict=True) if name != other)
    step = node.setting.env_by.get(name) or node.setting.arg_by.get(name)
    return Difference("instruction_changed", f"{shown(step.text)} (moved)") if step else None


# --- files -----------------------------------------------------------------------------------------------------------


def _paths(node: Node, before: Node) -> list[str]:
    different = {*node.own.files} ^ {*before.own.files}
    paths = sorted({file.partition("\0")[0] for file in different})
    more = len(paths) - MAX_PATHS
    return paths if more <= 0 else [*paths[:MAX_PATHS], f"… and {more:,} more"]


def shown(text: str) -> str:
    """On one line, and not too long."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_TEXT else f"{line[: MAX_TEXT - 1]}…"


def followed(node: Node, before: Node, unpaired: Iterable[Node]) -> Difference | None:
    """Its own inputs are the same, but what came before it is gone now or stands elsewhere.

    `unpaired`: steps of now that none of before was.
    """
    gone = before.parent
    if node.start.text != before.start.text:
        return changed(before.start, node.start)
    if gone is None or gone.is_image or (node.parent and node.parent.key == gone.key):
        return None
    texts = {one.step.text for one in unpaired if one.step.target == node.step.target}
    fate = "moved" if gone.step.text in texts else "removed"
    return Difference("instruction_changed", f"{shown(gone.step.text)} ({fate})")
