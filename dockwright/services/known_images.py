"""What the engine and the registries know of the images that a Dockerfile is built on, asked before any build."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from dockwright.docker import registry
from dockwright.docker.bases import substitute_for
from dockwright.docker.engine import Engine
from dockwright.errors import UnreachableError
from dockwright.insight import rules_image
from dockwright.insight.findings import Finding, found
from dockwright.insight.subject import ImageConfig, Subject
from dockwright.settings import Settings
from dockwright.stages.base_images import NAME, substitutes


class KnownImages:
    """What the engine and the registries know of the images that Dockerfiles are built on."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engine = Engine()
        self.configs_known: dict[str, ImageConfig | None] = {}
        self.reachable: dict[str, bool] = {}
        self.absent: UnreachableError | None = None
        self._substitutes: Mapping[str, str] | None = None

    def configs(self, refs: Iterable[str]) -> dict[str, ImageConfig]:
        """Of those that are on the engine, or have a local image that stands for them."""
        found_configs = {ref: self._config(ref) for ref in refs}
        return {ref: config for ref, config in found_configs.items() if config is not None}

    def _config(self, image: str) -> ImageConfig | None:
        """None for one that is not on the engine; nothing is known where no engine answers."""
        if self.absent is not None or not NAME.fullmatch(image):
            return None
        if image not in self.configs_known:
            try:
                self.configs_known[image] = self._ask(image)
            except UnreachableError as error:
                self.absent = error
                return None
        return self.configs_known[image]

    def _ask(self, image: str) -> ImageConfig | None:
        known = self.engine.image(image)
        if known is None:
            if self._substitutes is None:
                self._substitutes = substitutes(self.settings, self.engine)
            local = substitute_for(image, self._substitutes)
            known = self.engine.image(local) if local else None
        return dict(known["Config"]) if known is not None else None

    def findings(self, subject: Subject) -> Iterator[Finding]:
        for _, instruction, image in rules_image.image_names(subject):
            place = f"{subject.place}:{instruction.line}"
            if not NAME.fullmatch(image):
                message = f"The Dockerfile is built on {image!r}, which cannot be an image's name"
                yield found("base_missing", place, message, "Write it in small letters, like python:3.12-slim")
            elif image not in subject.images and self.absent is None and not self._can_be_pulled(image):
                host = registry.host_of(image)
                message = f"{image} is not on the engine, and its registry {host} does not answer"
                remedy = 'Make local base images with "dockwright base", or load it with: docker load'
                yield found("base_missing", place, message, remedy)
        if self.absent is not None:
            message = f"Whether the base images are there was not looked at: {self.absent.message}"
            yield found("base_unchecked", subject.place, message, self.absent.remedy)

    def _can_be_pulled(self, image: str) -> bool:
        host = registry.host_of(image)
        if host not in self.reachable:
            self.reachable[host] = registry.is_reachable(image)
        return self.reachable[host]
