"""Images as the build stage returns them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dockwright.domain.explanation import Explanation


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One instruction as BuildKit ran it."""

    name: str
    """As BuildKit shows it: `[2/5] RUN pip install …`."""
    cached: bool
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """An image in the registry."""

    ref: str
    """`host/name@sha256:…`: what it is pulled by, whatever its tag means by then."""
    tag: str
    """`host/name:tag`."""
    digest: str
    """Of the registry's manifest; the engine's image id is another."""
    bytes: int
    """What was sent of its layers, before compression; what the registry had already is not."""
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    service: str
    name: str
    """With its tag: `support-bot:b12`."""
    digest: str
    """The engine's image id, `sha256:…`."""
    manifest_digest: str
    reused: bool
    seconds: float
    steps: tuple[Step, ...]
    context_files: int
    context_bytes: int
    ports: tuple[int, ...] = ()
    """TCP ports that the image exposes, in order."""
    volumes: tuple[str, ...] = ()
    """Paths that the image declares as volumes."""
    has_health_check: bool = False
    size: int = 0
    """In bytes."""
    pushed: Pushed | None = None
    """None where the image stays on the engine."""
    explanation: Explanation | None = None
    """Why its steps ran; none where the image was reused."""
