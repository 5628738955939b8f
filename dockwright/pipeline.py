"""The nine stages, and the runner that takes a build through them.

The whole product in one tuple: each stage is a function in a file of its own below `stages/`, loaded when it is run.
The runner knows no database and no terminal: it is handed a `StageContext`, reports through its sink, and returns an
`Outcome` whatever happened.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dockwright.domain.build import STAGE_NAMES, StageName, StageResult, StageState
from dockwright.domain.events import Event
from dockwright.domain.source import Tree
from dockwright.errors import DiskFull, DockwrightError, Interrupted, VerificationFailed
from dockwright.stages.context import StageContext

if TYPE_CHECKING:
    from dockwright.domain.image import Image
    from dockwright.domain.plan import Plan
    from dockwright.domain.product import LiveState, Release
    from dockwright.stages.proof import Proof
    from dockwright.stages.test import TestReport
    from dockwright.targets.cutover import Deployed


@dataclass(slots=True)
class Outcome:
    """What each stage returned, as far as the build came."""

    tree: Tree | None = None
    plan: Plan | None = None
    images: tuple[Image, ...] = ()
    test: TestReport | None = None
    release: Release | None = None
    """The new one; none where the same is live already."""
    deployed: Deployed | None = None
    proof: Proof | None = None
    stages: list[StageResult] = field(default_factory=list)
    generated: list[tuple[str, str, str]] = field(default_factory=list)
    """Artifacts of a rendered template: (artifact_type, file_path, content)."""
    error: DockwrightError | None = None


def _fetch(ctx: StageContext, so_far: Outcome) -> None:
    from dockwright.stages.fetch import fetch

    so_far.tree = fetch(ctx, ctx.request.source)


def _generate(ctx: StageContext, so_far: Outcome) -> None:
    from dockwright.stages.generate import generate

    assert so_far.tree is not None
    so_far.tree = generate(ctx, so_far.tree)
    so_far.generated = [(_artifact_type(path), path, text) for path, text in _texts(so_far.tree)]


def _texts(tree: Tree) -> list[tuple[str, str]]:
    """The rendered files, which are kept with the build: each path below the tree and its text."""
    files = sorted(path for path in tree.root.rglob("*") if path.is_file())
    return [(str(path.relative_to(tree.root)), path.read_text(encoding="utf-8")) for path in files]


def _artifact_type(path: str) -> str:
    if path == "Dockerfile":
        return "dockerfile"
    return "config" if path.startswith(("config/", "deployment/")) else "source_code"


def _plan(ctx: StageContext, so_far: Outcome) -> None:
    from dockwright.stages.plan import plan

    assert so_far.tree is not None
    so_far.plan = plan(ctx, so_far.tree)


def _build(ctx: StageContext, so_far: Outcome) -> None:
    from dockwright.stages.build import build

    assert so_far.plan is not None
    so_far.images = build(ctx, so_far.plan)


def _test(ctx: StageContext, so_far: Outcome) -> None:
    from dockwright.stages.test import test

    assert so_far.tree is not None
    so_far.test = test(ctx, so_far.images, so_far.tree.smoke_tests)
    found = {tested.service: tested.port for tested in so_far.test.images}
    so_far.images = tuple(_listening_on(image, found[image.service]) for image in so_far.images)


def _listening_on(image: Image, port: int | None) -> Image:
    """The port on which it was seen to listen comes first: that one is deployed, now and whenever the image is."""
    if port is None or image.ports[0] == port:
        return image
    from dataclasses import replace

    return replace(image, ports=(port, *(other for other in image.ports if other != port)))


def _scan(ctx: StageContext, so_far: Outcome) -> None:
    raise AssertionError("skipped until there is a scanner")


def _push(ctx: StageContext, so_far: Outcome) -> None:
    from dockwright.stages.push import push

    so_far.images = push(ctx, so_far.images)


def _deploy(ctx: StageContext, so_far: Outcome) -> None:
    from dockwright.stages.deploy import live_already

    if all(image.reused for image in so_far.images):
        so_far.deployed = live_already(ctx, _release_of(ctx, so_far))
    if so_far.deployed is None:
        _deploy_anew(ctx, so_far)


def _deploy_anew(ctx: StageContext, so_far: Outcome) -> None:
    from dockwright.stages.deploy import deploy

    so_far.release = _release_of(ctx, so_far)
    so_far.deployed = deploy(ctx, so_far.release)


def _verify(ctx: StageContext, so_far: Outcome) -> None:
    try:
        _prove(ctx, so_far)
    except VerificationFailed:
        if so_far.release is not None:
            raise
        # It was proved when it was deployed, and has changed since.
        ctx.log("What runs is not what was started any more: it is started anew")
        _deploy_anew(ctx, so_far)
        _prove(ctx, so_far)


def _prove(ctx: StageContext, so_far: Outcome) -> None:
    from dockwright.stages.verify import verify

    assert so_far.tree is not None and so_far.plan is not None and so_far.deployed is not None
    so_far.proof = verify(ctx, so_far.deployed, so_far.tree, so_far.plan)


def _release_of(ctx: StageContext, so_far: Outcome) -> Release:
    """The immutable thing between the two halves: an image's digest and the frozen runtime configuration."""
    from dockwright.domain.product import Release

    (image,) = so_far.images
    assert ctx.live is not None, "the runner hands it in when the stage begins"
    return Release(
        number=ctx.live.next_release,
        image_name=image.name,
        digest=image.digest,
        container_port=image.ports[0],
        env={**ctx.live.env, **ctx.request.env},
        secrets=ctx.request.run_secrets,
        volumes=image.volumes,
        has_health_check=image.has_health_check,
        manifest_digest=image.manifest_digest,
        revision=so_far.tree.revision if so_far.tree else None,
        build_id=ctx.request.build_id,
        registry_ref=image.pushed.ref if image.pushed else None,
    )


# --- why a stage is skipped ---------------------------------------------------------------------------------------


def _without_template(ctx: StageContext, so_far: Outcome) -> str | None:
    return None if ctx.request.source.__class__.__name__ == "TemplateSource" else "the source is no template"


def _never(ctx: StageContext, so_far: Outcome) -> str | None:
    return None


def _together(ctx: StageContext, so_far: Outcome) -> str | None:
    """A service that needs others cannot be tested without them; `up` waits for the health of all."""
    return so_far.plan.together if so_far.plan else None


def _without_scanner(ctx: StageContext, so_far: Outcome) -> str | None:
    return "no scanner is configured"


def _without_registry(ctx: StageContext, so_far: Outcome) -> str | None:
    return None if ctx.settings.registry_url else "the image stays on the engine"


def _without_port(ctx: StageContext, so_far: Outcome) -> str | None:
    if not ctx.request.deploy:
        return "not asked for"
    if so_far.plan is not None and so_far.plan.together:
        return so_far.plan.together
    if len(so_far.images) != 1 or not so_far.images[0].ports:
        return "the image listens on nothing: it exposes no port"
    return None


@dataclass(frozen=True, slots=True)
class Stage:
    name: StageName
    run: Callable[[StageContext, Outcome], None]
    skip: Callable[[StageContext, Outcome], str | None] = _never
    """Gives the reason why the stage does not apply."""


STAGES: tuple[Stage, ...] = (
    Stage("fetch", _fetch),
    Stage("generate", _generate, skip=_without_template),
    Stage("plan", _plan),
    Stage("build", _build),
    Stage("test", _test, skip=_together),
    Stage("scan", _scan, skip=_without_scanner),
    Stage("push", _push, skip=_without_registry),
    Stage("deploy", _deploy, skip=_without_port),
    Stage("verify", _verify, skip=_without_port),
)


def run(ctx: StageContext, live_state: Callable[[], LiveState], keep: Callable[[Outcome], None]) -> Outcome:
    """Takes the build through its stages. Never raises a `DockwrightError`: it is the outcome's `error`.

    `live_state` is asked when the deploy stage begins, so that it is not as old as the build is long. `keep` writes
    down what came of it before the old version is let go of: what cannot be written down is undone.
    The workspace is gone afterwards, and whatever a failed build had begun to deploy is undone.
    """
    outcome = Outcome()
    try:
        _run_stages(ctx, outcome, live_state)
        keep(outcome)
        ctx.stage = "deploy"  # letting go of the old version is the end of its cut-over
        for finish in ctx.on_success:
            finish()
    except BaseException as error:  # noqa: BLE001 - whatever it is, what was begun is undone first
        _undo(ctx)
        outcome.error = _as_dockwright_error(error)
        outcome.error.stage = outcome.error.stage or ctx.stage
    finally:
        _remove_workspace(ctx)
    return outcome


def _remove_workspace(ctx: StageContext) -> None:
    """What cannot be removed is told, and does not make a failure of a build that has succeeded."""
    if ctx.workspace.exists():
        from shutil import rmtree

        try:
            rmtree(ctx.workspace)
        except OSError as error:
            ctx.log(f"{ctx.workspace} could not be removed: {error}. Try later: dockwright cleanup")


def _run_stages(ctx: StageContext, outcome: Outcome, live_state: Callable[[], LiveState]) -> None:
    last = STAGE_NAMES.index(ctx.request.until) if ctx.request.until else len(STAGES)
    for number, stage in enumerate(STAGES):
        ctx.stage = stage.name
        ctx.cancel.check()
        reason = "not asked for" if number > last else stage.skip(ctx, outcome)
        if reason is not None:
            _report(ctx, outcome, StageResult(stage=stage.name, status="skipped", seconds=0.0, reason=reason))
            continue
        if stage.name == "deploy":
            ctx.live = live_state()
        _run_stage(ctx, outcome, stage)


def _run_stage(ctx: StageContext, outcome: Outcome, stage: Stage) -> None:
    ctx.sink(Event("stage", f"{stage.name} started", time.time(), stage.name, data={"status": "running"}))
    started = time.monotonic()
    state: StageState = "failed"
    try:
        stage.run(ctx, outcome)
        state = "done"
    finally:
        seconds = time.monotonic() - started
        _report(ctx, outcome, StageResult(stage=stage.name, status=state, seconds=seconds))


def _report(ctx: StageContext, outcome: Outcome, result: StageResult) -> None:
    outcome.stages.append(result)
    text = f"{result.stage} {result.status}" + (f": {result.reason}" if result.reason else "")
    ctx.sink(Event("stage", text, time.time(), result.stage, data=result.as_dict()))


def _undo(ctx: StageContext) -> None:
    """Undoes what the stages registered, newest first. One that fails does not keep the others from being undone."""
    while ctx.on_failure:
        undo = ctx.on_failure.pop()
        try:
            undo()
        except DockwrightError as error:
            ctx.log(f"Could not undo: {error.message}. {error.remedy}")
        except OSError as error:
            ctx.log(f"Could not undo: {error}")


def _as_dockwright_error(error: BaseException) -> DockwrightError:
    if isinstance(error, DockwrightError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Interrupted("The build was interrupted", remedy="Start it again when you are ready")
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return DiskFull(f"The disk is full: {error.filename or error}", remedy="Free some with: dockwright cleanup")
    raise error
