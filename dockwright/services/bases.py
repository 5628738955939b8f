"""Makes base images on the engine where no registry gives them: `dockwright base`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from dockwright import process
from dockwright.docker import host, registry
from dockwright.docker.engine import Document, Engine
from dockwright.docker.recipes import BUNDLE, RECIPES, SUITE, Recipe, bootstrap_command, digest_of, import_command
from dockwright.docker.server_recipes import SERVER_RECIPES
from dockwright.errors import BaseImageMissing, Conflict, DiskFull, EngineError, NotFound, ToolMissing
from dockwright.process import Cancel
from dockwright.settings import Settings

NEEDED_BYTES = 2_000_000_000
"""The largest base three times: as a folder, as a tar file and as an image; and the next one beside it."""
OFFICIAL = "debian"
"""An official image: its registry is the one that the bases stand in for."""
_AUTHORITIES = "/usr/local/share/ca-certificates/host"
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A base image as it is on the engine, or could be."""

    name: str
    image: str
    substitutes: tuple[str, ...]
    state: str
    """`missing`, `ready`, or `outdated`: its recipe or this machine's certificates have changed since."""
    size: int
    """In bytes, 0 while missing."""

    def as_dict(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in ("name", "image", "substitutes", "state", "size")}


def listing(settings: Settings, names: Sequence[str] = ()) -> list[Base]:
    """The bases of these names, or those that applications are built on. Raises `NotFound` where there is no recipe."""
    engine, overlay = Engine(), _overlay(settings)
    return [_base(engine, recipe, overlay) for recipe in _recipes(names)]


def are_needed(bases: Sequence[Base]) -> bool:
    """Whether any that was made must be made anew, or all must be because no image registry answers."""
    if any(base.state == "outdated" for base in bases):
        return True
    return any(base.state == "missing" for base in bases) and not registry.is_reachable(OFFICIAL)


def make(settings: Settings, names: Sequence[str], *, force: bool, report: Report, cancel: Cancel) -> list[Base]:
    """Makes those that are missing or outdated, or with `force` all.

    `report` is called with a line for each that is made. Raises `ToolMissing`, `DiskFull`, `BaseImageMissing`.
    """
    engine, overlay = Engine(), _overlay(settings)

    def make_one(recipe: Recipe) -> None:
        before = engine.image(recipe.image)
        if force or _state(before, recipe, overlay) != "ready":
            cancel.check()
            report(f"Making {recipe.image} from Debian packages …")
            _make(settings, engine, recipe, overlay, cancel)
            _remove_replaced(engine, before, recipe)

    # dpkg keeps one core busy, so two at a time.
    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(make_one, _recipes(names)))
    return listing(settings, names)


def _recipes(names: Sequence[str]) -> list[Recipe]:
    """Without names, those that applications are built on."""
    every = RECIPES | SERVER_RECIPES
    for name in names:
        if name not in every:
            raise NotFound(f'There is no base "{name}"', remedy=f"Choose from: {', '.join(every)}")
    return [every[name] for name in names or RECIPES]


def _base(engine: Engine, recipe: Recipe, overlay: dict[str, str]) -> Base:
    found = engine.image(recipe.image)
    return Base(
        name=recipe.name,
        image=recipe.image,
        substitutes=recipe.substitutes,
        state=_state(found, recipe, overlay),
        size=found.get("Size", 0) if found else 0,
    )


def _state(image: Document | None, recipe: Recipe, overlay: dict[str, str]) -> str:
    if image is None:
        return "missing"
    labels = image["Config"].get("Labels") or {}
    return "ready" if labels.get("dev.dockwright.recipe") == digest_of(recipe, overlay) else "outdated"


def _make(settings: Settings, engine: Engine, recipe: Recipe, overlay: dict[str, str], cancel: Cancel) -> None:
    _require_tools()
    sources, apt_options = host.debian_sources(SUITE), host.apt_options()
    with _workspace(settings, recipe) as folder:
        _require_room(folder, Path(str(engine.info().get("DockerRootDir", "/"))))
        files = {**overlay, **recipe.files}
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
        imported = process.run(import_command(recipe, tar, digest_of(recipe, overlay)), cancel=cancel)
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


def _overlay(settings: Settings) -> dict[str, str]:
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


def _remove_replaced(engine: Engine, before: Document | None, recipe: Recipe) -> None:
    """The image that had the name before, unless it has another name too or a container still runs on it."""
    now = engine.image(recipe.image)
    if before and now and before["Id"] != now["Id"] and set(before.get("RepoTags") or ()) <= {recipe.image}:
        with suppress(Conflict):
            engine.remove_image(before["Id"])
