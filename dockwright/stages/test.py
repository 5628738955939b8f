"""test: Images → report. Each image runs in a private network without a way out, becomes ready, and is called."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dockwright.docker.engine import Document, Engine
from dockwright.domain.image import Image
from dockwright.domain.source import SmokeTest
from dockwright.errors import DockwrightError, SmokeTestFailed, Unhealthy
from dockwright.stages.context import StageContext
from dockwright.targets import readiness

if TYPE_CHECKING:
    import httpx

MAX_BODY_BYTES = 1_000_000
ANSWER_SECONDS = 30.0
LABEL = "dev.dockwright."


@dataclass(frozen=True, slots=True, kw_only=True)
class SmokeResult:
    name: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTest:
    service: str
    seconds_to_ready: float | None = None
    """None where the image was not started."""
    port: int | None = None
    """The first of the image's ports on which it listens."""
    smoke_tests: tuple[SmokeResult, ...] = ()
    reason: str | None = None
    """Why there was nothing to test."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TestReport:
    """All that was tested has passed; what fails raises."""

    __test__ = False  # its name makes pytest take it for a class of tests

    images: tuple[ImageTest, ...]


def test(ctx: StageContext, images: tuple[Image, ...], smoke_tests: tuple[SmokeTest, ...]) -> TestReport:
    """Raises `Unhealthy` or `SmokeTestFailed`, with the container's last lines. Nothing is left in any outcome."""
    engine = Engine()
    return TestReport(images=tuple(_test_image(ctx, engine, image, smoke_tests) for image in images))


def _test_image(ctx: StageContext, engine: Engine, image: Image, smoke_tests: tuple[SmokeTest, ...]) -> ImageTest:
    if not image.ports and not image.has_health_check:
        reason = "it exposes no port and has no health check"
        ctx.log(f"{image.service}: nothing to test: {reason}")
        return ImageTest(service=image.service, reason=reason)
    details = engine.image(image.digest)
    if details is None:
        raise Unhealthy(f"The image {image.name} is not on the engine any more", remedy="Start the build again")
    with _container(ctx, engine, image, details, _environment(ctx, smoke_tests)) as container:
        window = readiness.start_window(details)
        ready = readiness.wait_ready(engine, container, image.ports, ctx.cancel, window)
        ctx.log(f"{image.service}: ready after {ready.seconds:.2f} s")
        if ready.port is not None and ready.port != image.ports[0]:
            ctx.log(f"{image.service}: listens on port {ready.port}, and on {image.ports[0]} nobody does")
        results = _call(ctx, engine, container, ready.port, smoke_tests) if ready.port else ()
    return ImageTest(service=image.service, seconds_to_ready=ready.seconds, port=ready.port, smoke_tests=results)


def _environment(ctx: StageContext, smoke_tests: tuple[SmokeTest, ...]) -> Mapping[str, str]:
    """That of the release, for an app that does not start without it.

    A template's app does, and its smoke tests were written for it without keys: a key would send it to an endpoint
    that cannot be reached from here.
    """
    return {} if smoke_tests else ctx.request.run_env


@contextmanager
def _container(
    ctx: StageContext, engine: Engine, image: Image, details: Document, env: Mapping[str, str]
) -> Iterator[str]:
    """The image started in an internal network of its own. Both are gone afterwards, the anonymous volumes too."""
    request = ctx.request
    name = f"dockwright-{request.client}-{request.project}-b{request.build_id}-test-{secrets.token_hex(3)}"
    labels = {
        f"{LABEL}managed": "true",
        f"{LABEL}client": request.client,
        f"{LABEL}project": request.project,
        f"{LABEL}build": str(request.build_id),
    }
    config: dict[str, Any] = {
        "Image": image.digest,
        "Labels": labels,
        "Env": [f"{variable}={value}" for variable, value in env.items()],
        **readiness.quick_health_check(details),
        "HostConfig": {"NetworkMode": name, "Init": True},
    }
    # Registered before they are made: what is interrupted on the way is removed all the same.
    with ExitStack() as made:
        made.callback(engine.remove_network, name)
        engine.create_network(name, internal=True, labels=labels)
        made.callback(engine.remove_container, name, volumes=True)
        engine.create_container(name, config)
        engine.start_container(name)
        yield name


# --- smoke tests --------------------------------------------------------------------------------------------------


def _call(
    ctx: StageContext, engine: Engine, container: str, port: int, smoke_tests: tuple[SmokeTest, ...]
) -> tuple[SmokeResult, ...]:
    if not smoke_tests:
        return ()
    import httpx

    details = engine.container(container)
    host = readiness.address(details) if details else ""
    results = []
    # Without `trust_env`, which would send the calls to the machine's own proxy.
    with httpx.Client(base_url=f"http://{host}:{port}", trust_env=False, timeout=ANSWER_SECONDS) as client:
        for smoke_test in smoke_tests:
            ctx.cancel.check()
            started = time.monotonic()
            problem = _problem(client, smoke_test)
            if problem:
                raise _failed(engine, container, smoke_test, problem)
            results.append(SmokeResult(name=smoke_test.name, seconds=time.monotonic() - started))
            ctx.log(f"{smoke_test.name}: passed in {results[-1].seconds:.2f} s")
    return tuple(results)


def _problem(client: httpx.Client, wanted: SmokeTest) -> str | None:
    """What is wrong with the answer; none where it is as it must be."""
    import httpx

    try:
        path = "/" + wanted.path.removeprefix("/")
        with client.stream(wanted.method, path, json=wanted.body) as answer:
            body = _body(answer)
    except httpx.HTTPError as error:
        return f"gave no answer: {error or type(error).__name__}"
    if answer.status_code != wanted.status:
        return f"answered {answer.status_code}, not {wanted.status}: {body[:200]!r}"
    missing = next((text for text in wanted.contains if text not in body), None)
    if missing is not None:
        return f"answered without {missing!r}: {body[:200]!r}"
    return _json_problem(wanted.json, body) if wanted.json is not None else None


def _body(answer: httpx.Response) -> str:
    deadline, content = time.monotonic() + ANSWER_SECONDS, bytearray()
    for chunk in answer.iter_bytes():
        content += chunk
        # An answer that goes on and on is judged by what came of it.
        if len(content) > MAX_BODY_BYTES or time.monotonic() > deadline:
            break
    return content[:MAX_BODY_BYTES].decode(answer.encoding or "utf-8", "replace")


def _json_problem(wanted: Mapping[str, Any], body: str) -> str | None:
    import json

    try:
        found = json.loads(body)
    except ValueError:
        return f"answered no JSON: {body[:200]!r}"
    for name, value in wanted.items():
        if not isinstance(found, dict) or name not in found:
            return f"answered without the member {name!r}: {body[:200]!r}"
        if found[name] != value:
            return f"answered {name!r} = {found[name]!r}, not {value!r}"
    return None


def _failed(engine: Engine, container: str, smoke_test: SmokeTest, problem: str) -> DockwrightError:
    return SmokeTestFailed(
        f'Smoke test "{smoke_test.name}": {smoke_test.method} {smoke_test.path} {problem}',
        remedy="Read the app's last lines above; correct the app, or the test in the template's template.yaml",
        last_lines=engine.logs(container, readiness.LAST_LINES),
    )
