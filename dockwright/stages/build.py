"""build: Plan → Images. BuildKit through buildx, each instruction with its time and whether it was cached."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dockwright.docker.engine import Engine
from dockwright.domain.image import Image
from dockwright.domain.plan import SECRET_VARIABLE, Plan, Sent, ServicePlan, secret_id
from dockwright.errors import BuildError, DiskFull, SourceChanged
from dockwright.stages.base_images import tcp_ports
from dockwright.stages.context import StageContext

if TYPE_CHECKING:
    from dockwright.docker.rawjson import LogLine, Vertex
    from dockwright.domain.explanation import Explanation
    from dockwright.stages.explaining import Question

CONTEXT_VERTEX = "[internal] load build context"


def build(ctx: StageContext, plan: Plan) -> tuple[Image, ...]:
    engine = Engine()
    images = {service.service: _reuse(ctx, engine, service) for service in plan.services if service.reuse}
    changed = [service for service in plan.services if not service.reuse]
    if len(changed) > 1 and ctx.builder.kind == "shared":
        from dockwright.stages.together import build_together

        images |= build_together(ctx, engine, changed, images)
    else:
        for service in changed:
            images[service.service] = _build_one(ctx, engine, on_images(service, images), is_named=bool(plan.together))
    each = [image for service in plan.services for image in _of_each(images[service.service], service)]
    return tuple(sorted(each, key=lambda image: image.service))


def on_images(plan: ServicePlan, images: Mapping[str, Image]) -> ServicePlan:
    """On the images of other services that are there already, where it is built on some."""
    built = {f"service:{service}": f"docker-image://{image.name}" for service, image in images.items()}
    return replace(plan, contexts={name: built.get(place, place) for name, place in plan.contexts.items()})


def _of_each(image: Image, plan: ServicePlan) -> list[Image]:
    """What several services run is there for each of them."""
    return [image, *(replace(image, service=other) for other in plan.shared_with)]


def _reuse(ctx: StageContext, engine: Engine, plan: ServicePlan) -> Image:
    """Without a build."""
    assert plan.reuse is not None
    ctx.log(f"Nothing changed: the image {plan.tags[0]} holds exactly these inputs already")
    for tag in plan.tags:
        engine.tag_image(plan.reuse, tag)
    return image_of(engine, plan, plan.reuse, reused=True)


def _build_one(ctx: StageContext, engine: Engine, plan: ServicePlan, *, is_named: bool) -> Image:
    """An error tells the service, where there are others."""
    try:
        return _build(ctx, engine, plan)
    except BuildError as error:
        if is_named:
            from dockwright.docker.bake import of_service

            of_service(error, plan.service)
        raise


def _build(ctx: StageContext, engine: Engine, plan: ServicePlan) -> Image:
    check_disk(ctx, engine)
    say_substitutes(ctx, plan)
    started = time.monotonic()
    digest, explanation = _run(ctx, engine, plan) if ctx.builder.kind == "shared" else _run_apart(ctx, engine, plan)
    remove_on_failure(ctx, engine, plan)
    return image_of(engine, plan, digest, seconds=time.monotonic() - started, explanation=explanation)


def remove_on_failure(ctx: StageContext, engine: Engine, plan: ServicePlan) -> None:
    """An image that fails its tests, or whose deployment fails, is no image of the project's."""

    def remove() -> None:
        if ctx.is_ours():
            engine.remove_image(plan.tags[0])

    ctx.on_failure.append(remove)


def say_substitutes(ctx: StageContext, plan: ServicePlan) -> None:
    for ref, local in plan.substitutes.items():
        ctx.log(f"{local} stands for {ref}")


def _run_apart(ctx: StageContext, engine: Engine, plan: ServicePlan) -> tuple[str, Explanation]:
    """On the client's own builder, and from there to our engine."""
    from dockwright.stages import isolation

    with isolation.builder_with_bases(ctx, engine, plan) as (worker, its_plan):
        digest, explanation = _run(ctx, worker, its_plan)
        return isolation.bring(ctx, worker, engine, plan, digest), explanation


def _run(ctx: StageContext, engine: Engine, plan: ServicePlan) -> tuple[str, Explanation]:
    """The image's digest on the engine that builds it, and why its steps ran."""
    from dockwright.docker.buildx import Build
    from dockwright.stages.explaining import Question

    folder = ctx.make_workspace(f"build-{plan.service}")
    build = Build(for_this_host(ctx, plan, folder), folder / "metadata.json", ctx.redact)
    reporter = Reporter(ctx, plan)
    question = Question(ctx, engine, plan)
    with Beside(ctx, plan, reporter, question), reporter:
        digest = build.run(reporter, ctx.cancel, ctx.builder.docker_host, secret_env(ctx))
    check_unchanged(engine, reporter.changed, [digest])
    return digest, question.answer(build.steps())


def check_unchanged(engine: Engine, changed: list[str], digests: list[str]) -> None:
    """Raises `SourceChanged`, and the images are gone."""
    if not changed:
        return
    for digest in digests:
        engine.remove_image(digest, force=True)
    raise SourceChanged(
        f"{', '.join(changed[:3])} changed while it was being built, so the image may hold either version",
        remedy="Build again; what an app writes while it runs belongs into .dockerignore",
    )


def secret_env(ctx: StageContext) -> dict[str, str]:
    return {f"{SECRET_VARIABLE}{name}": value for name, value in ctx.request.secret_values.items()}


def for_this_host(ctx: StageContext, plan: ServicePlan, folder: Path) -> ServicePlan:
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
    # The builder looks for it beside the Dockerfile that it is given.
    own_ignore = plan.dockerfile.with_name(f"{plan.dockerfile.name}.dockerignore")
    if own_ignore.is_file():
        copy.with_name("Dockerfile.dockerignore").write_bytes(own_ignore.read_bytes())
    return replace(plan, dockerfile=copy)


def image_of(
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


class Beside:
    """What need not be done before the builder starts: the word of what it is sent, the manifest that is kept, and
    what its steps are explained from.
    """

    def __init__(self, ctx: StageContext, plan: ServicePlan, reporter: Reporter, question: Question) -> None:
        self._ctx, self._plan, self._reporter, self._question = ctx, plan, reporter, question
        self._sending = plan.sending()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="beside-build")

    def __enter__(self) -> None:
        self._sending.begin()
        self._thread.start()

    def _run(self) -> None:
        # Sooner, it would only keep the builder's process, and the sending, from a core.
        self._reporter.has_context.wait()
        try:
            self._sending.note()
            self._plan.manifest_json()
            self._question.gather()
        except Exception as error:  # noqa: BLE001 - raised again when the builder has ended
            self._error = error

    def __exit__(self, _: object, failure: BaseException | None, __: object) -> None:
        self._reporter.has_context.set()
        self._thread.join()
        self._sending.end(self._reporter.sent)
        if self._error is not None:
            if failure is None:
                raise self._error
            self._ctx.log(f"Beside the build: {self._error}")


class Reporter:
    """Turns BuildKit's progress into events, and looks at the context again once all of it has been sent.

    `shown` is how a step is called there; `index`, shared by those of one build, keeps the steps' numbers apart.
    """

    def __init__(
        self,
        ctx: StageContext,
        plan: ServicePlan,
        shown: Callable[[str], str] = str,
        index: dict[tuple[str, str], int] | None = None,
    ) -> None:
        self._ctx = ctx
        self._plan = plan
        self._shown = shown
        self._index = {} if index is None else index
        self._look: threading.Thread | None = None
        self._context_state = "waiting"
        self.has_context = threading.Event()
        """The builder has been sent the context, or has begun a step that needs none."""
        self.changed: list[str] = []
        """Paths that changed before they had been sent, or in that moment; known at the end."""

    def __enter__(self) -> Reporter:
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

        if isinstance(news, LogLine):
            self._ctx.log(news.text, step=self._shown(news.vertex.name), stream=news.stream)
            return
        if news.is_step and news.state == "started":
            self.has_context.set()
        if news.name.startswith(CONTEXT_VERTEX):
            self._context_state = news.state
            if news.state == "done" and self._look is None:
                self.has_context.set()
                # Beside the build, which goes on in the engine: a second walk costs a large context nothing.
                self._look = threading.Thread(target=self._find_changed, name="context-check")
                self._look.start()
        # A step that only waits is no news yet, and one that is cached never starts.
        state = "done" if news.cached else news.state
        if state != "waiting":
            name = self._shown(news.name)
            self._ctx.step(
                name,
                name,
                index=self._index.setdefault((self._plan.service, news.digest), len(self._index)),
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
