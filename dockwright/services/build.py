"""The use case `build`: what the user typed becomes one frozen request and one row, which the runner takes."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dockwright.db import build_rows
from dockwright.db.stored import storable
from dockwright.domain.build import BuildRequest, Profile, StageName
from dockwright.domain.plan import secret_id, stored_secret
from dockwright.domain.source import GitSource, Source, source_from_json
from dockwright.errors import UsageError
from dockwright.process import identity
from dockwright.services.state import State
from dockwright.sources.detect import detect, is_path, name_of, source_key

if TYPE_CHECKING:
    from dockwright.db.queue import Claim

_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """What a user may ask of one build beside what the project says."""

    profile: Profile | None = None
    ref: str | None = None
    """Of a project in Git: another one than the project's."""
    service: str | None = None
    is_for_up: bool = False
    """The folder's services are to be started."""
    tag: str | None = None
    args: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    port: int | None = None
    no_cache: bool = False
    deploy: bool = True
    until: StageName | None = None


def claim_build(state: State, argument: str, options: BuildOptions) -> BuildRequest:
    """Finds or makes the project, inserts the build as claimed by this process, and returns what it is to do.

    Raises `UsageError` for a tag or a secret that cannot be, and then nothing is inserted.
    """
    check(options)
    project, is_new = _project(state, argument)
    settings = project["build"]
    profile: Profile = options.profile or settings.get("profile") or "prod"
    source = _at(source_from_json(project["source"]), options.ref)
    ref = source.ref if isinstance(source, GitSource) else None
    values = _secret_values(state, project)
    build_id = build_rows.insert_claimed(
        state.connection,
        client_id=state.client_id,
        project_id=project["id"],
        profile=profile,
        ref=None if ref is None else storable(ref),
        # Secrets are named by their ids alone, and values of the environment may be secrets too.
        options={
            "args": dict(options.args),
            "secrets": [secret_id(secret) for secret in options.secrets],
            "env": sorted(options.env),
            "tag": options.tag,
            "port": options.port,
            "no_cache": options.no_cache,
            "deploy": options.deploy,
            "until": options.until,
            "service": options.service,
            "is_for_up": options.is_for_up,
        },
        worker=identity(),
    )
    request = _request(state, project, source, options, build_id=build_id, profile=profile)
    return replace(request, is_project_new=is_new, secret_values=values)


def request_of(state: State, claim: Claim) -> BuildRequest:
    """What a build of the queue is to do: its project as it is now, and what was asked and uploaded by then."""
    from dockwright.db import queue

    row = queue.asked(state.connection, claim.build_id)
    project, state.client, state.actor = row["project"], row["client"], row["by"]
    source = _at(source_from_json(row["options"].get("upload") or project["source"]), row["ref"])
    profile: Profile = "dev" if row["profile"] == "dev" else "prod"
    options = BuildOptions(**_asked(state, row["options"]))
    request = _request(state, project, source, options, build_id=claim.build_id, profile=profile)
    values = _secret_values(state, project)
    request = replace(request, attempt=claim.attempt, losses=claim.losses)
    return replace(request, is_queued=True, is_remote=True, secret_values=values)


def _secret_values(state: State, project: dict[str, Any]) -> dict[str, str]:
    """Raises `NotFound` for one that the project names and that is not stored."""
    wanted = {*project["build"].get("secrets", ()), *project["deploy"].get("secrets", ())}
    if not wanted:
        return {}
    from dockwright.services import secrets

    return secrets.values(state, project["id"], wanted)


def _at(source: Source, ref: str | None) -> Source:
    return replace(source, ref=ref) if ref is not None and isinstance(source, GitSource) else source


def asked_of(state: State, build_id: int) -> tuple[str, BuildOptions]:
    """The project of an older build and what it was asked, to be asked once more. Raises `NotFound`."""
    from dockwright.services import builds, projects

    row = builds.get(state, build_id)
    profile: Profile = "dev" if row.profile == "dev" else "prod"
    options = BuildOptions(profile=profile, ref=row.ref, **_asked(state, row.options))
    return projects.get(state, row.project_id)["slug"], options


_KEPT = frozenset({"args", "tag", "port", "no_cache", "deploy", "until", "service", "is_for_up"})
"""Options that a build's row holds in full; of secrets it holds the names alone."""


def _asked(state: State, row_options: Mapping[str, Any]) -> dict[str, Any]:
    """As `BuildOptions` takes it. Only a build of the queue keeps its environment's values, encrypted."""
    asked = {name: value for name, value in row_options.items() if name in _KEPT}
    env = row_options.get("env")
    if not env or not isinstance(env, dict):
        return asked
    from dockwright.services import secrets

    return {**asked, "env": secrets.unseal(state, env)}


def _request(
    state: State, project: dict[str, Any], source: Source, options: BuildOptions, *, build_id: int, profile: Profile
) -> BuildRequest:
    settings, deploy = project["build"], project["deploy"]
    given = {secret_id(secret) for secret in options.secrets}
    stored = [stored_secret(name) for name in settings.get("secrets", ()) if name not in given]
    return BuildRequest(
        build_id=build_id,
        client=state.client,
        project=project["slug"],
        project_id=project["id"],
        name=project["name"],
        description=project["description"],
        source=source,
        profile=profile,
        service=options.service,
        is_for_up=options.is_for_up,
        dockerfile=settings.get("dockerfile"),
        target=settings.get("target"),
        tag=options.tag,
        args={**settings.get("args", {}), **options.args},
        secrets=(*options.secrets, *stored),
        run_secrets=tuple(deploy.get("secrets", ())),
        # What the product was given before holds on, and the test stage must have it too.
        env={
            **build_rows.product_env(state.connection, project["id"]),
            **deploy.get("env_vars", {}),
            **options.env,
        },
        port=options.port or deploy.get("port"),
        no_cache=options.no_cache,
        deploy=options.deploy,
        until=options.until,
    )


def forget_if_never_begun(state: State, request: BuildRequest, document: dict[str, Any]) -> None:
    """A project that this very build made, and of which not a step could be begun, was a slip: nothing of it stays.

    No Dockerfile, or one with a syntax error, a repository or a base that cannot be reached: there is no log to read
    beyond the error itself. `document`, the build's, then names no build any more. What has begun to build stays, with
    its log, and so does a project that was there before.
    """
    (build_stage,) = [stage for stage in document["stages"] if stage["stage"] == "build"]
    if not request.is_project_new or document["error"] is None or build_stage["status"] != "pending":
        return
    from dockwright.services import projects
    from dockwright.stages import staging

    if projects.remove_slip(state, request.project_id, request.build_id):
        staging.remove_all(state.settings.home, request.client, request.project)
        document["build_id"] = None


def check(options: BuildOptions) -> None:
    """Raises `UsageError` for a tag or a secret that cannot be."""
    if options.tag and not _TAG.fullmatch(options.tag):
        raise UsageError(
            f"{options.tag!r} cannot be the tag of an image",
            remedy="A tag has up to 128 letters, digits, _ . and -, and begins with none of the last two",
        )
    for secret in options.secrets:
        fields = dict(part.partition("=")[::2] for part in secret.split(","))
        file, variable = fields.get("src") or fields.get("source"), fields.get("env")
        if not fields.get("id") or not fields.keys() <= {"id", "type", "src", "source", "env"}:
            # It is not shown: who forgets the form may have given the secret itself.
            raise UsageError("A secret is not of the form id=…,src=…", remedy="See: dockwright build --help")
        if file and not os.path.isfile(file):
            raise UsageError(f"The secret {fields['id']} has no file {file}", remedy="Give the path of a file as src=…")
        if variable and variable not in os.environ:
            raise UsageError(f"The secret {fields['id']} has no variable {variable}", remedy=f"Set {variable} first")


def _project(state: State, argument: str) -> tuple[dict[str, Any], bool]:
    """The project, and whether it was made just now."""
    if not is_path(argument):
        from dockwright.services import projects

        # `app#v2` may be a repository at a ref, and may be the name that somebody gave a project: the name wins.
        if "#" not in argument or projects.is_known(state, argument):
            return projects.find(state, argument), False
    source = detect(argument)
    key = source_key(source)
    found = build_rows.find_project(state.connection, state.client_id, key)
    is_new = found is None
    if found is None:
        from dockwright.services import projects

        projects.create_from_source(state, source, key, name_of(source))
        found = build_rows.find_project(state.connection, state.client_id, key)
        assert found is not None
    if isinstance(source, GitSource):
        # The project is the repository; the ref is this build's, and so are credentials, which are stored nowhere.
        found["source"] |= {"ref": source.ref, "url": source.url}
    return found, is_new
