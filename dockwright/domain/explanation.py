"""Why the steps of a build ran: what is told of one image, and what the next build must know of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from dockwright.domain.image import Step
from dockwright.domain.plan import InputManifest

CauseName = Literal[
    "first_build",
    "no_cache",
    "base_moved",
    "instruction_changed",
    "arg_changed",
    "files_changed",
    "evicted",
    "other_builder",
    "unknown",
]
CAUSES: tuple[CauseName, ...] = (
    "first_build",
    "no_cache",
    "base_moved",
    "instruction_changed",
    "arg_changed",
    "files_changed",
    "evicted",
    "other_builder",
    "unknown",
)
"""In order of precedence."""
Detail = str | list[str] | None
"""Paths of `files_changed`; else text, None where there is no more to say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What else than the input manifest decides whether a step is found in a cache."""

    builder: str
    """Its name."""
    engine: str
    """The identity that the builder's engine gives itself."""
    version: str
    """Of that engine."""
    front_end: str | None
    """What `# syntax=` names."""
    args: Mapping[str, str]
    """Build arguments that were passed, by name."""
    contexts: Mapping[str, str] = field(default_factory=dict)
    """Of named contexts what they are: `service` (built in the same run), `docker-image`, `folder`, or an address."""
    no_cache: str | None = None
    """Who asked for it: `--no-cache`, `the profile dev`."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "builder": self.builder,
            "engine": self.engine,
            "version": self.version,
            "front_end": self.front_end,
            "args": dict(self.args),
            "contexts": dict(self.contexts),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Previous:
    """The last build of the same project, service and profile that really built its image."""

    build_id: int
    manifest: InputManifest
    circumstances: Circumstances


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """There was such a build, and what its image was made of is not kept any more."""

    build_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedStep:
    name: str
    cached: bool
    seconds: float
    cause: CauseName | Literal["earlier_step"] | None = None
    """None for a step that did not run."""
    detail: Detail = None
    """Of `earlier_step` the name of the step that made it run."""
    line: int | None = None
    """In the Dockerfile."""
    index: int | None = None
    """Of the manifest's step that it is."""

    def as_dict(self) -> dict[str, Any]:
        names = ("name", "cached", "seconds", "cause", "detail", "line")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One root cause with all that it made run."""

    cause: CauseName
    detail: Detail
    steps: tuple[str, ...]
    """Names, in the order in which they stand in the Dockerfile; the first is where it began."""
    seconds: float
    """Of all its steps together."""
    advice: str | None = None
    line: int | None = None
    """Of the first step."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "cause": self.cause,
            "detail": self.detail,
            "first_step": self.steps[0],
            "steps": list(self.steps),
            "seconds": round(self.seconds, 3),
            "advice": self.advice,
            "line": self.line,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Of one image that was built."""

    previous_build_id: int | None
    steps: tuple[ExplainedStep, ...]
    """As the image has them. A FROM counts as cached: it names what is there, and runs nothing."""
    causes: tuple[Cause, ...]
    """The dearest first."""
    circumstances: Circumstances = field(repr=False)

    def reported(self) -> tuple[Step, ...]:
        return tuple(Step(name=step.name, cached=step.cached, seconds=step.seconds) for step in self.steps)

    def as_dict(self) -> dict[str, Any]:
        return {
            "previous_build_id": self.previous_build_id,
            "causes": [cause.as_dict() for cause in self.causes],
            "steps": [step.as_dict() for step in self.steps],
            "circumstances": self.circumstances.as_dict(),
        }
