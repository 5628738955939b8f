"""The rows that a build finds and leaves beside its own story, in plain SQL: its project, images and artifacts.

It speaks DB-API as `journal.py` does, and for the same reason: a build of which nothing changed loads no SQLAlchemy.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

from dockwright.db.connection import Connection, transaction
from dockwright.db.journal import LEASE_SECONDS
from dockwright.db.stored import storable, timestamp
from dockwright.domain.build import BuiltImage, Profile
from dockwright.domain.image import Image


def client_slug(connection: Connection, client_id: int) -> str:
    (slug,) = connection.execute("SELECT slug FROM clients WHERE id = ?", (client_id,)).fetchone()
    return str(slug)


def product_env(connection: Connection, project_id: int) -> dict[str, str]:
    """The environment of the product that the project deploys to; empty before its first deployment."""
    row = connection.execute("SELECT env_vars FROM products WHERE project_id = ?", (project_id,)).fetchone()
    return dict(json.loads(row[0])) if row else {}


def find_project(connection: Connection, client_id: int, source_key: str) -> dict[str, Any] | None:
    """A project's row by its source, its JSON columns decoded: what the quick path needs of it."""
    return _project(connection, "client_id = ? AND source_key = ?", client_id, source_key)


def get_project(connection: Connection, client_id: int, project_id: int) -> dict[str, Any] | None:
    """The same by its number; none where it is another client's."""
    return _project(connection, "client_id = ? AND id = ?", client_id, project_id)


def _project(connection: Connection, where: str, *values: object) -> dict[str, Any] | None:
    names = ("id", "name", "slug", "description", "source", "build", "deploy")
    row = connection.execute(f"SELECT {', '.join(names)} FROM projects WHERE {where}", values).fetchone()
    if row is None:
        return None
    return {
        name: json.loads(value) if name in {"source", "build", "deploy"} else value
        for name, value in zip(names, row, strict=True)
    }


def insert_claimed(
    connection: Connection,
    *,
    client_id: int,
    project_id: int,
    profile: str,
    ref: str | None,
    options: Mapping[str, Any],
    worker: str,
    builder: str = "shared",
) -> int:
    """A build that this process runs at once: a row like any other, born claimed. Returns its id."""
    now = time.time()
    with transaction(connection):
        rows = connection.execute(
            "INSERT INTO builds (client_id, project_id, status, profile, ref, options, worker, attempt, priority,"
            " origin, builder, progress, created_at, started_at, lease_until)"
            " VALUES (?, ?, 'building', ?, ?, ?, ?, 1, 0, 'cli', ?, 0, ?, ?,"
            f" {connection.after(LEASE_SECONDS)}) RETURNING id",
            (
                client_id,
                project_id,
                profile,
                ref,
                json.dumps(options),
                worker,
                builder,
                timestamp(now),
                timestamp(now),
            ),
        )
        build_id = int(rows.fetchone()[0])
        connection.execute("UPDATE projects SET build_id = ? WHERE id = ?", (build_id, project_id))
    return build_id


def images_of(connection: Connection, project_id: int, limit: int = 100) -> tuple[BuiltImage, ...]:
    """The newest good images of a project, those of all its services, newest first."""
    rows = connection.execute(
        "SELECT manifest_digest, digest, name || ':' || tag, profile, build_date, details, service FROM docker_images"
        " WHERE project_id = ? AND build_status = 'success' ORDER BY built_at DESC, id DESC LIMIT ?",
        (project_id, limit),
    )
    return tuple(
        BuiltImage(
            manifest_digest=row[0],
            digest=row[1],
            name=row[2],
            profile=cast(Profile, row[3]),
            build_date=row[4],
            registry_ref=json.loads(row[5]).get("registry_ref"),
            service=row[6],
        )
        for row in rows
    )


def save_image(
    connection: Connection,
    image: Image,
    *,
    client_id: int,
    project_id: int,
    build_id: int,
    profile: str,
    build_date: str,
    commit: str | None,
) -> None:
    """The row of an image that this build has built or found again; the newest row of a name and tag wins."""
    name, _, tag = image.name.rpartition(":")
    details: dict[str, Any] = {"ports": image.ports, "volumes": image.volumes}
    details["has_health_check"] = image.has_health_check
    details["registry_ref"] = image.pushed.ref if image.pushed else None
    now = timestamp(time.time())
    with transaction(connection):
        connection.execute(
            "INSERT INTO docker_images (client_id, project_id, build_id, service, name, tag, commit_sha, build_status,"
            " digest, manifest_digest, profile, build_date, details, size, built_at, created_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, 'success', ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (client_id, name, tag) DO UPDATE SET build_id = excluded.build_id, digest = excluded.digest,"
            " commit_sha = excluded.commit_sha, manifest_digest = excluded.manifest_digest, profile = excluded.profile,"
            " build_date = excluded.build_date, details = excluded.details, size = excluded.size,"
            " built_at = excluded.built_at, build_status = 'success'",
            (
                client_id,
                project_id,
                build_id,
                image.service,
                name,
                tag,
                commit,
                image.digest,
                image.manifest_digest,
                profile,
                build_date,
                json.dumps(details),
                image.size,
                now,
                now,
            ),
        )
        if image.pushed is not None:
            # Releases of this image that were made before it was pushed can come back from there as well.
            connection.execute(
                "UPDATE releases SET registry_ref = ? WHERE digest = ? AND registry_ref IS NULL",
                (image.pushed.ref, image.digest),
            )


def save_artifacts(connection: Connection, build_id: int, artifacts: Sequence[tuple[str, str, str]]) -> None:
    """`artifacts`: (artifact_type, file_path, content)."""
    with transaction(connection):
        connection.executemany(
            "INSERT INTO build_artifacts (build_id, artifact_type, file_path, content, created_at)"
            " VALUES (?, ?, ?, ?, ?)"
            # An attempt that was cut off may have kept them already.
            " ON CONFLICT (build_id, artifact_type, file_path) DO UPDATE SET content = excluded.content",
            [(build_id, *map(storable, artifact), timestamp(time.time())) for artifact in artifacts],
        )
