"""What a user's argument means: a folder, or a Git repository with an optional `#ref`."""

from __future__ import annotations

import os
import re
from pathlib import Path

from dockwright.domain.source import FolderSource, GitSource, url_without_credentials
from dockwright.errors import NoDockerfile, PathNotFound

_GIT_URL = re.compile(r"(?:https?|ssh|git|file)://|[\w.-]+@[\w.-]+:(?!//)", re.ASCII)


def is_path(text: str) -> bool:
    """Whether an argument that could be a name as well is meant as a folder or a URL: `.`, `~/app`, `a/b`, `https://…`."""
    return os.path.isdir(text) or "/" in text or text.startswith((".", "~")) or _GIT_URL.match(text) is not None


def detect(text: str) -> FolderSource | GitSource:
    """Raises `PathNotFound`, and `NoDockerfile` for a file that is not a folder."""
    location, hash_sign, ref = text.partition("#")
    if _GIT_URL.match(text) or (hash_sign and not Path(text).exists()):
        # `#ref:folder` names a folder below the repository's root, as docker build has it.
        ref, _, subdir = ref.partition(":")
        url = location if _GIT_URL.match(location) else str(Path(location).expanduser().absolute())
        return GitSource(url=url, ref=ref or None, subdir=subdir or None)
    path = Path(text).expanduser()
    if not path.exists():
        raise PathNotFound(
            f"There is no folder {text}", remedy="Give the folder that holds the Dockerfile, or a Git URL"
        )
    if not path.is_dir():
        raise NoDockerfile(f"{text} is a file", remedy="Give the folder that holds it")
    return FolderSource(path=str(path.resolve()))


def source_key(source: FolderSource | GitSource) -> str:
    """Finds the project again: the same folder, or the same repository at any ref, is the same project."""
    if isinstance(source, FolderSource):
        return "folder:" + source.path.encode("utf-8", "backslashreplace").decode()
    return f"git:{url_without_credentials(source.url)}" + (f"#:{source.subdir}" if source.subdir else "")


def name_of(source: FolderSource | GitSource) -> str:
    location = source.path if isinstance(source, FolderSource) else (source.subdir or source.url)
    name = re.split(r"[/:]", location.rstrip("/").removesuffix(".git"))[-1] or "app"
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
