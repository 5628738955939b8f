"""Looks at every part that Dockwright needs: each is ok, or it is said what to do."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from dockwright import process
from dockwright.db import schema
from dockwright.db.connection import PostgresConnection
from dockwright.docker import bootstrap, host, registry
from dockwright.docker.buildx import find_plugin
from dockwright.docker.engine import Engine
from dockwright.errors import DatabaseError, DockwrightError
from dockwright.services import bases
from dockwright.settings import Settings

Severity = Literal["ok", "warning", "error"]
OLDEST_ENGINE = (23, 0)
"""The first with a BuildKit that can put a substitute in the place of a base image."""
OLDEST_BUILDX = (0, 13)
OLDEST_HAPROXY = (2, 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    severity: Severity
    """An `error` is a needed part that is missing; a `warning` one without which some things do not work."""
    place: str
    """The part: engine, buildx, disk …"""
    message: str
    remedy: str | None = None
    """What to do; none for what is ok."""

    def as_dict(self) -> dict[str, str | None]:
        return asdict(self)


def examine(settings: Settings) -> list[Finding]:
    """All findings, part by part in a fixed order. Never raises for what is wrong with a part."""
    with ThreadPoolExecutor(max_workers=len(CHECKS)) as pool:
        return [finding for found in pool.map(lambda part: _examined(part, settings), CHECKS) for finding in found]


def _examined(part: str, settings: Settings) -> list[Finding]:
    try:
        return list(CHECKS[part](settings))
    except DockwrightError as error:
        return [Finding(severity="error", place=part, message=error.message, remedy=error.remedy)]


def _engine(_: Settings) -> Iterator[Finding]:
    engine = Engine()
    text = str(engine.version().get("Version", ""))
    yield _version("engine", "The Docker engine", text, OLDEST_ENGINE, f"answers at {engine.host}")


def _buildx(_: Settings) -> Iterator[Finding]:
    plugin = find_plugin()
    yield _version("buildx", "buildx", _output(plugin, "version"), OLDEST_BUILDX, f"is {plugin}")


def _compose(_: Settings) -> Iterator[Finding]:
    plugin = find_plugin("docker-compose")
    yield _version("compose", "Docker Compose", _output(plugin, "version"), (2, 0), f"is {plugin}")


def _haproxy(_: Settings) -> Iterator[Finding]:
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    program = shutil.which("haproxy", path=path)
    if program is None:
        yield _wrong("edge", "HAProxy, which stands in front of what is deployed, is not installed", "haproxy")
    else:
        yield _version("edge", "HAProxy", _output(program, "-v"), OLDEST_HAPROXY, f"is {program}")


def _git(_: Settings) -> Iterator[Finding]:
    program = shutil.which("git")
    if program is None:
        yield _wrong("git", "Git is not installed", "git")
    else:
        yield _version("git", "Git", _output(program, "--version"), (2, 0), f"is {program}")


def _wrong(part: str, message: str, package: str) -> Finding:
    return Finding(severity="error", place=part, message=message, remedy=f"Install it: apt-get install {package}")


def _output(*command: str) -> str:
    return process.run(command).stdout.decode(errors="replace")


def _version(part: str, name: str, text: str, oldest: tuple[int, int], praise: str) -> Finding:
    found = re.search(r"(\d+)\.(\d+)[\w.]*", text)
    if found is None:
        return Finding(
            severity="error", place=part, message=f"{name} does not tell its version", remedy="Install it anew"
        )
    if (int(found[1]), int(found[2])) < oldest:
        needed = ".".join(map(str, oldest))
        return Finding(
            severity="error", place=part, message=f"{name} {found[0]} is too old", remedy=f"Install {needed} or newer"
        )
    return Finding(severity="ok", place=part, message=f"{name} {found[0]} {praise}")


def _disk(settings: Settings) -> Iterator[Finding]:
    for folder in _folders(settings):
        free = shutil.disk_usage(folder).free
        room = f"{free / 1e9:.1f} GB are free at {folder}"
        if free >= settings.disk_min_free:
            yield Finding(severity="ok", place="disk", message=room)
        else:
            least = f"BUILD_DISK_MIN_FREE is {settings.disk_min_free / 1e9:.1f} GB"
            yield Finding(
                severity="error",
                place="disk",
                message=f"Only {room}, and {least}",
                remedy="Free some with: dockwright cleanup",
            )


def _folders(settings: Settings) -> list[Path]:
    """Where Dockwright and the engine keep their files, as far as they are on this machine; one for each disk."""
    home = next(folder for folder in (settings.home, *settings.home.parents) if folder.exists())
    folders = [home]
    with suppress(DockwrightError):  # the engine's own check tells
        folders.append(Path(str(Engine().info().get("DockerRootDir", home))))
    return list({folder.stat().st_dev: folder for folder in folders if folder.exists()}.values())


def _images(settings: Settings) -> Iterator[Finding]:
    if registry.is_reachable(bases.OFFICIAL):
        yield Finding(severity="ok", place="images", message=f"{registry.host_of(bases.OFFICIAL)} answers")
        return
    found = bases.listing(settings)
    # Builds use one that is outdated too; whoever cannot make it anew is not told to.
    usable = {"ready"} if bootstrap.is_possible() else {"ready", "outdated"}
    ready = [base.name for base in found if base.state in usable]
    rest = [base.name for base in found if base.state not in usable]
    message = f"No image registry answers; local base images: {', '.join(ready) or 'none'}"
    if not rest:
        yield Finding(severity="ok", place="images", message=message)
    else:
        severity: Severity = "warning" if ready else "error"
        remedy = f"Make the others with: dockwright base {' '.join(rest)}"
        yield Finding(severity=severity, place="images", message=message, remedy=remedy)


def _registry(settings: Settings) -> Iterator[Finding]:
    ours = registry.from_settings(settings)
    if ours is None:
        message = "Images stay on the engine: DOCKER_REGISTRY_URL is not set"
    else:
        registry.check(Engine(), ours)
        message = f"{ours.host} answers" + (f", and knows {ours.username}" if ours.username else "")
    yield Finding(severity="ok", place="registry", message=message)


def _certificates(settings: Settings) -> Iterator[Finding]:
    bundle = host.ca_bundle(settings)
    if bundle is None:
        yield Finding(
            severity="warning",
            place="certificates",
            message="This machine has no bundle of certificate authorities, so builds reach nothing over TLS",
            remedy="Install one (Debian: apt-get install ca-certificates), or set CA_BUNDLE",
        )
    else:
        yield Finding(severity="ok", place="certificates", message=f"Builds are handed {bundle}")


def _database(settings: Settings) -> Iterator[Finding]:
    file = settings.database_file
    if file is not None and not file.exists():
        yield Finding(severity="ok", place="database", message="Not there yet; the first command makes it")
        return
    try:
        found = _revision_of(settings)
    except (sqlite3.Error, DatabaseError) as error:
        yield Finding(
            severity="error",
            place="database",
            message=error.message if isinstance(error, DatabaseError) else f"{file} cannot be read: {error}",
            remedy="Check DATABASE_URL, or for a file its permissions, or set DOCKWRIGHT_HOME to another folder",
        )
        return
    yield _revision(schema.shown(settings), found or "none")


def _revision_of(settings: Settings) -> str | None:
    """Without bringing it up to date, as `schema.connect` would."""
    if settings.database_file is None:
        connection = PostgresConnection(settings.database_url)
        try:
            return schema.revision(connection)
        finally:
            connection.close()
    file = settings.database_file.absolute()
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as opened:
        return schema.revision(opened)


def _revision(database: str, revision: str) -> Finding:
    message = f"{database} is at revision {revision}"
    if revision == schema.HEAD:
        return Finding(severity="ok", place="database", message=message)
    return Finding(
        severity="warning",
        place="database",
        message=f"{message}, and this version's is {schema.HEAD}",
        remedy="Bring it up to date with: dockwright db upgrade",
    )


def _queue(settings: Settings) -> Iterator[Finding]:
    if settings.queue_backend == "embedded":
        message = f"Embedded: a server runs up to {settings.max_workers} builds at once"
        yield Finding(severity="ok", place="queue", message=message)
        return
    from dockwright.services.bus import check_broker

    try:
        check_broker(settings)
    except DockwrightError as error:
        yield Finding(severity="error", place="queue", message=error.message, remedy=error.remedy)
        return
    yield Finding(severity="ok", place="queue", message="Celery; Redis answers")


CHECKS: dict[str, Callable[[Settings], Iterator[Finding]]] = {
    "engine": _engine,
    "buildx": _buildx,
    "compose": _compose,
    "disk": _disk,
    "images": _images,
    "registry": _registry,
    "certificates": _certificates,
    "database": _database,
    "queue": _queue,
    "edge": _haproxy,
    "git": _git,
}
