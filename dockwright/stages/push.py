"""push: Images → Images in the registry, each with the digest that the registry gave it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from dockwright.docker import registry as registries
from dockwright.docker.engine import Engine
from dockwright.docker.registry import Registry
from dockwright.domain.image import Image, Pushed
from dockwright.stages.context import StageContext

WAIT_SECONDS = 0.1


def push(ctx: StageContext, images: tuple[Image, ...]) -> tuple[Image, ...]:
    """What a build has pushed stays in the registry though its deployment fails: the image has passed its tests."""
    registry = registries.from_settings(ctx.settings)
    assert registry is not None, "skipped where there is none"
    engine = Engine()
    pushed = {image.name: _push(ctx, engine, registry, image) for image in {one.name: one for one in images}.values()}
    return tuple(replace(image, pushed=pushed[image.name]) for image in images)


def _push(ctx: StageContext, engine: Engine, registry: Registry, image: Image) -> Pushed:
    name = registry.name_of(image.name)
    started = time.monotonic()
    digest, sent = _is_there(ctx, engine, registry, image, name), 0
    if digest is None:
        ctx.log(f"Pushing {name}")
        with _one_at_a_time(ctx, image):
            digest, sent = _send(ctx, engine, registry, image, name)
    repository = name.rpartition(":")[0]
    seconds = round(time.monotonic() - started, 3)
    return Pushed(ref=f"{repository}@{digest}", tag=name, digest=digest, bytes=sent, seconds=seconds)


def _is_there(ctx: StageContext, engine: Engine, registry: Registry, image: Image, name: str) -> str | None:
    """The registry's digest, where the tag leads to what an earlier build pushed of this very image."""
    repository = name.rpartition(":")[0]
    known = {one.registry_ref for one in ctx.history.images if one.digest == image.digest and one.registry_ref}
    digests = {ref.rpartition("@")[2] for ref in known if ref.startswith(f"{repository}@")}
    if not digests:
        return None
    found = registries.tag_digest(engine, registry, name, ctx.cancel)
    if found not in digests:
        return None
    ctx.log(f"The registry has {name} already")
    return found


def _send(ctx: StageContext, engine: Engine, registry: Registry, image: Image, name: str) -> tuple[str, int]:
    """The engine pushes an image by a name that tells where to; the name is taken from it again at the end."""
    engine.tag_image(image.digest, name)
    try:
        digest, sent = registries.push(engine, registry, name, ctx.log, ctx.cancel)
    finally:
        engine.remove_image(name)
    ctx.log(f"Pushed {name} as {digest}")
    return digest, sent


@contextmanager
def _one_at_a_time(ctx: StageContext, image: Image) -> Iterator[None]:
    """Two builds of a project with one tag must not push each other's image. The kernel lets go when a process dies."""
    project = image.name.partition(":")[0].replace("/", ".")
    path = ctx.settings.home / "locks" / f"push-{project}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while not _is_locked(file):
            ctx.cancel.sleep(WAIT_SECONDS)
        yield
    finally:
        os.close(file)


def _is_locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
