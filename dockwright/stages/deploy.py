"""deploy: Release → Instances that have the traffic; the old ones are stopped once the build has succeeded."""

from __future__ import annotations

from dataclasses import replace

from dockwright.docker.engine import Document, Engine
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


def live_already(ctx: StageContext, release: Release) -> Deployed | None:
    """What has the traffic, where that is the same release but for its number, all of it healthy; else none.

    Nothing is to be started then: a new release would be the same again, and a restart for nothing.
    """
    assert ctx.live is not None and ctx.live.product is not None, "the runner hands them to every build that deploys"
    product, instances, current = ctx.live.product, ctx.live.instances, ctx.live.release
    if current is None or current != replace(
        release, number=current.number, revision=current.revision, build_id=current.build_id
    ):
        return None
    edge, engine = Edge(ctx.settings), Engine()
    if not edge.is_running(product) or len(instances) != product.replicas:
        return None
    if set(edge.live(product)) != {(one.address, one.port) for one in instances}:
        return None
    if not all(_runs_well(engine.container(one.container_id), release.digest) for one in instances):
        return None
    ctx.log(f"Release {current.number} is live already with this image")
    return Deployed(
        product=product,
        release=current,
        instances=instances,
        previous=(),
        url=edge.url(product),
        seconds_to_healthy=0.0,
    )


def _runs_well(container: Document | None, digest: str) -> bool:
    if container is None or container["Image"] != digest:
        return False
    state = container["State"]
    return bool(state["Running"]) and state.get("Health", {}).get("Status", "none") in {"healthy", "none"}
