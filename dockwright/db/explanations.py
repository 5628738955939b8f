"""What a build is explained from: what the one before it was made of. In plain SQL, as `journal` says why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from dockwright.db.connection import Connection

KIND = "explanation"
"""The artifact type."""
MOST_LOOKED_AT = 200
"""Builds that are gone through for the one that built an image which a later one reused."""


class LastBuilt(NamedTuple):
    build_id: int
    manifest: str
    explanation: dict[str, Any]


def path_of(service: str) -> str:
    return f"explanation-{service}.json"


def last_built(
    connection: Connection, *, project_id: int, profile: str, service: str, before: int
) -> LastBuilt | int | None:
    """What the service's image was made of that the newest earlier build built or reused. From any thread.

    None where there was no such build, its number alone where that is not kept any more.
    """
    image: str | None = None
    with connection.lock:
        for build_id, its_profile, result in _results(connection, project_id, before):
            if image is None and its_profile != profile:
                continue
            found = next((one for one in json.loads(result)["services"] if one["service"] == service), None)
            if found is None or (image is not None and found["digest"] != image):
                continue
            if not found["reused"]:
                return _kept(connection, build_id, service) or build_id
            image = found["digest"]
    return None


def _results(connection: Connection, project_id: int, before: int) -> Iterator[tuple[int, str, str]]:
    """Of builds that came to images, the newest first; one at a time, as the first is nearly always the one."""
    for _ in range(MOST_LOOKED_AT):
        row = connection.execute(
            "SELECT id, profile, result FROM builds"
            " WHERE project_id = ? AND id < ? AND result IS NOT NULL ORDER BY id DESC LIMIT 1",
            (project_id, before),
        ).fetchone()
        if row is None:
            return
        before = int(row[0])
        yield before, row[1], row[2]


def _kept(connection: Connection, build_id: int, service: str) -> LastBuilt | None:
    kept = dict(
        connection.execute(
            "SELECT artifact_type, content FROM build_artifacts WHERE build_id = ? AND file_path IN (?, ?)",
            (build_id, f"plan-{service}.json", path_of(service)),
        ).fetchall()
    )
    if not {"plan", KIND} <= kept.keys():
        return None
    return LastBuilt(build_id, kept["plan"], json.loads(kept[KIND]))
