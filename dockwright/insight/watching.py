"""What a change of files asks of the services that are made of them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dockwright.domain.plan import CopyMapping, InputManifest, InputStep
from dockwright.insight.copies import Copies

Action = Literal["sync", "sync+restart", "rebuild"]
_RELOADS = re.compile(
    r"--reload\b|--watch\b|--debug\b|\b(?:nodemon|watchfiles|watchmedo|runserver|vite|air)\b|\b(?:next|npm|yarn|pnpm)"
    r"(?: run)? dev\b|\bwebpack(?:-dev-server| serve)\b"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchRule:
    """One entry of a service's `develop.watch`."""

    path: str
    """Absolute: a folder or a file."""
    action: Action
    target: str
    """In the container; empty where the image is built anew."""
    ignore: tuple[str, ...] = ()
    """As `.dockerignore` has them, from `path` on."""


def watch_rules(service: Mapping[str, Any]) -> tuple[WatchRule, ...]:
    """Of a service as the canonical document has it."""
    entries = (service.get("develop") or {}).get("watch") or ()
    return tuple(
        WatchRule(
            path=str(entry["path"]),
            action=entry["action"],
            target=str(entry.get("target") or ""),
            ignore=tuple(entry.get("ignore") or ()),
        )
        for entry in entries
    )


def reloads_itself(words: Iterable[str]) -> bool:
    """Whether a container's command looks after changed files by itself."""
    return _RELOADS.search(" ".join(words)) is not None


def copied_only(changed: Iterable[str], manifest: InputManifest, copies: Copies) -> list[CopyMapping] | None:
    """Where the changed files belong in the image, if copying them there is all that a build would do; else none.

    `changed`: paths of the context. None where a step runs after the copy, which may make something of the file; where
    it goes through another build target; where a file is gone; where it is not certain where it lands.
    """
    found: list[CopyMapping] = []
    for path in changed:
        takers = [step for step in manifest.steps if any(file[0] == path for file in step.files)]
        if not takers or not all(_is_last_word(step, manifest) for step in takers):
            return None
        mappings = [mapping for mapping in copies.mappings if mapping.source == path]
        if not mappings or any(mapping.destination in {*copies.either, *copies.doubts} for mapping in mappings):
            return None
        found += mappings
    return found


def _is_last_word(step: InputStep, manifest: InputManifest) -> bool:
    if step.instruction not in {"COPY", "ADD"}:
        return False
    later = manifest.steps[step.index + 1 :]
    return not any(one.instruction == "RUN" or step.target in one.depends_on for one in later)
