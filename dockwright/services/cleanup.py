"""Clean-up: only what carries our labels, never what is live or what a kept release needs.

What is there is looked at before what is needed: what begins in between is then needed, or was not seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from dockwright.db.tables import Build, Client, DockerImage, Product, Project
from dockwright.docker import registry as registries
from dockwright.docker.engine import Document, Engine
from dockwright.domain.transitions import FINISHED
from dockwright.errors import DockwrightError
from dockwright.services import leftovers, old_builds
from dockwright.services.state import State

MANAGED = {"dev.dockwright.managed": "true"}
LABEL = "dev.dockwright."
KEPT_RELEASES = 5
DAY = 86400


@dataclass(slots=True)
class _Sweep:
    """What was removed so far, or would be. What cannot be removed keeps nothing else from going."""

    is_dry: bool
    removed: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    freed: int = 0

    def take(self, names: list[str], remove: Callable[[], None], size: int = 0) -> bool:
        """Whether it is gone, or would be."""
        if not self.is_dry:
            try:
                remove()
            except DockwrightError as error:
                self.failed.append(f"{names[0]}: {error.message}")
                return False
            except OSError as error:
                self.failed.append(f"{names[0]}: {error}")
                return False
        self.removed += names
        self.freed += size
        return True


def cleanup(
    state: State,
    *,
    keep: int = KEPT_RELEASES,
    keep_builds: int | None = None,
    older_than_days: float | None = None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """What of the client's would be or was removed: counts of "builds", "images" and "containers", and the "bytes".

    An image stays while a container runs on it, while one of the newest `keep` releases of a product needs it, and as
    the newest of its project. Containers, networks and folders of builds that have ended go; those of products stay. Of
    finished builds the newest `keep_builds` of each project stay (BUILD_KEEP unless set), and those whose image or kept
    release is there. With `older_than_days`, no image and no build that is younger goes.
    "removed" has the names of all but the builds, "failed" what could not be removed and why.
    """
    engine, sweep = Engine(), _Sweep(dry_run)
    oldest = None if older_than_days is None else time.time() - older_than_days * DAY
    containers = _containers(state, engine, sweep)
    _networks(state, engine, sweep)
    for folder in leftovers.folders(state):
        sweep.take([str(folder.path)], folder.remove, folder.size)
    gone = _images(state, engine, sweep, keep, oldest)
    if not dry_run:
        _forget_images(state, engine, keep)
    builds = old_builds.remove(
        state,
        keep_builds=keep_builds or state.settings.keep_builds,
        keep_releases=keep,
        oldest=None if oldest is None else datetime.fromtimestamp(oldest, UTC),
        without_images=gone,
        dry_run=dry_run,
    )
    return {
        "builds": builds,
        "images": len(gone),
        "containers": containers,
        "bytes": sweep.freed,
        "removed": sweep.removed,
        "failed": sweep.failed,
        "dry_run": dry_run,
    }


def by_policy(state: State) -> list[dict[str, Any]]:
    """What a server does every so often: each client's clean-up, with its name beside what `cleanup` answers.

    An isolated builder that runs keeps no more than its cache may take; one that is stopped is left so. What fails for
    one client is told in its "failed", and the others are cleaned up all the same.
    """
    with state.session() as session:
        clients = session.scalars(select(Client.id).order_by(Client.id)).all()
    swept = []
    for client_id in clients:
        one = state.of_client(client_id)
        answer = {"client": one.client, **cleanup(one)}
        try:
            _prune_builder(one)
        except (DockwrightError, OSError) as error:
            answer["failed"].append(f"the builder of {one.client}: {error}")
        swept.append(answer)
    return swept


def _prune_builder(state: State) -> None:
    from dockwright.docker import builders

    builder = builders.builder_for(state.settings, state.client)
    if builder.kind == "isolated" and Engine().container(builder.name) is not None:
        builders.prune(state.settings, builder, builder.limits.cache_bytes)


# --- containers and networks ----------------------------------------------------------------------------------------


def _mine(state: State) -> dict[str, str]:
    return {**MANAGED, f"{LABEL}client": state.client}


def _active_builds(state: State) -> set[str]:
    with state.session() as session:
        return {str(number) for number in session.scalars(select(Build.id).where(Build.status.not_in(FINISHED)))}


def _containers(state: State, engine: Engine, sweep: _Sweep) -> int:
    """Those that builds which no longer run left. A build's number is its client's: another's are not looked at."""
    # Those of a product, and those that `up` has started, run for longer than the build whose image they have.
    apart = {f"{LABEL}product", "com.docker.compose.project"}
    found = [one for one in engine.containers(_mine(state)) if not apart & one["Labels"].keys()]
    active = _active_builds(state)
    count = 0
    for container in found:
        # Without a build it is none of a build's: an isolated builder has the client's name alone.
        if container["Labels"].get(f"{LABEL}build", "") in {"", *active}:
            continue
        name = container["Names"][0].removeprefix("/")
        count += sweep.take([name], partial(engine.remove_container, container["Id"], volumes=True))
    return count


def _networks(state: State, engine: Engine, sweep: _Sweep) -> None:
    found = engine.networks(_mine(state))
    active = _active_builds(state)
    for network in found:
        name = network["Name"]
        if network["Labels"].get(f"{LABEL}build", "") not in {"", *active}:
            sweep.take([name], partial(engine.remove_network, name))


# --- images ---------------------------------------------------------------------------------------------------------


def _images(state: State, engine: Engine, sweep: _Sweep, keep: int, oldest: float | None) -> set[str]:
    """Digests of those that are gone, or would be. In a dry run the bytes are the least that would be freed.

    Images share layers, the base's at least: a layer is freed with the last image that has it.
    """
    gone = set()
    held = engine.held_bytes() if sweep.is_dry else {}
    for image in _unneeded_images(state, engine, keep, oldest):
        names, others = _names(state, image)
        if others and not names:
            continue  # somebody has built it on one of ours, whose labels it has inherited
        if not sweep.is_dry:
            held = engine.held_bytes()
        size = 0 if others else held.get(image["Id"], 0)
        if sweep.take(names or [image["Id"]], partial(_remove_image, state, engine, names, image["Id"]), size):
            gone.add(image["Id"])
    return gone


def _unneeded_images(state: State, engine: Engine, keep: int, oldest: float | None) -> list[Document]:
    found = engine.images(_mine(state))
    needed = {container["ImageID"] for container in engine.containers()}
    with state.session() as session:
        needed |= _pinned(session, state, keep) | _newest(session, state)
        busy = _busy_projects(session, state)
    return [
        image
        for image in found
        if image["Id"] not in needed
        and (oldest is None or image["Created"] < oldest)
        # What a running build has made or found is in no row and no container yet.
        and image["Labels"].get(f"{LABEL}project") not in busy
    ]


def _names(state: State, image: Document) -> tuple[list[str], list[str]]:
    """The names that builds of ours give, and those that somebody else has given the same image."""
    registry = registries.from_settings(state.settings)
    ours = [f"{state.client}/"]
    ours += [registry.name_of(ours[0])] if registry else []  # of a push that was killed
    names = [name for name in image.get("RepoTags") or () if not name.startswith("<none>")]
    mine = [name for name in names if name.startswith(tuple(ours))]
    return mine, [name for name in names if name not in mine]


def _remove_image(state: State, engine: Engine, names: list[str], digest: str) -> None:
    for name in names or [digest]:
        engine.remove_image(name)
    with state.session() as session:
        session.execute(delete(DockerImage).where(DockerImage.digest == digest))


def _pinned(session: Session, state: State, keep: int) -> set[str]:
    """Digests of each product's live release, of its newest ones, and of what it is to run next."""
    wanted = select(DockerImage.digest).join(Product, Product.image_id == DockerImage.id)
    next_ones = session.scalars(wanted.where(Product.client_id == state.client_id))
    kept = {release.digest for release in old_builds.kept_releases(session, state, keep)}
    return kept | {digest or "" for digest in next_ones}


def _newest(session: Session, state: State) -> set[str]:
    newest: dict[tuple[int, str, str], str] = {}
    mine = select(DockerImage).where(DockerImage.client_id == state.client_id)
    for row in session.scalars(mine.order_by(DockerImage.built_at, DockerImage.id)):
        newest[(row.project_id, row.service, row.profile)] = row.digest or ""
    return set(newest.values())


def _busy_projects(session: Session, state: State) -> set[str]:
    active = Build.status.not_in(FINISHED)
    mine = select(Project.slug).join(Build, Build.project_id == Project.id).where(Project.client_id == state.client_id)
    return set(session.scalars(mine.where(active)))


def _forget_images(state: State, engine: Engine, keep: int) -> None:
    """Rows of images that somebody else has removed from the engine, and that no kept release needs."""
    with state.session() as session:
        rows = session.scalars(
            select(DockerImage).where(DockerImage.client_id == state.client_id, DockerImage.build_status == "success")
        ).all()
    there = {image["Id"] for image in engine.images()}
    with state.session() as session:
        there |= _pinned(session, state, keep)
        for row in rows:
            if row.digest not in there:
                session.delete(row)
