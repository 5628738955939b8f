"""`dockwright worker`: a worker of the distributed queue."""

from __future__ import annotations

import sys

import click

from dockwright.cli.output import json_option, print_json, say
from dockwright.cli.session import open_state
from dockwright.errors import UsageError


@click.command(short_help="Run builds that a server has queued.")
@json_option
def worker(as_json: bool) -> None:
    """Run builds that a server on this or another machine has queued, through Redis and PostgreSQL.

    It needs BUILD_QUEUE_BACKEND=celery, and the DATABASE_URL and REDIS_URL of that server.

    Example: dockwright worker
    """
    from dockwright import logs
    from dockwright.queue.distributed import DistributedWorker, RedisBus
    from dockwright.services.bus import check_broker
    from dockwright.services.state import State

    settings = open_state().settings
    if settings.queue_backend != "celery":
        raise UsageError(
            "This server's queue is embedded: dockwright serve runs its builds itself",
            remedy="Set BUILD_QUEUE_BACKEND=celery, with DATABASE_URL and REDIS_URL, for both",
        )
    logs.set_up(settings.log_format)
    check_broker(settings)
    state = State(settings, bus=RedisBus(settings))
    _ = state.connection  # the schema, or what is wrong with the database
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # for logs that are files
    if as_json:
        print_json({"builds_at_once": settings.max_workers})
    else:
        say(f"Working on builds, {settings.max_workers} at once")
    DistributedWorker(state).run()
