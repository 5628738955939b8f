"""What differs between the inputs of two builds, as a whole: for telling why an image is not that of the source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dockwright.domain.plan import InputManifest


@dataclass(frozen=True, slots=True)
class InputChanges:
    files: tuple[str, ...] = ()
    """Paths of the context that were added, removed or changed, sorted."""
    targets: frozenset[str] = frozenset()
    """Build targets that take one of them in."""
    others: tuple[str, ...] = ()
    """What else changed: instructions, arguments, bases, each in words."""

    @property
    def told(self) -> list[str]:
        return [*self.files, *self.others]


def input_changes(old: Mapping[str, Any], new: InputManifest) -> InputChanges:
    """`old` is the document that was kept with the build that made the image."""
    before = [_Step(step) for step in old["steps"]]
    now = [_Step({name: getattr(step, name) for name in step.__slots__}) for step in new.steps]
    was, files = _files(before), _files(now)
    differing = {key for key in was.keys() | files.keys() if was.get(key) != files.get(key)}
    return InputChanges(
        files=tuple(sorted({path for _, path in differing})),
        targets=frozenset(target for target, _ in differing),
        others=tuple(dict.fromkeys([*_bases(before, now), *_args(before, now), *_instructions(before, now)])),
    )


class _Step:
    def __init__(self, step: Mapping[str, Any]) -> None:
        self.target: str = step["target"]
        self.text: str = step["text"]
        self.base: str | None = step["base"]
        self.resolved: str = step["resolved"]
        self.args: Mapping[str, str] = step["args"]
        self.files: Iterable[tuple[str, int, str]] = step["files"]


def _files(steps: Iterable[_Step]) -> dict[tuple[str, str], tuple[int, str]]:
    """(target, path) → mode and digest."""
    return {(step.target, path): (mode, digest) for step in steps for path, mode, digest in step.files}


def _bases(before: Iterable[_Step], now: Iterable[_Step]) -> Iterator[str]:
    old = {step.resolved: step.base for step in before if step.base}
    for step in now:
        if step.base and old.get(step.resolved, step.base) != step.base:
            yield f"the base image of {_brief(step.resolved)} moved"


def _args(before: Iterable[_Step], now: Iterable[_Step]) -> Iterator[str]:
    old = {name: value for step in before for name, value in step.args.items()}
    for step in now:
        for name, value in step.args.items():
            if name in old and old[name] != value:
                yield f"{name}: {old[name]} → {value}"


def _instructions(before: Iterable[_Step], now: Iterable[_Step]) -> Iterator[str]:
    old, new = [step.text for step in before], [step.text for step in now]
    yield from (f"{_brief(text)} is new" for text in new if text not in old)
    yield from (f"{_brief(text)} is gone" for text in old if text not in new)


def _brief(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:59]}…"
