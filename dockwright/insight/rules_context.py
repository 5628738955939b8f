"""The context: secrets that lie in it, what of it is ballast, and sources that its ignore file leaves out."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dockwright.insight.findings import Finding, found
from dockwright.insight.ignore import Rules, parse_rules
from dockwright.insight.reaching import Reach
from dockwright.insight.secret_shapes import is_env_file, secret_in
from dockwright.insight.selection import Context
from dockwright.insight.subject import Subject
from dockwright.insight.suggestions import Suggested
from dockwright.insight.usage import Use

LARGE = 100_000_000
"""Bytes of a context that are worth a word."""
BALLAST = 1_000_000
"""Bytes that could be left out and are worth a word."""
_SMALL = 100_000
_BEGINNING = 1024
_MOST_READ = 20_000
_PASSED_BY = frozenset(("node_modules", ".git", ".hg", ".svn", "site-packages", "__pycache__", ".tox", ".nox"))
"""What lies below is somebody else's, and full of keys that are tests."""
_IS_MEDIA = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg", ".woff", ".woff2", ".ttf", ".pyc", ".mp3", ".mp4", ".gz")


def secrets(root: Path, context: Context, subject: Subject | None, prefix: str, dockerfile: str) -> Iterator[Finding]:
    """`prefix` goes before the paths of the context, as places name them; `dockerfile` is its place.

    `subject`: none for a Dockerfile that cannot be read.
    """
    taken = _taken(subject) if subject else {}
    count = 0
    for path, facts in context.index.files.items():
        if not stat.S_ISREG(facts[4]) or not _PASSED_BY.isdisjoint(path.split("/")) or path.endswith(_IS_MEDIA):
            continue
        count += facts[0] <= _SMALL
        if count > _MOST_READ:
            return
        yield from _secret(root, path, facts[0], taken.get(path), prefix, dockerfile)


@dataclass(frozen=True, slots=True)
class _Taken:
    use: Use
    is_in_image: bool


def _taken(subject: Subject) -> dict[str, _Taken]:
    """By path, the first instruction that brings it into the image, else the first that takes it in."""
    reach = Reach(subject)
    taken: dict[str, _Taken] = {}
    for use in subject.uses:
        if use.instruction.keyword == "RUN" or not reach.is_needed(use):  # a mount leaves nothing in the image
            continue
        for path in use.paths:
            if path not in taken or not taken[path].is_in_image:
                is_in_image = reach.is_in_image(use, path)
                if path not in taken or is_in_image:
                    taken[path] = _Taken(use, is_in_image)
    return taken


def _secret(root: Path, path: str, size: int, taken: _Taken | None, prefix: str, dockerfile: str) -> Iterator[Finding]:
    name = path.rpartition("/")[2]
    what = secret_in(name, _beginning(root, path) if size <= _SMALL else "")
    place = f"{prefix}{path}"
    if what and taken:
        where = f"{taken.use.instruction.keyword} in {dockerfile}, line {taken.use.instruction.line},"
        end = "everybody who has the image can read it" if taken.is_in_image else "it stays in the builder's cache"
        message = f"{where} takes in {path}, which holds {what}: {end}"
        code = "secret_in_image" if taken.is_in_image else "secret_in_context"
        yield found(code, place, message, f"Add {path} to .dockerignore, {_INSTEAD}")
    elif what:
        message = f"{path} holds {what}, and is sent to the builder, which needs it for nothing"
        yield found("secret_in_context", place, message, f"Add {path} to .dockerignore")
    elif taken and taken.is_in_image and is_env_file(name) and size:
        message = f"{path} goes into the image: the settings of this machine, wherever the image runs"
        yield found("env_file_in_image", place, message, f"Add {path} to .dockerignore, {_INSTEAD}")


_INSTEAD = "and pass what is in it when the app runs (--env), or to the one step that needs it (--secret)"


def _beginning(root: Path, path: str) -> str:
    """ "" of what cannot be read: the build will say so."""
    try:
        with open(os.path.join(root, path), "rb") as file:
            content = file.read(_BEGINNING)
    except OSError:
        return ""
    return "" if b"\0" in content else content.decode("utf-8", "replace")


def size_findings(
    context_bytes: int, files: int, suggested: Suggested, folder: str, ignore_file: str, is_there: bool
) -> Iterator[Finding]:
    """`folder` is what the user gives to `context`, `ignore_file` the place of the file that is or could be."""
    saved = sum(one.bytes for one in suggested.suggestions)
    if not is_there:
        message = "There is no .dockerignore: whatever comes to lie in the folder is sent to the builder"
        yield found("dockerignore_missing", ignore_file, message, _write(folder, saved))
    if saved >= BALLAST:
        first = suggested.suggestions[0]
        message = (
            f"{saved / 1e6:.0f} MB of the {context_bytes / 1e6:.0f} MB that are sent are not needed, "
            f"{first.bytes / 1e6:.0f} MB of them in {first.pattern}"
        )
        yield found("context_ballast", ignore_file, message, _write(folder, saved))
    if context_bytes - saved >= LARGE:
        message = f"{context_bytes / 1e6:.0f} MB in {files:,} files are sent to the builder"
        yield found(
            "context_large", ignore_file, message, f"See which folders they are in: dockwright context {folder}"
        )


def _write(folder: str, saved: int) -> str:
    if saved:
        return f"dockwright context {folder} --write"
    return "Write one that leaves out what is no part of the app, .git and .env at least"


def ignored_source(use: Use, root: Path, rules: Rules, text: str) -> tuple[int, str] | None:
    """Line and pattern of the ignore file that leaves out a source which is on the disk; none for another cause."""
    if not use.source or not os.path.lexists(os.path.join(root, use.source)) or not rules.is_excluded(use.source):
        return None
    lines = text.removeprefix("\ufeff").split("\n")
    for count in range(len(lines), 0, -1):
        line = lines[count - 1].strip()
        is_pattern = bool(line) and not lines[count - 1].startswith(("#", "!"))
        if is_pattern and parse_rules(line).is_excluded(use.source):
            return count, line
    return None
