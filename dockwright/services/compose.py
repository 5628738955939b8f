"""The use cases `up` and `down`: a folder's services built, started in order by compose, and waited for until healthy.

Compose starts what we built: a file of ours, laid over the folder's own, names our images and puts our labels on all
that is made. The project's name carries client and project, so that two folders of one name never meet.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockwright.db import build_rows
from dockwright.docker import builders, compose
from dockwright.docker.engine import Engine
from dockwright.domain.build import BuildRequest, History
from dockwright.domain.source import FolderSource
from dockwright.errors import NoComposeFile, NotFound, ServicesFailed, UsageError
from dockwright.insight.compose import Composition, read
from dockwright.process import Cancel
from dockwright.services.build import BuildOptions, claim_build, forget_if_never_begun
from dockwright.services.running_services import PROJECT, Awaited, listing
from dockwright.services.state import State
from dockwright.sources.detect import detect, source_key
from dockwright.stages.base_images import base_images
from dockwright.stages.context import StageContext

if TYPE_CHECKING:
    from dockwright.domain.events import Event

LABEL = "dev.dockwright."
START_INTERVAL = "500ms"
QUICK_STOP_SECONDS = 2
"""Of a container that is started anew at once."""
START_INTERVAL_API = (1, 44)
"""From Docker Engine 25 on."""
Build = Callable[[BuildRequest], dict[str, Any]]
"""Takes a claimed build through the pipeline: `queue.runner.run_claimed`, which stands above this layer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """A folder's services, ready to be started."""

    name: str
    """Compose's project name."""
    files: tuple[Path, ...]
    """The folder's own, and ours over them."""
    composition: Composition
    document: Mapping[str, Any]
    wanted: frozenset[str]
    build: dict[str, Any] = field(default_factory=dict)
    """What the build ended with."""
    request: BuildRequest

    def run(self, *words: str, cancel: Cancel, say: Callable[[str], None]) -> tuple[int, list[str]]:
        return compose.run(self.files, self.name, *words, cancel=cancel, say=say)


def folder_of(path: str) -> tuple[FolderSource, tuple[Path, ...]]:
    """Raises `UsageError` for what is no folder, `NoComposeFile`."""
    source = detect(path)
    if not isinstance(source, FolderSource):
        raise UsageError(f"{path} is no folder here", remedy="Check it out, and give the folder with its compose file")
    files = compose.find_files(Path(source.path))
    if not files:
        raise NoComposeFile(
            f"{source.path} has no compose file", remedy="Write a compose.yaml, or build it with: dockwright build"
        )
    return source, files


def project_name(client: str, project: str) -> str:
    """Slugs have no underscore: "a-b" and "c" are not "a" and "b-c"."""
    return f"{client}_{project}"


def up(
    state: State, path: str, options: BuildOptions, build: Build, cancel: Cancel, say: Callable[[str], None]
) -> dict[str, Any]:
    """Builds and starts the services and waits for them; what is told of each, CONTRACT, `up`.

    Where the build fails its document's `error` is the answer's, and nothing is started. Raises `Unhealthy` for a
    service that ends or never becomes healthy, `ServicesFailed` for what compose refuses: what was started stays then.
    """
    started = time.time()
    services, error = prepare(state, path, options, build, cancel, say)
    if services is None or error is not None:
        return {"project": None, "services": [], "seconds": round(time.time() - started, 3), "error": error}
    start(services, cancel, say)
    return {**told(services), "seconds": round(time.time() - started, 3), "error": None}


def told(services: Services) -> dict[str, Any]:
    """What runs, a service each."""
    built = {one["service"]: one for one in services.build["services"]}
    return {
        "project": services.name,
        "build_id": services.build["build_id"],
        "services": [
            {**one.as_dict(), "reused": built[one.service]["reused"] if one.service in built else None}
            for one in listing(Engine(), services.name)
            if one.service in services.wanted
        ],
    }


def prepare(
    state: State, path: str, options: BuildOptions, build: Build, cancel: Cancel, say: Callable[[str], None]
) -> tuple[Services | None, dict[str, Any] | None]:
    """The services, built; or the error of the build."""
    source, files = folder_of(path)
    request = claim_build(state, source.path, options)
    document = build(request)
    forget_if_never_begun(state, request, document)
    if document["error"] is not None:
        return None, document["error"]
    canonical = compose.config(files, is_trusted=True, cancel=cancel)
    composition = read(canonical)
    services = frozenset(composition.services)
    wanted = services if options.service is None else composition.with_needs(options.service)
    images = {one["service"]: one["image"] for one in document["services"]}
    bases = _other_images(
        state, request, {name: composition.images[name] for name in wanted & {*composition.images}}, cancel, say
    )
    over = override(canonical, _labels(request), {**images, **bases}, wanted, Engine())
    file = _write(state, request, over)
    return (
        Services(
            name=project_name(request.client, request.project),
            files=(*files, file),
            composition=composition,
            document=canonical,
            wanted=wanted,
            build=document,
            request=request,
        ),
        None,
    )


def start(
    services: Services, cancel: Cancel, say: Callable[[str], None], *, only: frozenset[str] | None = None
) -> None:
    """In the order of their dependencies, and until all are healthy. `only`: of those that run already, these anew."""
    wanted = services.wanted if only is None else only
    words = ["up", "--detach", "--no-build", "--quiet-pull"]
    words += ["--remove-orphans"] if wanted == {*services.composition.services} else []
    # What a container was given since it was made is not in its image.
    words += ["--no-deps", "--force-recreate", f"--timeout={QUICK_STOP_SECONDS}"] if only is not None else []
    engine = Engine()
    began = time.time()
    status, said = services.run(*words, *sorted(wanted), cancel=cancel, say=say)
    awaited = Awaited(engine, services.name, wanted, since=began)
    if status != 0:
        awaited.raise_if_failed()
        raise ServicesFailed(
            f"The services could not be started: {_last(said)}",
            remedy=f"Correct it and try again; what runs is stopped by: dockwright down {services.files[0].parent}",
            last_lines=said[-10:-1],
        )
    awaited.wait(cancel)


def down(
    state: State, path: str, cancel: Cancel, say: Callable[[str], None], *, volumes: bool = False
) -> dict[str, Any]:
    """Stops and removes what `up` has started; with `volumes`, what the services have stored too."""
    source, _ = folder_of(path)
    project = build_rows.find_project(state.connection, state.client_id, source_key(source))
    if project is None:
        raise NotFound(f"Nothing was started from {source.path}", remedy=f"Start it with: dockwright up {path}")
    name = project_name(state.client, project["slug"])
    engine = Engine()
    removed = [one.name for one in listing(engine, name)]
    stop(name, cancel, say, volumes=volumes)
    return {"project": name, "removed": removed, "volumes_removed": volumes}


def stop(name: str, cancel: Cancel, say: Callable[[str], None], *, volumes: bool = False) -> None:
    """All of a compose project, found by its labels: its file may be another by now."""
    words = ["down", "--remove-orphans", *(["--volumes"] if volumes else [])]
    status, _ = compose.run((), name, *words, cancel=cancel, say=say)
    if status != 0:
        # It refuses a project of which a service that another depends on has no container any more.
        _remove_all(name, volumes=volumes)


def _remove_all(name: str, *, volumes: bool) -> None:
    engine, labels = Engine(), {PROJECT: name}
    for container in engine.containers(labels):
        engine.stop_container(container["Id"])
        engine.remove_container(container["Id"], volumes=volumes)
    for network in engine.networks(labels):
        engine.remove_network(network["Id"])
    for volume in engine.volumes(labels) if volumes else ():
        engine.remove_volume(volume["Name"])


def _last(said: list[str]) -> str:
    return said[-1].removeprefix("Error response from daemon: ") if said else "compose said nothing"


# --- the file that is laid over the folder's own --------------------------------------------------------------------


def override(
    document: Mapping[str, Any],
    labels: Mapping[str, str],
    images: Mapping[str, str],
    wanted: frozenset[str],
    engine: Engine,
) -> dict[str, Any]:
    """A compose file. `images`: by service, those that are on the engine and are to be used as they are."""
    is_quick = _knows_start_interval(engine)
    services = {}
    for name in sorted(wanted):
        service = document["services"][name]
        over: dict[str, Any] = {"labels": {**labels, f"{LABEL}service": name}}
        if name in images:
            over |= {"image": images[name], "pull_policy": "never"}
        check = _health_check(service, engine.image(images.get(name) or service["image"])) if is_quick else None
        if check is not None:
            over["healthcheck"] = check
        services[name] = over
    kinds = {kind: _labelled(document.get(kind) or {}, labels) for kind in ("networks", "volumes")}
    return {"services": services, **{kind: found for kind, found in kinds.items() if found}}


def _labelled(resources: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
    return {name: {"labels": dict(labels)} for name, one in resources.items() if not (one or {}).get("external")}


def _health_check(service: Mapping[str, Any], image: Mapping[str, Any] | None) -> dict[str, str] | None:
    """Asked twice a second until the first usual look; none where there is no check, or it says that itself.

    With the usual interval of 30 s an engine first asks after 30 s. Looks before that count for nothing but success.
    """
    own = service.get("healthcheck") or {}
    inherited = ((image or {}).get("Config") or {}).get("Healthcheck") or {}
    test = own.get("test") or inherited.get("Test") or ["NONE"]
    if own.get("disable") or test[0] == "NONE" or "start_interval" in own or inherited.get("StartInterval"):
        return None
    quick = {"start_interval": START_INTERVAL}
    if "start_period" not in own and not inherited.get("StartPeriod"):
        usual = inherited.get("Interval")
        quick["start_period"] = own.get("interval") or (f"{usual // 1_000_000}ms" if usual else "30s")
    return quick


def _knows_start_interval(engine: Engine) -> bool:
    return tuple(int(part) for part in engine.version()["ApiVersion"].split(".")) >= START_INTERVAL_API


def _labels(request: BuildRequest) -> dict[str, str]:
    """The same with each `up`, or compose would start everything anew; a container has its build from its image."""
    return {f"{LABEL}managed": "true", f"{LABEL}client": request.client, f"{LABEL}project": request.project}


def missing(state: State, project: str, standing: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Service → how many containers there are of how many, where some are missing: of what `up` has started last.

    `standing` as the plan has it. Nothing is missing where nothing of the project is there at all: it was stopped.
    """
    there = Counter(one.service for one in listing(Engine(), project_name(state.client, project)))
    file = _override_file(state, state.client, project)
    if not there or not file.is_file():
        return {}
    started = json.loads(file.read_bytes())["services"]
    wanted = {name: standing.get(name, 0) for name in started}
    return {name: (there[name], count) for name, count in wanted.items() if there[name] < count}


def _override_file(state: State, client: str, project: str) -> Path:
    return state.settings.home / "services" / f"{client}.{project}.json"


def _write(state: State, request: BuildRequest, over: Mapping[str, Any]) -> Path:
    file = _override_file(state, request.client, request.project)
    folder = file.parent
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f"{file.name}.{os.urandom(4).hex()}"
    # A dollar begins a variable in a compose file, whichever way it is written.
    aside.write_text(json.dumps(over, indent=1).replace("$", "$$"), encoding="utf-8")
    aside.replace(file)
    return file


def _other_images(
    state: State, request: BuildRequest, images: Mapping[str, str], cancel: Cancel, say: Callable[[str], None]
) -> dict[str, str]:
    """Service → local image, for those that are not built and that a local one stands for; the rest are pulled."""

    ctx = stage_context(state, request, cancel, say)
    bases = base_images(ctx, Engine(), tuple(sorted({*images.values()})))
    for ref, local in bases.substitutes.items():
        say(f"{local} stands for {ref}")
    return {name: bases.substitutes[image] for name, image in images.items() if image in bases.substitutes}


def stage_context(state: State, request: BuildRequest, cancel: Cancel, say: Callable[[str], None]) -> StageContext:
    """For what a stage does when no build runs. Its workspace is the caller's to remove."""

    def sink(event: Event) -> None:
        say(event.text)

    return StageContext(
        request=request,
        settings=state.settings,
        history=History(),
        workspace=state.settings.workspace_dir / f"verify-{os.getpid()}-{os.urandom(3).hex()}",
        sink=sink,
        cancel=cancel,
        # What a builder was sent is remembered by its name: looking must not seem like a change of the builder.
        builder=builders.builder_for(state.settings, state.client),
    )
