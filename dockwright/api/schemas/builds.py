"""Builds as they are asked for and shown."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from dockwright.api.fields import MAX_ID
from dockwright.api.schemas.common import Asked, Environment, Port
from dockwright.domain.build import Profile, StageName, StageState
from dockwright.domain.transitions import Status
from dockwright.services.queueing import MAX_PRIORITY

Ref = Annotated[
    str,
    StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00-\x20\x7f~^:?*\[\\-][^\x00-\x20\x7f~^:?*\[\\]*$"),
]
Tag = Annotated[str, StringConstraints(max_length=128, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
ServiceName = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class BuildOptions(Asked):
    """What one build is asked, beside what its project says."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"example": {"profile": "prod"}})

    profile: Profile | None = None
    ref: Ref | None = Field(default=None, description="Of a Git source: a branch, a tag or a commit.")
    no_cache: bool = False
    deploy: bool | None = Field(default=None, description="As the project says, unless given.")
    until: StageName | None = Field(default=None, description="The last stage to run.")
    service: ServiceName | None = Field(default=None, description="One service of several.")
    tag: Tag | None = Field(default=None, description="Of the image; `b` and the build's number unless given.")
    args: Environment = Field(default_factory=dict, description="Build arguments, over those of the project.")
    env: Environment = Field(default_factory=dict, description="Environment of the app, over that of its product.")
    port: Port | None = Field(default=None, description="That the product is reached at.")
    priority: int = Field(default=0, ge=-MAX_PRIORITY, le=MAX_PRIORITY, description="The higher goes first.")


class BuildIn(BuildOptions):
    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"example": {"project_id": 1}})

    project_id: int = Field(ge=1, le=MAX_ID)


class QueuedOut(BaseModel):
    build_id: int
    task_id: str
    status: Status
    position: int | None = Field(description="How many wait before it, itself counted; null once it is begun.")
    message: str


class CanceledOut(BaseModel):
    build_id: int
    status: Status
    message: str


class ErrorOut(BaseModel):
    """Why a build failed."""

    code: str
    message: str
    remedy: str
    stage: str | None = None
    step: str | None = None
    exit_code: int | None = None
    last_lines: list[str] = []


class BuildSummary(BaseModel):
    id: int
    project_id: int
    project: str = Field(description="Its name.")
    status: Status
    stage: StageName | None
    profile: Profile
    ref: str | None
    revision: str | None = Field(description="The full commit that the ref meant.")
    progress: int = Field(ge=0, le=100)
    image_name: str | None
    deployment_url: str | None
    error: str | None = Field(description="One line; more with GET /builds/{id}.")
    origin: Literal["cli", "api", "hook"]
    attempt: int
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    seconds: float | None


class BuildList(BaseModel):
    items: list[BuildSummary]
    next_cursor: str | None


class StepOut(BaseModel):
    name: str
    cached: bool
    seconds: float
    cause: str | None = Field(
        default=None, description="A root cause, or `earlier_step`; null for one that was cached."
    )
    detail: str | list[str] | None = Field(default=None, description="Paths of `files_changed`; else text.")
    line: int | None = Field(default=None, description="In the Dockerfile.")


class ServiceOut(BaseModel):
    """One image of a build."""

    model_config = ConfigDict(extra="allow")

    service: str
    image: str
    digest: str
    reused: bool
    seconds: float
    steps: list[StepOut]
    context_bytes: int
    context_files: int


class StageOut(BaseModel):
    stage: StageName
    status: StageState
    seconds: float
    reason: str | None = None


class BuildDetail(BaseModel):
    id: int
    project_id: int
    project: str
    status: Status
    stage: StageName | None
    profile: Profile
    ref: str | None
    revision: str | None
    progress: int
    priority: int
    builder: str
    task_id: str | None
    image_name: str | None
    container_id: str | None
    deployment_url: str | None
    origin: Literal["cli", "api", "hook"]
    attempt: int
    timeout_seconds: int | None
    options: dict[str, Any]
    is_cancel_requested: bool
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    seconds: float | None
    error: ErrorOut | None
    services: list[ServiceOut]
    stages: list[StageOut]
    build_date: str | None
    test: dict[str, Any] | None
    proof: dict[str, Any] | None


class TaskStatus(BaseModel):
    """As Celery tells of a task."""

    state: Literal["PENDING", "BUILDING", "SUCCESS", "FAILURE", "REVOKED"]
    info: dict[str, Any] | None


class BuildStatus(BaseModel):
    build_id: int
    project_id: int
    status: Status
    stage: StageName | None
    progress: int = Field(ge=0, le=100, description="Never falls within an attempt.")
    position: int | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    attempt: int
    image_name: str | None
    container_id: str | None
    deployment_url: str | None
    error: ErrorOut | None
    logs: list[str] = Field(description="The last 100 lines.")
    task_status: TaskStatus


class BuildDeployment(BaseModel):
    build_id: int
    project_id: int
    status: str = Field(description="`live`, `superseded`, `stopped` or `failed`.")
    deployment_url: str | None
    container_id: str | None
    image_name: str | None
    product_id: int
    product: str
    port: int
    release: int
    started_at: datetime
    seconds_to_healthy: float | None
    requests: int | None
    failed_requests: int | None
    rollback_of: int | None
    created_by: str | None
    error: str | None


class Artifact(BaseModel):
    artifact_type: str = Field(description="`dockerfile`, `source_code`, `config`, `plan` …")
    file_path: str
    length: int = Field(description="In characters.")
    created_at: datetime


class ArtifactList(BaseModel):
    items: list[Artifact]
    next_cursor: str | None = None


class CleanupIn(Asked):
    keep: int = Field(default=5, ge=1, le=1000, description="Releases of each product whose images stay.")
    older_than_days: float | None = Field(default=None, ge=0, le=100_000)
    keep_builds: int | None = Field(
        default=None, ge=1, le=MAX_ID, description="Finished builds of each project that stay; BUILD_KEEP unless given."
    )
    dry_run: bool = False


class CleanupOut(BaseModel):
    model_config = ConfigDict(extra="allow")

    builds: int
    images: int
    containers: int
    bytes: int
    removed: list[str]
    failed: list[str] = []
    dry_run: bool
