"""`up`, `down` and `dev`: a folder's services on this machine."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from dockwright.cli.output import counted, json_option, print_json, printable, say, seconds, show_error, table
from dockwright.cli.session import cancel_on_signal, open_state
from dockwright.domain.build import Profile
from dockwright.errors import UsageError, by_code

if TYPE_CHECKING:
    from dockwright.services.state import State

_path = click.argument("path", metavar="[PATH]", default=".")
_service = click.option("--service", metavar="S", help="One service, and those that it depends on.")
_profile = click.option("--profile", type=click.Choice(["dev", "prod"]), help="dev: no cache. prod: every cache.")


@click.command(short_help="Build and start a folder's compose services.")
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


@click.command(short_help="Stop and remove what up has started.")
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


@click.command(short_help="Run a folder's services with live reload.")
@_path
@_service
@_profile
@json_option
def dev(path: str, service: str | None, profile: Profile | None, as_json: bool) -> None:
    """Start a folder's services, and bring every change of a file to them until Ctrl-C, which stops them.

    What the compose file says under develop.watch is done; of other services a file that is only copied into the image
    is copied into the container, which is started again unless its command reloads by itself, and all else builds the
    image anew.

    Example: dockwright dev ~/shop
    """
    from dockwright.services import dev as live
    from dockwright.services.build import BuildOptions

    state, cancel, build, tell = _begin(as_json, has_deadline=False)
    options = BuildOptions(profile=profile, service=service, is_for_up=True, deploy=False, until="build")
    error = live.dev(
        state,
        path,
        options,
        lambda request: build(state, request, cancel),
        cancel,
        tell,
        _json_line if as_json else _report,
    )
    if error is not None:
        _fail(error)


def _json_line(event: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def _report(event: dict[str, Any]) -> None:
    match event["event"]:
        case "ready":
            _table(event)
        case "watching":
            say(f"The files of {', '.join(event['services'])} are watched. Ctrl-C stops the services")
        case _:
            files = event["files"]
            what = ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
            if event["event"] == "failed":
                show_error(by_code(event["error"]), as_json=False)
            how = event.get("action", "failed")
            say(f"{what}: {' and '.join(event['services'])} {how} in {seconds(event['seconds'])}")
    sys.stdout.flush()


def _here() -> State:
    """Raises `UsageError` where the commands are to work at a server."""
    state = open_state()
    if state.settings.server_url is not None:
        raise UsageError(
            "The services of a folder run on this machine, and DOCKWRIGHT_URL names a server",
            remedy="Unset DOCKWRIGHT_URL for this command",
        )
    return state


def _begin(as_json: bool, *, has_deadline: bool = True) -> Any:
    import time

    from dockwright.cli.build import watcher
    from dockwright.queue.runner import run_claimed

    state = _here()
    cancel = cancel_on_signal(time.monotonic() + state.settings.timeout_seconds if has_deadline else None)

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
        _fail(document["error"])
    if as_json:
        return
    _table(document)
    say(f"Ready in {seconds(document['seconds'])}. Stop it with: dockwright down {path}")


def _fail(error: dict[str, Any]) -> None:
    raised = by_code(error)
    show_error(raised, as_json=False)
    sys.exit(raised.exit_code)


def _table(document: dict[str, Any]) -> None:
    table(("SERVICE", "STATE", "ADDRESS", "IMAGE"), (_row(one) for one in document["services"]))


def _row(one: dict[str, Any]) -> tuple[str, str, str, str]:
    state = one["health"] or ("done" if one["exit_code"] == 0 else one["status"])
    return one["service"], state, ", ".join(_address(port) for port in one["ports"]), one["image"]


def _address(port: dict[str, Any]) -> str:
    host = "127.0.0.1" if port["address"] in {"", "0.0.0.0", "::"} else port["address"]  # noqa: S104 - shown, not bound
    return f"{host}:{port['port']}→{port['container_port'].removesuffix('/tcp')}"
