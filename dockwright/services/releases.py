"""What a deployment leaves in the database: the product, the release, and the attempt with its outcome."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from dockwright.db import tables
from dockwright.domain.product import LiveState, Release
from dockwright.errors import DockwrightError, PortTaken
from dockwright.services.state import State

if TYPE_CHECKING:
    from dockwright.targets.cutover import Deployed


def record(
    state: State,
    row: tables.Product,
    release: Release,
    live: LiveState,
    *,
    started_at: float,
    deployed: Deployed | None,
    error: DockwrightError | None,
    rollback_of: int | None = None,
) -> tables.Product:
    """Writes one attempt to put `release` live. The release's row is made unless it is an older one."""
    if row.id is None and isinstance(error, PortTaken):
        return row  # a product is its port, and this one never had it
    with state.session() as session:
        row = session.merge(row) if row.id else row
        if row not in session:
            _insert_product(session, row, live)
        if error is None:
            _make_live(session, row, release, live)
        _insert_release(session, row, release)
        session.add(
            tables.Deployment(
                product_id=row.id,
                release_number=release.number,
                build_id=release.build_id,
                status="failed" if error else "live",
                started_at=datetime.fromtimestamp(started_at, UTC),
                seconds_to_healthy=deployed.seconds_to_healthy if deployed else None,
                requests=deployed.traffic.requests if deployed else None,
                failed_requests=deployed.traffic.failed_requests if deployed else None,
                rollback_of=rollback_of,
                error=error.message if error else None,
            )
        )
        return row


def _insert_product(session: Session, row: tables.Product, live: LiveState) -> None:
    assert live.product is not None
    row.port, row.env_vars, row.status = live.product.port, dict(live.env), "failed"
    session.add(row)
    session.flush()


def _make_live(session: Session, row: tables.Product, release: Release, live: LiveState) -> None:
    assert live.product is not None
    row.port, row.env_vars, row.replicas = live.product.port, dict(release.env), live.product.replicas
    row.status, row.release_number, row.image_name = "running", release.number, release.image_name
    session.execute(
        update(tables.Deployment)
        .where(tables.Deployment.product_id == row.id, tables.Deployment.status == "live")
        .values(status="superseded")
    )


def _insert_release(session: Session, row: tables.Product, release: Release) -> None:
    known = select(tables.Release).where(tables.Release.product_id == row.id, tables.Release.number == release.number)
    if session.scalar(known) is not None:
        return
    session.add(
        tables.Release(
            product_id=row.id,
            number=release.number,
            build_id=release.build_id,
            image_name=release.image_name,
            digest=release.digest,
            manifest_digest=release.manifest_digest,
            revision=release.revision,
            container_port=release.container_port,
            env_vars=dict(release.env),
            volumes=list(release.volumes),
            has_health_check=release.has_health_check,
        )
    )
