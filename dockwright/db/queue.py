"""The queue: rows of `builds` that are `queued`. Put in, claimed, canceled, and taken back from workers that died.

A claim is one transaction, guarded by the status it comes from and counted by `attempt`: whoever holds an older attempt
can write nothing any more (`journal.Journal`). So a message that is delivered twice, two servers on one database, and a
worker that wakes up late do no harm.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dockwright.db.connection import Connection, transaction
from dockwright.db.journal import LEASE_SECONDS, insert_events, last_seq
from dockwright.db.stored import timestamp
from dockwright.domain.events import Event
from dockwright.domain.transitions import ACTIVE, FINISHED, Status
from dockwright.errors import Conflict, NotFound
from dockwright.process import is_alive

MAX_LOSSES = 3
"""How many attempts of a build of the queue a fault may cut off before that is its own failure."""

_ACTIVE = "status IN ({})".format(", ".join(f"'{status}'" for status in sorted(ACTIVE)))
_LOCK = 0x0D0C4E57
"""Number of the advisory lock under which PostgreSQL counts and claims: "dock", as hexadecimal digits come near it."""

Origin = Literal["api", "hook"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Builds at once."""

    overall: int
    client: int
    builder: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    build_id: int
    client_id: int
    project_id: int
    attempt: int
    losses: int = 0
    """How many of the attempts before were cut off by a fault."""
    task_id: str | None = None
    """Under which Celery keeps its state, where there is Celery."""
    timeout_seconds: int | None = None
    """None for what the settings say."""


def enqueue(
    connection: Connection,
    *,
    client_id: int,
    project_id: int,
    profile: str,
    ref: str | None,
    options: Mapping[str, Any],
    builder: str,
    origin: Origin = "api",
    priority: int = 0,
    created_by: int | None = None,
    timeout_seconds: int | None = None,
    task_id: str | None = None,
    also: Callable[[int], None] = lambda _: None,
) -> tuple[int, list[int]]:
    """A new queued build, and those that it supersedes: what the project had queued at the same ref.

    Returns its id and theirs. `also` is called with it in the same transaction.
    """
    now = timestamp(time.time())
    with transaction(connection):
        if connection.begin == "BEGIN":
            # Of two that are queued at once, the later one must see the earlier. Other builds of it are not held up.
            connection.execute("SELECT 1 FROM projects WHERE id = ? FOR NO KEY UPDATE", (project_id,))
        superseded = _supersede(connection, client_id, project_id, ref, now)
        rows = connection.execute(
            "INSERT INTO builds (client_id, project_id, status, profile, ref, options, attempt, priority, origin,"
            " created_by, builder, progress, timeout_seconds, task_id, created_at)"
            " VALUES (?, ?, 'queued', ?, ?, ?, 0, ?, ?, ?, ?, 0, ?, ?, ?) RETURNING id",
            (
                client_id,
                project_id,
                profile,
                ref,
                json.dumps(options),
                priority,
                origin,
                created_by,
                builder,
                timeout_seconds,
                task_id,
                now,
            ),
        )
        build_id = int(rows.fetchone()[0])
        connection.execute("UPDATE projects SET build_id = ? WHERE id = ?", (build_id, project_id))
        _tell(connection, build_id, "queued")
        also(build_id)
    return build_id, superseded


def _supersede(connection: Connection, client_id: int, project_id: int, ref: str | None, now: str) -> list[int]:
    # The client is named for the index it leads to: the builds that a project has had are many, those that wait few.
    rows = connection.execute(
        "UPDATE builds SET status = 'canceled', error_code = 'superseded', completed_at = ?,"
        " error_message = 'A newer build of the same project and ref was queued'"
        " WHERE client_id = ? AND status = 'queued' AND project_id = ? AND COALESCE(ref, '') = COALESCE(?, '')"
        " RETURNING id",
        (now, client_id, project_id, ref),
    ).fetchall()
    for (build_id,) in rows:
        _tell(connection, build_id, "canceled", reason="superseded")
    return [build_id for (build_id,) in rows]


def claim(connection: Connection, worker: str, limits: Limits) -> Claim | None:
    """The build that is next, now this worker's; none where nothing is queued or a limit is reached.

    Fair between clients: whoever has the fewest builds running comes first, then whoever waits longest since its last
    one began. Within a client the higher priority goes first, then the older build. Two builds of one project never run
    at once, since the older one could then be deployed over the newer.
    """
    # Asked without a lock first: most of the time there is nothing, and then nobody is made to wait.
    if connection.execute("SELECT 1 FROM builds WHERE status = 'queued' LIMIT 1").fetchone() is None:
        return None
    with transaction(connection):
        if connection.begin == "BEGIN":
            connection.execute("SELECT pg_advisory_xact_lock(?)", (_LOCK,))
        found = _next(connection, limits)
        return None if found is None else _take(connection, found, worker)


def _next(connection: Connection, limits: Limits) -> int | None:
    active = connection.execute(f"SELECT client_id, builder, project_id FROM builds WHERE {_ACTIVE}").fetchall()
    if len(active) >= limits.overall:
        return None
    running: dict[int, int] = {}
    on_builder: dict[str, int] = {}
    for client_id, builder, _ in active:
        running[client_id] = running.get(client_id, 0) + 1
        on_builder[builder] = on_builder.get(builder, 0) + 1
    full = [builder for builder, count in on_builder.items() if count >= limits.builder]
    busy = [project_id for _, _, project_id in active]
    for client_id in _clients_in_turn(connection, running, limits.client):
        if (build_id := _first_of(connection, client_id, busy, full)) is not None:
            return build_id
    return None


def _clients_in_turn(connection: Connection, running: Mapping[int, int], most: int) -> list[int]:
    # The recursion steps from client to client through the index: it reads one row a client, not one a build.
    rows = connection.execute(
        "WITH RECURSIVE waiting(id) AS ("
        " SELECT MIN(client_id) FROM builds WHERE status = 'queued'"
        " UNION ALL SELECT (SELECT MIN(client_id) FROM builds WHERE status = 'queued' AND client_id > waiting.id)"
        " FROM waiting WHERE waiting.id IS NOT NULL)"
        " SELECT clients.id, clients.served_at FROM waiting JOIN clients ON clients.id = waiting.id"
    ).fetchall()
    allowed = [(running.get(client, 0), served or "", client) for client, served in rows]
    return [client for count, _, client in sorted(allowed) if count < most]


def _first_of(connection: Connection, client_id: int, busy: list[int], full: list[str]) -> int | None:
    unless = "".join(
        f" AND {name} NOT IN ({', '.join('?' * len(values))})"
        for name, values in (("project_id", busy), ("builder", full))
        if values
    )
    row = connection.execute(
        f"SELECT id FROM builds WHERE status = 'queued' AND client_id = ?{unless} ORDER BY priority DESC, id LIMIT 1"
        + (" FOR UPDATE SKIP LOCKED" if connection.begin == "BEGIN" else ""),
        (client_id, *busy, *full),
    ).fetchone()
    return None if row is None else int(row[0])


def _take(connection: Connection, build_id: int, worker: str) -> Claim:
    now = timestamp(time.time())
    row = connection.execute(
        "UPDATE builds SET status = 'building', worker = ?, attempt = attempt + 1, progress = 0, stage = NULL,"
        f" started_at = ?, lease_until = {connection.after(LEASE_SECONDS)}"
        " WHERE id = ? AND status = 'queued'"
        " RETURNING client_id, project_id, attempt, losses, task_id, timeout_seconds",
        (worker, now, build_id),
    ).fetchone()
    connection.execute("UPDATE clients SET served_at = ? WHERE id = ?", (now, row[0]))
    _tell(connection, build_id, "building", attempt=row[2])
    return Claim(
        build_id=build_id,
        client_id=row[0],
        project_id=row[1],
        attempt=row[2],
        losses=row[3],
        task_id=row[4],
        timeout_seconds=row[5],
    )


def asked(connection: Connection, build_id: int) -> dict[str, Any]:
    """What a build is to do: its own columns, its project's under `project`, and who asked for it, in one look."""
    row = connection.execute(
        "SELECT builds.ref, builds.profile, builds.options, users.email, clients.slug, projects.id, projects.name,"
        " projects.slug, projects.description, projects.source, projects.build, projects.deploy"
        " FROM builds JOIN projects ON projects.id = builds.project_id JOIN clients ON clients.id = builds.client_id"
        " LEFT JOIN users ON users.id = builds.created_by"
        " WHERE builds.id = ?",
        (build_id,),
    ).fetchone()
    ref, profile, options, email, client, *columns = row
    names = ("id", "name", "slug", "description", "source", "build", "deploy")
    project = dict(zip(names, columns, strict=True))
    project |= {name: json.loads(project[name]) for name in ("source", "build", "deploy")}
    asked = {"ref": ref, "profile": profile, "options": json.loads(options), "by": email, "client": client}
    return {**asked, "project": project}


def position(connection: Connection, build_id: int) -> int | None:
    """How many builds are queued before this one, itself counted; none once it has been claimed.

    By age and priority over all clients: what is true of the order in which clients take turns cannot be said before.
    """
    row = connection.execute("SELECT status, priority FROM builds WHERE id = ?", (build_id,)).fetchone()
    if row is None or row[0] != "queued":
        return None
    before = "SELECT COUNT(*) FROM builds WHERE status = 'queued' AND (priority > ? OR (priority = ? AND id <= ?))"
    return int(connection.execute(before, (row[1], row[1], build_id)).fetchone()[0])


def request_cancel(connection: Connection, client_id: int, build_id: int) -> Status:
    """Ends a queued build at once, and asks the worker of an active one to end it. Returns its status now.

    Raises `NotFound`, or `Conflict` for one that has finished.
    """
    now = timestamp(time.time())
    with transaction(connection):
        row = connection.execute(
            "UPDATE builds SET cancel_requested_at = ?, status = CASE status WHEN 'queued' THEN 'canceled' ELSE status"
            " END WHERE id = ? AND client_id = ? AND completed_at IS NULL RETURNING status",
            (now, build_id, client_id),
        ).fetchone()
        if row is not None and row[0] == "canceled":
            connection.execute(
                "UPDATE builds SET completed_at = ?, error_code = 'canceled', error_message = 'Canceled while queued'"
                " WHERE id = ?",
                (now, build_id),
            )
            _tell(connection, build_id, "canceled")
    if row is not None:
        status: Status = row[0]
        return status
    known = connection.execute(
        "SELECT status FROM builds WHERE id = ? AND client_id = ?", (build_id, client_id)
    ).fetchone()
    if known is None:
        raise NotFound(f"There is no build {build_id}", remedy="See: dockwright builds")
    assert known[0] in FINISHED
    raise Conflict(f"Build {build_id} has finished: it is {known[0]}", remedy="See: dockwright builds")


class Reaper:
    """Finds builds whose worker is gone. One of them in each process that serves or works; a single look for the CLI.

    A build is lost when its process is known to be dead, or when its lease has been over for another
    `patience` seconds by the reaper's own steady clock: a clock that was moved, a database that was away and a machine
    that slept give every worker time to renew its lease first.
    """

    def __init__(self, connection: Connection, patience: float = LEASE_SECONDS) -> None:
        self._connection = connection
        self._patience = patience
        self._overdue: dict[tuple[int, int], float] = {}
        """(build, attempt) → since when its lease has been seen to be over, in seconds of `time.monotonic`."""

    def take_back(self) -> list[int]:
        """Builds of the queue are queued again until their third loss; others are `failed`. Returns the ids of both."""
        # A lease that ends later than any can was written before the clock was set back.
        begin, end = self._connection.after(0), self._connection.after(2 * LEASE_SECONDS)
        rows = self._connection.execute(
            f"SELECT id, attempt, worker, lease_until NOT BETWEEN {begin} AND {end} FROM builds WHERE {_ACTIVE}"
        ).fetchall()
        late = {(row[0], row[1]) for row in rows if row[3]}
        now = time.monotonic()
        self._overdue = {key: since for key, since in self._overdue.items() if key in late}
        lost = [row for row in rows if self._is_lost(row, now)]
        return [build_id for build_id, attempt, _, _ in lost if self._take_back(build_id, attempt)]

    def _is_lost(self, row: Any, now: float) -> bool:
        build_id, attempt, worker, is_late = row
        alive = is_alive(worker) if worker else False  # a worker that stopped has given the build back
        if alive is False:
            return True
        if not is_late or (alive and not self._patience):
            return False
        return now - self._overdue.setdefault((build_id, attempt), now) >= self._patience

    def _take_back(self, build_id: int, attempt: int) -> bool:
        """Whether it was this reaper that did it: another one, or the worker itself, may have been quicker."""
        # One that was given back has counted its loss already, if it was one: `give_back`.
        losses = "losses + CASE WHEN worker IS NULL THEN 0 ELSE 1 END"
        with transaction(self._connection):
            row = self._connection.execute(
                f"UPDATE builds SET worker = NULL, lease_until = NULL, stage = NULL, losses = {losses}, status = CASE"
                " WHEN cancel_requested_at IS NOT NULL THEN 'canceled'"
                f" WHEN origin = 'cli' OR {losses} >= {MAX_LOSSES} THEN 'failed' ELSE 'queued' END"
                f" WHERE id = ? AND attempt = ? AND {_ACTIVE} RETURNING status",
                (build_id, attempt),
            ).fetchone()
            if row is None:
                return False
            if row[0] in FINISHED:
                self._end(build_id, row[0])
            _tell(self._connection, build_id, row[0], reason="worker_lost")
        return True

    def _end(self, build_id: int, status: str) -> None:
        code = "canceled" if status == "canceled" else "worker_lost"
        message = "Canceled; its worker had ended" if code == "canceled" else "The process that ran the build ended"
        self._connection.execute(
            "UPDATE builds SET completed_at = ?, error_code = ?, error_message = ? WHERE id = ?",
            (timestamp(time.time()), code, message, build_id),
        )


def give_back(connection: Connection, claimed: Claim, *, is_loss: bool) -> bool:
    """A worker lets go of a build that it has not ended, for the reaper to queue it again; false if it has ended.

    `is_loss`: a fault has cut it off, rather than a server's being stopped, which may happen as often as it likes.
    """
    with transaction(connection):
        rows = connection.execute(
            "UPDATE builds SET worker = NULL, losses = losses + ?"
            f" WHERE id = ? AND attempt = ? AND worker IS NOT NULL AND {_ACTIVE} RETURNING id",
            (int(is_loss), claimed.build_id, claimed.attempt),
        ).fetchall()
    return bool(rows)


def end_lost_builds(connection: Connection) -> list[int]:
    """One look, for a process that does not stay: a lease that is over counts at once unless the worker is alive."""
    return Reaper(connection, patience=0.0).take_back()


def _tell(connection: Connection, build_id: int, status: str, **data: Any) -> None:
    """A status event, in the transaction that has just moved the build's row."""
    event = Event("status", status, time.time(), data={"status": status, **data})
    insert_events(connection, build_id, last_seq(connection, build_id), [event])
