"""Reads what a source tree says of itself: which files its texts name, and how its app is started."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from dockwright.insight.ballast import Evidence
from dockwright.insight.context import Walk

SMALL = 256_000
"""Bytes: larger files are no code."""
MOST = 32_000_000
"""Bytes of texts that are looked through."""
_TEXTS = frozenset(
    (
        *(".py", ".pyi", ".js", ".mjs", ".cjs", ".ts", ".tsx", ".jsx", ".vue", ".svelte", ".go", ".rs", ".java"),
        *(".kt", ".rb", ".php", ".cs", ".c", ".cc", ".cpp", ".h", ".sh", ".bash", ".toml", ".cfg", ".ini", ".conf"),
        *(".json", ".yaml", ".yml", ".xml", ".properties", ".env", ".html", ".md", ".rst", ".txt", ".ipynb", ".sql"),
        *(".mk", ""),
    )
)
_NOT_THE_APP = frozenset(
    ("node_modules", ".git", ".svn", ".hg", "__pycache__", ".venv", "site-packages", ".tox", ".nox")
)
_IGNORES = frozenset(
    (".gitignore", ".dockerignore", ".gitattributes", ".npmignore", ".eslintignore", ".prettierignore")
)
_LOCKS = re.compile(r"lock|npm-shrinkwrap", re.IGNORECASE)


def reader(root: Path) -> Callable[[str], str]:
    """Reads a small file of the tree as text: "" for one that is large, binary, no file, or not there."""
    known: dict[str, str] = {}

    def read(path: str) -> str:
        if path not in known:
            known[path] = _text(root, path)
        return known[path]

    return read


def _text(root: Path, path: str) -> str:
    place = os.path.join(root, path)
    try:
        facts = os.lstat(place)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > SMALL:
            return ""
        with open(place, "rb") as file:
            content = file.read()
    except OSError:  # it vanished, or may not be read: then it tells nothing
        return ""
    return "" if b"\0" in content else content.decode("utf-8", "replace")


def gather(walk: Walk, read: Callable[[str], str], instructions: Iterable[str]) -> Evidence:
    """`instructions`: those of all Dockerfiles, and what else says how the app is built and started."""
    sizes = {entry[0]: -1 if stat.S_ISDIR(entry[1]) else entry[2] for entry in walk.entries}
    recipe = "\n".join(instructions)
    scripts = [read(path) for path in _scripts(sizes, recipe)]
    texts = []
    total = 0
    for path in _sources(sizes):
        if total > MOST:
            break
        texts.append(read(path))
        total += len(texts[-1])
    return Evidence(sizes=sizes, recipe="\n".join([recipe, *scripts]), read=read, texts="\n".join(texts))


def _sources(sizes: dict[str, int]) -> Iterator[str]:
    environments = tuple(path.removesuffix("pyvenv.cfg") for path in sizes if path.endswith("/pyvenv.cfg"))
    for path, size in sizes.items():
        *folders, name = path.split("/")
        if not 0 <= size <= SMALL or name in _IGNORES or _LOCKS.search(name):
            continue
        is_text = os.path.splitext(name)[1].lower() in _TEXTS or name.startswith((".env", "Dockerfile"))
        if is_text and _NOT_THE_APP.isdisjoint(folders) and not path.startswith(environments):
            yield path


def _scripts(sizes: dict[str, int], recipe: str) -> list[str]:
    """Files that are named where the app is built and started: shell scripts, mostly."""
    words = set(re.findall(r"[\w.-]+", recipe))
    return [
        path
        for path, size in sizes.items()
        if 0 < size <= SMALL
        and (name := path.rpartition("/")[2]) in words
        and (name.endswith((".sh", ".bash")) or "." not in name)
    ]
