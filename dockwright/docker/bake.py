"""Several images in one run of `buildx bake`: the file as a pure function of the plans, and whose each step is.

BuildKit's steps come in one stream, each named after its target: `[web 2/5] RUN …`. Two targets that share a step have
it under one digest, and its output then comes once for each of them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from dockwright import process
from dockwright.docker.buildx import ENVIRONMENT, Build, build_contexts, find_plugin
from dockwright.docker.rawjson import LogLine, Splitter, Vertex
from dockwright.domain.image import Step
from dockwright.domain.plan import ServicePlan
from dockwright.domain.redaction import NO_SECRETS, Redactor
from dockwright.errors import DockwrightError
from dockwright.process import Cancel

Watch: TypeAlias = Callable[[str, Vertex | LogLine], None]
"""Service, and its news."""


def target_names(plans: Sequence[ServicePlan]) -> dict[str, str]:
    """Service → target: bake takes letters, digits, _ and -, where compose takes dots as well."""
    names: dict[str, str] = {}
    for plan in plans:
        name = "".join(letter if letter.isalnum() or letter in "_-" else "_" for letter in plan.service)
        while name in names.values():
            name += "_"
        names[plan.service] = name
    return names


def bake_file(plans: Sequence[ServicePlan]) -> dict[str, Any]:
    """As bake reads it: a target a plan, all of them in the default group."""
    names = target_names(plans)
    targets = {names[plan.service]: _target(plan, names) for plan in plans}
    return {"group": {"default": {"targets": list(targets)}}, "target": _escaped(targets)}


def _target(plan: ServicePlan, names: Mapping[str, str]) -> dict[str, Any]:
    target: dict[str, Any] = {
        "context": str(plan.context),
        "dockerfile": str(plan.dockerfile),
        "args": dict(plan.args),
        "contexts": {name: _place(place, names) for name, place in build_contexts(plan).items()},
        "labels": dict(plan.labels),
        "tags": list(plan.tags),
        "secret": list(plan.secrets),
        # An attestation would give equal content a new digest with each build.
        "attest": ["type=provenance,disabled=true"],
    }
    if plan.target:
        target["target"] = plan.target
    if plan.platform:
        target["platforms"] = [plan.platform]
    if plan.no_cache:
        target["no-cache"] = True
    return {name: value for name, value in target.items() if value}


def _place(place: str, names: Mapping[str, str]) -> str:
    kind, colon, service = place.partition(":")
    return f"target:{names[service]}" if kind == "service" and colon else place


def _escaped(value: Any) -> Any:
    """In a bake file `${` and `%{` begin what is to be put in, in names of arguments as well."""
    if isinstance(value, str):
        return value.replace("${", "$${").replace("%{", "%%{")
    if isinstance(value, dict):
        return {_escaped(name): _escaped(each) for name, each in value.items()}
    return [_escaped(each) for each in value] if isinstance(value, list) else value


class Bake:
    """One run of bake: `run` it once, then ask for the services' `digests`, `steps` and `seconds`."""

    def __init__(self, plans: Sequence[ServicePlan], metadata_file: Path, redact: Redactor = NO_SECRETS) -> None:
        self.plans = plans
        self.metadata_file = metadata_file
        self.names = target_names(plans)
        self.builds = {plan.service: Build(plan, metadata_file, redact) for plan in plans}
        self.digests: dict[str, str] = {}
        self.seconds: dict[str, float] = {}
        """Until a service's image was there."""
        self._by_target = {name: service for service, name in self.names.items()}
        self._first: dict[str, str] = {}
        """Vertex → the service that it came with first: its output is that one's."""
        self._seen: set[tuple[str, int, str]] = set()
        self._splitter = Splitter()

    def run(self, watch: Watch, cancel: Cancel, env: Mapping[str, str] | None = None) -> None:
        """As `Build.run`, for all. The error of one that fails names its service."""
        started = time.monotonic()

        def take(chunk: bytes) -> None:
            for item in self._splitter.feed(chunk):
                self._take(item, watch, started)

        command = [find_plugin(), "bake", "--builder=default", "--progress=rawjson"]
        command += [f"--metadata-file={self.metadata_file}", "--file=-"]
        text = json.dumps(bake_file(self.plans)).encode("utf-8", "surrogateescape")
        done = process.run(command, env={**ENVIRONMENT, **(env or {})}, stdin=text, cancel=cancel, on_stderr=take)
        for item in self._splitter.close():
            self._take(item, watch, started)
        for service, build in self.builds.items():
            for line in build.progress.close():
                watch(service, line)
        if done.returncode != 0:
            raise self._failure(done.returncode)
        metadata = json.loads(self.metadata_file.read_text())
        for service, name in self.names.items():
            self.digests[service] = metadata[name]["containerimage.config.digest"]
            self.seconds.setdefault(service, time.monotonic() - started)

    def steps(self, service: str) -> tuple[Step, ...]:
        """Its own: BuildKit tells it those of the services that it is built on as well."""
        plans = {plan.service: plan for plan in self.plans}
        behind: set[str] = set()
        pending = [service]
        while pending:
            places = plans[pending.pop()].contexts.values()
            names = {place.removeprefix("service:") for place in places if place.startswith("service:")}
            pending += names - behind
            behind |= names
        others = {digest for name in behind for digest in self.builds[name].progress.vertices}
        return self.builds[service].steps(without=others)

    def _take(self, item: dict[str, Any] | str, watch: Watch, started: float) -> None:
        if isinstance(item, str):
            for build in self.builds.values():
                build.take(item, lambda _: None)
            return
        for service, part in self._parts(item):
            self.builds[service].take(part, lambda news, service=service: watch(service, news))  # type: ignore[misc]
            if any(entry["name"] == "exporting to image" and entry.get("completed") for entry in part["vertexes"]):
                self.seconds[service] = time.monotonic() - started

    def _parts(self, document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """What is each service's of it, under the names that a build of its own would have."""
        parts: dict[str, dict[str, Any]] = {}
        for entry in document.get("vertexes") or ():
            service, name = self._owner(entry.get("name", ""))
            if service is not None:
                self._first.setdefault(entry["digest"], service)
                part = parts.setdefault(service, {"vertexes": [], "logs": []})
                part["vertexes"].append({**entry, "name": name})
        for entry in document.get("logs") or ():
            key = (entry["vertex"], int(entry.get("stream", 1)), entry.get("timestamp", ""))
            service = self._first.get(entry["vertex"])
            if service is not None and key not in self._seen:
                self._seen.add(key)
                parts.setdefault(service, {"vertexes": [], "logs": []})["logs"].append(entry)
        yield from parts.items()

    def _owner(self, name: str) -> tuple[str | None, str]:
        """`[web 2/5] RUN x` → (web, `[2/5] RUN x`), `[web] exporting to image` → (web, `exporting to image`)."""
        head, bracket, rest = name.removeprefix("[").partition("]")
        target, _, inner = head.partition(" ")
        service = self._by_target.get(target) if name.startswith("[") and bracket else None
        return service, f"[{inner}]{rest}" if inner else rest.lstrip()

    def _failure(self, status: int) -> DockwrightError:
        """That of the service whose step failed of itself, rather than of one that was ended because of it."""
        failed = [(service, vertex) for service, build in self.builds.items() for vertex in build.failed_vertices()]
        own = [service for service, vertex in failed if "canceled" not in vertex.error]
        service = next(iter(own or [service for service, _ in failed]), None)
        if service is None:
            return next(iter(self.builds.values())).failure(status)
        return of_service(self.builds[service].failure(status), service)


def of_service(error: DockwrightError, service: str) -> DockwrightError:
    """The same, with the service's name in it."""
    error.message = f"Service {service}: {error.message[:1].lower()}{error.message[1:]}"
    if error.step:
        error.step = shown_step(service, error.step)
    return error


def shown_step(service: str, name: str) -> str:
    """With its service, as BuildKit shows a step beside those of others."""
    return f"[{service} {name[1:]}" if name.startswith("[") else f"[{service}] {name}"
