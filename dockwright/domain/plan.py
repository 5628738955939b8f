"""What will be built, decided before anything is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias


class InputFile(NamedTuple):
    """A file of the context that a step takes in. A tuple: a large context has tens of thousands of them."""

    path: str
    """As the context has it, with "/" between its parts."""
    mode: int
    """`st_mode`: type and permission bits."""
    digest: str
    """SHA-256 in hexadecimal, of the content of a file or of the target of a link; empty for a folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyMapping:
    """One file of the source and where a COPY puts it in the image."""

    source: str
    destination: str
    """Absolute path in the image."""
    mode: int
    """`st_mode`; without permission bits where they are not known."""
    digest: str
    is_mode_set: bool = False
    """The permission bits are those of a --chmod rather than the file's own."""
    owner: str | None = None
    """As --chown has it, `user:group` by names or numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputStep:
    """One instruction and everything that decides its result."""

    index: int
    """Place among the steps that the final target needs, from 0."""
    target: str
    """Name of the build target it belongs to, or its number as text."""
    number: str
    """As BuildKit counts it: "3/7" of its target; "" for what only sets metadata, such as ENV."""
    line: int
    """First line in the Dockerfile, from 1."""
    instruction: str
    """In capitals: FROM, RUN, COPY …"""
    text: str
    """The instruction as BuildKit shows it, with heredocs, before variables are put in."""
    resolved: str
    """The same with the variables in scope put in, where the instruction takes them."""
    args: Mapping[str, str] = field(default_factory=dict)
    """Build arguments in the environment of a RUN, or that another instruction looks at, by name."""
    base: str | None = None
    """For a FROM of an image, and a COPY or mount from one: the image's digest."""
    depends_on: tuple[str, ...] = ()
    """Build targets or images that it copies or mounts from."""
    files: tuple[InputFile, ...] = ()
    """Files of the context that it takes in, sorted by path."""
    vertex: str = ""
    """The name under which BuildKit reports it, "" where it only sets metadata."""
    sets: tuple[tuple[str, str], ...] = ()
    """Of an ENV: names and values, variables put in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputManifest:
    platform: str
    target: str | None
    steps: tuple[InputStep, ...]
    digest: str
    """SHA-256 in hexadecimal of what decides the image, in canonical JSON: equal inputs, equal digest."""


Sent: TypeAlias = Literal["nothing", "partly", "all"]
"""How much of a context the builder has got."""


class Sending(Protocol):
    """Keeps the word of what the builder was last sent, which the next build goes by (`stages.sending`)."""

    def begin(self) -> None:
        """Before the builder starts."""

    def note(self) -> None:
        """Beside the build."""

    def end(self, sent: Sent) -> None:
        """After `note`, whatever became of the build."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePlan:
    """How one image will be built, and from what."""

    service: str
    context: Path
    """The folder that is sent, under a base name that is this project's own (docs/design: the source's bytes)."""
    dockerfile: Path
    target: str | None
    args: Mapping[str, str]
    """Build arguments that are passed; GIT_COMMIT and the like only where the Dockerfile declares them."""
    secrets: tuple[str, ...]
    """`id=…,src=…` as buildx takes it: paths and names, never values."""
    tags: tuple[str, ...]
    labels: Mapping[str, str]
    substitutes: Mapping[str, str]
    """Image named in the Dockerfile → image on the engine that stands for it."""
    base_ports: frozenset[int]
    """TCP ports that the base images expose by themselves."""
    manifest_digest: str
    manifest: InputManifest | None
    """None where the quick path knew the digest already: then nothing will be built."""
    context_files: int
    context_bytes: int
    reuse: str | None
    """Digest of the image that has this manifest already and is still there."""
    bases: Mapping[str, str] = field(default_factory=dict)
    """Image named in the Dockerfile → id of what it is built on, on the host's engine."""
    no_cache: bool = False
    contexts: Mapping[str, str] = field(default_factory=dict)
    """Named contexts beside the main one, as buildx takes them: a folder, an address, or `service:NAME`."""
    platform: str | None = None
    """None for the engine's own."""
    shared_with: tuple[str, ...] = ()
    """Other services that run the very same image."""
    build_date: str = ""
    """What BUILD_DATE is for this build, whether the Dockerfile asks for it or not."""
    dockerfile_text: str = ""
    manifest_json: Callable[[], str]
    """The manifest as it is kept with the build, reckoned when it is first asked for."""
    sending: Callable[[], Sending]
    """Asked for once, when it is certain that the context will be sent."""
    copies: Callable[[], Any]
    """Where each file of the source lands in the image (`insight.copies.Copies`), reckoned when it is asked for."""
    changed_since: Callable[[], list[str]]
    """Paths of the context that are not any more as they were when it was planned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    services: tuple[ServicePlan, ...]
    """One an image, in the order of their names."""
    standing: Mapping[str, int] = field(default_factory=dict)
    """Service of the compose file → how many containers of it there are to be, built here or not; 0 for one that has
    done its work when the others start."""
    together: str | None = None
    """Why the images are neither tested nor deployed one by one; none where there is no reason not to."""


SECRET_VARIABLE = "BUILD_SECRET_"  # noqa: S105
"""What the names of stored secrets get in front in buildx's own environment: `PATH` and `LD_PRELOAD` mean something
there."""


def stored_secret(name: str) -> str:
    """As buildx takes it."""
    return f"id={name},env={SECRET_VARIABLE}{name}"


def secret_id(secret: str) -> str:
    """The id in `id=…,src=…`; empty where there is none."""
    fields = dict(part.partition("=")[::2] for part in secret.split(","))
    return fields.get("id", "")
