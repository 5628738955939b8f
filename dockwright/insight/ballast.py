"""What lies in many source trees and is in no image of use: what tools leave behind, what is installed anew, secrets.

`COPY . .` takes in everything, so only what is known to be ballast may be left out of it, and only where nothing in the
tree says that the app needs it: each kind has its own proof, and where it fails the files stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from dockwright.insight.evidence import Evidence
from dockwright.insight.needs import (
    asks_git,
    is_named,
    is_read_as_settings,
    is_started_from,
    is_wanted,
    makes_environment,
    serves_packages,
)
from dockwright.insight.secret_shapes import is_env_file, secret_settings

_TOOL_CACHES = {
    "__pycache__": "Python's compiled files, written anew where they are needed",
    ".pytest_cache": "pytest's cache",
    ".mypy_cache": "mypy's cache",
    ".ruff_cache": "Ruff's cache",
    ".hypothesis": "Hypothesis's examples",
    ".tox": "tox's test environments",
    ".nox": "nox's test environments",
    ".ipynb_checkpoints": "Jupyter's checkpoints",
    ".pytype": "pytype's cache",
    "htmlcov": "a coverage report",
    ".nyc_output": "a coverage report's raw data",
    ".parcel-cache": "Parcel's cache",
    ".turbo": "Turborepo's cache",
    ".sass-cache": "Sass's cache",
    ".gradle": "Gradle's cache",
    ".terraform": "Terraform's plug-ins",
    ".vagrant": "Vagrant's machines",
    ".idea": "an editor's settings",
    ".vscode": "an editor's settings",
    ".vs": "an editor's settings",
    ".fleet": "an editor's settings",
    ".svn": "Subversion's own data",
    ".hg": "Mercurial's own data",
}
_MAYBE_READ = frozenset(("htmlcov", ".gradle", ".terraform", ".vagrant", ".idea", ".vscode", ".svn", ".hg"))
"""Of these: what a program may ask for by its name. Nothing but its own tool reads one of the others."""
_FILES = {
    "*.pyc": "Python's compiled files, written anew where they are needed",
    "*.swp": "an editor's swap files",
    "*~": "an editor's backups",
    ".DS_Store": "written by macOS",
    "Thumbs.db": "written by Windows",
    "desktop.ini": "written by Windows",
    ".coverage": "coverage's raw data",
    "npm-debug.log*": "npm's logs of what failed",
    "yarn-error.log*": "Yarn's logs of what failed",
}
_MODELS = (".safetensors", ".bin", ".gguf", ".ggml", ".pt", ".pth", ".onnx", ".h5", ".ckpt", ".tflite", ".pkl")
_SMALLEST_MODEL = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Ballast:
    """Things of one kind, and the pattern that leaves them all out."""

    pattern: str
    reason: str
    paths: tuple[str, ...]
    """Files, and folders with all that is below them."""


def ballast(evidence: Evidence) -> list[Ballast]:
    """All that is known, folders before files, whether a COPY wants it or not: that is not decided here."""
    return [
        *_environments(evidence),
        *_node_modules(evidence),
        *_git(evidence),
        *_built_outputs(evidence),
        *_caches(evidence),
        *_models(evidence),
        *_settings_with_secrets(evidence),
        *_logs(evidence),
        *_files(evidence),
    ]


def quoted(path: str) -> str:
    """A path as a pattern that matches it alone.

    >>> quoted("a [1].txt")
    'a \\\\[1].txt'
    """
    text = re.sub(r"([*?\[\\^])", r"\\\1", path)
    return f"./{text}" if text.startswith(("#", "!")) or text != text.strip() else text


def _everywhere(evidence: Evidence, name: str, reason: str, paths: list[str]) -> Iterator[Ballast]:
    """One pattern for all of a name where all of that name may go, else one for each."""
    if not paths:
        return
    if len(paths) == len(evidence.named(name)):
        yield Ballast(pattern=f"**/{quoted(name)}", reason=reason, paths=tuple(paths))
    else:
        for path in paths:
            yield Ballast(pattern=quoted(path), reason=reason, paths=(path,))


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _folders(evidence: Evidence, name: str) -> list[str]:
    return [path for path in evidence.named(name) if evidence.sizes[path] < 0]


# --- what the Dockerfile installs or makes anew -----------------------------------------------------------------------


def _environments(evidence: Evidence) -> Iterator[Ballast]:
    """Virtual environments hold this machine's paths. They stay where anything uses one that no RUN makes."""
    reason = "a virtual environment of this machine, with its paths in it; the image needs its own"
    for marker in [*evidence.named("pyvenv.cfg"), *_folders(evidence, "conda-meta")]:
        folder = _parent(marker)
        if folder and (not is_started_from(evidence, folder) or makes_environment(evidence, folder)):
            yield Ballast(pattern=quoted(folder), reason=reason, paths=(folder,))


def _node_modules(evidence: Evidence) -> Iterator[Ballast]:
    """They stay where an image with Node takes them in and no RUN installs them: then they are what the app runs on."""
    reason = "packages that the Dockerfile installs anew, or that an image without Node has no use for"
    roots = [path for path in _folders(evidence, "node_modules") if "/node_modules/" not in f"/{_parent(path)}/"]
    are_served = serves_packages(evidence) if roots else False
    free = [path for path in roots if _is_installed(evidence, path, are_served)]
    if free and len(free) == len(roots):
        yield Ballast(pattern="**/node_modules", reason=reason, paths=tuple(free))
    else:
        yield from (Ballast(pattern=quoted(path), reason=reason, paths=(path,)) for path in free)


def _is_installed(evidence: Evidence, path: str, are_served: bool) -> bool:
    """A package.json beside them must say what to install."""
    folder = _parent(path)
    has_manifest = f"{folder}/package.json".lstrip("/") in evidence.sizes
    folders = _package_folders(evidence, folder) if has_manifest else []
    return evidence.is_remade("packages", path, folders, not are_served)


def _package_folders(evidence: Evidence, folder: str) -> list[str]:
    """Its own, and those above whose workspaces it is in."""
    found = [folder]
    while folder:
        folder = _parent(folder)
        prefix = f"{folder}/" if folder else ""
        has_workspaces = '"workspaces"' in evidence.read(f"{prefix}package.json")
        if has_workspaces or f"{prefix}pnpm-workspace.yaml" in evidence.sizes:
            found.append(folder)
    return found


def _git(evidence: Evidence) -> Iterator[Ballast]:
    reason = "Git's history; nothing in the Dockerfile, the code or the packages' metadata asks Git for anything"
    if not asks_git(evidence):
        yield from _everywhere(evidence, ".git", reason, _folders(evidence, ".git"))


def _built_outputs(evidence: Evidence) -> Iterator[Ballast]:
    """Only what Git leaves out as well, beside a package.json, where a RUN builds it."""
    for name in ("dist", "build", "out", ".next", ".nuxt", ".output", ".svelte-kit", "coverage"):
        for path in _folders(evidence, name):
            beside = _parent(path)
            prefix = f"{beside}/" if beside else ""
            ignores = evidence.read(f"{prefix}.gitignore") + "\n" + evidence.read(".gitignore")
            is_ignored = re.search(rf"(?m)^/?(?:\*\*/)?(?:{re.escape(prefix)})?{re.escape(name)}/?\s*$", ignores)
            if not is_ignored or f"{prefix}package.json" not in evidence.sizes or "node_modules" in path:
                continue
            if evidence.is_remade("output", path, _package_folders(evidence, beside), False):
                reason = "an earlier build's output, which Git leaves out and the Dockerfile builds anew"
                yield Ballast(pattern=quoted(path), reason=reason, paths=(path,))


# --- what tools and systems leave behind ------------------------------------------------------------------------------


def _caches(evidence: Evidence) -> Iterator[Ballast]:
    for name, reason in _TOOL_CACHES.items():
        named = rf"(?<![\w.-]){re.escape(name)}(?![\w.-])"
        if not evidence.named(name) or re.search(named, evidence.recipe):
            continue
        is_asked_for = named if name in _MAYBE_READ else rf"{named}/[^\s*\"']"
        if not evidence.is_in_code(is_asked_for, [name], if_unread=name in _MAYBE_READ):
            yield from _everywhere(evidence, name, reason, _folders(evidence, name))
    if not evidence.is_mentioned(".cache", r"(?<!~/)(?<!HOME/)(?<!HOME\}/)(?<!root/)(?<!\w)\.cache\b"):
        yield from _everywhere(evidence, ".cache", "tools' caches", _folders(evidence, ".cache"))


def _files(evidence: Evidence) -> Iterator[Ballast]:
    from fnmatch import fnmatchcase

    names = {path.rpartition("/")[2] for path, size in evidence.sizes.items() if size >= 0}
    for pattern, reason in _FILES.items():
        paths = [path for name in names if fnmatchcase(name, pattern) for path in evidence.named(name)]
        if pattern == "*.pyc":  # one that stands alone is its module's only form
            are_read = bool(paths) and evidence.is_in_code(r"[\w}]\.pyc\b", [".pyc"], if_unread=False)
            free = [path for path in paths if not are_read and _has_source(evidence, path)]
        else:
            free = [path for path in paths if not is_named(evidence, path)]
        if free and len(free) == len(paths):
            yield Ballast(pattern=f"**/{pattern}", reason=reason, paths=tuple(paths))
        else:
            yield from (Ballast(pattern=quoted(path), reason=reason, paths=(path,)) for path in free)
    yield from _dumps(evidence, names)


def _has_source(evidence: Evidence, path: str) -> bool:
    return path[:-1] in evidence.sizes or "/__pycache__/" in f"/{path}"


def _dumps(evidence: Evidence, names: set[str]) -> Iterator[Ballast]:
    """`core.1234`, each by itself: `core.3f2a91c0.js` is a script, and a text is no memory."""
    for path in [path for name in names if re.fullmatch(r"core\.\d+", name) for path in evidence.named(name)]:
        if evidence.sizes[path] > 0 and not evidence.read(path) and not is_named(evidence, path):
            yield Ballast(pattern=quoted(path), reason="the memory of a program that crashed", paths=(path,))


def _logs(evidence: Evidence) -> Iterator[Ballast]:
    logs = [path for path, size in evidence.sizes.items() if path.endswith(".log") and size >= 0]
    # People are told where logs go; what reads them is code.
    free = [path for path in logs if not is_wanted(evidence, path, "program", "page", "setting")]
    if free and len(free) == len(logs):
        yield Ballast(pattern="**/*.log", reason="logs, which nothing in the tree names", paths=tuple(free))
    else:
        for path in free:
            yield Ballast(pattern=quoted(path), reason="a log, which nothing in the tree names", paths=(path,))


# --- what the app might need: only where nothing names it -------------------------------------------------------------


def _models(evidence: Evidence) -> Iterator[Ballast]:
    """A model is loaded by its file's name or by its folder's: whichever is named anywhere keeps it."""
    large = [path for path, size in evidence.sizes.items() if path.endswith(_MODELS) and size >= _SMALLEST_MODEL]
    free = [path for path in large if "/node_modules/" not in f"/{path}" and not is_wanted(evidence, path)]
    groups: dict[tuple[str, str], list[str]] = {}
    for path in free:
        groups.setdefault((_parent(path), path[path.rindex(".") :]), []).append(path)
    reason = "model weights that nothing in the tree names; mount a volume or load them where the app runs"
    for (folder, ending), paths in groups.items():
        prefix = f"{folder}/" if folder else ""
        alike = [path for path in evidence.sizes if _parent(path) == folder and path.endswith(ending)]
        if len(paths) > 2 and len(alike) == len(paths):
            yield Ballast(pattern=f"{quoted(prefix)}*{ending}", reason=reason, paths=tuple(paths))
        else:
            yield from (Ballast(pattern=quoted(path), reason=reason, paths=(path,)) for path in paths)


def _settings_with_secrets(evidence: Evidence) -> Iterator[Ballast]:
    """A `.env` holds passwords for everybody who has the image. One that the app reads stays; `check` tells of it."""
    reason = "passwords or keys, which everybody who has the image could read; pass them when it runs"
    for path, size in evidence.sizes.items():
        name = path.rpartition("/")[2]
        if size < 0 or not is_env_file(name) or not secret_settings(evidence.read(path)):
            continue
        if not is_read_as_settings(evidence, path):
            yield Ballast(pattern=quoted(path), reason=reason, paths=(path,))
