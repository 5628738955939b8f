"""Which containers of a project or a product there are to verify, and where each one answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import select

from dockwright.db import tables
from dockwright.docker.engine import Document, Engine
from dockwright.errors import Conflict, NotFound, UsageError
from dockwright.services import live, products
from dockwright.services.state import State
from dockwright.sources.detect import detect, is_path, source_key
from dockwright.targets import docker

LABEL = "dev.dockwright."
COMPOSE = "com.docker.compose."


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One container; it may have ended."""

    container_id: str
    name: str
    service: str | None
    """None where the source has one service alone."""
    addresses: tuple[str, ...]
    build_id: int | None
    release: tables.Release | None = None
    is_composed: bool = False
    """One of the services that compose has started together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    project: tables.Project
    product: tables.Product | None
    containers: tuple[Subject, ...]
    is_one: bool = False
    """A container was asked for by its name, and not all that there is."""

    @property
    def name(self) -> str:
        return self.product.slug if self.product else self.project.slug


def find(state: State, argument: str | int) -> Found:
    """By a path or URL what runs of it; by a name or a number a product, or else one container.

    Raises `NotFound`, and `Conflict` where there is nothing to look at.
    """
    if isinstance(argument, str) and is_path(argument):
        return _of_source(state, argument)
    try:
        product = products.find(state, argument)
    except NotFound:
        details = _container(state, argument)
        if details is None:
            raise
        return _of_container(state, details)
    project = _project(state, product)
    if project is None:
        raise Conflict(
            f'"{product.slug}" has no source to compare with', remedy="Only products of a project can be verified"
        )
    containers = tuple(_of_product(state, product, project))
    if not containers:
        raise Conflict(
            f'Nothing of "{product.slug}" is running', remedy=f"Start it with: dockwright start {product.slug}"
        )
    return Found(project=project, product=product, containers=containers)


def _project(state: State, product: tables.Product) -> tables.Project | None:
    with state.session() as session:
        return session.get(tables.Project, product.project_id) if product.project_id else None


def _of_source(state: State, argument: str) -> Found:
    key = source_key(detect(argument))
    with state.session() as session:
        mine = (tables.Project.client_id == state.client_id, tables.Project.source_key == key)
        project = session.scalar(select(tables.Project).where(*mine))
        if project is None:
            raise _nothing_of(argument)
        product = session.scalar(select(tables.Product).where(tables.Product.project_id == project.id))
    deployed = tuple(_of_product(state, product, project)) if product else ()
    composed = tuple(_of_compose(state, project))
    if not deployed and not composed:
        if product is None:
            raise _nothing_of(argument)
        raise Conflict(
            f'Nothing of "{product.slug}" is running', remedy=f"Start it with: dockwright start {product.slug}"
        )
    return Found(project=project, product=product, containers=(*deployed, *composed))


def _nothing_of(argument: str) -> NotFound:
    return NotFound(
        f"Nothing was deployed from {argument}",
        remedy=f"Deploy it with: dockwright build {argument}; or start its services with: dockwright up {argument}",
    )


def _of_product(state: State, product: tables.Product, project: tables.Project) -> Iterator[Subject]:
    """Its instances that run, and those of the release that is live which have ended by themselves."""
    with state.session() as session:
        number = tables.Release.number == product.release_number
        release = session.scalar(select(tables.Release).where(tables.Release.product_id == product.id, number))
    if release is None:
        return
    engine = Engine()
    found = live.live_state(state, product, project=project.slug, env={})
    assert found.product is not None
    running = {one.container_id for one in found.instances}
    for one in docker.all_instances(found.product, engine):
        if one.container_id not in running and one.release != release.number:
            continue
        details = engine.container(one.container_id)
        if details is not None and (one.container_id in running or docker.has_ended(details)):
            yield Subject(
                container_id=one.container_id,
                name=one.name,
                service=None,
                addresses=(f"http://{one.address}:{one.port}",),
                build_id=release.build_id,
                release=release,
            )


# --- containers that are no instances ------------------------------------------------------------------------------


def _of_compose(state: State, project: tables.Project) -> Iterator[Subject]:
    """Those of `dockwright up`, and of `docker compose up` with images that were built here."""
    engine = Engine()
    labels = {f"{LABEL}client": state.client, f"{LABEL}project": project.slug}
    for one in sorted(engine.containers(labels), key=lambda one: str(one["Names"])):
        told = one.get("Labels") or {}
        if f"{COMPOSE}service" in told and f"{LABEL}product" not in told:
            details = engine.container(one["Id"])
            if details is not None:
                yield _as_subject(details)


def _container(state: State, name: str | int) -> Document | None:
    """The client's own container of that name or id; nobody sees another's."""
    found = None
    with suppress(UsageError):  # what can be no container's name is none
        found = Engine().container(str(name)) if isinstance(name, str) and name else None
    labels = (found["Config"].get("Labels") or {}) if found else {}
    return found if labels.get(f"{LABEL}client") == state.client else None


def _of_container(state: State, details: Document) -> Found:
    labels = details["Config"]["Labels"]
    with state.session() as session:
        slug = labels.get(f"{LABEL}project", "")
        mine = (tables.Project.client_id == state.client_id, tables.Project.slug == slug)
        project = session.scalar(select(tables.Project).where(*mine))
        slug = labels.get(f"{LABEL}product", "")
        own = (tables.Product.client_id == state.client_id, tables.Product.slug == slug)
        product = session.scalar(select(tables.Product).where(*own))
    if project is None:
        name = details["Name"].removeprefix("/")
        raise Conflict(f"The container {name} has no source to compare with", remedy="Verify what Dockwright has built")
    instances = _of_product(state, product, project) if product else ()
    same = tuple(one for one in instances if one.container_id == details["Id"])
    return Found(project=project, product=product, containers=same or (_as_subject(details),), is_one=True)


def _as_subject(details: Document) -> Subject:
    labels = details["Config"].get("Labels") or {}
    build = labels.get(f"{LABEL}build", "")
    return Subject(
        container_id=details["Id"],
        name=details["Name"].removeprefix("/"),
        service=labels.get(f"{COMPOSE}service"),
        addresses=tuple(dict.fromkeys(_addresses(details))),
        build_id=int(build) if build.isdigit() else None,
        is_composed=f"{COMPOSE}service" in labels,
    )


def _addresses(details: Document) -> Iterator[str]:
    """Where it is published on this host first, then in its own networks."""
    settings = details.get("NetworkSettings") or {}
    ports = {port: bindings for port, bindings in (settings.get("Ports") or {}).items() if port.endswith("/tcp")}
    for bindings in ports.values():
        for binding in bindings or ():
            host = binding.get("HostIp") or ""
            yield f"http://{'127.0.0.1' if host in {'', '0.0.0.0', '::'} else host}:{binding['HostPort']}"  # noqa: S104
    for network in (settings.get("Networks") or {}).values():
        for port in ports:
            if network.get("IPAddress"):
                yield f"http://{network['IPAddress']}:{port.partition('/')[0]}"
