"""The tables, as SQLAlchemy models. Names are those of the requirements and of DESIGN's glossary.

A build's own rows (`builds`, `build_events`) are written by `journal.py` alone, in plain SQL: importing SQLAlchemy
takes longer than a build of which nothing changed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Utc(TypeDecorator[datetime]):
    """An aware time, kept in UTC. SQLite drops the zone, so it is put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        assert value.tzinfo is not None, "a time without a zone"
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def now() -> datetime:
    return datetime.now(UTC)


class Base(DeclarativeBase):
    type_annotation_map = {datetime: Utc, dict[str, Any]: JSON, list[Any]: JSON}  # noqa: RUF012


class Client(Base):
    __tablename__ = "clients"

    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(String(63), unique=True)
    name: Mapped[str] = mapped_column(String(255))
    served_at: Mapped[datetime | None]
    """When the queue last started a build of it: whoever waits longest comes first."""
    created_at: Mapped[datetime] = mapped_column(default=now)


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    client_id: Mapped[int | None] = mapped_column(ForeignKey("clients.id"), index=True)
    email: Mapped[str] = mapped_column(String(255), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    role: Mapped[str] = mapped_column(String(20))
    """`viewer`, `member`, `owner`, or `admin`, who stands above clients."""
    is_active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime] = mapped_column(default=now)


class AccessToken(Base):
    """A session (a browser's cookie, or what a login gave) or an API token: the hash of it, never itself."""

    __tablename__ = "access_tokens"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str] = mapped_column(String(10))
    """`session` or `api`."""
    name: Mapped[str] = mapped_column(String(255), default="")
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    """SHA-256 in hexadecimal: the token itself has 256 random bits, so nothing slower is needed."""
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime | None]
    used_at: Mapped[datetime | None]
    address: Mapped[str | None] = mapped_column(String(64))
    """Where a session was begun: guesses from elsewhere do not lock its user out there."""


class LoginFailure(Base):
    """A wrong password, kept as long as it counts against the next attempt."""

    __tablename__ = "login_failures"
    __table_args__ = (Index("ix_login_failures_key", "key", "at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(300))
    """`email:…`, `address:…`, or `both:…` for an e-mail address tried from one network address."""
    at: Mapped[datetime] = mapped_column(default=now)


class AuditEntry(Base):
    """Who did what: written in the transaction of what was done."""

    __tablename__ = "audit"
    __table_args__ = (Index("ix_audit_client", "client_id", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(default=now)
    client_id: Mapped[int | None] = mapped_column(Integer)
    """No foreign key here and below: the entry outlives what it tells of."""
    user_id: Mapped[int | None] = mapped_column(Integer)
    actor: Mapped[str] = mapped_column(String(255))
    """The user's e-mail address, or `system`."""
    action: Mapped[str] = mapped_column(String(50))
    """`project.create`, `build.cancel`, `login.failed` …"""
    object_type: Mapped[str | None] = mapped_column(String(20))
    object_id: Mapped[int | None] = mapped_column(Integer)
    address: Mapped[str | None] = mapped_column(String(64))
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)


class Secret(Base):
    """A client's, or one of its projects', encrypted with the key of the server."""

    __tablename__ = "secrets"
    __table_args__ = (
        Index("uq_secrets_project", "project_id", "name", unique=True),
        Index(
            "uq_secrets_client",
            "client_id",
            "name",
            unique=True,
            sqlite_where=text("project_id IS NULL"),
            postgresql_where=text("project_id IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    client_id: Mapped[int] = mapped_column(ForeignKey("clients.id"))
    project_id: Mapped[int | None] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(100))
    ciphertext: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now)


class MetricSample(Base):
    """A counter that survives restarts and is shared by all processes; `/metrics` shows them."""

    __tablename__ = "metric_samples"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    labels: Mapped[str] = mapped_column(String(200), primary_key=True, default="")
    """`status="failed"` as Prometheus writes it."""
    value: Mapped[float] = mapped_column(Double, default=0.0)


class Template(Base):
    """A template that has been used: what it was called and what its variables were, kept with the projects."""

    __tablename__ = "templates"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(63), unique=True)
    title: Mapped[str] = mapped_column(String(255))
    description: Mapped[str] = mapped_column(Text, default="")
    variables_schema: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Project(Base):
    __tablename__ = "projects"
    __table_args__ = (UniqueConstraint("client_id", "slug"), Index("ix_projects_source_key", "client_id", "source_key"))

    id: Mapped[int] = mapped_column(primary_key=True)
    client_id: Mapped[int] = mapped_column(ForeignKey("clients.id"))
    template_id: Mapped[int | None] = mapped_column(ForeignKey("templates.id"))
    name: Mapped[str] = mapped_column(String(255))
    slug: Mapped[str] = mapped_column(String(63))
    description: Mapped[str] = mapped_column(Text, default="")
    source: Mapped[dict[str, Any]]
    source_key: Mapped[str | None] = mapped_column(String(1024))
    """Finds the project of a folder or a Git URL again: `folder:/srv/app`, `git:https://…`."""
    personality: Mapped[dict[str, Any] | None]
    business_rules: Mapped[list[Any] | None]
    training_data: Mapped[list[Any] | None]
    build: Mapped[dict[str, Any]] = mapped_column(default=dict)
    deploy: Mapped[dict[str, Any]] = mapped_column(default=dict)
    auto_build: Mapped[bool] = mapped_column(default=False)
    build_id: Mapped[int | None] = mapped_column(Integer)
    """Its newest build."""
    created_at: Mapped[datetime] = mapped_column(default=now)


class Build(Base):
    __tablename__ = "builds"
    __table_args__ = (
        Index("ix_builds_project", "project_id", "id"),
        Index("ix_builds_status", "status", "lease_until"),
        Index("ix_builds_client", "client_id", "id"),
        Index("ix_builds_client_status", "client_id", "status", "id"),
        Index("ix_builds_queue", "status", "client_id", text("priority DESC"), "id", "project_id", "builder"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    client_id: Mapped[int] = mapped_column(ForeignKey("clients.id"))
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    status: Mapped[str] = mapped_column(String(50), default="queued")
    stage: Mapped[str | None] = mapped_column(String(20))
    profile: Mapped[str] = mapped_column(String(10), default="prod")
    ref: Mapped[str | None] = mapped_column(String(255))
    revision: Mapped[str | None] = mapped_column(String(64))
    options: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """What this build was asked, beside what its project says; never the value of a secret."""
    result: Mapped[dict[str, Any] | None]
    """The document that `build --json` ends with."""
    error_code: Mapped[str | None] = mapped_column(String(50))
    error_message: Mapped[str | None] = mapped_column(Text)
    origin: Mapped[str] = mapped_column(String(10), default="cli", server_default="cli")
    """`cli`, whose process runs it itself, or `api` and `hook`, which go through the queue."""
    created_by: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    builder: Mapped[str] = mapped_column(String(80), default="shared", server_default="shared")
    """The builder that it will run on, or has."""
    progress: Mapped[int] = mapped_column(default=0, server_default="0")
    """0 to 100; never falls within an attempt."""
    timeout_seconds: Mapped[int | None]
    cancel_requested_at: Mapped[datetime | None]
    worker: Mapped[str | None] = mapped_column(String(255))
    """Who runs it, or ran it last: `host/boot/pid namespace/pid/start time`."""
    lease_until: Mapped[datetime | None]
    attempt: Mapped[int] = mapped_column(default=1)
    """How often it was claimed: who holds an older number has lost the build."""
    losses: Mapped[int] = mapped_column(default=0, server_default="0")
    """How many of its attempts were cut off by a fault, as a server that is stopped is none."""
    priority: Mapped[int] = mapped_column(default=0)
    task_id: Mapped[str | None] = mapped_column(String(100))
    image_name: Mapped[str | None] = mapped_column(String(200))
    container_id: Mapped[str | None] = mapped_column(String(100))
    deployment_url: Mapped[str | None] = mapped_column(String(500))
    created_at: Mapped[datetime] = mapped_column(default=now)
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]


class BuildEvent(Base):
    __tablename__ = "build_events"

    build_id: Mapped[int] = mapped_column(ForeignKey("builds.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    """Dense per build, from 1."""
    at: Mapped[datetime]
    kind: Mapped[str] = mapped_column(String(10))
    stage: Mapped[str | None] = mapped_column(String(20))
    step: Mapped[str | None] = mapped_column(Text)
    stream: Mapped[str | None] = mapped_column(String(6))
    text: Mapped[str] = mapped_column(Text)
    data: Mapped[dict[str, Any] | None]


class BuildArtifact(Base):
    __tablename__ = "build_artifacts"
    __table_args__ = (UniqueConstraint("build_id", "artifact_type", "file_path"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    build_id: Mapped[int] = mapped_column(ForeignKey("builds.id", ondelete="CASCADE"))
    artifact_type: Mapped[str] = mapped_column(String(50))
    """`dockerfile`, `source_code`, `config`, `plan`, `sbom`, `report`."""
    file_path: Mapped[str] = mapped_column(String(500))
    content: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=now)


class DockerImage(Base):
    __tablename__ = "docker_images"
    __table_args__ = (
        UniqueConstraint("client_id", "name", "tag"),
        Index("ix_docker_images_project", "project_id", "service", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    client_id: Mapped[int] = mapped_column(ForeignKey("clients.id"))
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    build_id: Mapped[int | None] = mapped_column(ForeignKey("builds.id"))
    service: Mapped[str] = mapped_column(String(63), default="app")
    name: Mapped[str] = mapped_column(String(255))
    tag: Mapped[str] = mapped_column(String(128))
    github_repo: Mapped[str | None] = mapped_column(String(255))
    github_ref: Mapped[str | None] = mapped_column(String(255))
    commit_sha: Mapped[str | None] = mapped_column(String(64))
    build_status: Mapped[str] = mapped_column(String(50), default="pending")
    build_log: Mapped[str | None] = mapped_column(Text)
    build_error: Mapped[str | None] = mapped_column(Text)
    digest: Mapped[str | None] = mapped_column(String(80))
    manifest_digest: Mapped[str | None] = mapped_column(String(64))
    profile: Mapped[str] = mapped_column(String(10), default="prod")
    build_date: Mapped[str] = mapped_column(String(30), default="")
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """What a release needs of it: {"ports": [8000], "volumes": ["/data"], "has_health_check": true, "registry_ref":
    "host/name@sha256:…" or none}."""
    size: Mapped[int] = mapped_column(BigInteger, default=0)
    built_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Product(Base):
    __tablename__ = "products"
    __table_args__ = (UniqueConstraint("client_id", "slug"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    client_id: Mapped[int] = mapped_column(ForeignKey("clients.id"))
    project_id: Mapped[int | None] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str] = mapped_column(String(255))
    slug: Mapped[str] = mapped_column(String(63))
    port: Mapped[int] = mapped_column(unique=True)
    replicas: Mapped[int] = mapped_column(default=1)
    env_vars: Mapped[dict[str, Any]] = mapped_column(default=dict)
    image_id: Mapped[int | None] = mapped_column(ForeignKey("docker_images.id"))
    image_name: Mapped[str | None] = mapped_column(String(255))
    status: Mapped[str] = mapped_column(String(20), default="stopped")
    release_number: Mapped[int | None]
    """The release that is live, or was when the product was stopped."""
    created_at: Mapped[datetime] = mapped_column(default=now)


class Release(Base):
    __tablename__ = "releases"
    __table_args__ = (UniqueConstraint("product_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id"))
    number: Mapped[int]
    build_id: Mapped[int | None] = mapped_column(ForeignKey("builds.id"))
    image_name: Mapped[str] = mapped_column(String(255))
    digest: Mapped[str] = mapped_column(String(80))
    manifest_digest: Mapped[str | None] = mapped_column(String(64))
    revision: Mapped[str | None] = mapped_column(String(64))
    container_port: Mapped[int]
    env_vars: Mapped[dict[str, Any]] = mapped_column(default=dict)
    secrets: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")
    """Names alone: the values are looked up whenever an instance starts."""
    volumes: Mapped[list[Any]] = mapped_column(default=list)
    has_health_check: Mapped[bool] = mapped_column(default=False)
    registry_ref: Mapped[str | None] = mapped_column(Text)
    """`host/name@sha256:…` where the image was pushed: it comes back from there when it is gone from the engine."""
    created_by: Mapped[str | None] = mapped_column(String(255))
    created_at: Mapped[datetime] = mapped_column(default=now)


class Deployment(Base):
    __tablename__ = "deployments"
    __table_args__ = (Index("ix_deployments_product", "product_id", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id"))
    release_number: Mapped[int]
    build_id: Mapped[int | None] = mapped_column(ForeignKey("builds.id"))
    status: Mapped[str] = mapped_column(String(20))
    """`live`, `superseded`, `stopped` or `failed`."""
    started_at: Mapped[datetime]
    seconds_to_healthy: Mapped[float | None]
    requests: Mapped[int | None]
    failed_requests: Mapped[int | None]
    rollback_of: Mapped[int | None]
    """Number of the release that was live before a rollback."""
    created_by: Mapped[str | None] = mapped_column(String(255))
    error: Mapped[str | None] = mapped_column(Text)
