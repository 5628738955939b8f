"""Built images: listed, shown, removed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from dockwright.db.stored import storable
from dockwright.db.tables import DockerImage, Product, Project, Release
from dockwright.docker.engine import Engine
from dockwright.errors import Conflict, DockwrightError, NotFound
from dockwright.services.names import number_of
from dockwright.services.state import State


def listing(state: State) -> list[dict[str, Any]]:
    """The client's images, newest first."""
    with state.session() as session:
        rows = session.execute(
            select(DockerImage, Project.name)
            .join(Project, Project.id == DockerImage.project_id)
            .where(DockerImage.client_id == state.client_id)
            .order_by(DockerImage.id.desc())
        ).all()
    return [as_dict(image, project) for image, project in rows]


def as_dict(image: DockerImage, project: str) -> dict[str, Any]:
    return {
        "id": image.id,
        "name": image.name,
        "tag": image.tag,
        "project_id": image.project_id,
        "project": project,
        "service": image.service,
        "build_id": image.build_id,
        "build_status": image.build_status,
        "build_error": image.build_error,
        "github_repo": image.github_repo,
        "github_ref": image.github_ref,
        "digest": image.digest,
        "manifest_digest": image.manifest_digest,
        "commit_sha": image.commit_sha,
        "profile": image.profile,
        "size": image.size,
        "built_at": image.built_at,
        "created_at": image.created_at,
    }


def show(state: State, name: str) -> dict[str, Any]:
    """One image by number or name:tag, with its labels and whether the engine still has it."""
    with state.session() as session:
        image = _find(session, state, name)
        project = session.get(Project, image.project_id)
        used_by = session.scalars(
            select(Product.slug)
            .join(Release, Release.product_id == Product.id)
            .where(Release.digest == image.digest)
            .distinct()
        ).all()
    assert project is not None
    found = Engine().image(image.digest or "")
    return {
        **as_dict(image, project.name),
        **image.details,
        "build_log": image.build_log,
        "is_on_engine": found is not None,
        "labels": ((found or {}).get("Config") or {}).get("Labels") or {},
        "products": list(used_by),
    }


def remove(state: State, name: str) -> dict[str, Any]:
    """Removes the image from the engine and its row. Raises `Conflict` while a release or a product rests on it."""
    with state.session() as session:
        image = _find(session, state, name)
        wanted = session.scalar(select(Product).where(Product.image_id == image.id).limit(1))
        if wanted is not None:
            raise Conflict(
                f'The image {image.name}:{image.tag} is what "{wanted.slug}" is to run',
                remedy="Give the product another image, or remove it",
            )
        needed = session.execute(
            select(Release.number, Product.slug)
            .join(Product, Product.id == Release.product_id)
            .where(Release.digest == image.digest)
            .order_by(Release.number.desc())
        ).first()
        if needed is not None:
            raise Conflict(
                f'The image {image.name}:{image.tag} is needed by release {needed.number} of "{needed.slug}"',
                remedy="Images that only old releases need are removed by: dockwright cleanup --keep 1",
            )
        engine = Engine()
        if engine.image(f"{image.name}:{image.tag}") is not None:
            engine.remove_image(f"{image.name}:{image.tag}")
        session.delete(image)
        return {"id": image.id, "name": image.name, "tag": image.tag}


def remove_replaced(state: State, project_id: int, service: str, *, keep: str, log: Callable[[str], None]) -> None:
    """Removes the project's earlier dev images; not those that a release, a product or a container needs."""
    engine = Engine()
    with state.session() as session:
        needed = {keep, *session.scalars(select(Release.digest))}
        needed |= {container["ImageID"] for container in engine.containers()}
        wanted = select(Product.image_id).where(Product.image_id.is_not(None))
        earlier = session.scalars(
            select(DockerImage).where(
                DockerImage.project_id == project_id,
                DockerImage.service == service,
                DockerImage.profile == "dev",
                DockerImage.id.not_in(wanted),
            )
        ).all()
        slug = session.scalar(select(Project.slug).where(Project.id == project_id))
    for image in earlier:
        if image.digest not in needed:
            _remove_earlier(state, engine, image, log)
    _remove_untagged(engine, {"client": state.client, "project": slug or ""}, needed, log)


def _remove_earlier(state: State, engine: Engine, image: DockerImage, log: Callable[[str], None]) -> None:
    name = f"{image.name}:{image.tag}"
    try:
        if (engine.image(name) or {}).get("Id") == image.digest:
            engine.remove_image(name)
        with state.session() as session:
            session.execute(delete(DockerImage).where(DockerImage.id == image.id, DockerImage.digest == image.digest))
    except DockwrightError as error:  # the build has succeeded: this is no reason to fail it
        log(f"The earlier image {name} stays: {error.message}")
    else:
        log(f"Removed the earlier image {name}")


def _remove_untagged(engine: Engine, labels: dict[str, str], needed: set[str], log: Callable[[str], None]) -> None:
    """Images of the project whose only tag went to a later one."""
    for image in engine.images({f"dev.dockwright.{name}": value for name, value in labels.items()}, dangling=True):
        if image["Id"] in needed:
            continue
        try:
            engine.remove_image(image["Id"])
        except DockwrightError as error:
            log(f"An earlier image stays: {error.message}")
        else:
            log(f"Removed an earlier image whose tag was given to the new one: {image['Id'][7:19]}")


def _find(session: Session, state: State, name: str) -> DockerImage:
    rows = select(DockerImage).where(DockerImage.client_id == state.client_id)
    if (number := number_of(name)) is not None:
        rows = rows.where(DockerImage.id == number)
    else:
        name = storable(name)
        base, _, tag = name.rpartition(":")
        rows = rows.where(DockerImage.name == (base or name), *([DockerImage.tag == tag] if base else []))
    found = session.scalars(rows.order_by(DockerImage.id.desc())).first()
    if found is None:
        raise NotFound(f"There is no built image {name}", remedy="See: dockwright images")
    return found
