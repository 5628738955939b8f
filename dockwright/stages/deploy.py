"""deploy: Release → Instances that have the traffic; the old ones are stopped once the build has succeeded."""

from __future__ import annotations

from dockwright.docker.engine import Engine
from dockwright.domain.product import Release
from dockwright.stages.context import StageContext
from dockwright.targets.cutover import CutOver, Deployed
from dockwright.targets.docker import DockerTarget
from dockwright.targets.edge import Edge


def deploy(ctx: StageContext, release: Release) -> Deployed:
    """Raises `PortTaken`, `Unhealthy`, `EngineError` or `EdgeError`; then the old version has not noticed."""
    assert ctx.live is not None and ctx.live.product is not None, "the runner hands them to every build that deploys"
    product = ctx.live.product
    cut_over = CutOver(
        DockerTarget(Engine(), ctx.settings),
        Edge(ctx.settings),
        product=product,
        release=release,
        live=ctx.live,
        cancel=ctx.cancel,
        log=ctx.log,
    )
    deployed = cut_over.start()
    ctx.on_failure.append(cut_over.revert)
    ctx.on_success.append(cut_over.commit)
    return deployed
