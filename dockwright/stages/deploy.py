"""deploy: Release → Instances that have the traffic; the old ones are stopped once the build has succeeded."""

from __future__ import annotations

from dataclasses import replace

from dockwright.docker.engine import Document, Engine
from dockwright.domain.product import LiveState, Release
from dockwright.errors import PortTaken
from dockwright.stages.context import StageContext
from dockwright.targets.cutover import CutOver, Deployed
from dockwright.targets.docker import DockerTarget
from dockwright.targets.edge import Edge
from dockwright.targets.ports import free_port

PORT_TRIES = 5


def deploy(ctx: StageContext, release: Release) -> Deployed:
    """Raises `PortTaken`, `Unhealthy`, `EngineError` or `EdgeError`; then the old version has not noticed."""
    assert ctx.live is not None, "the runner hands it to every build that deploys"
    live = ctx.live
    for left in reversed(range(PORT_TRIES)):
        try:
            return _cut_over(ctx, release, live)
        except PortTaken as error:
            # Somebody else has chosen the same one in the same moment.
            if not live.may_move or not left:
                raise
            live = _on_another_port(live)
            assert live.product is not None
            ctx.log(f"{error.message}: port {live.product.port} instead")
    raise AssertionError("the last try either returned or raised")


def _cut_over(ctx: StageContext, release: Release, live: LiveState) -> Deployed:
    assert live.product is not None
    cut_over = CutOver(
        DockerTarget(Engine(), ctx.settings, ctx.request.secret_values),
        Edge(ctx.settings),
        product=live.product,
        release=release,
        live=live,
        cancel=ctx.cancel,
        log=ctx.log,
    )
    deployed = cut_over.start()
    ctx.on_failure.append(cut_over.revert)
    ctx.on_success.append(cut_over.commit)
    return deployed


def _on_another_port(live: LiveState) -> LiveState:
    assert live.product is not None
    port = free_port({*live.taken_ports, live.product.port})
    return replace(live, product=replace(live.product, port=port))


def live_already(ctx: StageContext, release: Release) -> Deployed | None:
    """What has the traffic, where that is the same release but for its number, all of it healthy; else none.

    Nothing is to be started then: a new release would be the same again, and a restart for nothing.
    """
    assert ctx.live is not None and ctx.live.product is not None, "the runner hands them to every build that deploys"
    product, instances, current = ctx.live.product, ctx.live.instances, ctx.live.release
    # Where a release comes from, and where its image lies beside the engine, is nothing that runs.
    origin = ("number", "revision", "build_id", "registry_ref")
    if current is None or current != replace(release, **{name: getattr(current, name) for name in origin}):
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
