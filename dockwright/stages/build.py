"""build: Plan → Images. BuildKit through buildx, each instruction with its time and whether it was cached."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dockwright.docker.engine import Engine
from dockwright.domain.image import Image
from dockwright.domain.plan import SECRET_VARIABLE, Plan, Sent, ServicePlan, secret_id
from dockwright.errors import DiskFull, SourceChanged
from dockwright.stages.base_images import tcp_ports
from dockwright.stages.context import StageContext
from dockwright.stages.explaining import Question

if TYPE_CHECKING:
    from dockwright.docker.rawjson import LogLine, Vertex
    from dockwright.domain.explanation import Explanation

CONTEXT_VERTEX = "[internal] load build context"


def build(ctx: StageContext, plan: Plan) -> tuple[Image, ...]:
    engine = Engine()
    return tuple(
        _reuse(ctx, engine, service) if service.reuse else _build(ctx, engine, service) for service in plan.services
    )


def _reuse(ctx: StageContext, engine: Engine, plan: ServicePlan) -> Image:
    assert plan.reuse is not None
    ctx.log(f"Nothing changed: the image {plan.tags[0]} holds exactly these inputs already")
    for tag in plan.tags:
        engine.tag_image(plan.reuse, tag)
    return _image(engine, plan, plan.reuse, reused=True)


def _build(ctx: StageContext, engine: Engine, plan: ServicePlan) -> Image:
    check_disk(ctx, engine)
    for ref, local in plan.substitutes.items():
        ctx.log(f"{local} stands for {ref}")
    started = time.monotonic()
    digest, explanation = _run(ctx, engine, plan) if ctx.builder.kind == "shared" else _run_apart(ctx, engine, plan)
    # An image that fails its tests, or whose deployment fails, is no image of the project's.
    ctx.on_failure.append(lambda: engine.remove_image(plan.tags[0]))
    return _image(engine, plan, digest, seconds=time.monotonic() - started, explanation=explanation)


def _run_apart(ctx: StageContext, engine: Engine, plan: ServicePlan) -> tuple[str, Explanation]:
    """On the client's own builder, and from there to our engine."""
    from dockwright.stages import isolation

    with isolation.builder_with_bases(ctx, engine, plan) as (worker, its_plan):
        digest, explanation = _run(ctx, worker, its_plan)
        return isolation.bring(ctx, worker, engine, plan, digest), explanation


def _run(ctx: StageContext, engine: Engine, plan: ServicePlan) -> tuple[str, Explanation]:
    """The image's digest on the engine that builds it, and why its steps ran."""
    from dockwright.docker.buildx import Build

    folder = ctx.make_workspace(f"build-{plan.service}")
    build = Build(_for_this_host(ctx, plan, folder), folder / "metadata.json", ctx.redact)
    reporter = _Reporter(ctx, plan)
    question = Question(ctx, engine, plan)
    with _Beside(ctx, plan, reporter, question), reporter:
        digest = build.run(reporter, ctx.cancel, ctx.builder.docker_host, _secret_env(ctx))
    if changed := reporter.changed:
        engine.remove_image(digest, force=True)
        raise SourceChanged(
            f"{', '.join(changed[:3])} changed while it was being built, so the image may hold either version",
            remedy="Build again; what an app writes while it runs belongs into .dockerignore",
        )
    return digest, question.answer(build.steps())


def _secret_env(ctx: StageContext) -> dict[str, str]:
    return {f"{SECRET_VARIABLE}{name}": value for name, value in ctx.request.secret_values.items()}


def _for_this_host(ctx: StageContext, plan: ServicePlan, folder: Path) -> ServicePlan:
    """With the host's certificates and package index where they are asked for, without a front end out of reach."""
    from dockwright.docker.host_secrets import secrets_for
    from dockwright.docker.registry import is_reachable
    from dockwright.insight.dockerfile import parse, without_syntax

    given = {secret_id(secret) for secret in plan.secrets}
    # Whoever may queue a build could print them: a server's own credentials are for its operator's commands alone.
    ours = secrets_for(plan.dockerfile_text, given, ctx.settings, folder, with_credentials=not ctx.request.is_queued)
    plan = replace(plan, secrets=(*plan.secrets, *ours))
    syntax = parse(plan.dockerfile_text).syntax
    if syntax is None or is_reachable(syntax):
        return plan
    ctx.log(f"The front end {syntax} cannot be reached: the builder's own is used, without the line # syntax=")
    copy = folder / "Dockerfile"
    copy.write_text(without_syntax(plan.dockerfile_text), encoding="utf-8", errors="surrogateescape")
    return replace(plan, dockerfile=copy)


def _image(
    engine: Engine,
    plan: ServicePlan,
    digest: str,
    *,
    reused: bool = False,
    seconds: float = 0.0,
    explanation: Explanation | None = None,
) -> Image:
    found = engine.image(digest)
    assert found is not None, "the engine has the image that was just built"
    config = found.get("Config") or {}
    health = (config.get("Healthcheck") or {}).get("Test") or ["NONE"]
    return Image(
        service=plan.service,
        name=plan.tags[0],
        digest=found["Id"],
        manifest_digest=plan.manifest_digest,
        reused=reused,
        seconds=round(seconds, 3),
        steps=explanation.reported() if explanation else (),
        explanation=explanation,
        context_files=plan.context_files,
        context_bytes=plan.context_bytes,
        # The app listens on the port that its own Dockerfile exposes; nginx's base brings its 80 besides.
        ports=tuple(sorted(tcp_ports(config), key=lambda port: (port in plan.base_ports, port))),
        volumes=tuple(sorted(config.get("Volumes") or {})),
        has_health_check=health[0] != "NONE",
        size=found.get("Size", 0),
    )


def check_disk(ctx: StageContext, engine: Engine) -> None:
    """Before anything is built: room where the engine keeps its images, and where we keep our files."""
    from shutil import disk_usage

    ctx.settings.home.mkdir(parents=True, exist_ok=True)
    for folder in {Path(engine.info().get("DockerRootDir", "/")), ctx.settings.home}:
        # A remote engine's folder is not ours to look at.
        if not folder.exists():
            continue
        free = disk_usage(folder).free
        if free < ctx.settings.disk_min_free:
            raise DiskFull(
                f"Only {free / 1e9:.1f} GB are free at {folder}, less than BUILD_DISK_MIN_FREE",
                remedy="Free some with: dockwright cleanup",
            )


class _Beside:
    """What need not be done before the builder starts: the word of what it is sent, the manifest that is kept, and
    what its steps are explained from.
    """

    def __init__(self, ctx: StageContext, plan: ServicePlan, reporter: _Reporter, question: Question) -> None:
        self._ctx, self._plan, self._reporter, self._question = ctx, plan, reporter, question
        self._sending = plan.sending()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="beside-build")

    def __enter__(self) -> None:
        self._sending.begin()
        self._thread.start()

    def _run(self) -> None:
        # Sooner, it would only keep the builder's process from being started.
        self._reporter.begun.wait()
        try:
            self._sending.note()
            self._plan.manifest_json()
            self._question.gather()
        except Exception as error:  # noqa: BLE001 - raised again when the builder has ended
            self._error = error

    def __exit__(self, _: object, failure: BaseException | None, __: object) -> None:
        self._reporter.begun.set()
        self._thread.join()
        self._sending.end(self._reporter.sent)
        if self._error is not None:
            if failure is None:
                raise self._error
            self._ctx.log(f"Beside the build: {self._error}")


class _Reporter:
    """Turns BuildKit's progress into events, and looks at the context again once all of it has been sent."""

    def __init__(self, ctx: StageContext, plan: ServicePlan) -> None:
        self._ctx = ctx
        self._plan = plan
        self._index: dict[str, int] = {}
        self._look: threading.Thread | None = None
        self._context_state = "waiting"
        self.begun = threading.Event()
        """The builder has said something."""
        self.changed: list[str] = []
        """Paths that changed before they had been sent, or in that moment; known at the end."""

    def __enter__(self) -> _Reporter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._look is not None:
            self._look.join()

    @property
    def sent(self) -> Sent:
        if self._context_state == "done" and not self.changed:
            return "all"
        return "nothing" if self._context_state == "waiting" else "partly"

    def __call__(self, news: Vertex | LogLine) -> None:
        from dockwright.docker.rawjson import LogLine

        self.begun.set()
        if isinstance(news, LogLine):
            self._ctx.log(news.text, step=news.vertex.name, stream=news.stream)
            return
        if news.name.startswith(CONTEXT_VERTEX):
            self._context_state = news.state
            if news.state == "done" and self._look is None:
                # Beside the build, which goes on in the engine: a second walk costs a large context nothing.
                self._look = threading.Thread(target=self._find_changed, name="context-check")
                self._look.start()
        # A step that only waits is no news yet, and one that is cached never starts.
        state = "done" if news.cached else news.state
        if state != "waiting":
            self._ctx.step(
                news.name,
                news.name,
                index=self._index.setdefault(news.digest, len(self._index)),
                state=state,
                cached=news.cached,
                seconds=round(news.seconds, 3),
                is_instruction=news.is_step,
            )

    def _find_changed(self) -> None:
        try:
            self.changed = self._plan.changed_since()
        except SourceChanged as error:
            self.changed = [error.message]
