"""Runs a claimed build: history in, events and rows out. The CLI and every worker go through here."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from dockwright import pipeline
from dockwright.db import journal
from dockwright.db.journal import Journal
from dockwright.domain.build import STAGE_NAMES, BuildRequest, History, StageResult
from dockwright.domain.events import Event
from dockwright.domain.plan import InputFile
from dockwright.domain.product import LiveState
from dockwright.domain.transitions import Status
from dockwright.errors import DockwrightError, Interrupted
from dockwright.pipeline import Outcome
from dockwright.process import Cancel
from dockwright.services.state import State
from dockwright.stages.context import StageContext

SERVICE = "app"
"""The one service of a source without a compose file."""


def run_claimed(
    state: State, request: BuildRequest, cancel: Cancel, watch: Callable[[Event], None] | None = None
) -> dict[str, Any]:
    """Takes the build through the pipeline and returns the document that `build --json` ends with.

    The row is finished in every outcome. An exception that is no `DockwrightError` is a bug: it is recorded as
    `internal_error` and raised again.
    """
    started = time.time()
    journal.end_lost_builds(state.connection)
    deploy = _Deploy(state, request, cancel)
    with Journal(state.connection, request.build_id, watch) as log:
        ctx = StageContext(
            request=request,
            settings=state.settings,
            history=History(images=journal.images_of(state.connection, request.project_id, SERVICE)),
            live=LiveState(),
            workspace=state.settings.workspace_dir / f"build-{request.build_id}",
            sink=log.sink,
            cancel=cancel,
        )
        outcome = Outcome()
        try:
            outcome = pipeline.run(ctx, deploy.live_state)
            _save_images(state, ctx, outcome)
            deploy.record(outcome)
        except BaseException as error:
            outcome.error = outcome.error or _internal(error)
            raise
        finally:
            deploy.lock.release()
            result = document(request, outcome, time.time() - started)
            log.finish(_status(outcome), _columns(outcome, result))
    return result


class _Deploy:
    """The deploying half's dealings with the database, which a build that does not deploy never loads."""

    def __init__(self, state: State, request: BuildRequest, cancel: Cancel) -> None:
        from dockwright.services.locks import ProductLock

        self._state, self._request, self._cancel = state, request, cancel
        self._live: LiveState | None = None
        self._started = 0.0
        self.lock = ProductLock(state.settings.home, request.project)

    def live_state(self) -> LiveState:
        from dockwright.services import live

        self.lock.acquire(self._cancel)
        request = self._request
        self._started = time.time()
        self._row = live.product_of_project(self._state, request.project_id, request.project, request.name)
        self._live = live.live_state(
            self._state, self._row, project=request.project, env=request.env, port=request.port
        )
        return self._live

    def record(self, outcome: Outcome) -> None:
        if self._live is None or outcome.release is None:
            return
        from dockwright.services import releases

        releases.record(
            self._state,
            self._row,
            outcome.release,
            self._live,
            started_at=self._started,
            deployed=outcome.deployed,
            error=outcome.error,
        )


def _save_images(state: State, ctx: StageContext, outcome: Outcome) -> None:
    known = {(image.name, image.digest) for image in ctx.history.images}
    build_dates = {plan.service: plan.build_date for plan in outcome.plan.services} if outcome.plan else {}
    for image in outcome.images:
        if (image.name, image.digest) not in known:
            journal.save_image(
                state.connection,
                image,
                client_id=state.client_id,
                project_id=ctx.request.project_id,
                build_id=ctx.request.build_id,
                profile=ctx.request.profile,
                build_date=build_dates[image.service],
                commit=outcome.tree.revision if outcome.tree else None,
            )
    artifacts = _artifacts(outcome)
    if artifacts:
        journal.save_artifacts(state.connection, ctx.request.build_id, artifacts)


def _artifacts(outcome: Outcome) -> list[tuple[str, str, str]]:
    """What is kept of a build: its Dockerfile and the input manifest of each image that was really built."""
    if outcome.plan is None:
        return []
    kept = []
    for plan in outcome.plan.services:
        if plan.manifest is not None and plan.reuse is None:
            kept += outcome.generated or [("dockerfile", "Dockerfile", plan.dockerfile_text)]
            kept.append(("plan", f"plan-{plan.service}.json", json.dumps(plan.manifest, default=_fields)))
    return kept


def _fields(value: Any) -> Any:
    """A manifest's parts as JSON; `dataclasses.asdict` takes a quarter of a second for 20,000 files."""
    if isinstance(value, InputFile):
        return [value.path, value.mode, value.digest]
    return {name: getattr(value, name) for name in value.__slots__}


def _status(outcome: Outcome) -> Status:
    if isinstance(outcome.error, Interrupted):
        return "canceled"
    if outcome.error is not None:
        return "failed"
    return "deployed" if outcome.deployed is not None else "succeeded"


def document(request: BuildRequest, outcome: Outcome, seconds: float) -> dict[str, Any]:
    """CONTRACT, "`build --json` ends with"."""
    from dataclasses import asdict

    ran = {result.stage: result for result in outcome.stages}
    return {
        "build_id": request.build_id,
        "project": request.project,
        "status": _status(outcome),
        "services": [_service(image) for image in outcome.images],
        "seconds": round(seconds, 3),
        "stages": [
            ran.get(name, StageResult(stage=name, status="pending", seconds=0.0)).as_dict() for name in STAGE_NAMES
        ],
        "deployment_url": outcome.deployed.url if outcome.deployed and outcome.error is None else None,
        "test": asdict(outcome.test) if outcome.test else None,
        "proof": outcome.proof.as_dict() if outcome.proof else None,
        "error": outcome.error.as_dict() if outcome.error else None,
    }


def _service(image: Any) -> dict[str, Any]:
    return {
        "service": image.service,
        "image": image.name,
        "digest": image.digest,
        "reused": image.reused,
        "seconds": image.seconds,
        "steps": [
            {"name": step.name, "cached": step.cached, "seconds": step.seconds, "cause": None, "detail": None}
            for step in image.steps
        ],
        "context_bytes": image.context_bytes,
        "context_files": image.context_files,
    }


def _columns(outcome: Outcome, result: dict[str, Any]) -> dict[str, Any]:
    error = outcome.error
    return {
        "result": json.dumps(result),
        "revision": outcome.tree.revision if outcome.tree else None,
        "image_name": outcome.images[0].name if outcome.images else None,
        "container_id": outcome.deployed.instances[0].container_id if outcome.deployed and not error else None,
        "deployment_url": result["deployment_url"],
        "error_code": error.code if error else None,
        "error_message": error.message if error else None,
    }


def _internal(error: BaseException) -> DockwrightError:
    wrapped = DockwrightError(
        f"Dockwright itself failed: {type(error).__name__}: {error}",
        remedy="This is a bug: please report it with the lines above",
    )
    wrapped.code = "internal_error"
    return wrapped
