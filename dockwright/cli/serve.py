"""`dockwright serve`: the API, and the embedded queue where no other is set."""

from __future__ import annotations

import sys

import click

from dockwright.cli.output import say
from dockwright.cli.session import open_state


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", type=click.IntRange(1, 65535), default=8700, show_default=True)
def serve(host: str, port: int) -> None:
    """Serve the API, and run the builds that are queued.

    Example: dockwright serve --port 8700
    """
    from dockwright import logs
    from dockwright.api.server import Server
    from dockwright.services import accounts

    state = open_state()
    logs.set_up(state.settings.log_format)
    server = Server(state, host, port)
    first = accounts.ensure_admin(server.state)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # for logs that are files
    if first is not None and first.password is not None:  # else it is the operator's own ADMIN_PASSWORD
        say(f"Sign in as {first.email} with the password {first.password} (shown this once)")
    server.run(lambda: say(f"Dockwright serves at {server.url}, its API at {server.url}/api/docs"))
