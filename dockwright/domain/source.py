"""Where code comes from, and the tree of files that it becomes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from dockwright.errors import UsageError

COMPOSE_FILES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
"""In the order in which compose looks for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderSource:
    path: str
    """Absolute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GitSource:
    url: str
    """Any URL or path that Git itself takes."""
    ref: str | None = None
    """A branch, tag or commit as the user typed it; none for the repository's default branch."""
    subdir: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateSource:
    template: str
    variables: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadSource:
    """An archive that a user sent, kept by its content."""

    digest: str | None = None
    """SHA-256 in hexadecimal of the archive; none until something has been uploaded."""
    filename: str | None = None
    """As its user calls it."""
    revision: str | None = None
    """The full commit of the work tree that was packed, as its sender says."""
    is_dirty: bool | None = None
    """The work tree differed from `revision`."""
    committed_at: str | None = None
    """RFC 3339."""


Source: TypeAlias = FolderSource | GitSource | TemplateSource | UploadSource


def url_without_credentials(text: str) -> str:
    """A URL, or a line with one, without the name and password in it: what may be stored and shown."""
    return re.sub(r"(https?)://[^/\s]*@", r"\1://", text)


_KINDS: dict[str, type[Source]] = {
    "folder": FolderSource,
    "git": GitSource,
    "template": TemplateSource,
    "upload": UploadSource,
}


def source_from_json(document: dict[str, Any]) -> Source:
    """The `source` of a project (CONTRACT, "Shapes"): `{"kind": "git", "url": …, "ref": …}`."""
    fields = dict(document)
    kind = fields.pop("kind", None)
    if kind not in _KINDS:
        raise UsageError(f"A source cannot be of kind {kind!r}", remedy=f"Use one of: {', '.join(sorted(_KINDS))}")
    try:
        return _KINDS[kind](**fields)
    except TypeError as error:
        raise UsageError(f"The source of kind {kind} is wrong: {error}", remedy="See the shapes in docs/api") from error


def source_to_json(source: Source) -> dict[str, Any]:
    """What is stored of it: never the credentials that a URL may hold."""
    kind = next(kind for kind, cls in _KINDS.items() if isinstance(source, cls))
    fields = {name: getattr(source, name) for name in source.__dataclass_fields__}
    if isinstance(source, GitSource):
        fields["url"] = url_without_credentials(source.url)
    return {"kind": kind, **{name: value for name, value in fields.items() if value is not None}}


@dataclass(frozen=True, slots=True, kw_only=True)
class SmokeTest:
    """One HTTP call to the started image, and what its answer must be."""

    name: str
    path: str
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    body: Any = None
    """Sent as JSON unless none."""
    status: int = 200
    contains: tuple[str, ...] = ()
    """Texts that the answer's body must hold."""
    json: dict[str, Any] | None = None
    """Members that the answer's JSON object must have, with these values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A source tree on disk."""

    root: Path
    source: Source
    revision: str | None = None
    """Full commit, where the source is in Git."""
    is_dirty: bool = False
    """The work tree differs from `revision`."""
    committed_at: float | None = None
    """Seconds since the epoch."""
    version: str | None = None
    """The tag, where the user asked for one."""
    smoke_tests: tuple[SmokeTest, ...] = ()
    is_in_place: bool = False
    """The user's own folder rather than a copy in the build's workspace: never write to it."""
