"""Which finished builds may go, with their events and artifacts, and their removal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.orm import Session

from dockwright.db.tables import Build, Deployment, DockerImage, Product, Release
from dockwright.domain.transitions import FINISHED
from dockwright.services.state import State


def remove(
    state: State,
    *,
    keep_builds: int,
    keep_releases: int,
    oldest: datetime | None,
    without_images: set[str],
    dry_run: bool,
) -> int:
    """Removes the client's finished builds beyond each project's newest, and returns how many.

    Needed are those of a kept release and of an image that is there. `oldest`: what ended later stays.
    `without_images`: digests that count as gone already.
    """
    with state.session() as session:
        candidates = _beyond(session, state, keep_builds, oldest)
        needed = {release.build_id for release in kept_releases(session, state, keep_releases)}
        needed |= {
            row.build_id
            for row in session.execute(
                select(DockerImage.build_id, DockerImage.digest).where(DockerImage.client_id == state.client_id)
            )
            if row.digest not in without_images
        }
    found = [number for number in candidates if number not in needed]
    if not dry_run:
        for number in found:
            _remove(state, number)
    return len(found)


def kept_releases(session: Session, state: State, keep: int) -> Sequence[Release]:
    """Each product's newest ones, and the one that is live or was when the product was stopped."""
    place = func.row_number().over(partition_by=Release.product_id, order_by=Release.number.desc())
    ranked = (
        select(Release.id, Release.number, Release.product_id, place.label("place"))
        .join(Product, Product.id == Release.product_id)
        .where(Product.client_id == state.client_id)
        .subquery()
    )
    kept = (
        select(ranked.c.id)
        .join(Product, Product.id == ranked.c.product_id)
        .where(or_(ranked.c.place <= keep, ranked.c.number == Product.release_number))
    )
    return session.scalars(select(Release).where(Release.id.in_(kept))).all()


def _beyond(session: Session, state: State, keep_builds: int, oldest: datetime | None) -> Sequence[int]:
    place = func.row_number().over(partition_by=Build.project_id, order_by=Build.id.desc())
    ranked = (
        select(Build.id, Build.status, Build.completed_at, place.label("place"))
        .where(Build.client_id == state.client_id)
        .subquery()
    )
    found = select(ranked.c.id).where(ranked.c.place > keep_builds, ranked.c.status.in_(FINISHED))
    if oldest is not None:
        found = found.where(ranked.c.completed_at < oldest)
    return session.scalars(found.order_by(ranked.c.id)).all()


def _remove(state: State, number: int) -> None:
    """A transaction each: a build may have tens of thousands of events, and nobody is to wait for a hundred of them."""
    with state.session() as session:
        # Old releases and their deployments outlive the build that they came from.
        for table in (Release, Deployment, DockerImage):
            session.execute(update(table).where(table.build_id == number).values(build_id=None))
        session.execute(delete(Build).where(Build.id == number))
