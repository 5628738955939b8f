"""Projects as they are asked for and shown (CONTRACT, "Shapes")."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from dockwright.api.schemas.builds import Ref
from dockwright.api.schemas.common import Asked, Environment, JsonObject, Line, Port, Slug, Text
from dockwright.domain.build import Profile
from dockwright.domain.source import FolderSource, GitSource, Source, TemplateSource, UploadSource

Url = Annotated[str, StringConstraints(min_length=1, max_length=2000, pattern=r"^[^\x00-\x20\x7f]+$")]
Path = Annotated[str, StringConstraints(min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f\x7f]+$")]
ProjectName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$"),
]
RENAMED = {"personality_config": "personality"}
"""A requirement's name of a variable, and ours."""


class TemplateSourceIn(Asked):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "example": {
                "kind": "template",
                "template": "chatbot",
                "variables": {"assistant_type": "customer_support", "personality": {"tone": "warm"}},
            }
        },
    )

    kind: Literal["template"]
    template: Line
    variables: JsonObject = Field(default_factory=dict, description="As GET /templates/{name} has them.")

    def source(self) -> Source:
        variables = {RENAMED.get(name, name): value for name, value in self.variables.items()}
        return TemplateSource(template=self.template, variables=variables)


class GitSourceIn(Asked):
    kind: Literal["git"]
    url: Url | None = Field(default=None, examples=["https://git.example.com/team/app.git"])
    repo: Annotated[str, StringConstraints(max_length=200, pattern=r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$")] | None = (
        Field(default=None, description="`owner/name` on GitHub, in place of the URL.")
    )
    ref: Ref | None = Field(default=None, description="A branch, a tag or a commit; else the default branch.")
    subdir: Path | None = Field(default=None, description="The folder below the repository's root.")

    @model_validator(mode="after")
    def _one_place(self) -> GitSourceIn:
        if (self.url is None) == (self.repo is None):
            raise ValueError("give either url or repo")
        return self

    def source(self) -> Source:
        return GitSource(url=self.url or f"https://github.com/{self.repo}.git", ref=self.ref, subdir=self.subdir)


class FolderSourceIn(Asked):
    kind: Literal["folder"]
    path: Path = Field(description="Absolute, below a folder that the operator allows.", examples=["/srv/apps/shop"])

    def source(self) -> Source:
        return FolderSource(path=self.path)


class UploadSourceIn(Asked):
    """The archive is sent afterwards, to POST /projects/{id}/source."""

    kind: Literal["upload"]

    def source(self) -> Source:
        return UploadSource()


SourceIn = Annotated[TemplateSourceIn | GitSourceIn | FolderSourceIn | UploadSourceIn, Field(discriminator="kind")]


SecretName = Annotated[str, StringConstraints(max_length=100, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class BuildSettings(Asked):
    profile: Profile = "prod"
    args: Environment = Field(default_factory=dict, description="Build arguments.")
    secrets: list[SecretName] = Field(
        default_factory=list,
        max_length=100,
        description="Names of stored secrets that the build may use: `RUN --mount=type=secret,id=NAME`.",
    )
    dockerfile: Path | None = None
    target: Line | None = None
    platforms: list[Line] | None = Field(default=None, max_length=10)
    services: list[Line] | None = Field(default=None, max_length=100)
    timeout_seconds: int | None = Field(default=None, ge=1, le=86_400)


class DeploySettings(Asked):
    auto: bool = Field(default=True, description="Whether a build that succeeds is deployed.")
    port: Port | None = None
    domain: Line | None = None
    replicas: int = Field(default=1, ge=1, le=100)
    env_vars: Environment = Field(default_factory=dict)
    secrets: list[SecretName] = Field(
        default_factory=list,
        max_length=100,
        description="Names of stored secrets that the app has in its environment.",
    )
    strategy: Literal["blue_green", "rolling", "recreate"] | None = None


class ProjectIn(Asked):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "example": {
                "name": "Support",
                "source": {
                    "kind": "template",
                    "template": "chatbot",
                    "variables": {"assistant_type": "customer_support"},
                },
                "auto_build": False,
            }
        },
    )

    name: ProjectName
    slug: Slug | None = Field(default=None, description="In names of images and containers; made of the name if none.")
    description: Text = ""
    source: SourceIn
    build: BuildSettings = Field(default_factory=BuildSettings)
    deploy: DeploySettings = Field(
        default_factory=DeploySettings, validation_alias=AliasChoices("deploy", "deployment_config")
    )
    auto_build: bool = Field(default=False, description="Queue its first build at once.")


class ProjectChanges(Asked):
    """What is not given stays; `source`, `build` and `deploy` are replaced as a whole."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"example": {"auto_build": True}})

    name: ProjectName = Field(default="")
    description: Text = Field(default="")
    source: SourceIn = Field(default_factory=lambda: UploadSourceIn(kind="upload"))
    build: BuildSettings = Field(default_factory=BuildSettings)
    deploy: DeploySettings = Field(
        default_factory=DeploySettings, validation_alias=AliasChoices("deploy", "deployment_config")
    )
    auto_build: bool = Field(default=False)

    def changes(self) -> dict[str, Any]:
        """As `services.projects.update` takes them: what was given."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        for name, value in given.items():
            if isinstance(value, BuildSettings | DeploySettings):
                given[name] = value.model_dump(exclude_none=True)
        if "source" in given:
            given["source"] = self.source.source()
        return given


class ProjectOut(BaseModel):
    id: int
    name: str
    slug: str
    description: str
    source: dict[str, Any] = Field(description="With `kind`; of an upload, the `digest` and `filename` of the archive.")
    build: dict[str, Any]
    deploy: dict[str, Any]
    auto_build: bool
    build_id: int | None = Field(description="Its newest build.")
    created_at: datetime


class CreatedProject(ProjectOut):
    message: str = Field(description="What was done, and what comes next.")


class ProjectList(BaseModel):
    items: list[ProjectOut]
    next_cursor: str | None


def _of_our_time(value: datetime) -> datetime:
    if not 0 <= value.timestamp() < time.time() + 86_400:
        raise ValueError("is before 1970, or yet to come")
    return value


class Sent(BaseModel):
    """What its sender says of an archive."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    filename: Line | None = Field(default=None, description="As you call it.", examples=["app-1.0.tar.gz"])
    revision: Annotated[str, StringConstraints(pattern=r"^(?:[0-9a-f]{40}|[0-9a-f]{64})$")] | None = Field(
        default=None, description="The full commit that it was packed from."
    )
    is_dirty: bool = Field(default=False, description="It differs from that commit.")
    committed_at: Annotated[AwareDatetime, AfterValidator(_of_our_time)] | None = Field(
        default=None, description="When that commit was made."
    )

    def source(self) -> UploadSource:
        at = self.committed_at.isoformat() if self.revision and self.committed_at else None
        is_dirty = True if self.revision and self.is_dirty else None
        return UploadSource(filename=self.filename, revision=self.revision, is_dirty=is_dirty, committed_at=at)


class UploadedSource(BaseModel):
    project_id: int
    digest: str = Field(description="SHA-256 of the archive.")
    filename: str | None
    bytes: int
    files: int
    unpacked_bytes: int
    build_id: int | None = Field(description="The build that it started, with auto_build.")
    message: str
