"""A builder: an engine that builds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an isolated builder may use of the machine; less where the machine has less."""

    cpus: float = 2.0
    memory_bytes: int = 4 * 1024**3
    """Of all RUN steps together."""
    pids: int = 8192
    cache_bytes: int = 20 * 1000**3
    """What BuildKit keeps of its cache; it removes what was not used for longest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Builder:
    """`shared` is the host's engine; `isolated` Docker in Docker with its own network and cache."""

    name: str
    """Of its container, network and volume, where it is isolated."""
    kind: Literal["shared", "isolated"] = "shared"
    capacity: int = 1
    """Builds at once."""
    client: str = ""
    folder: Path | None = None
    """Where an isolated one's socket appears; none for the shared one."""
    limits: Limits = Limits()

    @property
    def docker_host(self) -> str | None:
        """None for the host's engine. An isolated one answers there while `docker.builders.in_use` holds it."""
        return None if self.folder is None else f"unix://{self.folder / 'docker.sock'}"


SHARED = Builder(name="shared")
