"""Image registries: whether one answers, and images brought from it to the engine and to it from the engine.

It is the engine that pushes and pulls: asked by its API, with the credentials in a header of that one call. They stand
in no file and in no argument list, and no `docker login` is needed.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

from dockwright import process
from dockwright.docker.engine import Document, Engine, split_name
from dockwright.errors import (
    BaseImageMissing,
    DockwrightError,
    EngineError,
    NotFound,
    PushFailed,
    RegistryRefused,
    RegistryUnreachable,
)
from dockwright.process import Cancel
from dockwright.settings import Settings

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

ANSWER_SECONDS = 5.0
DEFAULT_REGISTRY = "docker.io"
"""What a name without a registry means; where that is, the engine knows."""
REFUSALS = {"unauthorized", "denied"}
"""Error codes of the registry's own API, which the engine hands on in front of a colon."""
UNDER_WAY = {"Preparing", "Waiting", "Pushing", "Downloading", "Extracting", "Pulling fs layer", "Verifying Checksum"}
"""What the engine says of a layer many times over, and need not be told."""


def host_of(ref: str) -> str:
    """The registry in an image's name: `docker.io` of `python:3.11`, `localhost:5000` of `localhost:5000/x`."""
    first, slash, _ = ref.partition("/")
    is_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
    return first if is_host else DEFAULT_REGISTRY


def is_reachable(ref: str) -> bool:
    """Whether the image's registry answers at all; a refusal (401) is an answer too."""
    host = host_of(ref)
    if host == DEFAULT_REGISTRY:
        host = urlsplit(Engine().info()["IndexServerAddress"]).netloc
    return _status(f"{_url(host)}/v2/") is not None


def _status(url: str) -> int | None:
    """What a registry answers to somebody without credentials; none where there is no registry."""
    import http.client
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer:  # noqa: S310 - http or https
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, http.client.HTTPException, ValueError):  # nobody there, no HTTP, or no name that a host can have
        return None


def pull(ref: str, cancel: Cancel) -> None:
    """Brings an image to the engine, with the credentials of `docker login`.

    Raises `RegistryUnreachable` where nobody answers, `BaseImageMissing` where the registry does not have it.
    """
    docker = process.which("docker", remedy="Install Docker's command line (Debian: docker-cli)")
    done = process.run([docker, "pull", "--quiet", "--", ref], cancel=cancel)
    if done.returncode == 0:
        return
    lines = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
    if is_reachable(ref):
        raise BaseImageMissing(
            f"The base image {ref} cannot be had from {host_of(ref)}",
            remedy="Check its name and tag, and whether it needs: docker login",
            last_lines=lines[-3:],
        )
    raise RegistryUnreachable(
        f"The base image {ref} is not on the engine, and its registry {host_of(ref)} does not answer",
        remedy='Make local base images with "dockwright base", or load it with: docker load',
        last_lines=lines[-3:],
    )


# --- the registry that built images go to ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """DOCKER_REGISTRY_URL and what belongs to it."""

    url: str
    """`https://registry.example:5000`, with a path where all of our names begin with one."""
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def host(self) -> str:
        """With a port where it would else not be known for a host: `registry/x` is a name of Docker Hub's."""
        parts = urlsplit(self.url)
        is_plain = "." in parts.netloc or ":" in parts.netloc or parts.netloc == "localhost"
        return parts.netloc if is_plain else f"{parts.netloc}:{80 if parts.scheme == 'http' else 443}"

    def name_of(self, image_name: str) -> str:
        """`acme/support:b12` → `registry.example:5000/acme/support:b12`."""
        return f"{self.host}{urlsplit(self.url).path.rstrip('/')}/{image_name}"

    def identity(self) -> dict[str, str]:
        """As the engine's API takes it; empty where anybody may push."""
        if not self.username:
            return {}
        return {"username": self.username, "password": self.password or "", "serveraddress": self.host}

    def headers(self) -> dict[str, str]:
        """For one call of the engine's. The header must be there, if it be empty."""
        text = json.dumps(self.identity())
        return {"X-Registry-Auth": base64.urlsafe_b64encode(text.encode()).decode()}

    def is_refused_by(self, engine: Engine) -> bool:
        """Without TLS the engine speaks to a registry only where it is told to, and on its own machine."""
        if not self.url.startswith("http://"):
            return False
        from ipaddress import ip_network

        known = engine.info().get("RegistryConfig") or {}
        if not (known.get("IndexConfigs") or {}).get(self.host, {"Secure": True})["Secure"]:
            return False
        networks = [ip_network(text) for text in known.get("InsecureRegistryCIDRs") or ()]
        return not any(address in network for address in _addresses(self.host) for network in networks)


def _addresses(host: str) -> list[IPv4Address | IPv6Address]:
    import socket
    from ipaddress import ip_address

    try:
        return [ip_address(found[4][0]) for found in socket.getaddrinfo(urlsplit(f"//{host}").hostname, None)]
    except OSError:
        return []


def from_settings(settings: Settings) -> Registry | None:
    """None where images stay on the engine."""
    url = settings.registry_url
    if url is None:
        return None
    return Registry(url=url, username=settings.registry_username, password=settings.registry_password)


def holder_of(ref: str, settings: Settings) -> Registry:
    """The registry in a name. Our credentials are for our registry alone: another gets none of them."""
    ours = from_settings(settings)
    if ours is not None and ours.host == host_of(ref):
        return ours
    return Registry(url=_url(host_of(ref)))


def _url(host: str) -> str:
    scheme = "http" if host.partition(":")[0] in {"localhost", "127.0.0.1"} else "https"
    return f"{scheme}://{host}"


def check(engine: Engine, registry: Registry) -> None:
    """Whether images can be pushed there, as far as that can be told without one.

    Raises `RegistryUnreachable` or `RegistryRefused`.
    """
    what, reason = f"The registry {registry.host} cannot be used", "it was asked without a name"
    if registry.username:
        try:
            engine.request("POST", "/auth", body=registry.identity())
        except EngineError as error:
            reason = error.message
        else:
            return
    failure = _failure(engine, registry, what, reason)
    if not isinstance(failure, PushFailed):
        raise failure
    if registry.username:
        raise RegistryRefused(failure.message, remedy="Check DOCKER_REGISTRY_USERNAME and DOCKER_REGISTRY_PASSWORD")


def tag_digest(engine: Engine, registry: Registry, name: str, cancel: Cancel) -> str | None:
    """What the tag means in the registry now; none where it cannot be told."""
    try:
        with engine.open(
            "GET", f"/distribution/{name}/json", headers=registry.headers(), timeout=None, cancel=cancel
        ) as stream:
            return str(json.load(stream)["Descriptor"]["digest"])
    except (NotFound, EngineError):  # not there, or whoever pushes next hears why
        return None


def push(
    engine: Engine, registry: Registry, name: str, report: Callable[[str], None], cancel: Cancel
) -> tuple[str, int]:
    """Sends an image by the name that it has on the engine. Returns the registry's digest and the bytes sent.

    Raises `RegistryUnreachable`, `RegistryRefused` or `PushFailed`. Layers that the registry has are not sent again.
    """
    repository, tag = split_name(name)
    layers, digest = _Layers(report), None
    try:
        with engine.open(
            "POST",
            f"/images/{repository}/push",
            {"tag": tag},
            headers=registry.headers(),
            timeout=None,
            cancel=cancel,
        ) as stream:
            for document in _documents(stream):
                layers.take(document)
                digest = (document.get("aux") or {}).get("Digest") or digest
    except EngineError as error:
        raise _failure(engine, registry, f"{name} was not pushed", error.message) from error
    if digest is None:
        raise PushFailed(
            f"{name} was not pushed: the engine ended without a word", remedy="See the engine's own log, and try again"
        )
    return digest, layers.bytes


def pull_by_digest(engine: Engine, registry: Registry, ref: str, report: Callable[[str], None], cancel: Cancel) -> None:
    """Brings `host/name@sha256:…` to the engine.

    Raises `NotFound` where the registry does not have it, `RegistryUnreachable`, `RegistryRefused` or `PushFailed`.
    """
    repository, _, digest = ref.partition("@")
    layers = _Layers(report)
    try:
        with engine.open(
            "POST",
            "/images/create",
            {"fromImage": repository, "tag": digest},
            headers=registry.headers(),
            timeout=None,
            cancel=cancel,
        ) as stream:
            for document in _documents(stream):
                layers.take(document)
    except EngineError as error:
        raise _failure(engine, registry, f"{ref} was not pulled", error.message) from error


class _Layers:
    """What the engine tells of an image's layers while it pushes or pulls them."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._said: dict[str, str] = {}
        self._sent: dict[str, int] = {}

    @property
    def bytes(self) -> int:
        return sum(self._sent.values())

    def take(self, document: Document) -> None:
        layer, status = document.get("id"), document.get("status")
        if not layer or not status:
            return
        if status == "Pushing":
            self._sent[layer] = max(self._sent.get(layer, 0), _current(document))
        if status not in UNDER_WAY and self._said.get(layer) != status:
            self._said[layer] = status
            self._report(f"{layer}: {status}")


def _current(document: Document) -> int:
    return int((document.get("progressDetail") or {}).get("current") or 0)


def _documents(stream: BinaryIO) -> Iterator[Document]:
    """One a line. Raises `EngineError` for the one that tells of a failure: the status was sent before it."""
    for line in stream:
        document: Any = json.loads(line)
        if not isinstance(document, dict):
            continue
        if "error" in document:
            raise EngineError(str(document["error"]), remedy="See the engine's own log")
        yield document


def _failure(engine: Engine, registry: Registry, what: str, reason: str) -> DockwrightError:
    """The engine tells a failure in words alone: so the registry is asked what it is that it lacks."""
    reason = " ".join(reason.removeprefix("The Docker engine: ").split())
    if reason.partition(":")[0] in REFUSALS:
        return RegistryRefused(
            f"{what}: the registry {registry.host} refuses ({reason})",
            remedy="Check DOCKER_REGISTRY_USERNAME and DOCKER_REGISTRY_PASSWORD, and what that user may do there",
        )
    if registry.is_refused_by(engine):
        return RegistryUnreachable(
            f"{what}: the engine does not speak to {registry.host} without TLS ({reason})",
            remedy=f'Add "{registry.host}" to "insecure-registries" in the engine\'s daemon.json and restart it, '
            "or use https://",
        )
    status = _status(f"{urlsplit(registry.url).scheme}://{registry.host}/v2/")
    if status is None:
        return RegistryUnreachable(
            f"{what}: the registry {registry.host} does not answer ({reason})",
            remedy="Start it, or correct DOCKER_REGISTRY_URL",
        )
    if status == 401 and not registry.username:
        return RegistryRefused(
            f"{what}: the registry {registry.host} asks who it is",
            remedy="Set DOCKER_REGISTRY_USERNAME and DOCKER_REGISTRY_PASSWORD",
        )
    return PushFailed(f"{what}: {reason}", remedy=f"See the log of {registry.host}, and try again")
