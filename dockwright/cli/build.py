"""`dockwright build`: the pipeline, from a folder, a Git URL or a project to a verified container."""

from __future__ import annotations

import signal
import sys
import time
from typing import Annotated, Any, cast

import typer

from dockwright.cli.output import Json, pairs, print_json, say, seconds, show_error, size
from dockwright.domain.build import STAGE_NAMES, Profile, StageName
from dockwright.process import Cancel


def build(
    source: Annotated[
        str, typer.Argument(metavar="[PATH|PROJECT]", help="A folder, a Git URL with #ref, or a project's name.")
    ] = ".",
    profile: Annotated[str | None, typer.Option(help="dev (no cache) or prod.", metavar="dev|prod")] = None,
    service: Annotated[str | None, typer.Option(help="One service of several.", metavar="S")] = None,
    tag: Annotated[str | None, typer.Option(help="Tag of the image; b and the build's number unless set.")] = None,
    build_arg: Annotated[list[str] | None, typer.Option(help="A build argument.", metavar="K=V")] = None,
    secret: Annotated[list[str] | None, typer.Option(help="A build secret.", metavar="id=…,src=…")] = None,
    env: Annotated[list[str] | None, typer.Option(help="Environment of the running app.", metavar="K=V")] = None,
    port: Annotated[int | None, typer.Option(help="The port that the product is reached at.", min=1, max=65535)] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Run every step again.")] = False,
    no_deploy: Annotated[bool, typer.Option("--no-deploy", help="Stop when the image is tested.")] = False,
    until: Annotated[str | None, typer.Option(help="The last stage to run.", metavar="STAGE")] = None,
    as_json: Json = False,
) -> None:
    """Build, test, deploy and verify a folder, a Git ref or a project.

    Example: dockwright build ~/my-app --port 8080
    """
    from dockwright import settings
    from dockwright.queue.runner import run_claimed
    from dockwright.services.build import BuildOptions, claim_build
    from dockwright.services.state import State

    state = State(settings.load())
    options = BuildOptions(
        profile=cast("Profile | None", _one_of(profile, ("dev", "prod"), "--profile")),
        service=service,
        tag=tag,
        args=pairs(build_arg or (), "--build-arg"),
        secrets=tuple(secret or ()),
        env=pairs(env or (), "--env"),
        port=port,
        no_cache=no_cache,
        deploy=not no_deploy,
        until=cast("StageName | None", _one_of(until, STAGE_NAMES, "--until")),
    )
    cancel = Cancel(deadline=time.monotonic() + state.settings.timeout_seconds)
    # Ctrl-C only sets the cancel: every wait looks at it, so nothing is torn in the middle of being made.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: cancel.set())
    request = claim_build(state, source, options)
    watch = _watcher(as_json)
    try:
        document = run_claimed(state, request, cancel, watch)
    finally:
        watch.close()
    if as_json:
        print_json(document)
    _finish(document, as_json)


def _one_of(value: str | None, allowed: tuple[str, ...], option: str) -> str | None:
    if value is not None and value not in allowed:
        raise typer.BadParameter(f"{value!r} is not one of: {', '.join(allowed)}", param_hint=option)
    return value


def _watcher(as_json: bool) -> Any:
    stream = sys.stderr if as_json else sys.stdout
    if stream.isatty():
        from dockwright.cli.live import Live

        return Live(stream)
    from dockwright.cli.plain import Plain

    return Plain(stream)


def _finish(document: dict[str, Any], as_json: bool) -> None:
    error = document["error"]
    if error is not None:
        from dockwright.errors import by_code

        raised = by_code(error)
        show_error(raised, as_json=False)
        raise typer.Exit(raised.exit_code)
    if as_json:
        return
    for service in document["services"]:
        how = "reused, nothing changed" if service["reused"] else f"built in {seconds(service['seconds'])}"
        context = f"{service['context_files']} files, {size(service['context_bytes'])}"
        say(f"Image     {service['image']} ({how}; context of {context})")
    if document["proof"]:
        say(f"Verified  {document['proof']['summary']}")
    if document["deployment_url"]:
        say(f"Address   {document['deployment_url']}")
    say(f"Build {document['build_id']} {document['status']} in {seconds(document['seconds'])}")
