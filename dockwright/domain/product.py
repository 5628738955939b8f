"""What runs: products, releases, instances, and what is live now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Immutable: an image digest and the frozen runtime configuration, numbered per product."""

    number: int
    image_name: str
    digest: str
    container_port: int
    """The TCP port on which the app listens inside its container."""
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    """Names of those that an instance has in its environment; the values are looked up when it starts."""
    volumes: tuple[str, ...] = ()
    """Paths inside the container that keep their content from release to release, on volumes of the product's own."""
    has_health_check: bool = False
    manifest_digest: str | None = None
    revision: str | None = None
    build_id: int | None = None
    registry_ref: str | None = None
    """`host/name@sha256:…` where the image was pushed: it comes back from there when it is gone from the engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One running container of a deployment."""

    container_id: str
    name: str
    address: str
    """Where the edge reaches it, an IP address of the host."""
    port: int
    release: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """As the stages see it; the row in the database holds more."""

    id: int
    client: str
    project: str | None
    slug: str
    port: int
    """The edge's port, which people open."""
    replicas: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveState:
    """What is live when a build starts: handed to the stages by the runner, never looked up by them."""

    product: Product | None = None
    instances: tuple[Instance, ...] = ()
    release: Release | None = None
    """What the rows say is live; none where nothing is, or where the product is to move to another port."""
    may_move: bool = False
    """The product was never live, and nobody asked for its port: any other one serves as well."""
    next_release: int = 1
    env: Mapping[str, str] = field(default_factory=dict)
    taken_ports: frozenset[int] = frozenset()
    """Edge ports that other products hold, whether they run or not."""
