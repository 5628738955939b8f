"""Images and products as they are asked for and shown."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from dockwright.api.fields import MAX_ID, Name
from dockwright.api.schemas.common import Asked, Environment, Port, Slug
from dockwright.domain.build import Profile

ImageName = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[a-z0-9][A-Za-z0-9._/:@-]*$")]
EnvName = Annotated[str, StringConstraints(max_length=200, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
EnvValue = Annotated[str, StringConstraints(max_length=32_000, pattern=r"^[^\x00]*$")]


class ImageOut(BaseModel):
    id: int
    name: str
    tag: str
    project_id: int
    project: str
    service: str
    build_id: int | None
    build_status: Literal["pending", "building", "success", "failed"]
    build_error: str | None
    github_repo: str | None
    github_ref: str | None
    commit_sha: str | None
    digest: str | None
    manifest_digest: str | None
    profile: Profile
    size: int = Field(description="In bytes.")
    built_at: datetime | None
    created_at: datetime


class ImageDetail(ImageOut):
    build_log: str | None
    ports: list[int] = []
    volumes: list[str] = []
    has_health_check: bool = False
    registry_ref: str | None = Field(default=None, description="Where it was pushed, by digest.")
    is_on_engine: bool
    labels: dict[str, str]
    products: list[str] = Field(description="Slugs of those with a release of it.")


class RemovedImage(BaseModel):
    id: int
    name: str
    tag: str


class ProductIn(Asked):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"example": {"name": "Allianz Insurance", "slug": "allianz", "port": 8001, "replicas": 2}},
    )

    name: Name
    slug: Slug | None = None
    port: Port | None = Field(default=None, description="A free one is found where none is given.")
    replicas: int = Field(default=1, ge=1, le=100)
    image_id: int | None = Field(default=None, ge=1, le=MAX_ID)
    image_name: ImageName | None = Field(
        default=None, description="In place of `image_id`: `name:tag`, or `name` of `latest`."
    )
    env_vars: Environment = Field(default_factory=dict)


class ProductChanges(Asked):
    """What is not given stays. It takes effect with the next start or restart."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"example": {"replicas": 3}})

    name: Name = Field(default="")
    port: Port = Field(default=1)
    replicas: int = Field(default=1, ge=1, le=100)
    image_id: int | None = Field(default=None, ge=1, le=MAX_ID)
    image_name: ImageName | None = Field(default=None)
    env_vars: dict[EnvName, EnvValue | None] = Field(
        default_factory=dict, max_length=200, description="Put over those there are; null takes one away."
    )

    def changes(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.model_fields_set}


class Deploy(Asked):
    image: ImageName | None = Field(default=None, description="`name:tag` or its number; as before unless given.")
    env_vars: Environment = Field(default_factory=dict, description="Put over that there is.")


class Scale(Asked):
    replicas: int = Field(ge=1, le=100)


class Rollback(Asked):
    release: int | None = Field(default=None, ge=1, le=MAX_ID, description="The one before the present unless given.")


class InstanceOut(BaseModel):
    name: str
    container_id: str
    address: str
    port: int
    release: int


class ProductOut(BaseModel):
    id: int
    name: str
    slug: str
    port: int
    replicas: int
    project_id: int | None
    image_id: int | None
    image_name: str | None
    env_vars: list[str] = Field(description="Names alone: values may be secret.")
    release: int | None
    status: Literal["stopped", "starting", "running", "unhealthy", "failed"]
    url: str
    instances: list[InstanceOut]


class ChangedProduct(ProductOut):
    log: list[str] = Field(description="What was done, in its order.")


class DeploymentOut(BaseModel):
    release: int
    status: str = Field(description="`live`, `superseded`, `stopped` or `failed`.")
    started_at: datetime
    seconds_to_healthy: float | None
    requests: int | None
    failed_requests: int | None
    rollback_of: int | None
    created_by: str | None
    error: str | None


class DeploymentList(BaseModel):
    items: list[DeploymentOut]
    next_cursor: str | None


class ReleaseOut(BaseModel):
    number: int
    image_name: str
    digest: str
    revision: str | None
    env_vars: list[str] = Field(description="Names alone.")
    secrets: list[str] = Field(description="Names of those that the app has in its environment.")
    is_live: bool
    created_at: datetime
    created_by: str | None
    deployments: list[DeploymentOut]


class ReleaseList(BaseModel):
    items: list[ReleaseOut]
    next_cursor: str | None = None


class InstanceLog(BaseModel):
    instance: str
    release: int
    lines: list[str]


class ProductLogs(BaseModel):
    items: list[InstanceLog]
    next_cursor: str | None = None


class Verification(BaseModel):
    """Does what runs equal the source."""

    model_config = ConfigDict(extra="allow")

    ok: bool
    revision: str | None = None
    built_revision: str | None = None
    digest_ok: bool
    files_checked: int
    files_differ: list[Any]
    files_unverifiable: list[Any]
    build_info_ok: bool | None
