"""The project at a server that an argument of `build` and `verify` means: found there, or made there the first time."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dockwright.cli.connection import Connection
from dockwright.cli.output import counted, size
from dockwright.cli.packing import Packed, pack
from dockwright.domain.source import FolderSource, GitSource
from dockwright.errors import Conflict, NotFound, UsageError, VerificationFailed
from dockwright.process import Cancel
from dockwright.sources import git
from dockwright.sources.detect import detect, is_path, name_of

TRIES = 20
WORTH_SHOWING = 2_000_000
"""Bytes that are long enough on their way for somebody to wonder."""
_KINDS = {"template": "a template", "git": "a Git repository", "folder": "a folder of the server's own machine"}


class Sources:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def project_to_build(self, argument: str, service: str | None) -> tuple[dict[str, Any], str | None]:
        """The project, with the folder's files where it is one, and the ref to build. Raises as the server does."""
        source = self._meant(argument)
        if isinstance(source, dict):
            return source, None
        if isinstance(source, GitSource):
            return self._of_repository(source) or self._new_for_repository(source), source.ref
        with pack(Path(source.path), service) as packed:
            project = self._of_folder(source) or self._new_for_folder(source)
            self._send(project, Path(source.path), packed)
        return project, None

    def product_to_verify(self, argument: str) -> dict[str, Any]:
        """Raises `NotFound`, and `VerificationFailed` where the folder is not what the server has of it."""
        if not is_path(argument):
            return self.named("products", argument)
        source = detect(argument)
        project = self._of_repository(source) if isinstance(source, GitSource) else self._of_folder(source)
        products = self._connection.ask("GET", "/products") if project else []
        product: dict[str, Any] | None = next((one for one in products if one["project_id"] == project["id"]), None)  # type: ignore[index]
        if project is None or product is None:
            raise NotFound(
                f"Nothing was deployed from {argument}", remedy=f"Deploy it with: dockwright build {argument}"
            )
        if isinstance(source, FolderSource):
            with pack(Path(source.path)) as packed:
                if packed.digest != project["source"].get("digest"):
                    raise VerificationFailed(
                        f"{argument} has changed since it was sent to {self._connection.url}",
                        remedy=f"Build it again with: dockwright build {argument}; or verify what was sent with: "
                        f"dockwright verify {product['slug']}",
                    )
        return product

    def named(self, kind: str, name: str) -> dict[str, Any]:
        """`kind`: `products`, `projects` or `images`."""
        found: dict[str, Any] = self._connection.ask("GET", f"/{kind}/named", query={"name": name})
        return found

    def _meant(self, argument: str) -> dict[str, Any] | FolderSource | GitSource:
        if not is_path(argument):
            try:
                return self.named("projects", argument)
            except NotFound:
                if "#" not in argument:
                    raise
        source = detect(argument)
        if isinstance(source, GitSource) and source.url.startswith(("/", "file:")):
            raise UsageError(
                f"{source.url} is a repository on this machine, which the server cannot reach",
                remedy="Give the URL that it is pushed to, or check the ref out and give its folder",
            )
        return source

    # --- folders -----------------------------------------------------------------------------------------------------

    def _of_folder(self, source: FolderSource) -> dict[str, Any] | None:
        """Folders of one name are one project, whoever sends them: so do the members of a team."""
        name = name_of(source)
        try:
            found = self.named("projects", name)
        except NotFound:
            return None
        if found["name"] != name:
            return None
        if found["source"]["kind"] != "upload":
            made_from = _KINDS[found["source"]["kind"]]
            raise Conflict(
                f'The project "{name}" at {self._connection.url} is made from {made_from}, not from what is sent to it',
                remedy=f"Rename the folder, or build what the project has with: dockwright build {found['slug']}",
            )
        return found

    def _new_for_folder(self, source: FolderSource) -> dict[str, Any]:
        asked = {"name": name_of(source), "source": {"kind": "upload"}}
        try:
            made: dict[str, Any] = self._connection.ask("POST", "/projects", asked)
        except Conflict:  # somebody else has made it just now
            found = self._of_folder(source)
            if found is None:
                raise
            return found
        return made

    def _send(self, project: dict[str, Any], root: Path, packed: Packed) -> None:
        what, to = f"{counted(packed.files, 'file')}, {size(packed.unpacked)}", self._connection.url
        said = _commit(root)
        had, now = project["source"], {"digest": packed.digest, "revision": None, "is_dirty": None, **said}
        if all(had.get(name) == now[name] for name in ("digest", "revision", "is_dirty")):
            sys.stderr.write(f"{what}: {to} has them already\n")
            return
        chunks = packed.chunks()
        if sys.stderr.isatty() and packed.size > WORTH_SHOWING:
            chunks = _shown(packed)
        name = f"{project['slug']}.tar.gz"
        self._connection.upload(f"/projects/{project['id']}/source", chunks, packed.size, {"filename": name, **said})
        sys.stderr.write(f"{what}, sent to {to} as {size(packed.size)}\n")

    # --- repositories ------------------------------------------------------------------------------------------------

    def _of_repository(self, source: GitSource) -> dict[str, Any] | None:
        """Made without a ref, as `_new_for_repository` does: one with a ref is for that ref."""
        wanted = {"kind": "git", "url": source.url, **({"subdir": source.subdir} if source.subdir else {})}
        return next((one for one in self._connection.pages("/projects") if one["source"] == wanted), None)

    def _new_for_repository(self, source: GitSource) -> dict[str, Any]:
        name, asked = name_of(source), {"kind": "git", "url": source.url, "subdir": source.subdir}
        for number in range(1, TRIES):
            try:
                called = name if number == 1 else f"{name}-{number}"
                made: dict[str, Any] = self._connection.ask("POST", "/projects", {"name": called, "source": asked})
            except Conflict:
                continue
            return made
        raise Conflict(f'All names like "{name}" are taken there', remedy="Make the project with POST /projects")


def _commit(root: Path) -> dict[str, Any]:
    """What the server cannot see: the commit that the folder is at. Nothing of a folder outside of Git."""
    revision = git.head_of(root)
    if revision is None:
        return {}
    at, is_dirty = git.describe(root, Cancel())
    said = {"revision": revision, "committed_at": datetime.fromtimestamp(at, UTC).isoformat()}
    return {**said, "is_dirty": True} if is_dirty else said


def _shown(packed: Packed) -> Any:
    sent = 0
    for chunk in packed.chunks():
        yield chunk
        sent += len(chunk)
        end = "" if sent < packed.size else "\r\033[K"
        sys.stderr.write(f"\rSending {size(packed.size)}: {100 * sent // packed.size} %{end}")
        sys.stderr.flush()
