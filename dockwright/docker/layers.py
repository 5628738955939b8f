"""Which step of an image's build wrote a file last: read from the image's own layers."""

from __future__ import annotations

import hashlib
import json
import tarfile
import tempfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from dockwright.docker.engine import Engine

LINK = "->"


class Sought(NamedTuple):
    """A file as it is to be found in the layers."""

    paths: frozenset[str]
    """Absolute ones under which it may stand there: as it is called, and where it really is."""
    links: frozenset[str]
    """That lead to it: a layer which has one of them has put it there, or another in its place."""


class Written(NamedTuple):
    """The newest version of a file that an image's layers hold."""

    by: str
    """The instruction, as `docker history` names it; empty where the image's history does not."""
    digest: str | None
    """SHA-256 of its content, or of where a link leads; none where it was removed, or its content is not known."""

    @property
    def is_by_run(self) -> bool:
        return self.by.startswith("RUN ")


def last_written(engine: Engine, image: str, files: Mapping[str, Sought], folder: Path) -> dict[str, Written]:
    """By what the files are called; without those that no layer says anything of.

    The image is written to a file below `folder` for it, so ask only about files that need it.
    """
    if not files:
        return {}
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        with engine.open("GET", f"/images/{image}/get") as stream:
            while block := stream.read(1 << 20):
                file.write(block)
        file.seek(0)
        return written_in(file, files)


def written_in(image: BinaryIO, files: Mapping[str, Sought]) -> dict[str, Written]:
    """The same of an image as the engine has written it."""
    bare = {called: [path.lstrip("/") for path in sorted(one.paths)] for called, one in files.items()}
    wanted = {path for paths in bare.values() for path in paths}
    marks = {called: _marks_of(bare[called], one.links) for called, one in files.items()}
    written: dict[str, Written] = {}
    with tarfile.open(fileobj=image) as archive:
        manifest = _json(archive, "manifest.json")[0]
        history = _json(archive, manifest["Config"]).get("history", [])
        makers = [entry.get("created_by", "") for entry in history if not entry.get("empty_layer")]
        # One that was imported may have no history, or a shorter one; what was built upon it stands at the end.
        unnamed = len(manifest["Layers"]) - len(makers)
        makers = [""] * unnamed + makers if unnamed >= 0 else makers[-unnamed:]
        for name, maker in zip(manifest["Layers"], makers, strict=True):
            names, digests = _content(archive, name, wanted)
            for called, its_marks in marks.items():
                if not names.isdisjoint(its_marks):
                    digest = next((digests[path] for path in bare[called] if path in digests), None)
                    written[called] = Written(maker.removesuffix(" # buildkit"), digest)
    return written


def _marks_of(paths: Iterable[str], links: Iterable[str]) -> set[str]:
    return {*(mark for path in paths for mark in _marks(path)), *(link.lstrip("/") + LINK for link in links)}


def _marks(path: str) -> list[str]:
    """Names in a layer that say something of the path: itself, or what removes or replaces it or a folder above it.

    A folder's name ends in "/", a link's in "->": one above the path is no more than a way to it. A whiteout removes
    one name; an opaque one all that was in its folder before.
    """
    parts = path.split("/")
    above = ["/".join(parts[:depth]) for depth in range(1, len(parts))]
    whiteouts = ["/".join([*parts[:depth], f".wh.{parts[depth]}"]) for depth in range(len(parts))]
    opaque = [f"{folder}/.wh..wh..opq" for folder in above]
    return [path, f"{path}/", path + LINK, *above, *whiteouts, *opaque]


def _json(archive: tarfile.TarFile, name: str) -> Any:
    content = archive.extractfile(name)
    assert content is not None, f"the saved image has no {name}"
    return json.load(content)


def _content(archive: tarfile.TarFile, layer: str, wanted: Collection[str]) -> tuple[set[str], dict[str, str]]:
    """All names in a layer, and what the wanted files hold."""
    content = archive.extractfile(layer)
    assert content is not None, f"the saved image has no {layer}"
    names, digests = set[str](), dict[str, str]()
    with tarfile.open(fileobj=content, mode="r|*") as files:
        for member in files:
            name = member.name.removeprefix("./")
            names.add(f"{name}/" if member.isdir() else name + LINK if member.issym() else name)
            if name in wanted and (member.isreg() or member.issym()):
                digests[name] = digest_of(files, member)
    return names, digests


def digest_of(archive: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    """SHA-256 in hexadecimal of a file's content, or of where a link leads; empty for what has neither."""
    if member.issym():
        return hashlib.sha256(member.linkname.encode(errors="surrogateescape")).hexdigest()
    content = archive.extractfile(member)
    if content is None:
        return ""
    digest = hashlib.sha256()
    while block := content.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
