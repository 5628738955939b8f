"""Git repositories: any URL or local path, at a branch, tag or commit, shallow, resolved to the full commit."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from pathlib import Path

from dockwright import process
from dockwright.domain.source import GitSource, url_without_credentials
from dockwright.errors import DiskFull, GitRefNotFound, GitUnreachable, SourceTooLarge
from dockwright.process import Cancel
from dockwright.sources import bounds, reach

# No prompt that nobody answers, no helper programs named by a URL; and looking at a work tree must not write to its
# index, which may be a part of the context.
_ENV = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",
    "GIT_LFS_SKIP_SMUDGE": "1",
    "GIT_OPTIONAL_LOCKS": "0",
}
# A folder may bring a .git that names programs for Git to start: one that is only looked at starts none of them.
_NO_PROGRAMS = {"core.fsmonitor": "false", "core.hooksPath": "/dev/null", "log.showSignature": "false"}
# The last two are what Git says of a checkout, into a folder that is ours.
_NO_ROOM = (
    os.strerror(errno.ENOSPC).encode(),
    os.strerror(errno.EDQUOT).encode(),
    b"Out of diskspace",
    b"unable to write file",
)
_FULL_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SHORT_COMMIT = re.compile(r"[0-9a-f]{4,39}")


def fetch(
    source: GitSource, folder: Path, cancel: Cancel, private_hosts: frozenset[str] | None = None
) -> tuple[str, float]:
    """Checks the ref out into the empty `folder`, without its `.git`. Returns the full commit and its time.

    `private_hosts`: for a URL that somebody else has chosen, the hosts of the private network that it may lead to; none
    for one's own, which may lead anywhere.
    """
    _git(["init", "--quiet", str(folder)], cancel)
    wanted = source.ref or "HEAD"
    if wanted.startswith("-"):
        raise GitRefNotFound(f"A ref cannot begin with a dash: {wanted}", remedy="Give a branch, a tag or a commit")
    growing = _Growing(cancel, folder)
    fetched = _fetch_from(folder, source.url, wanted, private_hosts, growing)
    growing.check()
    _check_tree(folder, fetched, cancel)
    _git(["-C", str(folder), "-c", "advice.detachedHead=false", "checkout", "--quiet", "--detach", fetched], cancel)
    commit, at = _git(["-C", str(folder), "log", "-1", "--format=%H %ct"], cancel).split()
    _leave_only_files(folder, float(at))
    return commit, float(at)


def _fetch_from(folder: Path, url: str, ref: str, private_hosts: frozenset[str] | None, cancel: Cancel) -> str:
    url, access = _without_credentials(url)
    config = {**access, "fetch.unpackLimit": "1"}  # written to its pack as it comes, never gathered in memory
    if private_hosts is None:
        return _fetch_ref(folder, url, ref, {**_ENV, **_config(config)}, cancel)
    # Git would follow a server's redirect to wherever it leads: each of them is looked at here instead.
    trace = folder / ".git" / "dockwright-trace"
    for _ in range(reach.MAX_REDIRECTS):
        way = reach.reach(url, private_hosts, trace)
        try:
            return _fetch_ref(folder, url, ref, {**_ENV, **way.env, **_config({**config, **way.config})}, cancel)
        except GitUnreachable:
            target = reach.redirect(url, trace)
            if target is None:
                raise
            url = target
            trace.unlink()
    raise GitUnreachable(f"The repository {url} leads from one place to the next", remedy="Check the URL")


def _without_credentials(url: str) -> tuple[str, dict[str, str]]:
    """The URL for Git's argument list, which everybody on the machine can read, and configuration with the rest."""
    from base64 import b64encode
    from urllib.parse import unquote

    shown = url_without_credentials(url)
    if shown == url:
        return url, {}
    user, _, password = unquote(url.partition("://")[2].partition("/")[0].rpartition("@")[0]).partition(":")
    basic = b64encode(f"{user}:{password}".encode()).decode()
    return shown, {f"http.{shown}.extraHeader": f"Authorization: Basic {basic}"}


def _config(values: Mapping[str, str]) -> dict[str, str]:
    """Git's configuration in its environment, which wins over every file."""
    ours = int(os.environ.get("GIT_CONFIG_COUNT") or 0)  # behind what the user's own environment says
    variables = {"GIT_CONFIG_COUNT": str(ours + len(values))}
    for number, (name, value) in enumerate(values.items(), ours):
        variables |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return variables


def _fetch_ref(folder: Path, url: str, ref: str, env: Mapping[str, str], cancel: Cancel) -> str:
    """Returns what to check out. A commit's abbreviation needs the history: servers only know whole names."""
    base = ["-C", str(folder), "fetch", "--quiet", "--no-tags"]
    shallow = process.run(["git", *base, "--depth=1", "--", url, ref], env=env, cancel=cancel)
    if shallow.returncode == 0:
        return "FETCH_HEAD"
    _check_room(shallow.stderr)
    reachable = process.run(["git", "ls-remote", "--quiet", "--", url, "HEAD"], env=env, cancel=cancel)
    if reachable.returncode != 0:
        raise GitUnreachable(
            f"The repository {url} cannot be read: {_last_line(reachable.stderr)}",
            remedy="Check the URL and your access to it with: git ls-remote " + url,
        )
    if _SHORT_COMMIT.fullmatch(ref) or _FULL_COMMIT.fullmatch(ref):
        everything = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"]
        _git([*base, "--", url, *everything], cancel, env)
        found = process.run(
            ["git", "-C", str(folder), "rev-parse", "--quiet", "--verify", f"{ref}^{{commit}}"], env=env, cancel=cancel
        )
        if found.returncode == 0:
            return found.stdout.decode().strip()
    raise GitRefNotFound(
        f"The repository {url} has no branch, tag or commit {ref}",
        remedy="See what it has with: git ls-remote " + url,
    )


class _Growing(Cancel):
    """Ends Git as soon as what it brings is more than a source may be."""

    def __init__(self, cancel: Cancel, folder: Path) -> None:
        super().__init__(cancel.deadline)
        self._cancel, self._folder = cancel, folder

    def check(self) -> None:
        self._cancel.check()
        _check_bounds(
            0, sum(_bytes_of(Path(parent, name)) for parent, _, names in os.walk(self._folder) for name in names)
        )


def _bytes_of(file: Path) -> int:
    try:
        return file.lstat().st_size
    except FileNotFoundError:  # Git has given it its name just now
        return 0


class _Listed(Cancel):
    """What a tree holds, counted while Git lists it: one of a few kilobytes may become more than any disk holds."""

    def __init__(self, cancel: Cancel) -> None:
        super().__init__(cancel.deadline)
        self._cancel = cancel
        self._files = self._bytes = 0
        self._rest = b""

    def take(self, chunk: bytes) -> None:
        """`mode type object size TAB path NUL …`, cut anywhere; folders and submodules have the size "-"."""
        *entries, self._rest = (self._rest + chunk).split(b"\0")
        for entry in entries:
            size = entry.partition(b"\t")[0].split()[-1]
            self._files, self._bytes = self._files + 1, self._bytes + (int(size) if size.isdigit() else 0)

    def check(self) -> None:
        self._cancel.check()
        _check_bounds(self._files, self._bytes)


def _check_tree(folder: Path, commit: str, cancel: Cancel) -> None:
    """Before a file of it is written."""
    listed = _Listed(cancel)
    command = ["git", "-C", str(folder), "ls-tree", "-r", "-t", "-l", "-z", commit]
    process.run(command, env=_ENV, cancel=listed, on_stdout=listed.take)  # the checkout says what is wrong with it
    listed.check()


def _check_bounds(files: int, size: int) -> None:
    if files > bounds.MAX_FILES or size > bounds.MAX_BYTES:
        raise SourceTooLarge(
            f"The repository holds more than {bounds.MAX_FILES:,} files or {bounds.MAX_BYTES / 1e9:g} GB",
            remedy="Take out of it what the image does not need, or upload an archive without that",
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
    _check_bounds(files, size)


def head_of(folder: Path) -> str | None:
    """The commit that a work tree is at, none outside Git. Read from the files: starting Git takes 5 ms and more."""
    for parent in (folder, *folder.parents):
        git = parent / ".git"
        if git.is_file():
            git = parent / _text(git).removeprefix("gitdir:").strip()
        if (git / "HEAD").is_file():
            commit = _read_head(git)
            # What stands there goes into labels: nothing but a commit does.
            return commit if commit and _FULL_COMMIT.fullmatch(commit) else None
    return None


def _read_head(git: Path) -> str | None:
    head = _text(git / "HEAD")
    if not head.startswith("ref: "):
        return head
    common = git / _text(git / "commondir") if (git / "commondir").exists() else git
    name = head.removeprefix("ref: ")
    if (common / name).is_file():
        return _text(common / name)
    packed = common / "packed-refs"
    lines = _text(packed).splitlines() if packed.is_file() else []
    return next((line.split()[0] for line in lines if line.endswith(f" {name}")), None)


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace").strip()


def describe(folder: Path, cancel: Cancel) -> tuple[float, bool]:
    """When the work tree's commit was made (seconds since the epoch), and whether files below `folder` differ."""
    at = _git(["-C", str(folder), "log", "-1", "--format=%ct"], cancel, {**_ENV, **_config(_NO_PROGRAMS)})
    return float(at), _is_changed(folder, cancel)


def _is_changed(folder: Path, cancel: Cancel) -> bool:
    env = {**_ENV, **_config({**_NO_PROGRAMS, **_own_filters(folder, cancel)})}
    here = ["-C", str(folder)]
    # Git would look into submodules by their own configuration, so each is looked at as this one is.
    if _git([*here, "status", "--porcelain", "--ignore-submodules=dirty", "--", "."], cancel, env):
        return True
    entries = _git([*here, "ls-files", "--stage", "-z", "--", "."], cancel, env).split("\0")
    submodules = [folder / entry.partition("\t")[2] for entry in entries if entry.startswith("160000 ")]
    return any(_is_changed(each, cancel) for each in submodules if (each / ".git").exists())


def _own_filters(folder: Path, cancel: Cancel) -> dict[str, str]:
    """The filters that the repository's own configuration names, each without its program; the user's own stay."""
    asked = ["config", "--show-scope", "--null", "--name-only", "--get-regexp", r"^filter\."]
    command = ["git", "-C", str(folder), *asked]
    words = process.run(command, env=_ENV, cancel=cancel).stdout.decode("utf-8", "surrogateescape").split("\0")
    named = zip(words[::2], words[1::2], strict=False)
    own = [name for scope, name in named if scope in {"local", "worktree"}]
    return {name: "false" if name.endswith(".required") else "" for name in own}


def _git(arguments: list[str], cancel: Cancel, env: Mapping[str, str] = _ENV) -> str:
    process.which("git", remedy="Install Git: apt-get install git")
    done = process.run(["git", *arguments], env=env, cancel=cancel)
    if done.returncode != 0:
        _check_room(done.stderr)
        raise GitUnreachable(f"Git failed: {_last_line(done.stderr)}", remedy="Check the repository with: git fsck")
    return done.stdout.decode(errors="replace").strip()


def _check_room(output: bytes) -> None:
    if any(reason in output for reason in _NO_ROOM):
        raise DiskFull("The disk is full: Git could not write", remedy="Free some with: dockwright cleanup")


def _last_line(output: bytes) -> str:
    lines = [line for line in output.decode(errors="replace").splitlines() if line.strip()]
    return url_without_credentials(lines[-1]) if lines else "no reason given"
