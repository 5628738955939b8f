"""Whether the app's files can do without each other: what their texts, and the places where they land, refer to.

Advice that moves a COPY or leaves a file out is given only where nothing here speaks against it.
"""

from __future__ import annotations

import json
import posixpath
import re
import stat
from collections.abc import Callable, Collection, Iterable, Sequence

from dockwright.domain.plan import InputFile, InputStep
from dockwright.insight.index import digest_text
from dockwright.insight.replay import resolve

Read = Callable[[str], str]
"""The text of a file of the context, "" where it has none, or too much of it."""

# --- what an install reads ------------------------------------------------------------------------------------------

_REFERENCE = re.compile(r"(?m)^\s*(?:-r|-c|--requirement|--constraint)[\s=]*(\S+)")
_LOCAL = re.compile(
    r"(?m)^\s*(?:-e|--editable|-f|--find-links)\b(?!.*://)|^\s*(?:\.{1,2}/|/|file:|\.(?:\s|\[|$))|@\s*file:"
    r"|^(?!.*://)[^#\n]*\.(?:whl|zip|tar\.gz)\b"
)
_RUN_BY_INSTALL = ("preinstall", "install", "postinstall", "preprepare", "prepare", "postprepare", "prepublish")
_LOCAL_PACKAGE = ("file:", "link:", "portal:", "patch:", "workspace:", ".", "/", "~")
_DEPENDENCIES = ("dependencies", "devDependencies", "optionalDependencies", "peerDependencies", "overrides")
_READ_BESIDE = re.compile(
    r"(?:^|/)(?:pnpm-workspace\.yaml|lerna\.json|\.yarnrc(?:\.yml)?|\.pnpmfile\.cjs|binding\.gyp|schema\.prisma|go\.work)$"
    r"|(?:^|/)(?:\.yarn|patches|vendor)/"
)
"""Files that an install of Node or Go packages, or a script of a package, reads unasked."""


def can_install(manifests: Sequence[str], beside: Iterable[str], read: Read) -> bool:
    """Whether the files that an install reads are enough for it, without those that lie beside them."""
    is_python = all(_is_requirements(path) for path in manifests)
    if not is_python and any(_READ_BESIDE.search(path) for path in beside):
        return False
    return all(_is_enough(path, manifests, read(path)) for path in manifests)


def _is_requirements(path: str) -> bool:
    return path.endswith((".txt", ".in"))


def _is_enough(path: str, manifests: Sequence[str], text: str) -> bool:
    name = path.rpartition("/")[2]
    if _is_requirements(path):
        folder = posixpath.dirname(path)
        named = {posixpath.normpath(posixpath.join(folder, one)) for one in _REFERENCE.findall(text)}
        return bool(text) and named <= {*manifests} and not _LOCAL.search(text)
    if name == "package.json":
        return _is_plain_package(text)
    return name != "go.mod" or (bool(text) and not re.search(r"=>\s*\.{0,2}/", text))


def _is_plain_package(text: str) -> bool:
    """It has neither workspaces nor scripts of an install, and no package of this folder."""
    try:
        package = json.loads(text)
    except ValueError:
        return False
    if not isinstance(package, dict) or "workspaces" in package or "patchedDependencies" in text:
        return False
    if {*_RUN_BY_INSTALL} & {*(package.get("scripts") or {})}:
        return False
    versions = [str(version) for kind in _DEPENDENCIES for version in dict(package.get(kind) or {}).values()]
    return not any(version.startswith(_LOCAL_PACKAGE) for version in versions)


# --- where files land -------------------------------------------------------------------------------------------------

_OF_TOOLS = re.compile(
    r"/(?:etc|s?bin|lib\w*|usr/(?:s?bin|lib\w*|local/(?:s?bin|lib|etc|share)|share/(?:keyrings|ca-certificates))"
    r"|var/(?:lib|cache)|root/\.[^/]+|home/[^/]+/\.[^/]+)(?:/|$)"
)
"""Where tools look for settings, certificates and programs by themselves."""
_ABOVE_THEM = re.compile(r"/(?:usr|usr/local|usr/share|var|root|home|home/[^/]+)?$")


def destination(step: InputStep, steps: Sequence[InputStep]) -> str:
    """Of a COPY or ADD, as a whole path: where the base image's own working folder is not known, "/" stands for it."""
    return resolve(_workdir(step, steps), step.resolved.partition("\n")[0].split()[-1])


def _workdir(step: InputStep, steps: Sequence[InputStep]) -> str:
    own = [one for one in steps if one.target == step.target and one.index < step.index]
    bases = [one for one in steps if own and one.target in own[0].depends_on]
    found = _workdir(bases[-1], steps) if bases else "/"
    for one in [*bases[-1:], *own]:
        if one.instruction == "WORKDIR":
            found = resolve(found, one.resolved.partition(" ")[2])
    return found


def is_for_tools(step: InputStep, steps: Sequence[InputStep]) -> bool:
    """Whether a COPY or ADD may bring what tools read unasked: an apt list, a certificate, a program."""
    folder = destination(step, steps)
    if _OF_TOOLS.match(folder):
        return True
    if not _ABOVE_THEM.match(folder):
        return False
    return step.instruction == "ADD" or any(
        _OF_TOOLS.match(resolve(folder, below)) for path, _, _ in step.files for below in _endings(path)
    )


def _endings(path: str) -> list[str]:
    """What of a path may lie below the destination."""
    parts = path.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]


# --- what the app asks for --------------------------------------------------------------------------------------------

_CODE = re.compile(
    r"(?:^|/)(?:Makefile|Rakefile|Gemfile|[^/.]+)$"
    r"|\.(?:py|pyi|js|mjs|cjs|ts|mts|cts|tsx|jsx|vue|svelte|astro|go|rs|java|kt|kts|gradle|rb|php|cs|c|cc|cpp|h|swift|sh"
    r"|bash|toml|cfg|ini|json|ya?ml|mk|cmake|in|xml)$"
)
_MOST_FILES = 2000
_EMPTY = digest_text("")
_ASKS_GIT = (
    r"\bgit\b|setuptools.scm|hatch.vcs|versioneer|dynamic.versioning|\bpbr\b|gitpython|dulwich|pygit2|vergen|sentry.cli"
)


def is_asked_for(names: Collection[str], files: Iterable[InputFile], read: Read) -> bool:
    """Whether any file may ask for what has one of these names, as one may that cannot be read, or one of very many."""
    words = "|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in names)
    asks = re.compile(f"{words}|{_ASKS_GIT}" if any(".git" in name for name in names) else words, re.IGNORECASE)
    code = [path for path, mode, digest in files if stat.S_ISREG(mode) and digest != _EMPTY and _CODE.search(path)]
    return len(code) > _MOST_FILES or any((text := read(path)) == "" or asks.search(_said(path, text)) for path in code)


def _said(path: str, text: str) -> str:
    """Of package.json what it runs and needs: nearly each tells of the repository that it is from."""
    if not path.endswith("package.json"):
        return text
    try:
        package = json.loads(text)
        return json.dumps([package.get("scripts"), *(package.get(kind) for kind in _DEPENDENCIES)])
    except (ValueError, AttributeError):
        return text
