"""Source archives that users send: written to a file while they come, checked, kept by their content."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import select

from dockwright.db.stored import storable
from dockwright.db.tables import Build, Project
from dockwright.domain.source import UploadSource
from dockwright.domain.transitions import FINISHED
from dockwright.errors import Conflict, DiskFull, SourceTooLarge
from dockwright.services import projects
from dockwright.services.audit import Actor
from dockwright.services.state import State
from dockwright.sources import bounds, upload

GRACE_SECONDS = 86_400
"""How long an archive stays that no project names any more and no build needs: somebody may look at it still."""
PART = ".part"


class Incoming:
    """An archive that is being sent. Whatever happens, `close` leaves nothing that was not kept."""

    def __init__(self, state: State, project_id: int) -> None:
        """Raises `NotFound`, `Conflict` for a project of another kind, or `DiskFull`."""
        source = projects.get(state, project_id)["source"]
        if source["kind"] != "upload":
            raise Conflict(
                f"The source of project {project_id} is of kind {source['kind']}",
                remedy='Change it first: PATCH /projects/{id} {"source": {"kind": "upload"}}',
            )
        self._state, self._project_id = state, project_id
        folder = upload.folder(state.settings)
        folder.mkdir(parents=True, exist_ok=True)
        self._check_disk(folder)
        self._path = folder / f"{secrets.token_hex(8)}{PART}"
        self._digest = hashlib.sha256()
        self._bytes = 0
        self._file = self._path.open("xb")

    def write(self, chunk: bytes) -> None:
        """Raises `SourceTooLarge` or `DiskFull`."""
        before, self._bytes = self._bytes, self._bytes + len(chunk)
        if self._bytes > bounds.MAX_ARCHIVE_BYTES:
            raise SourceTooLarge(
                f"The archive is larger than {bounds.MAX_ARCHIVE_BYTES:,} bytes",
                remedy="Leave out what the image does not need",
            )
        if before >> 26 != self._bytes >> 26:  # every 64 MB
            self._check_disk(self._path.parent)
        self._digest.update(chunk)
        try:
            self._file.write(chunk)
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            raise _disk_full(self._path.parent) from error

    def keep(self, sent: UploadSource, actor: Actor | None = None) -> dict[str, Any]:
        """Checks it and makes it the project's source; `sent`: what its sender says of it.

        Raises as `upload.check` does.
        """
        self._file.close()
        contents = upload.check(self._path)
        digest = self._digest.hexdigest()
        os.replace(self._path, upload.archive_path(self._state.settings, digest))
        replaced = projects.get(self._state, self._project_id)["source"].get("digest")
        name = None if sent.filename is None else storable(sent.filename)
        source = replace(sent, digest=digest, filename=name)
        projects.update(self._state, self._project_id, {"source": source}, actor)
        _sweep(self._state, replaced)
        return {
            "project_id": self._project_id,
            "digest": digest,
            "filename": name,
            "bytes": self._bytes,
            "files": contents.files,
            "unpacked_bytes": contents.bytes,
        }

    def close(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _check_disk(self, folder: Path) -> None:
        if shutil.disk_usage(folder).free < self._state.settings.disk_min_free:
            raise _disk_full(folder)


def _disk_full(folder: Path) -> DiskFull:
    return DiskFull(f"The disk that holds {folder} is full", remedy="Free some with: dockwright cleanup")


def _sweep(state: State, replaced: str | None) -> None:
    """Removes what no project of any client names and no build waits for, once a day has passed since one did."""
    if replaced is not None and (path := upload.archive_path(state.settings, replaced)).exists():
        os.utime(path)
    with state.session() as session:
        keys = session.scalars(select(Project.source_key).where(Project.source_key.startswith("upload:"))).all()
        asked = Build.options["upload", "digest"].as_string()
        needed = session.scalars(select(asked).where(Build.status.not_in(FINISHED), asked.is_not(None))).all()
    named = {*(key.removeprefix("upload:") for key in keys if key), *needed}
    for path in upload.folder(state.settings).iterdir():
        is_named = path.name.removesuffix(".tar.gz") in named
        if not is_named and path.stat().st_mtime < time.time() - GRACE_SECONDS:
            path.unlink(missing_ok=True)
