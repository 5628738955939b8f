"""`up`, `down` and `dev`: a folder's services on this machine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from dockwright.cli.output import counted, json_option, print_json, printable, say, seconds, show_error, table
from dockwright.cli.session import cancel_on_signal, open_state
from dockwright.domain.build import Profile
from dockwright.errors import UsageError

if TYPE_CHECKING:
    from dockwright.services.state import State

_path = click.argument("path", metavar="[PATH]", default=".")
_service = click.option("--service", metavar="S", help="One service, and those that it depends on.")
_profile = click.option("--profile", type=click.Choice(["dev", "prod"]), help="dev: no cache. prod: every cache.")


@click.command()
@_path
@_service
@_profile
@json_option
def up(path: str, service: str | None, profile: Profile | None, as_json: bool) -> None:
    """Build a folder's compose services, start them in order, and wait until they are healthy.

    Example: dockwright up ~/shop --service api
    """
    from dockwright.services import compose
    from dockwright.services.build import BuildOptions

    state, cancel, build, tell = _begin(as_json)
    options = BuildOptions(profile=profile, service=service, is_for_up=True, deploy=False, until="build")
    document = compose.up(state, path, options, lambda request: build(state, request, cancel), cancel, tell)
    _show(document, path, as_json)


@click.command()
@_path
@click.option("--volumes", is_flag=True, help="Remove what the services have stored too.")
@json_option
def down(path: str, volumes: bool, as_json: bool) -> None:
    """Stop and remove what "up" has started. Volumes stay, and so do the images.

    Example: dockwright down ~/shop
    """
    from dockwright.services import compose

    document = compose.down(_here(), path, cancel_on_signal(), _tell, volumes=volumes)
    if as_json:
        print_json(document)
        return
    removed = document["removed"]
    say(f"Removed {counted(len(removed), 'container')}: {', '.join(removed)}" if removed else "Nothing was running")


def _here() -> State:
    """Raises `UsageError` where the commands are to work at a server."""
    state = open_state()
    if state.settings.server_url is not None:
        raise UsageError(
            "The services of a folder run on this machine, and DOCKWRIGHT_URL names a server",
            remedy="Unset DOCKWRIGHT_URL for this command",
        )
    return state


def _begin(as_json: bool) -> Any:
    import time

    from dockwright.cli.build import watcher
    from dockwright.queue.runner import run_claimed

    state = _here()
    cancel = cancel_on_signal(time.monotonic() + state.settings.timeout_seconds)

    def build(state: State, request: Any, cancel: Any) -> dict[str, Any]:
        watch = watcher(as_json)
        try:
            return run_claimed(state, request, cancel, watch)
        finally:
            watch.close()

    return state, cancel, build, _tell


def _tell(line: str) -> None:
    """Progress goes to standard error: standard output holds the result alone."""
    sys.stderr.write(printable(line) + "\n")


def _show(document: dict[str, Any], path: str, as_json: bool) -> None:
    if as_json:
        print_json(document)
    if document["error"] is not None:
        from dockwright.errors import by_code

        raised = by_code(document["error"])
        show_error(raised, as_json=False)
        sys.exit(raised.exit_code)
    if as_json:
        return
    table(("SERVICE", "STATE", "ADDRESS", "IMAGE"), (_row(one) for one in document["services"]))
    say(f"Ready in {seconds(document['seconds'])}. Stop it with: dockwright down {path}")


def _row(one: dict[str, Any]) -> tuple[str, str, str, str]:
    state = one["health"] or ("done" if one["exit_code"] == 0 else one["status"])
    return one["service"], state, ", ".join(_address(port) for port in one["ports"]), one["image"]


def _address(port: dict[str, Any]) -> str:
    host = "127.0.0.1" if port["address"] in {"", "0.0.0.0", "::"} else port["address"]  # noqa: S104 - shown, not bound
    return f"{host}:{port['port']}→{port['container_port'].removesuffix('/tcp')}"
