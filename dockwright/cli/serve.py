"""`dockwright serve`: the API, and the embedded queue where no other is set."""

from __future__ import annotations

import sys

import click

from dockwright.cli.output import json_option, print_json, say
from dockwright.cli.session import open_state


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", type=click.IntRange(1, 65535), default=8700, show_default=True)
@json_option
def serve(host: str, port: int, as_json: bool) -> None:
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
    # Else it is the operator's own ADMIN_PASSWORD. Told before anything can fail, since it is told this once.
    shown = first if first is not None and first.password is not None else None
    if as_json:
        print_json({"url": server.url, "sign_in": shown and {"email": shown.email, "password": shown.password}})
    elif shown is not None:
        say(f"Sign in as {shown.email} with the password {shown.password} (shown this once)")
    told = f"Dockwright serves at {server.url}, its API at {server.url}/api/docs"
    server.run(lambda: None if as_json else say(told))
