"""Runs a claimed build: history in, events and rows out. The CLI and every worker go through here."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dockwright import pipeline
from dockwright.db import build_rows, explanations, metrics
from dockwright.db.journal import Journal
from dockwright.db.queue import MAX_LOSSES, end_lost_builds
from dockwright.db.stored import storable
from dockwright.domain.build import STAGE_NAMES, BuildRequest, History, StageResult
from dockwright.domain.builder import SHARED, Builder
from dockwright.domain.events import Event
from dockwright.domain.redaction import MAX_BYTES, NO_SECRETS, Redactor
from dockwright.domain.transitions import Status
from dockwright.errors import DatabaseError, DiskFull, DockwrightError, EngineUnreachable, Interrupted, Stopping
from dockwright.pipeline import Outcome
from dockwright.process import Cancel
from dockwright.services.state import State
from dockwright.stages.context import StageContext

if TYPE_CHECKING:
    from dockwright.db import tables
    from dockwright.domain.explanation import Forgotten, Previous
    from dockwright.domain.image import Image
    from dockwright.domain.product import LiveState, Release
    from dockwright.services.releases import Attempt

WORTH_TELLING = 100_000
"""Bytes."""


def run_claimed(
    state: State,
    request: BuildRequest,
    cancel: Cancel,
    watch: Callable[[Event], None] | None = None,
    written: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Takes the build through the pipeline and returns the document that `build --json` ends with.

    The row is finished in every outcome but for a build that is `to_be_repeated`, whose worker gives it back. An
    exception that is no `DockwrightError` is a bug: it is recorded as `internal_error` and raised again.
    """
    started = time.time()
    if not request.is_queued:  # a server has its reaper for that
        end_lost_builds(state.connection)
    history = History(
        images=build_rows.images_of(state.connection, request.project_id),
        last_built=lambda service: _last_built(state, request, service),
    )
    redact = _redactor(request)
    with Journal(
        state.connection,
        request.build_id,
        cancel=cancel,
        attempt=request.attempt,
        watch=watch,
        written=written,
        redact=redact,
    ) as log:
        books = _Books(state, request, history, log, redact)
        ctx = _context(state, request, history, log, redact)
        outcome = Outcome()
        try:
            outcome = pipeline.run(ctx, books.live_state, books.keep)
            redact.error(outcome.error)
            _say_what_frees(state, outcome.error)
            books.close(outcome)
            if request.profile == "dev" and outcome.error is None:
                _remove_replaced(state, ctx, outcome)
        except DockwrightError as error:
            outcome.error = outcome.error or error
            raise
        except BaseException as error:
            outcome.error = outcome.error or _internal(error)
            raise
        finally:
            books.lock.release()
            redact.error(outcome.error)
            result: dict[str, Any] = redact.document(document(request, outcome, time.time() - started))
            if to_be_repeated(request, outcome.error):
                log.flush()  # the worker gives it back, and the reaper puts it into the queue
            else:
                status = _status(outcome)
                log.finish(status, _columns(outcome, result), metrics.of_build(status, result))
    return result


def _context(state: State, request: BuildRequest, history: History, log: Journal, redact: Redactor) -> StageContext:
    return StageContext(
        request=request,
        settings=state.settings,
        history=history,
        # With letters of its own: a build of that number may have been here before the database was made anew.
        workspace=state.settings.workspace_dir / f"build-{request.build_id}-{os.urandom(3).hex()}",
        sink=log.sink,
        redact=redact,
        cancel=log.cancel,
        is_ours=log.is_ours,
        builder=_builder(state),
    )


def _last_built(state: State, request: BuildRequest, service: str) -> Previous | Forgotten | None:
    from dockwright.services import last_built

    return last_built.previous_of(state, request, service)


def _say_what_frees(state: State, error: DockwrightError | None) -> None:
    """Where it is room that is missing, how much of it a clean-up gives."""
    if not isinstance(error, DiskFull):
        return
    from dockwright.services.cleanup import cleanup

    try:
        freed = cleanup(state, dry_run=True)["bytes"]
    except DockwrightError:
        return  # the error that there is matters more than one of its advice
    found = f"would free at least {freed / 1e6:.1f} MB" if freed >= WORTH_TELLING else "finds next to nothing to remove"
    error.remedy += f" (it {found})"


def _builder(state: State) -> Builder:
    if state.settings.isolation == "shared":
        return SHARED
    from dockwright.docker import builders

    return builders.builder_for(state.settings, state.client)


def to_be_repeated(request: BuildRequest, error: DockwrightError | None) -> bool:
    """A build of the queue that was cut off by no fault of its own: the server stops, or the engine or the database
    went away."""
    if isinstance(error, Stopping):
        return True
    is_fault = isinstance(error, EngineUnreachable | DatabaseError)
    return is_fault and request.is_queued and request.losses + 1 < MAX_LOSSES


def _redactor(request: BuildRequest) -> Redactor:
    """For the stored secrets, and for those that the command gave."""
    given = {**_given_values(request.secrets), **request.secret_values}
    return Redactor(given) if given else NO_SECRETS


def _given_values(secrets: tuple[str, ...]) -> dict[str, str]:
    """Of the secrets that a command was given as files or variables, by their ids."""
    values = {}
    for secret in secrets:
        fields = dict(part.partition("=")[::2] for part in secret.split(","))
        if (file := fields.get("src") or fields.get("source")) and os.path.getsize(file) <= MAX_BYTES:
            with open(file, encoding="utf-8", errors="surrogateescape") as opened:
                values[fields["id"]] = opened.read()
        elif value := os.environ.get(fields.get("env", "")):
            values[fields["id"]] = value
    return values


class _Books:
    """What a build leaves in the database beside its own row; what is for deploying is loaded by none but a deploy."""

    def __init__(self, state: State, request: BuildRequest, history: History, log: Journal, redact: Redactor) -> None:
        from dockwright.services.locks import ProductLock

        self._state, self._request, self._history = state, request, history
        self._log, self._redact = log, redact
        self._live: LiveState | None = None
        self._attempt: Attempt | None = None
        self._started = 0.0
        self.lock = ProductLock(state)

    def live_state(self) -> LiveState:
        from dockwright.services import live

        request = self._request
        self._started = time.time()
        self._row = self._product_row()
        if self._row.id is not None:
            self.lock.acquire(self._row.id, self._log.cancel)
            self._row = self._product_row()  # another deployment may have changed it while we waited
        self._live = live.live_state(
            self._state, self._row, project=request.project, env=request.env, port=request.port
        )
        return self._live

    def _product_row(self) -> tables.Product:
        from dockwright.services import live

        request = self._request
        return live.product_of_project(
            self._state,
            request.project_id,
            slug=request.project,
            name=request.name,
            env=request.env,
            port=request.port,
        )

    def keep(self, outcome: Outcome) -> None:
        """All stages are done, and nothing of the old version is let go of yet. Raises `LeaseLost`, among others."""
        if outcome.release is not None:
            self._log.renew()  # while this process slept another one may have begun to deploy the same build
            self.lock.check()  # and while PostgreSQL was away, a scaling of the same product say
        _save_images(self._state, self._request, self._history, outcome)
        if outcome.deployed is not None and outcome.release is not None:
            self._attempt_of(outcome.release).is_live(outcome.deployed)

    def close(self, outcome: Outcome) -> None:
        _save_artifacts(self._state, self._request, outcome, self._redact)
        if self._live is None or outcome.release is None:
            return
        if outcome.error is not None:
            self._attempt_of(outcome.release).has_failed(outcome.error, outcome.deployed)
        elif outcome.deployed is not None:
            self._attempt_of(outcome.release).is_done(outcome.deployed)

    def _attempt_of(self, release: Release) -> Attempt:
        from dockwright.services.releases import Attempt

        if self._attempt is None:
            assert self._live is not None
            self._attempt = Attempt(self._state, self._row, release, started_at=self._started)
        return self._attempt


def _remove_replaced(state: State, ctx: StageContext, outcome: Outcome) -> None:
    """dev builds anew each time, so its earlier images would only pile up."""
    from dockwright.services import images

    for image in outcome.images:
        images.remove_replaced(state, ctx.request.project_id, image.service, keep=image.digest, log=ctx.log)


def _save_images(state: State, request: BuildRequest, history: History, outcome: Outcome) -> None:
    known = {(one.name, one.digest, ref) for one in history.images for ref in (None, one.registry_ref)}
    build_dates = {plan.service: plan.build_date for plan in outcome.plan.services} if outcome.plan else {}
    for image in outcome.images:
        if image.service not in build_dates:
            continue  # another service's, that was built for both
        if (image.name, image.digest, image.pushed.ref if image.pushed else None) not in known:
            build_rows.save_image(
                state.connection,
                image,
                client_id=state.client_id,
                project_id=request.project_id,
                build_id=request.build_id,
                profile=request.profile,
                build_date=build_dates[image.service],
                commit=outcome.tree.revision if outcome.tree else None,
            )


def _save_artifacts(state: State, request: BuildRequest, outcome: Outcome, redact: Redactor) -> None:
    """Of a build that failed too: its Dockerfile and its plan are what one wants to see then."""
    artifacts = [(kind, path, redact(content)) for kind, path, content in _artifacts(outcome)]
    if artifacts:
        build_rows.save_artifacts(state.connection, request.build_id, artifacts)


def _artifacts(outcome: Outcome) -> list[tuple[str, str, str]]:
    """What is kept of a build: its Dockerfile and the input manifest of each image that was really built."""
    if outcome.plan is None:
        return []
    kept = []
    for plan in outcome.plan.services:
        if plan.manifest is not None and plan.reuse is None:
            name = "Dockerfile" if len(outcome.plan.services) == 1 else f"Dockerfile-{plan.service}"
            kept += outcome.generated or [("dockerfile", name, plan.dockerfile_text)]
            kept.append(("plan", f"plan-{plan.service}.json", plan.manifest_json()))
    return kept + [_explanation_artifact(image) for image in outcome.images if image.explanation is not None]


def _explanation_artifact(image: Image) -> tuple[str, str, str]:
    assert image.explanation is not None
    path = explanations.path_of(image.service)
    return explanations.KIND, path, json.dumps(image.explanation.as_dict())


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
        **_origin(outcome),
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


def _origin(outcome: Outcome) -> dict[str, str | None]:
    """The commit, "-dirty" behind it where there are changes besides, and what BUILD_DATE was."""
    planned = outcome.plan.services[0] if outcome.plan and outcome.plan.services else None
    if planned is None:
        return {"revision": outcome.tree.revision if outcome.tree else None, "build_date": None}
    return {"revision": planned.labels.get("org.opencontainers.image.revision"), "build_date": planned.build_date}


def _service(image: Image) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "service": image.service,
        "image": image.name,
        "digest": image.digest,
        "reused": image.reused,
        "seconds": image.seconds,
        "steps": [step.as_dict() for step in image.explanation.steps] if image.explanation else [],
        "context_bytes": image.context_bytes,
        "context_files": image.context_files,
        "pushed": asdict(image.pushed) if image.pushed else None,
    }


def _columns(outcome: Outcome, result: dict[str, Any]) -> dict[str, Any]:
    error = outcome.error
    return {
        "result": json.dumps(result),
        "revision": outcome.tree.revision if outcome.tree else None,
        "image_name": outcome.images[0].name if outcome.images and not error else None,
        "container_id": outcome.deployed.instances[0].container_id if outcome.deployed and not error else None,
        "deployment_url": result["deployment_url"],
        "error_code": error.code if error else None,
        "error_message": storable(error.message) if error else None,
    }


def _internal(error: BaseException) -> DockwrightError:
    wrapped = DockwrightError(
        f"Dockwright itself failed: {type(error).__name__}: {error}",
        remedy="This is a bug: please report it with the lines above",
    )
    wrapped.code = "internal_error"
    return wrapped
