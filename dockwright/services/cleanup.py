"""Clean-up: only what carries our labels, never what is live or what a kept release needs."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from dockwright.db.tables import Build, DockerImage, Product, Project, Release
from dockwright.docker.engine import Engine
from dockwright.domain.transitions import FINISHED
from dockwright.errors import DockwrightError
from dockwright.services.state import State

MANAGED = {"dev.dockwright.managed": "true"}
LABEL = "dev.dockwright."
KEPT_RELEASES = 5


def cleanup(
    state: State, *, keep: int = KEPT_RELEASES, older_than_days: float | None = None, dry_run: bool = False
) -> dict[str, Any]:
    """What would be or was removed: {"images", "containers", "bytes", "removed": [names]}.

    An image stays while a container runs on it, while one of the newest `keep` releases of a product needs it, and as
    the newest of its project. Containers and networks of builds that have ended go; those of products stay.
    """
    engine = Engine()
    active = _active_builds(state)
    mine = {**MANAGED, f"{LABEL}client": state.client}
    containers = _containers(engine, mine, active, dry_run)
    others = [*_networks(engine, mine, active, dry_run), *_workspaces(state, active, dry_run)]
    images, freed = _images(state, engine, _unneeded_images(state, engine, mine, keep, older_than_days), dry_run)
    return {
        "images": len(images),
        "containers": len(containers),
        "bytes": freed,
        "removed": [*containers, *others, *images],
        "dry_run": dry_run,
    }


def _active_builds(state: State) -> set[str]:
    with state.session() as session:
        return {str(number) for number in session.scalars(select(Build.id).where(Build.status.not_in(FINISHED)))}


def _containers(engine: Engine, mine: dict[str, str], active: set[str], dry_run: bool) -> list[str]:
    """Those that builds which no longer run left. A build's number is its client's: another's are not looked at."""
    found = []
    for container in engine.containers(mine):
        labels = container["Labels"]
        if f"{LABEL}product" not in labels and labels.get(f"{LABEL}build") not in active:
            found.append(container["Names"][0].removeprefix("/"))
            if not dry_run:
                engine.remove_container(container["Id"], volumes=True)
    return found


def _networks(engine: Engine, mine: dict[str, str], active: set[str], dry_run: bool) -> list[str]:
    found = []
    for network in engine.networks(mine):
        build = network["Labels"].get(f"{LABEL}build")
        if build is not None and build not in active:
            found.append(network["Name"])
            if not dry_run:
                engine.remove_network(network["Name"])
    return found


def _workspaces(state: State, active: set[str], dry_run: bool) -> list[str]:
    """Of builds that no longer run, and of a `verify` whose process was killed."""
    folder = state.settings.workspace_dir
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        kind, number, *_ = [*path.name.split("-"), ""]
        is_left = (kind == "build" and number not in active) or (
            kind == "verify" and not Path("/proc", number).exists()
        )
        if is_left:
            found.append(str(path))
            if not dry_run:
                shutil.rmtree(path)
    return found


def _images(state: State, engine: Engine, unneeded: list[dict[str, Any]], dry_run: bool) -> tuple[list[str], int]:
    """The names of those that are gone, or would be, and the bytes freed; in a dry run at least so many.

    Images share layers, the base's at least: a layer is freed with the last image that has it.
    """
    removed: list[str] = []
    freed = 0
    held = engine.held_bytes() if dry_run else {}
    for image in unneeded:
        names = [name for name in image.get("RepoTags") or () if not name.startswith("<none>")] or [image["Id"]]
        if not dry_run:
            held = engine.held_bytes()
            if not _remove_image(state, engine, names, image["Id"]):
                continue
        removed += names
        freed += held.get(image["Id"], 0)
    return removed, freed


def _unneeded_images(
    state: State, engine: Engine, mine: dict[str, str], keep: int, older_than_days: float | None
) -> list[dict[str, Any]]:
    needed = {container["ImageID"] for container in engine.containers()}
    with state.session() as session:
        needed |= _pinned(session, keep) | _newest(session)
        busy = set(session.scalars(select(Project.slug).join(Build).where(Build.status.not_in(FINISHED))))
    oldest = None if older_than_days is None else time.time() - older_than_days * 86400
    return [
        image
        for image in engine.images(mine)
        if image["Id"] not in needed
        and (oldest is None or image["Created"] < oldest)
        # What a running build has made or found is in no row and no container yet.
        and image["Labels"].get(f"{LABEL}project") not in busy
    ]


def _pinned(session: Session, keep: int) -> set[str]:
    """Digests of each product's live release and of its newest ones."""
    pinned = set()
    for product in session.scalars(select(Product)):
        newest = session.scalars(
            select(Release).where(Release.product_id == product.id).order_by(Release.number.desc())
        ).all()
        pinned |= {row.digest for row in newest[:keep]}
        pinned |= {row.digest for row in newest if row.number == product.release_number}
    return pinned


def _newest(session: Session) -> set[str]:
    newest: dict[tuple[int, str, str], str] = {}
    for row in session.scalars(select(DockerImage).order_by(DockerImage.built_at, DockerImage.id)):
        newest[(row.project_id, row.service, row.profile)] = row.digest or ""
    return set(newest.values())


def _remove_image(state: State, engine: Engine, names: list[str], digest: str) -> bool:
    """Whether it is gone; an image that another one is built on stays with the engine."""
    try:
        for name in names:
            engine.remove_image(name)
    except DockwrightError:
        if engine.image(digest) is not None:
            return False
    with state.session() as session:
        for row in session.scalars(select(DockerImage).where(DockerImage.digest == digest)):
            session.delete(row)
    return True
