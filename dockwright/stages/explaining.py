"""Why the steps of an image ran: what must be known is gathered beside the build, the answer is told at its end."""

from __future__ import annotations

from dataclasses import replace

from dockwright.docker.engine import Engine
from dockwright.domain.build import BuildRequest
from dockwright.domain.explanation import Circumstances, Explanation, Forgotten, Previous
from dockwright.domain.image import Step
from dockwright.domain.plan import InputManifest, ServicePlan
from dockwright.domain.redaction import Redactor
from dockwright.stages.context import StageContext

WORTH_TELLING = 0.5
"""Seconds that a cause must have cost for its line in the log."""
MOST_TOLD = 3
COMPOSE_NO_CACHE = "no_cache in the compose file"


class Question:
    """Why did the steps run? `gather` beside the build, `answer` once it is done."""

    def __init__(self, ctx: StageContext, engine: Engine, plan: ServicePlan) -> None:
        self._ctx, self._engine, self._plan = ctx, engine, plan
        self._circumstances: Circumstances | None = None
        self._previous: Previous | Forgotten | None = None
        self._manifest: InputManifest | None = None

    def gather(self) -> None:
        # Loaded while BuildKit works.
        from dockwright.insight import advice, dockerfile, evidence, explain, inputs  # noqa: F401

        ctx, plan = self._ctx, self._plan
        engine = self._engine.info()
        self._circumstances = Circumstances(
            builder=ctx.builder.name,
            engine=str(engine.get("ID") or ""),
            version=str(engine.get("ServerVersion") or ""),
            front_end=dockerfile.syntax_of(plan.dockerfile_text),
            args=plan.args,
            contexts={name: _kind(place) for name, place in plan.contexts.items()},
            no_cache=who_wants_no_cache(ctx.request) if plan.no_cache else None,
        )
        self._previous = ctx.history.last_built(plan.service)
        self._manifest = plan.manifest
        if ctx.redact and plan.manifest is not None:
            # What is kept of the build before has no secrets in it either.
            self._manifest = _without_secrets(plan.manifest, ctx.redact)

    def answer(self, steps: tuple[Step, ...]) -> Explanation:
        from dockwright.insight import advice, evidence, explain

        manifest = self._manifest
        assert manifest is not None and self._circumstances is not None, "the build has run"
        elsewhere = (*self._plan.substitutes, *self._plan.contexts)
        told = explain.explain(manifest, steps, self._circumstances, self._previous, elsewhere)
        read = evidence.reader(self._plan.context)
        causes = tuple(replace(cause, advice=advice.advice(cause, told, manifest, read)) for cause in told.causes)
        told = replace(told, causes=causes)
        self._tell(told)
        return told

    def _tell(self, told: Explanation) -> None:
        from dockwright.insight.explain import sentence

        worth = [cause for cause in told.causes if cause.seconds >= WORTH_TELLING and cause.cause in _NEWS]
        for cause in worth[:MOST_TOLD]:
            self._ctx.log(sentence(cause))


_NEWS = ("base_moved", "instruction_changed", "arg_changed", "files_changed", "evicted", "other_builder")
"""What who builds may not know yet."""


def _without_secrets(manifest: InputManifest, redact: Redactor) -> InputManifest:
    """As it comes back from where it is kept. Digests of files are left alone: there may be megabytes of them."""
    from dockwright.insight import inputs

    paths = "\n".join(path for step in manifest.steps for path, _, _ in step.files)
    if redact.is_in(paths):
        return inputs.from_json(redact(inputs.as_json(manifest)))
    bare = replace(manifest, steps=tuple(replace(step, files=()) for step in manifest.steps))
    redacted = inputs.from_json(redact(inputs.as_json(bare)))
    both = zip(redacted.steps, manifest.steps, strict=True)
    return replace(redacted, steps=tuple(replace(step, files=whole.files) for step, whole in both))


def _kind(place: str) -> str:
    """Of a named context. BuildKit's cache tells an image from the steps that it is made of."""
    return "folder" if place.startswith("/") else place.partition(":")[0]


def who_wants_no_cache(request: BuildRequest) -> str:
    """As people are told; what a service's own recipe asks for counts in any profile."""
    if request.no_cache:
        return "--no-cache"
    return "the profile dev" if request.profile == "dev" else COMPOSE_NO_CACHE
