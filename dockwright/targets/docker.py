"""The Docker target: an instance is a container on this host's engine."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from dockwright.docker.engine import Document, Engine
from dockwright.domain.product import Instance, Product, Release
from dockwright.domain.redaction import Redactor
from dockwright.errors import Conflict, EngineError, NotFound
from dockwright.process import Cancel
from dockwright.settings import Settings
from dockwright.targets import ports, readiness

ADDRESS = "127.0.0.1"
STOP_SECONDS = 10
PORT_TRIES = 5
RESTART_POLICY = "unless-stopped"
LABEL = "dev.dockwright."


class DockerTarget:
    def __init__(self, engine: Engine, settings: Settings, secret_values: Mapping[str, str] | None = None) -> None:
        """`secret_values`: at least of those that a release names which is to be started."""
        self.engine = engine
        self.settings = settings
        self._secret_values = secret_values or {}

    def name_of(self, product: Product, release: Release, index: int) -> str:
        """A new container name each time: a release may be started again while its earlier instance still drains."""
        return f"dockwright-{product.client}-{product.slug}-r{release.number}-{index}-{secrets.token_hex(3)}"

    def bring_image(self, release: Release, cancel: Cancel, log: Callable[[str], None]) -> None:
        """From the registry, where it is gone from the engine. Raises `NotFound`, or as a pull does."""
        ref = release.registry_ref
        if ref is None or self.engine.image(release.digest) is not None:
            return
        from dockwright.docker import registry

        log(f"The image {release.image_name} is gone from the engine: pulling {ref}")
        registry.pull_by_digest(self.engine, registry.holder_of(ref, self.settings), ref, log, cancel)
        # By its name it is known to `dockwright images` and goes with the clean-up; it may be another image's by now.
        if self.engine.image(release.digest) is not None and self.engine.image(release.image_name) is None:
            self.engine.tag_image(release.digest, release.image_name)

    def start(self, product: Product, release: Release, name: str) -> Instance:
        """Creates and starts a container under the name; on an error none is left. Raises `EngineError`."""
        image = self._image(release)
        network = self._network(product)
        for left in reversed(range(PORT_TRIES)):
            port = ports.free_instance_port(ADDRESS)
            try:
                number = self.engine.create_container(name, self._config(product, release, image, network, port))
                self.engine.start_container(number)
            except BaseException as error:
                self.engine.remove_container(name, volumes=True)
                # Somebody else may have taken the port between the look and the start.
                if not (left and isinstance(error, EngineError) and not ports.is_free(ADDRESS, port)):
                    raise
            else:
                return Instance(container_id=number, name=name, address=ADDRESS, port=port, release=release.number)
        raise AssertionError("the last try either returned or raised")

    def wait_ready(self, instance: Instance, release: Release, cancel: Cancel, seconds: float | None = None) -> float:
        """Seconds until it was ready, and from then on the engine starts it again when it ends. Raises `Unhealthy`."""
        window = readiness.start_window(self._image(release)) if seconds is None else seconds
        ports = (release.container_port,)
        took = readiness.wait_ready(self.engine, instance.container_id, ports, cancel, window).seconds
        # Only now: until it is ready, a crash is to end it for good, so that its exit code and lines can be told.
        policy = {"RestartPolicy": {"Name": RESTART_POLICY}}
        self.engine.request("POST", f"/containers/{instance.container_id}/update", body=policy)
        return took

    def is_running(self, instance: Instance) -> bool:
        details = self.engine.container(instance.container_id)
        return details is not None and bool(details["State"]["Running"])

    def logs(self, instance: Instance, tail: int = 100) -> list[str]:
        """Without the secrets that it was started with, which may have other values by now. Raises `NotFound`."""
        return redacted_logs(self.engine, instance.container_id, tail)

    def stop(self, instance: Instance, seconds: int = STOP_SECONDS) -> None:
        """Asks the app to end, and ends it after so many seconds. An instance that is not there is fine."""
        try:
            self.engine.stop_container(instance.container_id, seconds)
        except NotFound:
            return

    def remove(self, name: str) -> None:
        """By name or id, running or not, with its anonymous volumes; the product's own volumes stay."""
        self.engine.remove_container(name, volumes=True)

    def remove_volumes(self, product: Product) -> None:
        """All that the product's instances kept: for a product that is to exist no more."""
        for volume in self.engine.volumes(_labels(product)):
            self.engine.remove_volume(volume["Name"])

    # --- what a container is made of ---------------------------------------------------------------------------------

    def _image(self, release: Release) -> Document:
        image = self.engine.image(release.digest)
        if image is None:
            raise NotFound(
                f"The image {release.image_name} of release {release.number} is not on the engine any more",
                remedy="Build it again, or choose another release",
            )
        return image

    def _network(self, product: Product) -> str:
        """One a client: its products reach each other, and those of other clients do not."""
        name = f"{self.settings.network_name}-{product.client}"
        if self.engine.network(name) is None:
            try:
                self.engine.create_network(name, labels={f"{LABEL}managed": "true", f"{LABEL}client": product.client})
            except Conflict:
                return name  # another build made it meanwhile
        return name

    def _release_labels(self, product: Product, release: Release) -> dict[str, str]:
        known = {
            "project": product.project,
            "build": release.build_id,
            "release": release.number,
            "manifest": release.manifest_digest,
            "secrets": ",".join(release.secrets) or None,
        }
        named = {f"{LABEL}{name}": str(value) for name, value in known.items() if value is not None}
        return {**_labels(product), **named}

    def _config(self, product: Product, release: Release, image: Document, network: str, port: int) -> dict[str, Any]:
        """As `POST /containers/create` takes it.

        We choose the host's port: one that the engine chooses changes whenever the container starts again, after a
        crash too (measured, 26.1), and the edge would then ask at an address where nobody is.
        """
        container_port = f"{release.container_port}/tcp"
        return {
            "Image": release.digest,
            "Labels": self._release_labels(product, release),
            "Env": [f"{name}={value}" for name, value in self._environment(release).items()],
            "ExposedPorts": {container_port: {}},
            **readiness.quick_health_check(image),
            "HostConfig": {
                "NetworkMode": network,
                "PortBindings": {container_port: [{"HostIp": ADDRESS, "HostPort": str(port)}]},
                "Mounts": [self._mount(product, path) for path in release.volumes],
                "Init": True,
                "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
            },
        }

    def _environment(self, release: Release) -> dict[str, str]:
        return {**release.env, **{name: self._secret_values[name] for name in release.secrets}}

    def _mount(self, product: Product, path: str) -> dict[str, Any]:
        """Made by the engine at the first start, with what the image has at that path."""
        return {
            "Type": "volume",
            "Source": volume_name(product, path),
            "Target": path,
            "VolumeOptions": {"Labels": _labels(product)},
        }


def instances(product: Product, engine: Engine | None = None) -> tuple[Instance, ...]:
    """Those that run and have been ready once, as their restart policy tells; the newest release first."""
    found = _containers(engine or Engine(), product)
    return tuple(_instance(one) for one in found if one["State"]["Running"] and _was_ready(one))


def all_instances(product: Product, engine: Engine) -> tuple[Instance, ...]:
    """All containers of the product, those included that ended or that a killed process left half started."""
    return tuple(_instance(one) for one in _containers(engine, product))


def _containers(engine: Engine, product: Product) -> list[Document]:
    found = [engine.container(one["Id"]) for one in engine.containers(_labels(product))]
    return sorted((one for one in found if one), key=lambda one: (-_instance(one).release, one["Name"]))


def redacted_logs(engine: Engine, container: str, tail: int) -> list[str]:
    """The last lines without the secrets that it was started with. Raises `NotFound`."""
    redact = _redactor(engine.container(container))
    return [redact(line) for line in engine.logs(container, tail)]


def _redactor(details: Document | None) -> Redactor:
    config = details["Config"] if details else {"Labels": {}, "Env": []}
    names = ((config["Labels"] or {}).get(f"{LABEL}secrets") or "").split(",")
    environment = dict(one.partition("=")[::2] for one in config["Env"] or ())
    return Redactor({name: environment[name] for name in names if name in environment})


def has_ended(details: Document) -> bool:
    """An instance that was ready once and does not run any more, by no doing of ours."""
    return _was_ready(details) and not details["State"]["Running"]


def _was_ready(details: Document) -> bool:
    return bool(details["HostConfig"]["RestartPolicy"]["Name"] == RESTART_POLICY)


def _labels(product: Product) -> dict[str, str]:
    return {f"{LABEL}managed": "true", f"{LABEL}client": product.client, f"{LABEL}product": product.slug}


def volume_name(product: Product, path: str) -> str:
    """The same for every release of the product: `dockwright-acme-support-data-1f3a90c2`."""
    digest = hashlib.sha256(path.encode()).hexdigest()[:8]
    last = re.sub(r"[^a-z0-9]+", "-", path.lower().rpartition("/")[2]).strip("-")[:30]
    return "-".join(part for part in ("dockwright", product.client, product.slug, last, digest) if part)


def _instance(details: Document) -> Instance:
    bindings = [one for found in (details["HostConfig"]["PortBindings"] or {}).values() for one in found or []]
    return Instance(
        container_id=details["Id"],
        name=details["Name"].removeprefix("/"),
        address=ADDRESS,
        port=int(bindings[0]["HostPort"]) if bindings else 0,
        release=int(details["Config"]["Labels"].get(f"{LABEL}release", "0")),
    )
