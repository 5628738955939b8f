"""The images that a build stands on: on the engine already, pulled, or a local one that stands for an official one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dockwright.docker.bases import parse_substitutes, substitute_for
from dockwright.docker.engine import Engine
from dockwright.errors import BaseImageMissing, DockerfileSyntax, RegistryUnreachable
from dockwright.settings import Settings
from dockwright.stages.context import StageContext

NAME = re.compile(
    r"(?:(?:[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:]+\])(?::\d+)?/)?"  # the registry
    r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*"
    r"(?::\w[\w.-]{0,127})?(?:@[a-z0-9]+:[a-f0-9]{32,})?",
    re.ASCII,
)
BASE_NAMES = "localhost/base/"
_LABEL = "dev.dockwright."


@dataclass(slots=True)
class BaseImages:
    """By the name that the Dockerfile has for it."""

    found: dict[str, dict[str, Any]] = field(default_factory=dict)
    """As the engine describes it."""
    substitutes: dict[str, str] = field(default_factory=dict)
    """Which local image stands for it."""

    @property
    def digests(self) -> dict[str, str]:
        return {ref: image["Id"] for ref, image in self.found.items()}

    @property
    def env(self) -> dict[str, dict[str, str]]:
        return {
            ref: dict(variable.partition("=")[::2] for variable in image["Config"].get("Env") or ())
            for ref, image in self.found.items()
        }

    @property
    def triggers(self) -> dict[str, list[str]]:
        """What ONBUILD has left in each."""
        return {ref: image["Config"].get("OnBuild") or [] for ref, image in self.found.items()}

    @property
    def ports(self) -> frozenset[int]:
        return frozenset(port for image in self.found.values() for port in tcp_ports(image["Config"]))

    def workdir(self, ref: str | None) -> str:
        return (self.found[ref]["Config"].get("WorkingDir") if ref else None) or "/"


def tcp_ports(config: Mapping[str, Any]) -> list[int]:
    """Those that an image's configuration exposes."""
    exposed = [port.partition("/") for port in config.get("ExposedPorts") or {}]
    return sorted(int(number) for number, _, protocol in exposed if protocol in {"tcp", ""})


def base_images(ctx: StageContext, engine: Engine, refs: tuple[str, ...]) -> BaseImages:
    """Raises `BaseImageMissing` or `RegistryUnreachable` for one that can be had nowhere."""
    bases = BaseImages()
    for ref in refs:
        if not NAME.fullmatch(ref):
            raise DockerfileSyntax(
                f"The Dockerfile is built on {ref!r}, which cannot be an image's name",
                remedy="Names of images are written in small letters, like python:3.12-slim",
            )
        found = _newest(ctx, engine, ref) if ctx.request.profile == "dev" else engine.image(ref)
        if found is None and (local := substitute_for(ref, substitutes(ctx.settings, engine))):
            found = engine.image(local)
            if found is not None:
                bases.substitutes[ref] = local
        bases.found[ref] = found or _pull(ctx, engine, ref)
    return bases


def substitutes(settings: Settings, engine: Engine) -> Mapping[str, str]:
    """Pattern of names → local image: from IMAGE_SUBSTITUTES, else those that `dockwright base` has made."""
    if settings.image_substitutes is not None:
        return parse_substitutes(settings.image_substitutes)
    return {
        pattern: name
        for image in engine.images({f"{_LABEL}managed": "true"})
        # Whatever is built on a base inherits its labels: only the name tells the base itself.
        for name in image.get("RepoTags") or ()
        if name.startswith(BASE_NAMES)
        for pattern in filter(None, (image.get("Labels") or {}).get(f"{_LABEL}substitutes", "").split(","))
    }


def _pull(ctx: StageContext, engine: Engine, ref: str) -> dict[str, Any]:
    from dockwright.docker import registry

    ctx.log(f"Pulling {ref}")
    registry.pull(ref, ctx.cancel)
    found = engine.image(ref)
    assert found is not None, "the engine has the image that was just pulled"
    return found


def _newest(ctx: StageContext, engine: Engine, ref: str) -> dict[str, Any] | None:
    """dev builds on the newest base where its registry answers, else on the one that is here."""
    try:
        return _pull(ctx, engine, ref)
    except (RegistryUnreachable, BaseImageMissing):
        ctx.log(f"{ref} cannot be pulled: what is here is used")
        return engine.image(ref)
