"""What of a compose file matters to a build: which images it takes, and which services run them.

Pure: it is given the canonical document (`docker.compose.config`), where every path is absolute, every variable put in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dockwright.errors import ComposeFileWrong, NotFound

Document = Mapping[str, Any]

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://|[\w.-]+@[\w.-]+:", re.ASCII)
_KEPT = frozenset(
    {
        *("context", "dockerfile", "dockerfile_inline", "target", "args", "secrets", "additional_contexts"),
        *("labels", "platforms", "no_cache"),
        # The engine's cache is used anyway, bases are as fresh as the profile wants them, and names are ours to give.
        *("cache_from", "cache_to", "pull", "tags"),
    }
)
_PLAIN = frozenset(
    {"build", "image", "ports", "expose", "networks", "restart", "container_name", "develop", "pull_policy", "platform"}
)
"""What a service may say without meaning more than its image does by itself, behind the edge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How the image of one service, or of several, is built."""

    service: str
    """The first by name of those that run it."""
    shared_with: tuple[str, ...] = ()
    context: str
    """An absolute path."""
    dockerfile: str | None = None
    """Relative to the context, or absolute."""
    dockerfile_inline: str | None = None
    target: str | None = None
    args: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    """`id=…,src=…` or `id=…,env=…`, as buildx takes it."""
    contexts: Mapping[str, str] = field(default_factory=dict)
    """Named contexts: a path, an address, `docker-image://…` or `service:NAME`."""
    labels: Mapping[str, str] = field(default_factory=dict)
    platforms: tuple[str, ...] = ()
    no_cache: bool = False
    left_out: tuple[str, ...] = ()
    """Settings of the compose file that builds here do not know."""

    @property
    def services(self) -> tuple[str, ...]:
        return (self.service, *self.shared_with)

    @property
    def paths(self) -> Iterator[str]:
        """All that it reads of the machine."""
        yield self.context
        if self.dockerfile and self.dockerfile_inline is None:
            yield str(Path(self.context, self.dockerfile))
        yield from (place for place in self.contexts.values() if place.startswith("/"))
        for secret in self.secrets:
            yield from (part.removeprefix("src=") for part in secret.split(",") if part.startswith("src="))

    @property
    def needs(self) -> tuple[str, ...]:
        """Services whose images it is built on."""
        return tuple(place.removeprefix("service:") for place in self.contexts.values() if place.startswith("service:"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """A compose file, as far as building and starting it goes."""

    services: tuple[str, ...]
    """In the order of their names."""
    recipes: tuple[Recipe, ...]
    """One an image, each after those that it is built on."""
    images: Mapping[str, str]
    """Service → image that is not built here."""
    depends_on: Mapping[str, frozenset[str]]
    standing: Mapping[str, int]
    """Service → how many containers of it there are to be; 0 for one that others wait for to end."""
    is_plain: bool
    """One service that is its image and nothing more."""

    def with_needs(self, service: str) -> frozenset[str]:
        """A service and all that it depends on. Raises `NotFound`."""
        self.check(service)
        found: set[str] = set()
        pending = [service]
        while pending:
            name = pending.pop()
            if name not in found:
                found.add(name)
                # One that no active profile starts may be named here without being there.
                pending.extend({*self.services} & self.depends_on.get(name, frozenset()))
        return frozenset(found)

    def recipes_of(self, services: frozenset[str]) -> tuple[Recipe, ...]:
        """What is built for these services, images that others are built on included."""
        wanted = {recipe.service for recipe in self.recipes if services & {*recipe.services}}
        for recipe in reversed(self.recipes):
            if recipe.service in wanted:
                wanted |= {other.service for other in self.recipes if {*recipe.needs} & {*other.services}}
        return tuple(recipe for recipe in self.recipes if recipe.service in wanted)

    def check(self, service: str) -> None:
        if service not in self.services:
            raise NotFound(
                f'The compose file has no service "{service}"',
                remedy=f"It has: {', '.join(self.services)}"
                + (" (those of a profile only where COMPOSE_PROFILES names it)" if self.services else ""),
            )


def read(document: Document) -> Composition:
    """Raises `ComposeFileWrong` for what cannot be built here."""
    services: Mapping[str, Any] = document.get("services") or {}
    secrets: Mapping[str, Any] = document.get("secrets") or {}
    recipes: dict[object, Recipe] = {}
    for name in sorted(services):
        if services[name].get("build") is not None:
            recipe = _recipe(name, services[name], secrets)
            key = _identity(recipe)
            first = recipes.get(key)
            recipes[key] = recipe if first is None else _shared(first, name)
    by_image = {services[one].get("image"): key for key, recipe in recipes.items() for one in recipe.services}
    images = {}
    for name in sorted(services):
        image = services[name].get("image")
        if services[name].get("build") is None and image in by_image:
            recipes[by_image[image]] = _shared(recipes[by_image[image]], name)
        elif services[name].get("build") is None and image:
            images[name] = image
    return Composition(
        services=tuple(sorted(services)),
        recipes=_in_order(list(recipes.values())),
        images=images,
        depends_on={name: frozenset(service.get("depends_on") or ()) for name, service in services.items()},
        standing=_standing(services),
        is_plain=len(services) == 1 and all(_is_plain(service) for service in services.values()),
    )


def _standing(services: Mapping[str, Document]) -> dict[str, int]:
    waits = (wait for service in services.values() for wait in (service.get("depends_on") or {}).items())
    ending = {name for name, how in waits if (how or {}).get("condition") == "service_completed_successfully"}
    return {name: 0 if name in ending else _replicas(service) for name, service in services.items()}


def _replicas(service: Document) -> int:
    asked = service.get("scale")
    asked = (service.get("deploy") or {}).get("replicas") if asked is None else asked
    return 1 if asked is None else int(asked)


def _recipe(name: str, service: Document, secrets: Document) -> Recipe:
    build: Document = service["build"]
    context = str(build.get("context") or ".")
    if _ADDRESS.match(context):
        raise _wrong(name, f"is built from {context}, which is no folder", "Check it out, and name its folder")
    platforms = tuple(build.get("platforms") or filter(None, [service.get("platform")]))
    return Recipe(
        service=name,
        context=context,
        dockerfile=build.get("dockerfile"),
        dockerfile_inline=build.get("dockerfile_inline"),
        target=build.get("target") or None,
        args={key: str(value) for key, value in (build.get("args") or {}).items() if value is not None},
        secrets=tuple(_secret(name, one, secrets) for one in build.get("secrets") or ()),
        contexts=dict(build.get("additional_contexts") or {}),
        labels={key: str(value) for key, value in (build.get("labels") or {}).items()},
        platforms=platforms,
        no_cache=bool(build.get("no_cache")),
        left_out=tuple(sorted(key for key, value in build.items() if value and key not in _KEPT)),
    )


def _secret(service: str, asked: Document, secrets: Document) -> str:
    source = asked["source"]
    kept: Document = secrets.get(source) or {}
    name = asked.get("target") or source
    if kept.get("file"):
        return f"id={name},src={kept['file']}"
    if kept.get("environment"):
        return f"id={name},env={kept['environment']}"
    raise _wrong(service, f"is built with the secret {source}, which is neither a file nor a variable", "Give it one")


def _identity(recipe: Recipe) -> object:
    """Equal for services that run the same image, whatever else the file says of each."""
    return (
        recipe.context,
        recipe.dockerfile,
        recipe.dockerfile_inline,
        recipe.target,
        tuple(sorted(recipe.args.items())),
        tuple(sorted(recipe.contexts.items())),
        recipe.secrets,
        tuple(sorted(recipe.labels.items())),
        recipe.platforms,
        recipe.no_cache,
    )


def _shared(recipe: Recipe, name: str) -> Recipe:
    return replace(recipe, shared_with=tuple(sorted({*recipe.shared_with, name})))


def _in_order(recipes: list[Recipe]) -> tuple[Recipe, ...]:
    """By name, but each after those that it is built on."""
    done: list[Recipe] = []
    pending = sorted(recipes, key=lambda recipe: recipe.service)
    known = {service for recipe in pending for service in recipe.services}
    while pending:
        there = {service for recipe in done for service in recipe.services}
        ready = next((one for one in pending if {*one.needs} <= there), None)
        if ready is None:
            first = pending[0]
            missing = [name for name in first.needs if name not in known]
            problem = f"{missing[0]}, which is not built" if missing else "one that is built on it"
            raise _wrong(first.service, f"is built on the service {problem}", "Correct its additional_contexts")
        pending.remove(ready)
        done.append(ready)
    return tuple(done)


def _is_plain(service: Document) -> bool:
    return all(key in _PLAIN or not value for key, value in service.items())


def _wrong(service: str, problem: str, remedy: str) -> ComposeFileWrong:
    return ComposeFileWrong(f"The service {service} {problem}", remedy=remedy)


def references(document: Document) -> Iterator[tuple[str, bool]]:
    """Paths that reading the file makes compose read, and whether those are compose files themselves.

    `document` is the file as it is written: of one from somewhere else they are looked at before compose reads any.
    """
    for entry in _list(document.get("include")):
        if isinstance(entry, Mapping):
            yield from ((str(path), True) for path in _list(entry.get("path")))
            yield from (
                (str(path), False) for key in ("env_file", "project_directory") for path in _list(entry.get(key))
            )
        else:
            yield str(entry), True
    services = document.get("services")
    for service in services.values() if isinstance(services, Mapping) else ():
        if isinstance(service, Mapping):
            yield from _service_references(service)


def _service_references(service: Document) -> Iterator[tuple[str, bool]]:
    extends = service.get("extends")
    if isinstance(extends, Mapping) and extends.get("file"):
        yield str(extends["file"]), True
    for entry in _list(service.get("env_file")):
        yield str(entry.get("path", "")) if isinstance(entry, Mapping) else str(entry), False


def _list(value: object) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]
