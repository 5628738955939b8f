"""Builds through buildx: the command as a pure function of the plan, its run, and what its failure means."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from dockwright import process
from dockwright.docker.rawjson import LogLine, Progress, Splitter, Vertex
from dockwright.domain.image import Step
from dockwright.domain.plan import ServicePlan
from dockwright.domain.redaction import NO_SECRETS, Redactor
from dockwright.errors import (
    BaseImageMissing,
    BuilderFailed,
    DockwrightError,
    EngineUnreachable,
    StepFailed,
    ToolMissing,
)
from dockwright.process import Cancel

PLUGIN_FOLDERS = (
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
)
INSTALL = "Install it (Debian: docker-buildx, elsewhere docker-buildx-plugin), then see: dockwright doctor"
ENVIRONMENT = {
    "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",
    # For attestations alone it would run Git several times before it begins.
    "BUILDX_GIT_INFO": "false",
}
Watch: TypeAlias = Callable[[Vertex | LogLine], None]
_LOADS_BASE = re.compile(r"\[(?:internal|context (?P<for>\S+))\] load metadata for (?P<image>\S+)")
# The code of gRPC, in either of the forms in which buildx tells it.
_LOST_ENGINE = re.compile(r"rpc error: code = Unavailable|: Unavailable: |Cannot connect to the Docker daemon")
_EXIT_CODE = re.compile(r"exit code: (\d+)")


def find_plugin(name: str = "docker-buildx") -> str:
    """The plug-in itself: called directly it starts 35 ms sooner than through `docker`. Raises `ToolMissing`."""
    config = os.environ.get("DOCKER_CONFIG") or str(Path("~/.docker").expanduser())
    for folder in (f"{config}/cli-plugins", *PLUGIN_FOLDERS):
        if os.access(path := f"{folder}/{name}", os.X_OK):
            return path
    raise ToolMissing(f"The Docker plug-in {name} is not installed", remedy=INSTALL)


def build_command(plan: ServicePlan, metadata_file: Path) -> list[str]:
    """The arguments after the plug-in's path."""
    command = ["build", "--builder=default", "--progress=rawjson", f"--metadata-file={metadata_file}"]
    # An attestation would give equal content a new digest with each build.
    command += ["--provenance=false", f"--file={plan.dockerfile}"]
    command += [f"--tag={tag}" for tag in plan.tags]
    command += [f"--label={name}={value}" for name, value in plan.labels.items()]
    command += [f"--build-arg={name}={value}" for name, value in plan.args.items()]
    command += [f"--secret={secret}" for secret in plan.secrets]
    command += [f"--build-context={name}={place}" for name, place in build_contexts(plan).items()]
    if plan.target:
        command.append(f"--target={plan.target}")
    if plan.platform:
        command.append(f"--platform={plan.platform}")
    if plan.no_cache:
        command.append("--no-cache")
    return [*command, str(plan.context)]


def build_contexts(plan: ServicePlan) -> dict[str, str]:
    """By the name that the Dockerfile has for each."""
    return {**plan.contexts, **{ref: f"docker-image://{image}" for ref, image in plan.substitutes.items()}}


class Build:
    """One run of buildx: `run` it once, then ask for its `steps`."""

    def __init__(self, plan: ServicePlan, metadata_file: Path, redact: Redactor = NO_SECRETS) -> None:
        self.plan = plan
        self.metadata_file = metadata_file
        self.progress = Progress(redact)
        self._splitter = Splitter()
        self._plain: list[str] = []

    def run(
        self, watch: Watch, cancel: Cancel, docker_host: str | None = None, env: Mapping[str, str] | None = None
    ) -> str:
        """Builds, by the engine at `docker_host` where that is not the usual one, and returns the image's digest.

        `env` is for buildx alone: values of secrets, which are to be in no file and in no argument.
        `watch` is called with each vertex that changed its state and each line of output, from a reader's thread.
        Raises `StepFailed`, `BaseImageMissing` or `BuilderFailed`.
        """

        def take(chunk: bytes) -> None:
            for item in self._splitter.feed(chunk):
                self.take(item, watch)

        # The socket that Engine uses is the one that buildx must use; `default` is the builder inside that engine.
        command = [find_plugin(), *build_command(self.plan, self.metadata_file)]
        host = {"DOCKER_HOST": docker_host} if docker_host else {}
        done = process.run(command, env={**ENVIRONMENT, **host, **(env or {})}, cancel=cancel, on_stderr=take)
        for item in self._splitter.close():
            self.take(item, watch)
        for line in self.progress.close():
            watch(line)
        if done.returncode != 0:
            raise self.failure(done.returncode)
        metadata = json.loads(self.metadata_file.read_text())
        digest: str = metadata["containerimage.config.digest"]
        return digest

    def steps(self, without: Collection[str] = ()) -> tuple[Step, ...]:
        """The Dockerfile's instructions that BuildKit came to, in the order in which it did.

        `without`: digests of vertices that are another build's.
        """
        return tuple(
            Step(name=vertex.name, cached=vertex.cached, seconds=round(vertex.seconds, 3))
            for vertex in self.progress.begun.values()
            if vertex.is_step and (vertex.cached or vertex.state == "done") and vertex.digest not in without
        )

    def take(self, item: dict[str, object] | str, watch: Watch) -> None:
        if isinstance(item, str):
            self._plain.append(item)
            return
        for news in self.progress.feed(item):
            watch(news)

    def failure(self, status: int) -> DockwrightError:
        """What became of a build that ended with this exit status."""
        failed = next(self.failed_vertices(), None)
        lines = [line for line in self._plain if line.strip()]
        if any(_LOST_ENGINE.search(line) for line in lines):
            return EngineUnreachable(
                "The Docker engine went away during the build",
                remedy="See why with: dockwright doctor",
                last_lines=lines[-5:],
            )
        if failed is None:
            return BuilderFailed(
                lines[-1].removeprefix("ERROR: ") if lines else f"buildx ended with status {status}",
                remedy="Run dockwright doctor: it checks the builder",
                last_lines=lines[-20:],
            )
        if base := _LOADS_BASE.fullmatch(failed.name):
            image = base["for"] or base["image"].removeprefix("docker.io/library/")
            return BaseImageMissing(
                f"The base image {image} cannot be had: {failed.error}",
                remedy="Check its name and tag, or make a local substitute with: dockwright base",
                step=failed.name,
            )
        code = _EXIT_CODE.search(failed.error)
        ending = f" with exit code {code[1]}" if code else f": {failed.error}"
        return StepFailed(
            f"The step {failed.name} failed{ending}",
            remedy="Mend the instruction; its last lines stand above",
            step=failed.name,
            step_exit_code=int(code[1]) if code else None,
            last_lines=[line for line in failed.lines if line.strip()][-20:],
        )

    def failed_vertices(self) -> Iterator[Vertex]:
        """The vertex that failed of itself comes before those that BuildKit ended because of it."""
        failed = [vertex for vertex in self.progress.vertices.values() if vertex.state == "failed"]
        yield from (vertex for vertex in failed if "canceled" not in vertex.error)
        yield from failed
