"""What is live: the rows say what is wanted, the engine's labels and the edge say what is."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import func, select

from dockwright.db import tables
from dockwright.domain.product import LiveState, Product, Release
from dockwright.services.state import State
from dockwright.targets import docker
from dockwright.targets.ports import free_port


def live_state(
    state: State, row: tables.Product, *, project: str | None, env: Mapping[str, str], port: int | None = None
) -> LiveState:
    """`row` may be new and unsaved (without an id): a product's first deployment."""
    with state.session() as session:
        taken = frozenset(session.scalars(select(tables.Product.port).where(tables.Product.id != (row.id or 0))))
        last = session.scalar(select(func.max(tables.Release.number)).where(tables.Release.product_id == (row.id or 0)))
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
        next_release=(last or 0) + 1,
        env={**(row.env_vars or {}), **env},
        taken_ports=taken,
    )


def product_of_project(state: State, project_id: int, slug: str, name: str) -> tables.Product:
    """The product that a project's builds deploy to; a new, unsaved row before the first."""
    with state.session() as session:
        found = session.scalar(select(tables.Product).where(tables.Product.project_id == project_id))
        if found is not None:
            return found
        taken = set(session.scalars(select(tables.Product.slug).where(tables.Product.client_id == state.client_id)))
    if slug in taken:
        slug = next(f"{slug}-{number}" for number in range(2, len(taken) + 3) if f"{slug}-{number}" not in taken)
    return tables.Product(
        client_id=state.client_id, project_id=project_id, slug=slug, name=name, port=0, replicas=1, env_vars={}
    )


def release_from_row(row: tables.Release, number: int | None = None) -> Release:
    return Release(
        number=number or row.number,
        image_name=row.image_name,
        digest=row.digest,
        container_port=row.container_port,
        env=row.env_vars,
        volumes=tuple(row.volumes),
        has_health_check=row.has_health_check,
        manifest_digest=row.manifest_digest,
        revision=row.revision,
        build_id=row.build_id,
    )
