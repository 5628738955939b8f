"""Git repositories: any URL or local path, at a branch, tag or commit, shallow, resolved to the full commit."""

from __future__ import annotations

import os
import re
from pathlib import Path

from dockwright import process
from dockwright.domain.source import GitSource
from dockwright.errors import GitRefNotFound, GitUnreachable, SourceTooLarge
from dockwright.process import Cancel
from dockwright.sources import bounds

# No prompt that nobody answers, no helper programs named by a URL, no configuration that a repository brings; and
# looking at a work tree must not write to its index, which may be a part of the context.
_ENV = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",
    "GIT_LFS_SKIP_SMUDGE": "1",
    "GIT_OPTIONAL_LOCKS": "0",
}
_FULL_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SHORT_COMMIT = re.compile(r"[0-9a-f]{4,39}")


def fetch(source: GitSource, folder: Path, cancel: Cancel) -> tuple[str, float]:
    """Checks the ref out into the empty `folder`, without its `.git`. Returns the full commit and its time."""
    _git(["init", "--quiet", str(folder)], cancel)
    wanted = source.ref or "HEAD"
    if wanted.startswith("-"):
        raise GitRefNotFound(f"A ref cannot begin with a dash: {wanted}", remedy="Give a branch, a tag or a commit")
    fetched = _fetch_ref(folder, source.url, wanted, cancel)
    _git(["-C", str(folder), "-c", "advice.detachedHead=false", "checkout", "--quiet", "--detach", fetched], cancel)
    commit, at = _git(["-C", str(folder), "log", "-1", "--format=%H %ct"], cancel).split()
    _leave_only_files(folder, float(at))
    return commit, float(at)


def _fetch_ref(folder: Path, url: str, ref: str, cancel: Cancel) -> str:
    """Returns what to check out. A commit's abbreviation needs the history: servers only know whole names."""
    base = ["-C", str(folder), "fetch", "--quiet", "--no-tags"]
    shallow = process.run(["git", *base, "--depth=1", "--", url, ref], env=_ENV, cancel=cancel)
    if shallow.returncode == 0:
        return "FETCH_HEAD"
    reachable = process.run(["git", "ls-remote", "--quiet", "--", url, "HEAD"], env=_ENV, cancel=cancel)
    if reachable.returncode != 0:
        raise GitUnreachable(
            f"The repository {_shown(url)} cannot be read: {_last_line(reachable.stderr)}",
            remedy="Check the URL and your access to it with: git ls-remote " + _shown(url),
        )
    if _SHORT_COMMIT.fullmatch(ref) or _FULL_COMMIT.fullmatch(ref):
        _git([*base, "--", url, "+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"], cancel)
        found = process.run(
            ["git", "-C", str(folder), "rev-parse", "--quiet", "--verify", f"{ref}^{{commit}}"], env=_ENV, cancel=cancel
        )
        if found.returncode == 0:
            return found.stdout.decode().strip()
    raise GitRefNotFound(
        f"The repository {_shown(url)} has no branch, tag or commit {ref}",
        remedy="See what it has with: git ls-remote " + _shown(url),
    )


def _leave_only_files(folder: Path, at: float) -> None:
    """Removes `.git` and gives every file the commit's time, so that the same commit is the same tree."""
    import shutil

    shutil.rmtree(folder / ".git")
    files = size = 0
    for parent, folders, names in os.walk(folder, topdown=False):
        for name in names + folders:
            path = Path(parent, name)
            files, size = files + 1, size + path.lstat().st_size
            os.utime(path, (at, at), follow_symlinks=False)
    if files > bounds.MAX_FILES or size > bounds.MAX_BYTES:
        raise SourceTooLarge(
            f"The repository holds {files:,} files of {size / 1e9:.1f} GB",
            remedy=f"At most {bounds.MAX_FILES:,} files and {bounds.MAX_BYTES / 1e9:.0f} GB are taken",
        )


def head_of(folder: Path) -> str | None:
    """The commit that a work tree is at, none outside Git. Read from the files: starting Git takes 5 ms and more."""
    for parent in (folder, *folder.parents):
        git = parent / ".git"
        if git.is_file():
            git = parent / git.read_text().removeprefix("gitdir:").strip()
        if git.is_dir():
            return _read_head(git)
    return None


def _read_head(git: Path) -> str | None:
    head = (git / "HEAD").read_text().strip()
    if not head.startswith("ref: "):
        return head
    common = git / (git / "commondir").read_text().strip() if (git / "commondir").exists() else git
    name = head.removeprefix("ref: ")
    if (common / name).is_file():
        return (common / name).read_text().strip()
    packed = common / "packed-refs"
    lines = packed.read_text().splitlines() if packed.is_file() else []
    return next((line.split()[0] for line in lines if line.endswith(f" {name}")), None)


def describe(folder: Path, cancel: Cancel) -> tuple[float, bool]:
    """When the work tree's commit was made (seconds since the epoch), and whether files below `folder` differ."""
    at = _git(["-C", str(folder), "log", "-1", "--format=%ct"], cancel)
    changed = _git(["-C", str(folder), "status", "--porcelain", "--", "."], cancel)
    return float(at), bool(changed)


def _git(arguments: list[str], cancel: Cancel) -> str:
    process.which("git", remedy="Install Git: apt-get install git")
    done = process.run(["git", *arguments], env=_ENV, cancel=cancel)
    if done.returncode != 0:
        raise GitUnreachable(f"Git failed: {_last_line(done.stderr)}", remedy="Check the repository with: git fsck")
    return done.stdout.decode(errors="replace").strip()


def _last_line(output: bytes) -> str:
    lines = [line for line in output.decode(errors="replace").splitlines() if line.strip()]
    return _shown(lines[-1]) if lines else "no reason given"


def _shown(text: str) -> str:
    """A URL without the password that may stand in it."""
    return re.sub(r"://[^/@\s]+@", "://…@", text)
