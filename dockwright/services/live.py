"""What is live: the rows say what is wanted, the engine's labels and the edge say what is."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from dockwright.db import tables
from dockwright.domain.product import LiveState, Product, Release
from dockwright.errors import Conflict
from dockwright.services.state import State
from dockwright.targets import docker
from dockwright.targets.ports import free_port

TRIES = 20


def live_state(
    state: State, row: tables.Product, *, project: str | None, env: Mapping[str, str], port: int | None = None
) -> LiveState:
    """`row` may be without an id: see `product_of_project`."""
    with state.session() as session:
        taken = frozenset(session.scalars(select(tables.Product.port).where(tables.Product.id != (row.id or 0))))
        releases = tables.Release.product_id == (row.id or 0)
        last = session.scalar(select(func.max(tables.Release.number)).where(releases))
        stays = row.status == "running" and port in (None, row.port)
        current = session.scalar(select(tables.Release).where(releases, tables.Release.number == row.release_number))
    product = Product(
        id=row.id or 0,
        client=state.client,
        project=project,
        slug=row.slug,
        port=port or row.port or free_port(taken),
        replicas=row.replicas or 1,
    )
    return LiveState(
        product=product,
        instances=docker.instances(product),
        release=release_from_row(current) if current is not None and stays else None,
        may_move=port is None and row.release_number is None,
        next_release=(last or 0) + 1,
        env={**(row.env_vars or {}), **env},
        taken_ports=taken,
    )


def product_of_project(
    state: State, project_id: int, *, slug: str, name: str, env: Mapping[str, str], port: int | None
) -> tables.Product:
    """The product that a project's builds deploy to.

    The first time it is saved at once, so that no other process takes its slug or its port. It stays without an id
    where the port that was asked for is another product's: then there will be none.
    """
    for _ in range(TRIES):
        with state.session() as session:
            found = session.scalar(select(tables.Product).where(tables.Product.project_id == project_id))
            if found is not None:
                return found
            mine = select(tables.Product.slug).where(tables.Product.client_id == state.client_id)
            slugs, ports = set(session.scalars(mine)), set(session.scalars(select(tables.Product.port)))
        row = tables.Product(
            client_id=state.client_id,
            project_id=project_id,
            slug=_free_slug(slug, slugs),
            name=name,
            port=port or free_port(ports),
            replicas=1,
            env_vars=dict(env),
            status="starting",
        )
        if port in ports:
            return row
        # Another process may have taken the slug or the port since we looked: then we look again.
        with suppress(IntegrityError), state.session() as session:
            session.add(row)
            session.flush()
            return row
    raise Conflict(f'"{name}" is being deployed by several processes at once', remedy="Try again in a moment")


def _free_slug(slug: str, taken: set[str]) -> str:
    if slug not in taken:
        return slug
    return next(f"{slug}-{number}" for number in range(2, len(taken) + 3) if f"{slug}-{number}" not in taken)


def release_from_row(row: tables.Release, number: int | None = None) -> Release:
    return Release(
        number=number or row.number,
        image_name=row.image_name,
        digest=row.digest,
        container_port=row.container_port,
        env=row.env_vars,
        secrets=tuple(row.secrets),
        volumes=tuple(row.volumes),
        has_health_check=row.has_health_check,
        manifest_digest=row.manifest_digest,
        revision=row.revision,
        build_id=row.build_id,
        registry_ref=row.registry_ref,
    )
