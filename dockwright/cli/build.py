"""`dockwright build`: the pipeline, from a folder, a Git URL or a project to a verified container."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from dockwright.cli.output import counted, json_option, number, pairs, print_json, say, seconds, show_error, size
from dockwright.cli.session import use_cases
from dockwright.domain.build import STAGE_NAMES, Profile, StageName

if TYPE_CHECKING:
    from dockwright.cli.use_cases import Run


def _once(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> str | None:
    """Of an option that other tools take several times: the first would be lost without a word."""
    if len(values) > 1:
        raise click.BadParameter("is given more than once, and an image gets one tag", param=parameter)
    return values[0] if values else None


@click.command()
@click.argument("source", metavar="[PATH|PROJECT]", default=".")
@click.option("--profile", type=click.Choice(["dev", "prod"]), help="dev: no cache, fresh bases. prod: every cache.")
@click.option("--service", metavar="S", help="One service of several.")
@click.option(
    "--tag", metavar="T", multiple=True, callback=_once, help="Tag of the image; b and the build's number unless set."
)
@click.option(
    "--build-arg",
    metavar="K=V",
    multiple=True,
    help="A build argument; a name alone takes its value from the environment.",
)
@click.option("--secret", metavar="id=…,src=…", multiple=True, help="A build secret.")
@click.option("--env", metavar="K=V", multiple=True, help="Environment of the running app.")
@click.option("--port", type=click.IntRange(1, 65535), help="The port that the product is reached at.")
@click.option("--no-cache", is_flag=True, help="Run every step again.")
@click.option("--no-deploy", is_flag=True, help="Stop when the image is tested, and pushed where a registry is set.")
@click.option("--until", metavar="STAGE", type=click.Choice(STAGE_NAMES), help="The last stage to run.")
@json_option
def build(
    source: str,
    profile: Profile | None,
    service: str | None,
    tag: str | None,
    build_arg: tuple[str, ...],
    secret: tuple[str, ...],
    env: tuple[str, ...],
    port: int | None,
    no_cache: bool,
    no_deploy: bool,
    until: StageName | None,
    as_json: bool,
) -> None:
    """Build, test, deploy and verify a folder, a Git ref or a project.

    Example: dockwright build ~/my-app --port 8080
    """
    from dockwright.insight import ahead

    ahead.begin(source)
    from dockwright.services.build import BuildOptions

    options = BuildOptions(
        profile=profile,
        service=service,
        tag=tag,
        args=pairs(build_arg, "--build-arg", os.environ),
        secrets=secret,
        env=pairs(env, "--env"),
        port=port,
        no_cache=no_cache,
        deploy=not no_deploy,
        until=until,
    )
    _watch(use_cases().begin_build(source, options), as_json)


@click.command(short_help="Do a build once more, as a new build.")
@click.argument("build", type=number)
@json_option
def retry(build: int, as_json: bool) -> None:
    """Do a build once more: the same project, ref and options, as a new build.

    Secrets and values of the environment that a command on this machine was given are not kept: give them to
    dockwright build.

    Example: dockwright retry 12
    """
    _watch(use_cases().begin_retry(build), as_json)


def _watch(run: Run, as_json: bool) -> None:
    watch = watcher(as_json)
    try:
        document = run(watch)
    finally:
        watch.close()
    if as_json:
        print_json(document)
    _finish(document, as_json)


def watcher(as_json: bool) -> Any:
    stream = sys.stderr if as_json else sys.stdout
    if stream.isatty():
        from dockwright.cli.live import Live

        return Live(stream)
    from dockwright.cli.plain import PlainBuild

    return PlainBuild(stream)


def _finish(document: dict[str, Any], as_json: bool) -> None:
    error = document["error"]
    if error is not None:
        from dockwright.errors import by_code

        raised = by_code(error)
        show_error(raised, as_json=False)
        sys.exit(raised.exit_code)
    if as_json:
        return
    if document.get("build_date"):
        say(f"Source    {_source(document)}")
    for service in document["services"]:
        how = "reused, nothing changed" if service["reused"] else f"built in {seconds(service['seconds'])}"
        context = f"{counted(service['context_files'], 'file')}, {size(service['context_bytes'])}"
        say(f"Image     {service['image']} ({how}; context of {context})")
        if service["pushed"]:
            say(f"Pushed    {service['pushed']['tag']} as {service['pushed']['digest']}")
    if document["proof"]:
        say(f"Verified  {document['proof']['summary']}")
    if document["deployment_url"]:
        say(f"Address   {document['deployment_url']}")
    say(f"Build {document['build_id']} {document['status']} in {seconds(document['seconds'])}")


def _source(document: dict[str, Any]) -> str:
    """The commit and the build's date, which an image of it carries as labels."""
    commit, dash, _ = (document["revision"] or "").partition("-dirty")
    told = [f"commit {commit[:12]}{' with changes that were not committed' if dash else ''}"] if commit else []
    return ", ".join([*told, f"build date {document['build_date']}"])
