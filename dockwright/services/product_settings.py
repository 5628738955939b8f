"""What a product is to be: made, changed, removed; and put live as it is to be."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from dockwright.db import tables
from dockwright.docker.engine import Engine
from dockwright.errors import Conflict, NotFound, PortTaken, UsageError
from dockwright.process import Cancel
from dockwright.services import live, products
from dockwright.services.audit import Actor, record
from dockwright.services.locks import ProductLock
from dockwright.services.projects import slug_of
from dockwright.services.state import State
from dockwright.targets.docker import DockerTarget, all_instances
from dockwright.targets.edge import Edge
from dockwright.targets.ports import free_port

TRIES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class NewProduct:
    name: str
    slug: str | None = None
    port: int | None = None
    replicas: int = 1
    image_id: int | None = None
    image_name: str | None = None
    env_vars: dict[str, str] = field(default_factory=dict)


def create(state: State, new: NewProduct, actor: Actor) -> dict[str, Any]:
    """A product that does not run yet. Raises `NotFound` for its image, `Conflict` for its slug, `PortTaken`."""
    for _ in range(TRIES):
        with suppress(IntegrityError):
            return products.as_dict(state, _insert(state, new, actor))
    raise Conflict(f'"{new.name}" is being made by several at once', remedy="Try again in a moment")


def _insert(state: State, new: NewProduct, actor: Actor) -> tables.Product:
    """Raises `IntegrityError` where another process took the slug or the port at the same moment."""
    with state.session() as session:
        row = tables.Product(
            client_id=state.client_id,
            name=new.name,
            slug=new.slug or slug_of(new.name),
            port=_port(session, new.port, None),
            replicas=new.replicas,
            env_vars=dict(new.env_vars),
            image_name=new.image_name,
            status="stopped",
        )
        _check_slug(session, state, row.slug)
        _set_image(session, state, row, new.image_id)
        session.add(row)
        session.flush()
        record(session, actor, "product.create", "product", row.id, slug=row.slug)
    return row


def update(state: State, product_id: int, changes: dict[str, Any], actor: Actor) -> dict[str, Any]:
    """`changes`: name, port, replicas, image_id, image_name, and env_vars, which are put over those there are.

    What runs goes on as it is until the next start or restart. Raises `NotFound`, `PortTaken`, and `Conflict` for
    another port while it runs.
    """
    with state.session() as session:
        row = session.get(tables.Product, product_id)
        if row is None or row.client_id != state.client_id:
            raise NotFound(f"There is no product {product_id}", remedy="See: GET /api/v1/products")
        if changes.get("port", row.port) != row.port:
            if row.status == "running":
                raise Conflict(
                    f'"{row.slug}" answers on port {row.port} now',
                    remedy=f"Stop it first: POST /products/{row.id}/stop",
                )
            row.port = _port(session, changes["port"], row.id)
        row.name = changes.get("name", row.name)
        row.replicas = changes.get("replicas", row.replicas)
        merged = {**row.env_vars, **changes.get("env_vars", {})}
        row.env_vars = {name: value for name, value in merged.items() if value is not None}
        if "image_name" in changes:
            row.image_id, row.image_name = None, changes["image_name"]
        if "image_id" in changes:
            _set_image(session, state, row, changes["image_id"])
        record(session, actor, "product.update", "product", row.id, slug=row.slug, changed=sorted(changes))
    return products.as_dict(state, row)


def remove(state: State, product_id: int, actor: Actor) -> None:
    """With its releases, deployments and volumes. Raises `NotFound`, and `Conflict` while it runs or is deployed."""
    lock = ProductLock(state)
    try:
        if not lock.try_acquire(products.find(state, product_id).id):
            raise Conflict(
                f"Product {product_id} is being deployed", remedy="Stop it first, or wait for the end of that"
            )
        _remove(state, product_id, actor)
    finally:
        lock.release()


def _remove(state: State, product_id: int, actor: Actor) -> None:
    row = products.find(state, product_id)
    product = live.live_state(state, row, project=None, env={}).product
    assert product is not None
    engine, edge = Engine(), Edge(state.settings)
    if row.status in {"running", "starting"} or edge.is_running(product):
        raise Conflict(f'"{row.slug}" is {row.status}', remedy=f"Stop it first: POST /products/{row.id}/stop")
    target = DockerTarget(engine, state.settings)
    for instance in all_instances(product, engine):
        target.remove(instance.container_id)
    target.remove_volumes(product)
    edge.remove(product)
    with state.session() as session:
        record(session, actor, "product.remove", "product", row.id, slug=row.slug)
        for table in (tables.Deployment, tables.Release):
            session.execute(delete(table).where(table.product_id == row.id))
        session.execute(delete(tables.Product).where(tables.Product.id == row.id))


def start(state: State, product_id: int, cancel: Cancel, say: products.Say) -> dict[str, Any]:
    """As it is to be: a new release where its image or environment is another than that of the release before."""
    row = products.find(state, product_id)
    image = _new_image(state, row)
    if image is not None or _has_new_environment(state, row):
        return products.deploy(state, product_id, cancel, say, image=image, env={})
    return products.start(state, product_id, cancel, say)


def restart(state: State, product_id: int, cancel: Cancel, say: products.Say) -> dict[str, Any]:
    row = products.find(state, product_id)
    image = _new_image(state, row)
    if image is not None or _has_new_environment(state, row):
        return products.deploy(state, product_id, cancel, say, image=image, env={})
    return products.restart(state, product_id, cancel, say)


def _new_image(state: State, row: tables.Product) -> str | None:
    """What to deploy, as `products.deploy` takes it; none where the release that was live last has it."""
    release = _release(state, row)
    if row.image_id is None and row.image_name is None:
        if release is None:
            raise Conflict(
                f'"{row.slug}" has no image',
                remedy=f'Give it one of GET /images: PATCH /products/{row.id} {{"image_id": …}}',
            )
        return None
    wanted = str(row.image_id) if row.image_id is not None else str(row.image_name)
    if release is None:
        return wanted
    if row.image_id is None:
        return None if row.image_name == release.image_name else wanted
    with state.session() as session:
        digest = session.scalar(select(tables.DockerImage.digest).where(tables.DockerImage.id == row.image_id))
    return None if digest == release.digest else wanted


def _has_new_environment(state: State, row: tables.Product) -> bool:
    release = _release(state, row)
    return release is not None and release.env_vars != row.env_vars


def _release(state: State, row: tables.Product) -> tables.Release | None:
    with state.session() as session:
        return session.scalar(
            select(tables.Release).where(
                tables.Release.product_id == row.id, tables.Release.number == (row.release_number or 0)
            )
        )


def _port(session: Session, wanted: int | None, product_id: int | None) -> int:
    """Ports are the host's: whose product holds one is no other client's business."""
    rows = select(tables.Product.port).where(tables.Product.id != (product_id or 0))
    taken = frozenset(session.scalars(rows))
    if wanted is not None and wanted in taken:
        raise PortTaken(f"Port {wanted} is held by another product", remedy="Choose another, or leave it out")
    return wanted or free_port(taken)


def _check_slug(session: Session, state: State, slug: str) -> None:
    mine = tables.Product.client_id == state.client_id
    if session.scalar(select(tables.Product.id).where(mine, tables.Product.slug == slug)) is not None:
        raise Conflict(f'There is a product "{slug}" already', remedy="Give this one another slug")


def _set_image(session: Session, state: State, row: tables.Product, image_id: int | None) -> None:
    if image_id is None:
        row.image_id = None
        return
    image = session.get(tables.DockerImage, image_id)
    if image is None or image.client_id != state.client_id:
        raise NotFound(f"There is no image {image_id}", remedy="See: GET /api/v1/images")
    if image.build_status != "success":
        raise UsageError(
            f"The image {image.name}:{image.tag} is not built: it is {image.build_status}", remedy="Choose another"
        )
    row.image_id, row.image_name = image.id, f"{image.name}:{image.tag}"


def logs(state: State, product_id: int, tail: int) -> list[dict[str, Any]]:
    """The last lines of each instance: `{"instance", "release", "lines"}`."""
    row = products.find(state, product_id)
    found = live.live_state(state, row, project=None, env={})
    target = DockerTarget(Engine(), state.settings)
    shown = []
    for one in found.instances:
        with suppress(NotFound):  # it may have ended since
            lines = target.logs(one, tail)
            shown.append({"instance": one.name, "release": one.release, "lines": lines})
    return shown


def deployments(
    state: State, product_id: int, limit: int, cursor: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    """Newest first, and the cursor of what is behind them."""
    from dockwright.services.paging import page

    products.find(state, product_id)
    with state.session() as session:
        query = select(tables.Deployment).where(tables.Deployment.product_id == product_id)
        found = page(session, query, tables.Deployment.id, limit, cursor)
    return [products.deployment_as_dict(row) for row in found.rows], found.next_cursor
