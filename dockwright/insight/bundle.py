"""Whether the bundle that a front end's folder holds is older than the sources that it is made from."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

FOLDERS = frozenset({"dist", "build", "out", "public", "www", "bundle"})
SOURCES = ("src", "app", "pages", "components", "index.html", "package.json")
"""What stands beside the folder of a bundle and goes into it."""
MARGIN_SECONDS = 5.0
"""A checkout gives all files about the same time, in any order."""
MAX_FILES = 20_000
_HASHED = re.compile(r"[.-](?=[\w-]*\d)[\w-]{8,}\.(?:m?js|css)$")
"""`index-C8r3kQ1x.js`: the name of an asset that a bundler made."""


@dataclass(frozen=True, slots=True)
class OlderBundle:
    folder: str
    """Of the bundle, as the source has it."""
    source: str
    """The newest file that it is made from."""
    seconds: float
    """By how much the bundle is older."""


def older_bundle(root: Path, copied: Iterable[str]) -> OlderBundle | None:
    """`copied`: the paths of the source that are in the image. None where there is no such bundle, or it is newer.

    It goes by the times of the files, so it is a hint and no proof.
    """
    for folder, paths in _bundles(copied).items():
        home = PurePosixPath(folder).parent
        if not (root / home / "package.json").is_file():
            continue
        built_at = max((_mtime(root / path) for path in paths), default=0.0)
        newest, at = _newest(root, home)
        if built_at and at - built_at > MARGIN_SECONDS:
            return OlderBundle(folder, newest, at - built_at)
    return None


def _bundles(copied: Iterable[str]) -> dict[str, list[str]]:
    """Folder → its files, of those that hold an asset which a bundler named."""
    found: dict[str, list[str]] = {}
    for path in copied:
        parts = path.split("/")
        depth = next((depth for depth, part in enumerate(parts[:-1], start=1) if part in FOLDERS), 0)
        if depth:
            found.setdefault("/".join(parts[:depth]), []).append(path)
    return {folder: paths for folder, paths in found.items() if any(_HASHED.search(path) for path in paths)}


def _newest(root: Path, home: PurePosixPath) -> tuple[str, float]:
    newest, at, count = "", 0.0, 0
    for name in SOURCES:
        for path in _files(root / home / name):
            if (when := _mtime(path)) > at:
                newest, at = str(path.relative_to(root)), when
            count += 1
            if count >= MAX_FILES:
                return newest, at
    return newest, at


def _files(path: Path) -> Iterable[Path]:
    if path.is_file() and not path.is_symlink():
        yield path
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if name not in {"node_modules", ".git", *FOLDERS}]
        yield from (Path(folder, name) for name in names)


def _mtime(path: Path) -> float:
    """0 for what is gone or a link."""
    try:
        return os.lstat(path).st_mtime
    except FileNotFoundError:
        return 0.0
