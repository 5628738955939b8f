"""A build: what was asked, what its past was, and the states that it passes through."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from dockwright.domain.source import Source

if TYPE_CHECKING:
    from dockwright.domain.explanation import Forgotten, Previous

StageName = Literal["fetch", "generate", "plan", "build", "test", "scan", "push", "deploy", "verify"]
STAGE_NAMES: tuple[StageName, ...] = (
    "fetch",
    "generate",
    "plan",
    "build",
    "test",
    "scan",
    "push",
    "deploy",
    "verify",
)

Profile = Literal["dev", "prod"]
StageState = Literal["pending", "running", "done", "skipped", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """Everything that the user asked of one build, resolved once and then only read."""

    build_id: int
    client: str
    project: str
    """Slug of the project: image names and labels carry it."""
    project_id: int
    name: str
    """The project's name as its user wrote it; a template sees it."""
    description: str
    source: Source
    profile: Profile = "prod"
    service: str | None = None
    is_for_up: bool = False
    """The folder's compose file counts, a Dockerfile or not, and `service` means all that it needs as well."""
    dockerfile: str | None = None
    target: str | None = None
    tag: str | None = None
    args: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    """`id=…,src=…` as buildx takes it; `id=…,env=…` for those that are stored."""
    run_secrets: tuple[str, ...] = ()
    """Names of the stored secrets that the app has in its environment."""
    secret_values: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Of the stored secrets that the build or the app uses, by their names."""
    build_date: str | None = None
    """BUILD_DATE of an image that the source is only compared with; none for a build, which finds its own."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Run-time environment for the release."""
    port: int | None = None
    """The edge's port that was asked for."""
    no_cache: bool = False
    deploy: bool = True
    until: StageName | None = None
    """The last stage to run."""
    is_project_new: bool = False
    """The project was made by this very build, for a source that was never built before."""
    is_queued: bool = False
    """It comes from the queue rather than from a command that waits for it."""
    is_remote: bool = False
    """It was asked of a server: what it fetches is not to lead into the server's private network."""
    attempt: int = 1
    """How often the build was begun: an older attempt can write nothing any more."""
    losses: int = 0
    """How many of the attempts before were cut off by a fault: see `db.queue.MAX_LOSSES`."""

    @property
    def run_env(self) -> dict[str, str]:
        """The environment of the app, with its secrets: for a container, never for a row."""
        return {**self.env, **{name: self.secret_values[name] for name in self.run_secrets}}


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltImage:
    """An image that an earlier build of the project left, by its manifest."""

    manifest_digest: str
    digest: str
    name: str
    profile: Profile
    build_date: str
    """What BUILD_DATE was when it was built: prod keeps it while the content stays."""
    registry_ref: str | None = None
    """`host/name@sha256:…` where it was pushed."""
    service: str = "app"


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What the stages must know of the past, handed to them by the runner."""

    images: tuple[BuiltImage, ...] = ()
    """Newest first, of this project."""
    last_built: Callable[[str], Previous | Forgotten | None] = lambda service: None
    """What a service's image was last built from, in this profile; looked up when it is asked for, by any thread."""

    def of(self, service: str) -> tuple[BuiltImage, ...]:
        return tuple(image for image in self.images if image.service == service)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    stage: StageName
    status: StageState
    seconds: float
    reason: str | None = None
    """Why it was skipped."""

    def as_dict(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"stage": self.stage, "status": self.status, "seconds": round(self.seconds, 3)}
        return {**shown, "reason": self.reason} if self.reason else shown
