"""A build's own rows, in plain SQL: claimed, moved, told, finished.

The one place that writes `builds`, `build_events` and the images of builds. It speaks DB-API because SQLAlchemy takes
longer to import (156 ms measured) than BuildKit takes for a build of which nothing changed (110 ms); every other table
is read and written through SQLAlchemy.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, cast

from dockwright.domain.build import BuiltImage, Profile
from dockwright.domain.events import Event
from dockwright.domain.image import Image
from dockwright.domain.transitions import ACTIVE, STATUS_OF_STAGE, Status, sources_of
from dockwright.errors import DatabaseError, DiskFull, Interrupted

LEASE_SECONDS = 30.0
"""How long a build is its worker's without a heartbeat."""
HEARTBEAT_SECONDS = 5.0
FLUSH_SECONDS = 0.2
"""How long an event may wait for others before it is written with them."""


def timestamp(at: float) -> str:
    """The form in which SQLAlchemy keeps a time in SQLite, in UTC."""
    whole, fraction = divmod(at, 1)
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(whole)) + f".{int(fraction * 1e6):06d}"


def storable(text: str) -> str:
    """A file's name, or a line of a Dockerfile, need not be UTF-8; what is stored must be."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


class Connection(sqlite3.Connection):
    """A connection that a build's threads share: whoever writes holds its lock."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.lock = threading.RLock()


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """Raises `DiskFull` or `DatabaseError`, and then nothing of it is written."""
    with connection.lock:
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("COMMIT")
        except BaseException as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError):
                raise translated(error) from error
            raise


def translated(error: sqlite3.OperationalError) -> DiskFull | DatabaseError:
    if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
        return DiskFull(
            "The disk that holds the state database is full", remedy="Free some space below DOCKWRIGHT_HOME"
        )
    return DatabaseError(
        f"The state database cannot be used: {error}", remedy="Check DOCKWRIGHT_HOME with: dockwright doctor"
    )


def client_slug(connection: Connection, client_id: int) -> str:
    (slug,) = connection.execute("SELECT slug FROM clients WHERE id = ?", (client_id,)).fetchone()
    return str(slug)


def product_env(connection: Connection, project_id: int) -> dict[str, str]:
    """The environment of the product that the project deploys to; empty before its first deployment."""
    row = connection.execute("SELECT env_vars FROM products WHERE project_id = ?", (project_id,)).fetchone()
    return dict(json.loads(row[0])) if row else {}


def find_project(connection: Connection, client_id: int, source_key: str) -> dict[str, Any] | None:
    """A project's row by its source, its JSON columns decoded: what the quick path needs of it."""
    row = connection.execute(
        "SELECT id, name, slug, description, source, build, deploy FROM projects"
        " WHERE client_id = ? AND source_key = ?",
        (client_id, source_key),
    ).fetchone()
    if row is None:
        return None
    names = ("id", "name", "slug", "description", "source", "build", "deploy")
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
) -> int:
    """A build that this process runs at once: a row like any other, born claimed. Returns its id."""
    now = time.time()
    with transaction(connection):
        cursor = connection.execute(
            "INSERT INTO builds (client_id, project_id, status, profile, ref, options, worker, lease_until, attempt,"
            " priority, created_at, started_at) VALUES (?, ?, 'building', ?, ?, ?, ?, ?, 1, 0, ?, ?)",
            (
                client_id,
                project_id,
                profile,
                ref,
                json.dumps(options),
                worker,
                timestamp(now + LEASE_SECONDS),
                timestamp(now),
                timestamp(now),
            ),
        )
        build_id = cursor.lastrowid
        connection.execute("UPDATE projects SET build_id = ? WHERE id = ?", (build_id, project_id))
    assert build_id is not None
    return build_id


def end_lost_builds(connection: Connection) -> list[int]:
    """Builds whose worker has died without a word are `failed`; returns their ids."""
    marks = ", ".join("?" * len(ACTIVE))
    now = timestamp(time.time())
    lost = f"status IN ({marks}) AND lease_until < ?"
    rows = connection.execute(f"SELECT id FROM builds WHERE {lost}", (*ACTIVE, now)).fetchall()
    if not rows:
        return []
    with transaction(connection):
        # Asked again, now that nobody else writes: the worker may have come back.
        rows = connection.execute(f"SELECT id FROM builds WHERE {lost}", (*ACTIVE, now)).fetchall()
        connection.execute(
            "UPDATE builds SET status = 'failed', error_code = 'worker_lost', completed_at = ?, worker = NULL,"
            f" error_message = 'The process that ran the build ended' WHERE {lost}",
            (now, *ACTIVE, now),
        )
    return [build_id for (build_id,) in rows]


def images_of(connection: Connection, project_id: int, service: str, limit: int = 20) -> tuple[BuiltImage, ...]:
    """The newest good images of a project's service, newest first."""
    rows = connection.execute(
        "SELECT manifest_digest, digest, name || ':' || tag, profile, build_date FROM docker_images"
        " WHERE project_id = ? AND service = ? AND build_status = 'success' ORDER BY built_at DESC, id DESC LIMIT ?",
        (project_id, service, limit),
    )
    return tuple(
        BuiltImage(manifest_digest=row[0], digest=row[1], name=row[2], profile=cast(Profile, row[3]), build_date=row[4])
        for row in rows
    )


class Journal:
    """Writes one build's events and moves its status. Its methods may be called from any thread."""

    def __init__(self, connection: Connection, build_id: int, watch: Callable[[Event], None] | None = None) -> None:
        self.build_id = build_id
        self._connection = connection
        self._watch = watch
        self._lock = connection.lock
        self._waiting: list[Event] = []
        self._seq = 0
        self._status: Status = "building"
        self._stop = threading.Event()
        self._lost = False
        self._thread = threading.Thread(target=self._beat, name=f"build-{build_id}-heartbeat", daemon=True)

    def __enter__(self) -> Journal:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.flush()

    def sink(self, event: Event) -> None:
        """Takes an event: keeps it for the next write, moves the status with the stage, and shows it to the watcher."""
        with self._lock:
            self._waiting.append(event)
            if self._watch is not None:
                self._watch(event)
            if event.kind == "stage" and event.data and event.data["status"] == "running":
                self.enter(event.stage or "")

    def enter(self, stage: str) -> None:
        """The build comes to a stage. Raises `Interrupted` if somebody else has ended the build meanwhile."""
        new = STATUS_OF_STAGE[stage]
        with self._lock:
            if new == self._status:
                with transaction(self._connection):
                    self._connection.execute("UPDATE builds SET stage = ? WHERE id = ?", (stage, self.build_id))
                return
            self._move(new, {"stage": stage})

    def finish(self, status: Status, columns: Mapping[str, Any]) -> None:
        """The last move; `columns` are written with it."""
        with self._lock:
            self._move(status, {**columns, "completed_at": timestamp(time.time()), "lease_until": None})

    def _move(self, new: Status, columns: Mapping[str, Any]) -> None:
        sources = sources_of(new)
        assert self._status in sources, f"a build cannot go from {self._status} to {new}"
        sets = ", ".join(f"{name} = ?" for name in ("status", *columns))
        marks = ", ".join("?" * len(sources))
        # Written in one transaction with the events so far, so that a reader never sees one without the other.
        events = [*self._waiting, Event("status", new, time.time(), data={"status": new})]
        with transaction(self._connection):
            cursor = self._connection.execute(
                f"UPDATE builds SET {sets} WHERE id = ? AND status IN ({marks})",
                (new, *columns.values(), self.build_id, *sources),
            )
            self._insert(events)
        self._are_written(events)
        if cursor.rowcount != 1:
            raise Interrupted(f"Build {self.build_id} was ended by another process", remedy="Start it again")
        self._status = new
        if self._watch is not None:
            self._watch(Event("status", new, time.time(), data={"status": new}))

    def flush(self) -> None:
        with self._lock:
            if self._waiting:
                with transaction(self._connection):
                    self._insert(self._waiting)
                self._are_written(self._waiting)

    def _insert(self, events: Sequence[Event]) -> None:
        rows = [
            (
                self.build_id,
                self._seq + number,
                timestamp(event.at),
                event.kind,
                event.stage,
                None if event.step is None else storable(event.step),
                event.stream,
                storable(event.text),
                None if event.data is None else json.dumps(event.data),
            )
            for number, event in enumerate(events, 1)
        ]
        self._connection.executemany(
            "INSERT INTO build_events (build_id, seq, at, kind, stage, step, stream, text, data)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )

    def _are_written(self, events: Sequence[Event]) -> None:
        self._seq += len(events)
        self._waiting.clear()

    def _beat(self) -> None:
        beat_at = time.monotonic() + HEARTBEAT_SECONDS
        while not self._stop.wait(FLUSH_SECONDS):
            # What could not be written waits on: the build itself hears of it when it comes to its next stage or end.
            with suppress(DiskFull, DatabaseError):
                self.flush()
                if time.monotonic() >= beat_at:
                    self._renew_lease()
                    beat_at = time.monotonic() + HEARTBEAT_SECONDS

    def _renew_lease(self) -> None:
        with transaction(self._connection):
            self._connection.execute(
                "UPDATE builds SET lease_until = ? WHERE id = ?",
                (timestamp(time.time() + LEASE_SECONDS), self.build_id),
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
    details = {"ports": image.ports, "volumes": image.volumes, "has_health_check": image.has_health_check}
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


def save_artifacts(connection: Connection, build_id: int, artifacts: Sequence[tuple[str, str, str]]) -> None:
    """`artifacts`: (artifact_type, file_path, content)."""
    with transaction(connection):
        connection.executemany(
            "INSERT INTO build_artifacts (build_id, artifact_type, file_path, content, created_at)"
            " VALUES (?, ?, ?, ?, ?)",
            [(build_id, *map(storable, artifact), timestamp(time.time())) for artifact in artifacts],
        )
