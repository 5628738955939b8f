"""fetch: SourceRef → Tree. Where the files come from."""

from __future__ import annotations

from pathlib import Path

from dockwright.domain.source import FolderSource, GitSource, Source, TemplateSource, Tree, UploadSource
from dockwright.errors import Conflict, PathNotFound
from dockwright.stages.context import StageContext


def fetch(ctx: StageContext, source: Source) -> Tree:
    match source:
        case FolderSource():
            return _folder(ctx, source)
        case GitSource():
            return _git(ctx, source)
        case TemplateSource():
            return _template(ctx, source)
        case UploadSource():
            return _upload(ctx, source)


def _folder(ctx: StageContext, source: FolderSource) -> Tree:
    from dockwright.sources import git

    root = Path(source.path)
    if not root.is_dir():
        raise PathNotFound(f"The folder {root} is not there any more", remedy="Give the folder where the code is now")
    revision = git.head_of(root)
    ctx.log(f"{root}" + (f" at commit {revision[:12]}" if revision else ""))
    return Tree(root=root, source=source, revision=revision, is_in_place=True)


def _git(ctx: StageContext, source: GitSource) -> Tree:
    from dockwright.sources import bounds, git

    folder = ctx.make_workspace("checkout")
    allowed = ctx.settings.git_private_hosts if ctx.request.is_remote else None
    commit, at = git.fetch(source, folder, ctx.cancel, allowed)
    ctx.log(f"{source.ref or 'HEAD'} is commit {commit}")
    return Tree(
        root=bounds.inside(folder, source.subdir) if source.subdir else folder,
        source=source,
        revision=commit,
        committed_at=at,
        version=source.ref,
    )


def _template(ctx: StageContext, source: TemplateSource) -> Tree:
    from dockwright.sources.template import load_template

    template = load_template(source.template, ctx.settings)
    ctx.log(f"Template {template.name}")
    return Tree(root=template.root, source=source)


def _upload(ctx: StageContext, source: UploadSource) -> Tree:
    from datetime import datetime

    from dockwright.sources import upload

    if source.digest is None:
        raise Conflict("Nothing has been uploaded for this project yet", remedy="Send its source archive first")
    archive = upload.archive_path(ctx.settings, source.digest)
    if not archive.is_file():
        raise PathNotFound(
            f"The archive {source.digest[:12]} is not in {archive.parent} any more", remedy="Upload the source again"
        )
    root = upload.unpack(archive, ctx.make_workspace("upload"), ctx.cancel)
    commit = f" at commit {source.revision[:12]}" if source.revision else ""
    ctx.log(f"{source.filename or 'The archive'} {source.digest[:12]}{commit}")
    at = datetime.fromisoformat(source.committed_at).timestamp() if source.committed_at else None
    is_dirty = bool(source.is_dirty)
    return Tree(root=root, source=source, revision=source.revision, is_dirty=is_dirty, committed_at=at)
