"""The image of an isolated builder: from its Dockerfile where a registry gives the base, else from Debian packages."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path

from dockwright import process
from dockwright.docker import bootstrap, registry
from dockwright.docker.buildx import find_plugin
from dockwright.docker.engine import Engine
from dockwright.docker.recipes import Recipe, digest_of
from dockwright.errors import BuilderUnavailable
from dockwright.process import Cancel
from dockwright.settings import Settings

IMAGE = "localhost/base/builder:latest"
BASE = "debian:trixie-slim"
"""What its Dockerfile is built on."""
PACKAGES = ("docker.io", "iptables", "nftables", "dnsmasq-base", "tini", "git", "ca-certificates")
_PLACES = {"entrypoint.sh": "/usr/local/sbin/dockwright-builder", "firewall.nft": "/etc/dockwright/firewall.nft"}


def folder() -> Path:
    """`deploy/builder` of a checkout, or the copy that an installed wheel carries."""
    package = Path(__file__).resolve().parent.parent
    packed = package / "_builder"
    return packed if packed.is_dir() else package.parent / "deploy" / "builder"


def builder_recipe() -> Recipe:
    files = {place: (folder() / name).read_text(encoding="utf-8") for name, place in _PLACES.items()}
    return Recipe(
        name="builder",
        image=IMAGE,
        substitutes=(),
        packages=PACKAGES,
        # Debian 12's engine has no buildx.
        suite="trixie",
        files=files,
        changes=("VOLUME /var/lib/docker", 'ENTRYPOINT ["tini", "--", "/usr/local/sbin/dockwright-builder"]'),
    )


def ensure_image(settings: Settings, engine: Engine, log: Callable[[str], None], cancel: Cancel) -> str:
    """Makes the image where it is missing or outdated, and returns its id. Whoever asks meanwhile waits for it.

    Raises `BuilderUnavailable`, and what making an image from packages raises.
    """
    recipe, machine = builder_recipe(), bootstrap.overlay(settings)
    lock = settings.home / "locks" / "builder-image.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        while not _is_locked(file.fileno()):
            cancel.sleep(0.2)
        found = engine.image(IMAGE)
        if bootstrap.state(found, recipe, machine) != "ready":
            if registry.is_reachable(BASE):
                log(f"Making {IMAGE}, which isolated builders run on; it is kept")
                _build(digest_of(recipe, machine), cancel)
            elif found is None or bootstrap.is_possible():
                log(f"Making {IMAGE}, which isolated builders run on; it is kept")
                bootstrap.make(settings, engine, recipe, cancel)
            found = engine.image(IMAGE)
    assert found is not None, "the engine has the image that was just made"
    return str(found["Id"])


def _is_locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def build_command(digest: str) -> list[str]:
    """buildx's arguments; `digest` tells later whether the image is still the same."""
    labels = {"managed": "true", "base": "builder", "recipe": digest}
    command = ["build", "--builder=default", "--progress=plain", "--provenance=false", "--pull", f"--tag={IMAGE}"]
    return [*command, *(f"--label=dev.dockwright.{name}={text}" for name, text in labels.items()), str(folder())]


def _build(digest: str, cancel: Cancel) -> None:
    done = process.run([find_plugin(), *build_command(digest)], cancel=cancel)
    if done.returncode != 0:
        lines = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        raise BuilderUnavailable(
            f"{IMAGE}, which isolated builders run on, could not be built",
            remedy='Its last lines stand above; or make it from Debian packages with: "dockwright base builder"',
            last_lines=lines[-10:],
        )
