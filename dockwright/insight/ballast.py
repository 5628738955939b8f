"""What lies in many source trees and is in no image of use: what tools leave behind, what is installed anew, secrets.

`COPY . .` takes in everything, so only what is known to be ballast may be left out of it, and only where nothing in the
tree says that the app needs it: each kind has its own proof, and where it fails the files stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

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
    "core.[0-9]*": "memory dumps of what crashed",
}
_MODELS = (".safetensors", ".bin", ".gguf", ".ggml", ".pt", ".pth", ".onnx", ".h5", ".ckpt", ".tflite", ".pkl")
_SMALLEST_MODEL = 1_000_000
_NODE_INSTALL = re.compile(
    r"\b(?:npm\s+(?:ci|i|install)|pnpm\s+(?:i|install)|yarn(?:\s+install)?|bun\s+(?:i|install))\b"
)
_NODE = re.compile(r"(?<![\w.-])(?:node(?:js)?|npm|npx|yarn|pnpm|bun|deno|pm2|next|nuxt|vite|tsx|ts-node)(?![\w-])")
_NODE_BUILD = re.compile(
    r"\b(?:npm|pnpm|yarn|bun)\s+(?:run\s+)?(?:\S*build\S*|generate)|\b(?:vite|tsc|webpack|next)\s+build"
)
_MAKES_VENV = re.compile(
    r"-m\s+venv\b|(?<![\w/.-])virtualenv\s|\buv\s+(?:sync|venv)\b|\bpoetry\b|\bpdm\b|\bpipenv\b|\bconda\s+(?:env|create)\b"
)
_NEEDS_GIT = re.compile(
    r"\bgit\s+(?:-\S+\s+)*(?:describe|rev-parse|log|show|status|submodule|rev-list)\b|\.git(?:/|['\"\s]|$)"
    r"|setuptools[_-]scm|hatch-vcs|versioningit|dunamai|dynamic-versioning|versioneer|\bpbr\b|\bvergen\b|GitPython"
    r"|^\s*(?:import git\b|from git import)",
    re.MULTILINE,
)


_AS_FOLDER = r"(?<![\w.-]){0}/|['\"/=]{0}['\"/\s]"
"""A folder's name as a path or a text of its own has it, not as a word of a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ballast:
    """Things of one kind, and the pattern that leaves them all out."""

    pattern: str
    reason: str
    paths: tuple[str, ...]
    """Files, and folders with all that is below them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the tree says of itself."""

    sizes: dict[str, int]
    """Path → bytes, of all that is sent; folders have -1."""
    recipe: str
    """The Dockerfiles' instructions, and the texts of the scripts and compose files that start the app."""
    read: Callable[[str], str]
    """The text of a small file of the tree, "" where it is none."""
    texts: str = ""
    """All texts in which the app may name a file that it needs, one after another."""
    by_name: dict[str, list[str]] = field(default_factory=dict)
    mentioned: dict[str, bool] = field(default_factory=dict)

    def named(self, name: str) -> list[str]:
        """Paths whose last part is `name`."""
        if not self.by_name:
            for path in self.sizes:
                self.by_name.setdefault(path.rpartition("/")[2], []).append(path)
        return self.by_name.get(name, [])

    def is_mentioned(self, word: str, expression: str) -> bool:
        """Whether the Dockerfile or any file of the tree holds `expression`, of which `word` is a part.

        Many files are asked for, and a plain search takes a tenth of the time of a regular expression's.
        """
        if expression not in self.mentioned:
            texts = [text for text in (self.recipe, self.texts) if word in text]
            self.mentioned[expression] = any(re.search(expression, text) for text in texts)
        return self.mentioned[expression]


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
    """Virtual environments hold this machine's paths. They stay where the app is started from one that no RUN makes."""
    reason = "a virtual environment of this machine, with its paths in it; the image needs its own"
    for marker in [*evidence.named("pyvenv.cfg"), *_folders(evidence, "conda-meta")]:
        folder = _parent(marker)
        name = folder.rpartition("/")[2]
        is_started_from = re.search(rf"(?<![\w.-]){re.escape(name)}/(?:bin|lib)\b", evidence.recipe)
        if folder and (not is_started_from or _MAKES_VENV.search(evidence.recipe)):
            yield Ballast(pattern=quoted(folder), reason=reason, paths=(folder,))


def _node_modules(evidence: Evidence) -> Iterator[Ballast]:
    """They stay where the image has Node and no RUN installs them: then they are what the app runs on."""
    reason = "packages that the Dockerfile installs anew, for the image's own system"
    roots = [path for path in _folders(evidence, "node_modules") if "/node_modules/" not in f"/{_parent(path)}/"]
    installed = [path for path in roots if _is_installed(evidence, _parent(path))]
    if not _NODE.search(evidence.recipe) and not evidence.is_mentioned("node_modules/", r"node_modules/[\w@]"):
        reason, installed = "packages of Node, which this image does not have", roots
    if installed and len(installed) == len(roots):
        yield Ballast(pattern="**/node_modules", reason=reason, paths=tuple(installed))
    else:
        yield from (Ballast(pattern=quoted(path), reason=reason, paths=(path,)) for path in installed)


def _is_installed(evidence: Evidence, folder: str) -> bool:
    """Whether a RUN installs the packages of `folder`: there is one, and the Dockerfile speaks of the folder."""
    if not _NODE_INSTALL.search(evidence.recipe):
        return False
    if not folder or '"workspaces"' in evidence.read("package.json") or "pnpm-workspace.yaml" in evidence.sizes:
        return True
    name = re.escape(folder.rpartition("/")[2])
    return bool(re.search(rf"(?<![\w.-]){name}(?![\w.-])", evidence.recipe))


def _git(evidence: Evidence) -> Iterator[Ballast]:
    reason = "Git's history; nothing in the Dockerfile or the packages' metadata asks Git for a version"
    folders = _folders(evidence, ".git")
    metadata = [path for path in ("pyproject.toml", "setup.cfg", "setup.py", "package.json") if path in evidence.sizes]
    if not _NEEDS_GIT.search("\n".join([evidence.recipe, *map(evidence.read, metadata)])):
        yield from _everywhere(evidence, ".git", reason, folders)


def _built_outputs(evidence: Evidence) -> Iterator[Ballast]:
    """Only what Git leaves out as well, beside a package.json, where a RUN builds it."""
    if not _NODE_BUILD.search(evidence.recipe):
        return
    for name in ("dist", "build", "out", ".next", ".nuxt", ".output", ".svelte-kit", "coverage"):
        for path in _folders(evidence, name):
            beside = _parent(path)
            prefix = f"{beside}/" if beside else ""
            ignores = evidence.read(f"{prefix}.gitignore") + "\n" + evidence.read(".gitignore")
            is_ignored = re.search(rf"(?m)^/?(?:\*\*/)?(?:{re.escape(prefix)})?{re.escape(name)}/?\s*$", ignores)
            if f"{prefix}package.json" in evidence.sizes and is_ignored and "node_modules" not in path:
                reason = "an earlier build's output, which Git leaves out and the Dockerfile builds anew"
                yield Ballast(pattern=quoted(path), reason=reason, paths=(path,))


# --- what tools and systems leave behind ------------------------------------------------------------------------------


def _caches(evidence: Evidence) -> Iterator[Ballast]:
    for name, reason in _TOOL_CACHES.items():
        if not re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w.-])", evidence.recipe):
            yield from _everywhere(evidence, name, reason, _folders(evidence, name))
    if not evidence.is_mentioned(".cache", r"(?<!~/)(?<!HOME/)(?<!HOME\}/)(?<!root/)(?<!\w)\.cache\b"):
        yield from _everywhere(evidence, ".cache", "tools' caches", _folders(evidence, ".cache"))


def _files(evidence: Evidence) -> Iterator[Ballast]:
    from fnmatch import fnmatchcase

    names = {path.rpartition("/")[2] for path, size in evidence.sizes.items() if size >= 0}
    for pattern, reason in _FILES.items():
        paths = [path for name in names if fnmatchcase(name, pattern) for path in evidence.named(name)]
        if pattern == "*.pyc":  # one that stands alone is its module's only form
            paths = [path for path in paths if path[:-1] in evidence.sizes or "/__pycache__/" in f"/{path}"]
            if len(paths) != sum(name.endswith(".pyc") for name in names for _ in evidence.named(name)):
                yield from (Ballast(pattern=quoted(path), reason=reason, paths=(path,)) for path in paths)
                continue
        if paths:
            yield Ballast(pattern=f"**/{pattern}", reason=reason, paths=tuple(paths))


def _logs(evidence: Evidence) -> Iterator[Ballast]:
    logs = [path for path, size in evidence.sizes.items() if path.endswith(".log") and size >= 0]
    free = [path for path in logs if not _is_named(evidence, path)]
    if free and len(free) == len(logs):
        yield Ballast(pattern="**/*.log", reason="logs, which nothing in the tree names", paths=tuple(free))
    else:
        for path in free:
            yield Ballast(pattern=quoted(path), reason="a log, which nothing in the tree names", paths=(path,))


# --- what the app might need: only where nothing names it -------------------------------------------------------------


def _models(evidence: Evidence) -> Iterator[Ballast]:
    """A model is loaded by its file's name or by its folder's: whichever is named anywhere keeps it."""
    large = [path for path, size in evidence.sizes.items() if path.endswith(_MODELS) and size >= _SMALLEST_MODEL]
    inside = "/node_modules/"
    free = [path for path in large if inside not in f"/{path}" and not _is_named(evidence, path, with_folders=True)]
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


def _is_named(evidence: Evidence, path: str, *, with_folders: bool = False) -> bool:
    """Whether some text holds the file's name, or with `with_folders` that of a folder above it."""
    *folders, name = path.split("/")
    if evidence.is_mentioned(name, rf"(?<![\w-]){re.escape(name)}"):
        return True
    if not with_folders:
        return False
    ending = f"*{name[name.rindex('.') :]}"
    return evidence.is_mentioned(ending, rf"{re.escape(ending)}\b") or any(
        evidence.is_mentioned(folder, _AS_FOLDER.format(re.escape(folder))) for folder in folders
    )


def _settings_with_secrets(evidence: Evidence) -> Iterator[Ballast]:
    """A `.env` holds passwords for everybody who has the image. One with a front end's public settings stays."""
    reason = "passwords or keys, which everybody who has the image could read; pass them when it runs"
    for path, size in evidence.sizes.items():
        name = path.rpartition("/")[2]
        if size < 0 or not is_env_file(name) or not secret_settings(evidence.read(path)):
            continue
        if not re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w.-])", evidence.recipe):
            yield Ballast(pattern=quoted(path), reason=reason, paths=(path,))
