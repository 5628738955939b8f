"""Makes an image from Debian packages, as a recipe has it: no registry is asked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from dockwright import process
from dockwright.docker import host
from dockwright.docker.engine import Document, Engine
from dockwright.docker.recipes import BUNDLE, Recipe, bootstrap_command, digest_of, import_command
from dockwright.errors import BaseImageMissing, DiskFull, EngineError, ToolMissing
from dockwright.process import Cancel
from dockwright.settings import Settings

NEEDED_BYTES = 2_000_000_000
"""The largest image three times: as a folder, as a tar file and as an image; and the next one beside it."""
_AUTHORITIES = "/usr/local/share/ca-certificates/host"


def state(image: Document | None, recipe: Recipe, overlay: dict[str, str]) -> str:
    if image is None:
        return "missing"
    labels = image["Config"].get("Labels") or {}
    return "ready" if labels.get("dev.dockwright.recipe") == digest_of(recipe, overlay) else "outdated"


def is_possible() -> bool:
    """Whether this process can make images. One that cannot, a server in a container say, cannot judge them either: it
    sees other certificates than the machine that made them."""
    try:
        _require_tools()
    except ToolMissing:
        return False
    return True


def make(settings: Settings, engine: Engine, recipe: Recipe, cancel: Cancel) -> None:
    """Raises `ToolMissing`, `DiskFull`, `BaseImageMissing`, `EngineError`."""
    machine = overlay(settings)
    _require_tools()
    sources, apt_options = host.debian_sources(recipe.suite), host.apt_options()
    with _workspace(settings, recipe) as folder:
        _require_room(folder, Path(str(engine.info().get("DockerRootDir", "/"))))
        files = {**machine, **recipe.files}
        if recipe.variant == "minbase":
            files["/etc/apt/sources.list.d/debian.sources"] = sources
        _write_files(folder / "overlay", files)
        (folder / "debian.sources").write_text(sources, encoding="utf-8")
        tar = folder / "base.tar"
        command = bootstrap_command(recipe, tar=tar, sources=folder / "debian.sources", apt_options=apt_options)
        env = {
            "DOCKWRIGHT_OVERLAY": str(folder / "overlay"),
            "DOCKWRIGHT_BUNDLE": str(folder / "overlay" / BUNDLE.lstrip("/")),
            "DOCKWRIGHT_SETUP": recipe.setup,
            "TMPDIR": str(folder),
        }
        made = process.run(command, env=env, cancel=cancel)
        if made.returncode != 0:
            raise _failure(recipe, made.stderr)
        imported = process.run(import_command(recipe, tar, digest_of(recipe, machine)), cancel=cancel)
        if imported.returncode != 0:
            raise EngineError(
                f"The engine did not import {recipe.image}: {imported.stderr.decode(errors='replace').strip()}",
                remedy="See the engine's own log, and: dockwright doctor",
            )


def _require_tools() -> None:
    remedy = "Run as root on Debian with mmdebstrap (apt-get install mmdebstrap), or load the real images: docker load"
    if os.geteuid() != 0:
        raise ToolMissing("Base images are made by root, and this is another user", remedy=remedy)
    process.which("mmdebstrap", remedy=remedy)
    process.which("docker", remedy="Install Docker's command line (Debian: docker-cli)")


def _require_room(*folders: Path) -> None:
    for folder in folders:
        if folder.exists() and (free := shutil.disk_usage(folder).free) < NEEDED_BYTES:
            raise DiskFull(
                f"Only {free / 1e9:.1f} GB are free at {folder}: a base image needs {NEEDED_BYTES / 1e9:.1f} GB",
                remedy="Free some with: dockwright cleanup",
            )


@contextmanager
def _workspace(settings: Settings, recipe: Recipe) -> Iterator[Path]:
    """A folder that is removed in every outcome, unless a mount of a killed mmdebstrap is still inside it."""
    settings.workspace_dir.mkdir(parents=True, exist_ok=True)
    folder = Path(mkdtemp(prefix=f"base-{recipe.name}-", dir=settings.workspace_dir))
    folder.chmod(0o755)  # apt's own user reads in it
    try:
        yield folder
    finally:
        if f" {folder}/" not in Path("/proc/self/mountinfo").read_text(encoding="utf-8"):
            shutil.rmtree(folder)


def overlay(settings: Settings) -> dict[str, str]:
    """What every base takes from this machine, path → text: its certificates, and its indexes of packages."""
    bundle = host.ca_bundle(settings)
    text = bundle.read_text(encoding="ascii", errors="replace") if bundle else ""
    files = {BUNDLE: text}
    # Beside the bundle one by one: "update-ca-certificates" in a Dockerfile then keeps them.
    for number, pem in enumerate(host.own_authorities(text, host.distribution_authorities())):
        files[f"{_AUTHORITIES}-{number:03}.crt"] = pem + "\n"
    found = {
        "/etc/pip.conf": host.pip_config(os.environ, with_credentials=False),
        "/etc/npmrc": host.npm_config(os.environ),
    }
    return files | {path: content for path, content in found.items() if content}


def _write_files(root: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        target.chmod(0o755 if text.startswith("#!") else 0o644)
    for folder in (root, *root.rglob("*")):
        if folder.is_dir():
            folder.chmod(0o755)


def _failure(recipe: Recipe, stderr: bytes) -> BaseImageMissing:
    lines = [line for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    return BaseImageMissing(
        f"mmdebstrap could not make {recipe.image}",
        remedy='Its last lines stand above; the machine must reach its Debian mirror (try "apt-get update")',
        last_lines=lines[-10:],
    )
