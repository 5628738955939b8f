"""Several services' images in one run of the builder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial

from dockwright.docker.bake import Bake, shown_step
from dockwright.docker.engine import Engine
from dockwright.docker.rawjson import LogLine, Vertex
from dockwright.domain.image import Image
from dockwright.domain.plan import ServicePlan
from dockwright.stages import build as stage
from dockwright.stages.context import StageContext
from dockwright.stages.explaining import Question


def build_together(
    ctx: StageContext, engine: Engine, plans: Sequence[ServicePlan], there: Mapping[str, Image]
) -> dict[str, Image]:
    """By service. `there` are those that nothing changed of, which others may be built on."""
    stage.check_disk(ctx, engine)
    for plan in plans:
        stage.say_substitutes(ctx, plan)
    folders = {plan.service: ctx.make_workspace(f"build-{plan.service}") for plan in plans}
    ready = [stage.for_this_host(ctx, stage.on_images(plan, there), folders[plan.service]) for plan in plans]
    bake = Bake(ready, folders[plans[0].service] / "metadata.json", ctx.redact)
    numbers: dict[tuple[str, str], int] = {}
    reporters = {plan.service: stage.Reporter(ctx, plan, partial(shown_step, plan.service), numbers) for plan in plans}

    def watch(service: str, news: Vertex | LogLine) -> None:
        reporters[service](news)

    questions = {plan.service: Question(ctx, engine, stage.on_images(plan, there)) for plan in plans}
    with ExitStack() as beside:
        for plan in plans:
            beside.enter_context(stage.Beside(ctx, plan, reporters[plan.service], questions[plan.service]))
            beside.enter_context(reporters[plan.service])
        bake.run(watch, ctx.cancel, stage.secret_env(ctx))
    changed = [f"{name} of {service}" for service, one in reporters.items() for name in one.changed]
    stage.check_unchanged(engine, changed, list(bake.digests.values()))
    images = {}
    for plan in plans:
        stage.remove_on_failure(ctx, engine, plan)
        images[plan.service] = stage.image_of(
            engine,
            plan,
            bake.digests[plan.service],
            seconds=bake.seconds[plan.service],
            explanation=questions[plan.service].answer(bake.steps(plan.service)),
        )
    return images
