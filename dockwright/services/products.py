"""Products: listed, started, stopped, scaled, given another release. Every change of what is live is one cut-over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from dockwright.db import tables
from dockwright.db.stored import storable
from dockwright.docker.engine import Engine
from dockwright.domain.product import Instance, LiveState, Release
from dockwright.domain.redaction import Redactor
from dockwright.errors import Conflict, DockwrightError, NotFound, VerificationFailed
from dockwright.process import Cancel
from dockwright.services import live, releases
from dockwright.services.locks import ProductLock
from dockwright.services.names import number_of
from dockwright.services.state import State
from dockwright.targets.cutover import CutOver, Deployed
from dockwright.targets.docker import DockerTarget, all_instances
from dockwright.targets.edge import Edge

Say = Callable[[str], None]


def find(state: State, name: str | int) -> tables.Product:
    """A product by its slug, its name or its id; a number is its id. Raises `NotFound`, naming those there are."""
    if isinstance(name, int):
        return _by_id(state, name)
    with state.session() as session:
        name = storable(name)
        matches = [
            tables.Product.name == name,
            tables.Product.slug == name.lower(),
            func.lower(tables.Product.name) == name.lower(),
        ]
        if (number := number_of(name)) is not None:
            matches.append(tables.Product.id == number)
        mine = select(tables.Product).where(tables.Product.client_id == state.client_id)
        by_match = [match.desc() for match in matches]
        found = session.scalars(mine.where(or_(*matches)).order_by(*by_match, tables.Product.id)).first()
        if found is None:
            slugs = session.scalars(
                select(tables.Product.slug).where(tables.Product.client_id == state.client_id)
            ).all()
            known = (
                f"There are: {', '.join(slugs)}" if slugs else "A build that deploys makes one: dockwright build PATH"
            )
            raise NotFound(f'There is no product "{name}"', remedy=known)
        return found


def _by_id(state: State, product_id: int) -> tables.Product:
    with state.session() as session:
        found = session.get(tables.Product, product_id)
    if found is None or found.client_id != state.client_id:
        raise NotFound(f"There is no product {product_id}", remedy="See: GET /api/v1/products")
    return found


def listing(state: State) -> list[dict[str, Any]]:
    """Every product of the client with what really runs of it (CONTRACT, "Shapes")."""
    with state.session() as session:
        rows = session.scalars(
            select(tables.Product).where(tables.Product.client_id == state.client_id).order_by(tables.Product.id)
        ).all()
    return [as_dict(state, row) for row in rows]


def as_dict(state: State, row: tables.Product) -> dict[str, Any]:
    found = live.live_state(state, row, project=None, env={})
    edge = Edge(state.settings)
    assert found.product is not None
    return {
        "id": row.id,
        "name": row.name,
        "slug": row.slug,
        "port": row.port,
        "replicas": row.replicas,
        "project_id": row.project_id,
        "image_id": row.image_id,
        "image_name": row.image_name,
        "env_vars": sorted(row.env_vars),
        "release": row.release_number,
        "status": _status(row, found, edge.is_running(found.product)),
        "url": edge.url(found.product),
        "instances": [
            {
                "name": one.name,
                "container_id": one.container_id,
                "address": one.address,
                "port": one.port,
                "release": one.release,
            }
            for one in found.instances
        ],
    }


def _status(row: tables.Product, found: LiveState, is_edge_running: bool) -> str:
    """What is wanted is in the row; a product that should run and does not is unhealthy, not "running"."""
    if row.status != "running":
        return row.status
    serving = [one for one in found.instances if one.release == row.release_number]
    return "running" if is_edge_running and len(serving) >= row.replicas else "unhealthy"


def deploy(
    state: State, name: str | int, cancel: Cancel, say: Say, *, image: str | None = None, env: Mapping[str, str]
) -> dict[str, Any]:
    """A new release: of another image, or of the same digest with another environment."""

    def choose(session: Session, row: tables.Product, number: int) -> Release:
        base = _release_row(session, row, row.release_number) if row.release_number else None
        chosen = _release_of_image(session, state, image, number) if image else None
        if chosen is None:
            if base is None:
                raise Conflict(f'Product "{row.slug}" has never run', remedy="Name an image with --image")
            chosen = live.release_from_row(base, number)
        if base is not None:
            chosen = replace(chosen, secrets=tuple(base.secrets))
        return replace(chosen, env={**row.env_vars, **env}, build_id=chosen.build_id)

    return _cut_over(state, name, cancel, say, choose)


def rollback(state: State, name: str | int, cancel: Cancel, say: Say, to: int | None = None) -> dict[str, Any]:
    """An older release live again: no build, the very digest and environment that it had."""

    def choose(session: Session, row: tables.Product, number: int) -> Release:
        wanted = to or _release_before(session, row)
        found = _release_row(session, row, wanted)
        if wanted == row.release_number:
            raise Conflict(
                f'Release {wanted} of "{row.slug}" is live already', remedy=f"See: dockwright releases {row.slug}"
            )
        return live.release_from_row(found)

    return _cut_over(state, name, cancel, say, choose, is_rollback=True)


def start(state: State, name: str | int, cancel: Cancel, say: Say) -> dict[str, Any]:
    """The release that was live last, again; a product that runs is left as it is."""
    row = find(state, name)
    current = as_dict(state, row)
    if current["status"] == "running":
        say(f"{row.slug} runs already")
        return current
    return _cut_over(state, name, cancel, say, _same_release)


def restart(state: State, name: str | int, cancel: Cancel, say: Say) -> dict[str, Any]:
    """New instances of the release that is live, or was; the old ones go when these are ready."""
    return _cut_over(state, name, cancel, say, _same_release, is_restart=True)


def scale(state: State, name: str | int, replicas: int, cancel: Cancel, say: Say) -> dict[str, Any]:
    """Starts the instances that are missing and keeps the others, or drains those that are too many."""
    return _cut_over(state, name, cancel, say, _same_release, replicas=replicas)


def stop(state: State, name: str | int, say: Say) -> dict[str, Any]:
    """Ends the edge and the instances; releases, environment and volumes stay."""
    row = find(state, name)
    with _locked(state, row, Cancel()):
        row = find(state, row.id)  # another deployment may have changed it while we waited
        found = live.live_state(state, row, project=None, env={})
        assert found.product is not None
        Edge(state.settings).stop(found.product)
        engine = Engine()
        target = DockerTarget(engine, state.settings)
        for instance in all_instances(found.product, engine):
            target.stop(instance)
            target.remove(instance.container_id)
            say(f"Stopped {instance.name}")
        with state.session() as session:
            row = session.get_one(tables.Product, row.id)
            row.status = "stopped"
    return as_dict(state, row)


def _same_release(session: Session, row: tables.Product, number: int) -> Release:
    if row.release_number is None:
        raise Conflict(f'Product "{row.slug}" has no release that ran', remedy="Build it, or deploy an image to it")
    return live.release_from_row(_release_row(session, row, row.release_number))


def _cut_over(
    state: State,
    name: str | int,
    cancel: Cancel,
    say: Say,
    choose: Callable[[Session, tables.Product, int], Release],
    *,
    replicas: int | None = None,
    is_rollback: bool = False,
    is_restart: bool = False,
) -> dict[str, Any]:
    row = find(state, name)
    with _locked(state, row, cancel) as lock:
        row = find(state, name)
        found = live.live_state(state, row, project=_project_slug(state, row), env={})
        with state.session() as session:
            release = choose(session, row, found.next_release)
        if replicas is not None and found.product is not None:
            found = replace(found, product=replace(found.product, replicas=replicas))
        keep = () if is_restart else tuple(one for one in found.instances if one.release == release.number)
        row = _run(state, row, release, found, keep, cancel, say, lock, row.release_number if is_rollback else None)
    return as_dict(state, row)


def _run(
    state: State,
    row: tables.Product,
    release: Release,
    found: LiveState,
    keep: tuple[Instance, ...],
    cancel: Cancel,
    say: Say,
    lock: ProductLock,
    rollback_of: int | None,
) -> tables.Product:
    """One cut-over with its rows, whatever its outcome."""
    assert found.product is not None
    engine, started_at = Engine(), time.time()
    values = _secret_values(state, row, release)
    redact = Redactor(values)
    cut_over = CutOver(
        DockerTarget(engine, state.settings, values),
        Edge(state.settings),
        product=found.product,
        release=release,
        live=found,
        cancel=cancel,
        keep=keep,
        log=lambda text: say(redact(text)),
    )
    attempt = releases.Attempt(state, row, release, started_at=started_at, rollback_of=rollback_of)
    deployed: Deployed | None = None
    try:
        deployed = cut_over.start()
        check_digests(engine, deployed)
        lock.check()
        row = attempt.is_live(deployed)
        cut_over.commit()
    except DockwrightError as error:
        redact.error(error)
        cut_over.revert()
        attempt.has_failed(error, deployed)
        raise
    attempt.is_done(deployed)
    return row


def _secret_values(state: State, row: tables.Product, release: Release) -> dict[str, str]:
    """As they are now. Raises `NotFound` for one that has been deleted since."""
    if not release.secrets:
        return {}
    from dockwright.services import secrets

    return secrets.values(state, row.project_id, release.secrets)


def check_digests(engine: Engine, deployed: Deployed) -> None:
    """Every instance runs the very digest of its release. Raises `VerificationFailed`."""
    for instance in deployed.instances:
        details = engine.container(instance.container_id)
        running = details["Image"] if details else None
        if running != deployed.release.digest:
            raise VerificationFailed(
                f"{instance.name} runs {running}, not {deployed.release.digest}",
                remedy="Deploy again; if it stays so, the engine's image store is damaged",
            )


@contextmanager
def _locked(state: State, row: tables.Product, cancel: Cancel) -> Iterator[ProductLock]:
    lock = ProductLock(state)
    lock.acquire(row.id, cancel)
    try:
        yield lock
    finally:
        lock.release()


def _project_slug(state: State, row: tables.Product) -> str | None:
    with state.session() as session:
        return session.scalar(select(tables.Project.slug).where(tables.Project.id == row.project_id))


def _release_row(session: Session, row: tables.Product, number: int) -> tables.Release:
    found = session.scalar(
        select(tables.Release).where(tables.Release.product_id == row.id, tables.Release.number == number)
    )
    if found is None:
        raise NotFound(f'"{row.slug}" has no release {number}', remedy=f"See: dockwright releases {row.slug}")
    return found


def _release_before(session: Session, row: tables.Product) -> int:
    """The release that was live before the present one."""
    number = session.scalar(
        select(func.max(tables.Deployment.release_number)).where(
            tables.Deployment.product_id == row.id,
            tables.Deployment.status == "superseded",
            tables.Deployment.release_number < (row.release_number or 0),
        )
    )
    if number is None:
        raise Conflict(
            f'"{row.slug}" has no older release that was live', remedy=f"See: dockwright releases {row.slug}"
        )
    return number


def _release_of_image(session: Session, state: State, name: str, number: int) -> Release:
    """By the number that `dockwright images` shows, or by name and tag."""
    rows = select(tables.DockerImage).where(
        tables.DockerImage.client_id == state.client_id, tables.DockerImage.build_status == "success"
    )
    if (image_id := number_of(name)) is not None:
        rows = rows.where(tables.DockerImage.id == image_id)
    else:
        name = storable(name)
        base, _, tag = name.rpartition(":") if ":" in name.rpartition("/")[2] else (name, "", "latest")
        rows = rows.where(tables.DockerImage.name == base, tables.DockerImage.tag == tag)
    image = session.scalar(rows)
    if image is None:
        raise NotFound(f"There is no built image {name}", remedy="See: dockwright images")
    if not image.details.get("ports"):
        raise Conflict(f"The image {name} exposes no port", remedy="Add an EXPOSE to its Dockerfile and build it again")
    build = session.get(tables.Build, image.build_id) if image.build_id else None
    return Release(
        number=number,
        image_name=f"{image.name}:{image.tag}",
        digest=image.digest or "",
        container_port=image.details["ports"][0],
        volumes=tuple(image.details.get("volumes", ())),
        has_health_check=bool(image.details.get("has_health_check")),
        manifest_digest=image.manifest_digest,
        revision=build.revision if build else None,
        build_id=image.build_id,
        registry_ref=image.details.get("registry_ref"),
    )


def release_listing(state: State, name: str | int) -> list[dict[str, Any]]:
    """Newest first, each with its deployments (CONTRACT, "Shapes"); no values of the environment."""
    row = find(state, name)
    with state.session() as session:
        found = session.scalars(
            select(tables.Release).where(tables.Release.product_id == row.id).order_by(tables.Release.number.desc())
        ).all()
        deployments = session.scalars(
            select(tables.Deployment).where(tables.Deployment.product_id == row.id).order_by(tables.Deployment.id)
        ).all()
    return [
        {
            "number": one.number,
            "image_name": one.image_name,
            "digest": one.digest,
            "revision": one.revision,
            "env_vars": sorted(one.env_vars),
            "secrets": one.secrets,
            "is_live": one.number == row.release_number and row.status == "running",
            "created_at": one.created_at,
            "created_by": one.created_by,
            "deployments": [deployment_as_dict(each) for each in deployments if each.release_number == one.number],
        }
        for one in found
    ]


def deployment_as_dict(row: tables.Deployment) -> dict[str, Any]:
    return {
        "release": row.release_number,
        "status": row.status,
        "started_at": row.started_at,
        "seconds_to_healthy": row.seconds_to_healthy,
        "requests": row.requests,
        "failed_requests": row.failed_requests,
        "rollback_of": row.rollback_of,
        "created_by": row.created_by,
        "error": row.error,
    }
