"""What one service is built from: the folder's Dockerfile, or what its compose file says of the service."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dockwright.domain.source import COMPOSE_FILES, Tree
from dockwright.errors import ComposeFileWrong, NoDockerfile, UnsafeSource
from dockwright.stages.context import StageContext

if TYPE_CHECKING:
    from dockwright.insight.compose import Composition, Recipe

SERVICE = "app"
"""The one service of a source without a compose file."""
MAX_NAME = 63
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def host_platform() -> str:
    machine = os.uname().machine
    return f"linux/{_ARCHITECTURES.get(machine, machine)}"


def image_part(service: str) -> str:
    """A service's name as a part of an image's: in small letters, and no two services have the same."""
    plain = re.sub(r"[^a-z0-9]+", "-", service.lower()).strip("-") or "service"
    return plain if plain == service else f"{plain}-{hashlib.sha256(service.encode()).hexdigest()[:6]}"


def find_dockerfile(root: Path, name: str | None) -> Path:
    path = root / (name or "Dockerfile")
    if path.is_file():
        return path
    raise NoDockerfile(f"{root} has no {path.name}", remedy="Write a Dockerfile there, or give the folder that has one")


def composition(ctx: StageContext, tree: Tree) -> Composition | None:
    """The folder's compose file, where that is what is asked for: a folder with a Dockerfile is built by it.

    `up` and a service's name mean the compose file all the same. Raises `ComposeFileWrong` or `UnsafeSource`.
    """
    request = ctx.request
    has_dockerfile = request.dockerfile is not None or (tree.root / "Dockerfile").is_file()
    if has_dockerfile and not request.is_for_up and request.service in {None, SERVICE}:
        _tell_left_aside(ctx, tree)
        return None
    from dockwright.docker import compose
    from dockwright.insight.compose import read

    files = compose.find_files(tree.root)
    if not files:
        return None
    is_trusted = tree.is_in_place and not request.is_queued
    found = read(compose.config(files, is_trusted=is_trusted, cancel=ctx.cancel, warn=ctx.log))
    for recipe in found.recipes:
        if not is_trusted:
            _check_inside(tree.root, recipe)
        if recipe.left_out:
            ctx.log(f"{recipe.service}: the build goes without the compose file's {', '.join(recipe.left_out)}")
    return found


def _tell_left_aside(ctx: StageContext, tree: Tree) -> None:
    file = next((name for name in COMPOSE_FILES if (tree.root / name).is_file()), None)
    if file is not None and ctx.request.dockerfile is None:
        ctx.log(f"The Dockerfile alone is built; the services of {file}: dockwright up, or build --service NAME")


def _check_inside(root: Path, recipe: Recipe) -> None:
    for path in recipe.paths:
        if not Path(path).resolve().is_relative_to(root.resolve()):
            raise UnsafeSource(
                f"The service {recipe.service} is built from {path}, which lies outside the source",
                remedy="Put what it needs into the source",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The request and the compose file, in one."""

    service: str
    shared_with: tuple[str, ...] = ()
    root: Path
    """Of the context."""
    dockerfile: Path
    target: str | None
    args: Mapping[str, str]
    secrets: tuple[str, ...]
    contexts: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    platform: str | None = None
    """None for the host's own."""
    no_cache: bool = False


def asked_of(ctx: StageContext, tree: Tree, recipe: Recipe | None) -> Asked:
    """Raises `NoDockerfile` or `ComposeFileWrong`."""
    request = ctx.request
    if recipe is None:
        return Asked(
            service=SERVICE,
            root=tree.root,
            dockerfile=find_dockerfile(tree.root, request.dockerfile),
            target=request.target,
            args=request.args,
            secrets=request.secrets,
        )
    return Asked(
        service=recipe.service,
        shared_with=recipe.shared_with,
        root=_context_of(recipe),
        dockerfile=_dockerfile_of(ctx, recipe),
        target=recipe.target,
        args={**recipe.args, **request.args},
        secrets=_secrets(recipe.secrets, request.secrets),
        contexts=recipe.contexts,
        labels=recipe.labels,
        platform=None if not recipe.platforms or host_platform() in recipe.platforms else recipe.platforms[0],
        no_cache=recipe.no_cache,
    )


def _context_of(recipe: Recipe) -> Path:
    if len(recipe.service) > MAX_NAME:
        raise ComposeFileWrong(
            f"The service's name {recipe.service} is longer than {MAX_NAME} characters", remedy="Shorten it"
        )
    if not Path(recipe.context).is_dir():
        raise ComposeFileWrong(
            f"The service {recipe.service} is built from {recipe.context}, which is no folder",
            remedy="Correct its build context in the compose file",
        )
    return Path(recipe.context)


def _dockerfile_of(ctx: StageContext, recipe: Recipe) -> Path:
    if recipe.dockerfile_inline is not None:
        path = ctx.make_workspace(f"inline-{recipe.service}") / "Dockerfile"
        path.write_text(recipe.dockerfile_inline, encoding="utf-8", errors="surrogateescape")
        return path
    path = Path(recipe.context, recipe.dockerfile or "Dockerfile")
    if not path.is_file():
        raise NoDockerfile(
            f"The service {recipe.service} has no {path}", remedy="Write it, or correct the service's build"
        )
    return path


def _secrets(composed: tuple[str, ...], given: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the command win over the file's of the same name."""
    from dockwright.domain.plan import secret_id

    names = {secret_id(secret) for secret in given}
    return (*(secret for secret in composed if secret_id(secret) not in names), *given)
