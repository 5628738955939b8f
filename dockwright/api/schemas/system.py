"""The server, its templates and its state."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field


class TemplateSummary(BaseModel):
    name: str
    title: str
    description: str


class TemplateList(BaseModel):
    items: list[TemplateSummary]
    next_cursor: str | None = None


class TemplateDetail(TemplateSummary):
    variables: dict[str, Any] = Field(description="A JSON Schema, draft 2020-12, of an object.")


class BuilderOut(BaseModel):
    name: str
    kind: Literal["shared", "isolated"]
    capacity: int = Field(description="Builds at once.")
    active: int


class QueueLimits(BaseModel):
    overall: int
    client: int
    builder: int


class QueueOut(BaseModel):
    backend: Literal["embedded", "celery"]
    depth: int
    active: int
    limits: QueueLimits


class Disk(BaseModel):
    total_bytes: int
    free_bytes: int
    needed_bytes: int = Field(description="A build is refused where less is free.")


class Versions(BaseModel):
    dockwright: str
    python: str
    engine: str | None
    buildx: str | None


class SystemOut(BaseModel):
    builders: list[BuilderOut]
    queue: QueueOut
    disk: Disk
    versions: Versions


class Health(BaseModel):
    status: Literal["ok"]


class Readiness(BaseModel):
    status: Literal["ready"]


class BuildInfo(BaseModel):
    """As an app that Dockwright builds tells of itself."""

    build_date: str
    git_commit: str
    cache_bust: str
    python_version: str
    container_started: str
    status: Literal["healthy"]
