"""Building on a builder that is not the engine which runs things: what it is given before, and brought back from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from dockwright.docker import builders, transfer
from dockwright.docker.engine import Engine
from dockwright.domain.plan import ServicePlan
from dockwright.stages.context import StageContext

PINNED = "localhost/pinned/"
"""What a base is called on the builder that a Dockerfile names by its digest: an image that is loaded has none."""


@contextmanager
def builder_with_bases(ctx: StageContext, engine: Engine, plan: ServicePlan) -> Iterator[tuple[Engine, ServicePlan]]:
    """The builder's engine, which has all that the plan is built on, and the plan by the names that it has them by."""
    with builders.in_use(ctx.settings, ctx.builder, ctx.log, ctx.cancel) as worker:
        substitutes = dict(plan.substitutes)
        for ref, digest in plan.bases.items():
            name = substitutes.get(ref, ref)
            if "@" in name:
                name = substitutes[ref] = f"{PINNED}{digest.removeprefix('sha256:')[:16]}:latest"
            _give(ctx, engine, worker, digest, name)
        yield worker, replace(plan, substitutes=substitutes)


def _give(ctx: StageContext, engine: Engine, worker: Engine, digest: str, name: str) -> None:
    found = worker.image(name)
    if found is not None and found["Id"] == digest:
        return
    if worker.image(digest) is None:
        ctx.log(f"Bringing {name} to the builder")
        digest = transfer.send(engine, worker, digest, ctx.cancel)
    worker.tag_image(digest, name)


def bring(ctx: StageContext, worker: Engine, engine: Engine, plan: ServicePlan, digest: str) -> str:
    """Takes the image that was built from the builder, under the plan's tags, and returns its id on our engine.

    The builder keeps its cache, which the image's layers are part of, and not the image.
    """
    ctx.log(f"Bringing {plan.tags[0]} from the builder")
    try:
        arrived = transfer.send(worker, engine, digest, ctx.cancel)
    finally:
        worker.remove_image(digest, force=True)
    for tag in plan.tags:
        engine.tag_image(arrived, tag)
    return arrived
