"""What a deployment leaves in the database: the product, the release, and the attempt with its outcome."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from dockwright.db import tables
from dockwright.db.stored import storable
from dockwright.domain.product import Product, Release
from dockwright.errors import DockwrightError, PortTaken
from dockwright.services.state import State

if TYPE_CHECKING:
    from dockwright.targets.cutover import Deployed

_CHANGED = ("port", "env_vars", "replicas", "status", "release_number", "image_name", "image_id")
"""What a deployment changes of a product."""


class Attempt:
    """One attempt to put a release live. Its rows say "live" before anything of the old version is let go of."""

    def __init__(
        self,
        state: State,
        row: tables.Product,
        release: Release,
        *,
        started_at: float,
        rollback_of: int | None = None,
    ) -> None:
        self._state, self._row, self._release = state, row, release
        self._started_at, self._rollback_of = started_at, rollback_of
        self._before = {name: getattr(row, name) for name in _CHANGED}
        self._deployment_id: int | None = None

    def is_live(self, deployed: Deployed) -> tables.Product:
        """The traffic is there. Raises `DiskFull` or `DatabaseError`, and then the rows are as they were."""
        with self._state.session() as session:
            row = session.get_one(tables.Product, self._row.id)
            _make_live(session, row, self._release, deployed.product)
            self._deployment_id = self._insert(session, row, deployed, None)
            return row

    def is_done(self, deployed: Deployed) -> None:
        """The old version is gone: what the traffic was meanwhile can be told."""
        traffic = deployed.traffic
        counted = {"requests": traffic.requests, "failed_requests": traffic.failed_requests}
        with self._state.session() as session:
            session.execute(
                update(tables.Deployment).where(tables.Deployment.id == self._deployment_id).values(**counted)
            )

    def has_failed(self, error: DockwrightError, deployed: Deployed | None) -> None:
        """The row as it is now: whoever has lost the product to somebody else does not undo what that one did."""
        with self._state.session() as session:
            row = session.get(tables.Product, self._row.id) if self._row.id is not None else None
            if row is None:
                return
            if self._deployment_id is not None:
                self._take_back(session, row, self._deployment_id, error)
            elif isinstance(error, PortTaken) and _is_new(session, row):
                session.delete(row)  # a product is its port, and this one never had it
                return
            else:
                self._insert(session, row, deployed, error)
            if row.release_number is None:
                row.status = "failed"

    def _insert(
        self, session: Session, row: tables.Product, deployed: Deployed | None, error: DockwrightError | None
    ) -> int:
        """The release's row is made unless it is an older one."""
        _insert_release(session, row, self._release, self._state.actor)
        deployment = tables.Deployment(
            product_id=row.id,
            release_number=self._release.number,
            build_id=self._release.build_id,
            status="failed" if error else "live",
            started_at=datetime.fromtimestamp(self._started_at, UTC),
            seconds_to_healthy=deployed.seconds_to_healthy if deployed else None,
            requests=deployed.traffic.requests if deployed else None,
            failed_requests=deployed.traffic.failed_requests if deployed else None,
            rollback_of=self._rollback_of,
            created_by=self._state.actor,
            error=storable(error.message) if error else None,
        )
        session.add(deployment)
        session.flush()
        return deployment.id

    def _take_back(self, session: Session, row: tables.Product, deployment_id: int, error: DockwrightError) -> None:
        """The traffic went back to the version before: so do the rows, unless somebody else's version has it by now."""
        deployment = session.get_one(tables.Deployment, deployment_id)
        is_ours = deployment.status == "live"
        deployment.status, deployment.error = "failed", storable(error.message)
        if not is_ours:
            return
        for name, value in self._before.items():
            setattr(row, name, value)
        superseded = session.scalars(
            select(tables.Deployment)
            .where(tables.Deployment.product_id == row.id, tables.Deployment.status == "superseded")
            .order_by(tables.Deployment.id.desc())
        ).first()
        if superseded is not None and superseded.release_number == row.release_number:
            superseded.status = "live"


def _is_new(session: Session, row: tables.Product) -> bool:
    return session.scalar(select(tables.Deployment.id).where(tables.Deployment.product_id == row.id)) is None


def _make_live(session: Session, row: tables.Product, release: Release, product: Product) -> None:
    row.port, row.env_vars, row.replicas = product.port, dict(release.env), product.replicas
    row.status, row.release_number, row.image_name = "running", release.number, release.image_name
    images = select(tables.DockerImage.id).where(
        tables.DockerImage.client_id == row.client_id, tables.DockerImage.digest == release.digest
    )
    row.image_id = session.scalar(images.order_by(tables.DockerImage.id.desc()).limit(1))
    session.execute(
        update(tables.Deployment)
        .where(tables.Deployment.product_id == row.id, tables.Deployment.status == "live")
        .values(status="superseded")
    )


def _insert_release(session: Session, row: tables.Product, release: Release, actor: str | None) -> None:
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
            secrets=list(release.secrets),
            volumes=list(release.volumes),
            has_health_check=release.has_health_check,
            registry_ref=release.registry_ref,
            created_by=actor,
        )
    )
