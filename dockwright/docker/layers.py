"""Which step of an image's build wrote a file last: read from the image's own layers."""

from __future__ import annotations

import json
import tarfile
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from dockwright.docker.engine import Engine


def last_writers(engine: Engine, image: str, paths: Collection[str], folder: Path) -> dict[str, str]:
    """Absolute path → the instruction whose layer holds its newest version, as `docker history` names it.

    The image is written to a file below `folder` for it, so ask only about files that need it.
    """
    wanted = {path.lstrip("/"): path for path in paths}
    writers: dict[str, str] = {}
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        with engine.open("GET", f"/images/{image}/get") as stream:
            while block := stream.read(1 << 20):
                file.write(block)
        file.seek(0)
        with tarfile.open(fileobj=file) as archive:
            manifest = _json(archive, "manifest.json")[0]
            history = _json(archive, manifest["Config"]).get("history", [])
            makers = [entry.get("created_by", "") for entry in history if not entry.get("empty_layer")]
            for name, maker in zip(manifest["Layers"], makers, strict=True):
                names = _names(archive, name)
                for path, absolute in wanted.items():
                    if not names.isdisjoint(_marks(path)):
                        writers[absolute] = maker.removesuffix(" # buildkit")
    return writers


def _marks(path: str) -> list[str]:
    """Names in a layer that say something of the path: itself, or what removes or replaces it or a folder above it.

    A folder's name ends in "/". A whiteout removes one name; an opaque one all that was in its folder before.
    """
    parts = path.split("/")
    above = ["/".join(parts[:depth]) for depth in range(1, len(parts))]
    whiteouts = ["/".join([*parts[:depth], f".wh.{parts[depth]}"]) for depth in range(len(parts))]
    opaque = [f"{folder}/.wh..wh..opq" for folder in above]
    return [path, f"{path}/", *above, *whiteouts, *opaque]


def _json(archive: tarfile.TarFile, name: str) -> Any:
    content = archive.extractfile(name)
    assert content is not None, f"the saved image has no {name}"
    return json.load(content)


def _names(archive: tarfile.TarFile, layer: str) -> set[str]:
    content = archive.extractfile(layer)
    assert content is not None, f"the saved image has no {layer}"
    with tarfile.open(fileobj=content, mode="r|*") as files:
        return {member.name.removeprefix("./") + ("/" if member.isdir() else "") for member in files}
