"""The use case `disk`: what the engine and the state folder hold, what of it is ours, what a clean-up would free."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dockwright.docker import registry as registries
from dockwright.docker.engine import Document, Engine
from dockwright.services.cleanup import LABEL, cleanup
from dockwright.services.state import State
from dockwright.stages.base_images import BASE_NAMES


def disk(state: State) -> dict[str, Any]:
    """Raises `EngineUnreachable` and `DatabaseError`. All sizes are in bytes.

    Of images, "bytes" is what all their layers take together; "ours_bytes" leaves out what ours share with others, so
    it is the least that they take. Whose the build cache is, nobody can tell.
    """
    engine = Engine()
    held = engine.df()
    freed = cleanup(state, dry_run=True)
    return {
        "engine": {
            "images": _images(held, state),
            "containers": _kind(held.get("Containers") or (), _container_bytes),
            "volumes": _kind(held.get("Volumes") or (), _volume_bytes),
            "build_cache": _build_cache(held.get("BuildCache") or ()),
        },
        "state": _state_folder(state),
        "cleanup": {name: freed[name] for name in ("builds", "images", "containers", "bytes")},
        "disk": _room(state),
    }


def _images(held: Document, state: State) -> dict[str, int]:
    found = held.get("Images") or ()
    registry = registries.from_settings(state.settings)
    ours = [one for one in found if is_ours(one, registry)]
    return {
        "count": len(found),
        "bytes": int(held.get("LayersSize") or 0),
        "ours": len(ours),
        "ours_bytes": sum(int(one["Size"]) - max(0, int(one.get("SharedSize") or 0)) for one in ours),
    }


def is_ours(image: Document, registry: registries.Registry | None) -> bool:
    """By name: whatever anybody builds on one of ours inherits its labels."""
    labels: Mapping[str, str] = image.get("Labels") or {}
    client = labels.get(f"{LABEL}client")
    if f"{LABEL}managed" not in labels:
        return False
    names = [name for name in image.get("RepoTags") or () if not name.startswith("<none>")]
    prefixes = [BASE_NAMES]
    if client:
        prefixes += [f"{client}/"] + ([registry.name_of(f"{client}/")] if registry else [])
    return any(name.startswith(tuple(prefixes)) for name in names) or (not names and client is not None)


def _kind(found: Iterable[Document], size: Any) -> dict[str, int]:
    everything = list(found)
    ours = [one for one in everything if f"{LABEL}managed" in (one.get("Labels") or {})]
    return {
        "count": len(everything),
        "bytes": sum(map(size, everything)),
        "ours": len(ours),
        "ours_bytes": sum(map(size, ours)),
    }


def _container_bytes(container: Document) -> int:
    """What it has written beside its image."""
    return int(container.get("SizeRw") or 0)


def _volume_bytes(volume: Document) -> int:
    return max(0, int((volume.get("UsageData") or {}).get("Size") or 0))


def _build_cache(found: Iterable[Document]) -> dict[str, int]:
    own = [one for one in found if not one.get("Shared")]
    return {
        "count": len(own),
        "bytes": sum(int(one["Size"]) for one in own),
        "in_use_bytes": sum(int(one["Size"]) for one in own if one.get("InUse")),
    }


def _state_folder(state: State) -> dict[str, Any]:
    settings = state.settings
    file = settings.database_file
    database = [file, *(file.with_name(f"{file.name}{ending}") for ending in ("-wal", "-shm"))] if file else []
    parts = {
        "workspaces": [settings.workspace_dir],
        "contexts": [settings.home / "contexts"],
        "artifacts": [settings.storage_path],
        "database": database,
    }
    sizes = {name: sum(map(bytes_of, paths)) for name, paths in parts.items()}
    outside = [path for paths in parts.values() for path in paths if not path.is_relative_to(settings.home)]
    total = bytes_of(settings.home) + sum(map(bytes_of, outside))
    return {"home": str(settings.home), **sizes, "other": max(0, total - sum(sizes.values())), "bytes": total}


def bytes_of(path: Path) -> int:
    """That a file, or a folder with all in it, takes on the disk; 0 where it is not there. Links are not followed."""
    total = 0
    with suppress(FileNotFoundError):
        total += os.lstat(path).st_blocks * 512
    for folder, folders, files in os.walk(path):
        for name in [*folders, *files]:
            with suppress(FileNotFoundError):  # a build that ends takes its workspace away
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
    return total


def _room(state: State) -> dict[str, int]:
    state.settings.home.mkdir(parents=True, exist_ok=True)
    usage = shutil.disk_usage(state.settings.home)
    return {"total_bytes": usage.total, "free_bytes": usage.free, "needed_bytes": state.settings.disk_min_free}
