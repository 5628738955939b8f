"""What a build is explained from: what the one before it was made of. In plain SQL, as `journal` says why."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from dockwright.db.connection import Connection

KIND = "explanation"
"""The artifact type."""


class LastBuilt(NamedTuple):
    build_id: int
    manifest: str
    explanation: dict[str, Any]


def path_of(service: str) -> str:
    return f"explanation-{service}.json"


def last_built(connection: Connection, *, project_id: int, profile: str, service: str, before: int) -> LastBuilt | None:
    """Of the newest build with a smaller number that built the service's image and kept how. From any thread."""
    with connection.lock:
        row = connection.execute(
            "SELECT b.id, plan.content, told.content FROM builds b"
            " JOIN build_artifacts told ON told.build_id = b.id AND told.artifact_type = ? AND told.file_path = ?"
            " JOIN build_artifacts plan ON plan.build_id = b.id AND plan.artifact_type = 'plan' AND plan.file_path = ?"
            " WHERE b.project_id = ? AND b.profile = ? AND b.id < ? ORDER BY b.id DESC LIMIT 1",
            (KIND, path_of(service), f"plan-{service}.json", project_id, profile, before),
        ).fetchone()
    return None if row is None else LastBuilt(int(row[0]), row[1], json.loads(row[2]))


def forgotten(connection: Connection, *, project_id: int, profile: str, before: int) -> int | None:
    """The newest earlier build that came to an image, whatever is kept of it. From any thread."""
    with connection.lock:
        row = connection.execute(
            "SELECT MAX(id) FROM builds WHERE project_id = ? AND profile = ? AND id < ? AND image_name IS NOT NULL",
            (project_id, profile, before),
        ).fetchone()
    return None if row is None or row[0] is None else int(row[0])
