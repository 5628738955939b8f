"""What a source tree says of itself: which files its texts name, and how its app is started."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dockwright.insight.context import Walk

Kind = Literal["program", "page", "setting", "other"]
"""What a text is: code, code of the web's languages, a setting, what only people or programs read."""
IsRemade = Callable[[Literal["packages", "output"], str, Sequence[str], bool], bool]
"""Whether every target that takes a folder in makes it anew, as `remade` tells; with the last True also whether it has
no Node, for which packages are of no use. Before it: the folder, and those of the package.json that bring it about."""

SMALL = 8_000_000
"""Bytes: larger files are not read."""
MOST = 32_000_000
"""Bytes of texts that are looked through."""
_ENDINGS: Mapping[Kind, frozenset[str]] = {
    "program": frozenset(
        (
            *("", ".py", ".pyi", ".pyx", ".go", ".rs", ".java", ".kt", ".kts", ".scala", ".groovy", ".gradle", ".rb"),
            *(".erb", ".php", ".cs", ".fs", ".vb", ".c", ".cc", ".cpp", ".cxx", ".h", ".hpp", ".swift", ".dart"),
            *(".lua", ".pl", ".pm", ".r", ".jl", ".ex", ".exs", ".erl", ".clj", ".hs", ".mk", ".cmake", ".ipynb"),
            *(".service", ".html", ".htm", ".tmpl", ".tpl", ".j2", ".jinja", ".twig"),
        )
    ),
    "page": frozenset(
        (".js", ".mjs", ".cjs", ".ts", ".mts", ".cts", ".tsx", ".jsx", ".vue", ".svelte", ".astro", ".ejs", ".hbs")
    ),
    "setting": frozenset(
        (".toml", ".cfg", ".ini", ".conf", ".json", ".yaml", ".yml", ".xml", ".properties", ".env", ".in", ".csproj")
    ),
    "other": frozenset(
        (
            *(".md", ".mdx", ".rst", ".txt", ".csv", ".tsv", ".jsonl", ".ndjson", ".lst", ".list", ".sql", ".graphql"),
            *(".css", ".scss", ".sass", ".less", ".svg", ".webmanifest", ".pug", ".proto", ".hcl", ".sh", ".bash"),
            *(".zsh", ".fish", ".ps1", ".bat", ".cmd"),
        )
    ),
}
"""A script counts as a program where something that runs names it."""
_KINDS: Mapping[str, Kind] = {ending: kind for kind, endings in _ENDINGS.items() for ending in endings}
_DATA = frozenset((".json", ".xml", ".ipynb", ".in", ".yaml", ".yml", ".html", ".htm"))
"""What is large and has such a name is no code."""
_NOT_THE_APP = frozenset(
    (
        *("node_modules", ".git", ".svn", ".hg", "__pycache__", ".venv", "site-packages", ".tox", ".nox", ".cache"),
        *(".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", ".pytype", ".ipynb_checkpoints", "htmlcov"),
        *(".nyc_output", ".parcel-cache", ".turbo", ".sass-cache", ".gradle", ".terraform", ".vagrant"),
    )
)
_IGNORES = frozenset(
    (".gitignore", ".dockerignore", ".gitattributes", ".npmignore", ".eslintignore", ".prettierignore")
)
_RUN_ELSEWHERE = frozenset((".github", ".gitlab", ".circleci", ".devcontainer", ".vscode", ".idea", ".husky"))
_RUN_BY_PEOPLE = re.compile(
    r"README.*|LICENSE.*|CHANGELOG.*|(?:GNU)?Makefile|justfile|Taskfile\..*|noxfile\.py|tox\.ini|Vagrantfile|Jenkinsfile"
    r"|\..*ci\.ya?ml|\.(?:travis|drone|woodpecker|pre-commit-config)\.ya?ml|.*-pipelines\.ya?ml|.*compose.*\.ya?ml",
    re.IGNORECASE,
)
"""Beside the app rather than in it; what a compose file says of it stands in the recipe."""
_SHELL = (".sh", ".bash", ".zsh", ".fish", ".ps1", ".bat", ".cmd")
_WORD = re.compile(r"\w+")
_AROUND = 400
"""Characters on each side of a word in which a match of an expression lies."""
_LOCKS = re.compile(r"lock|npm-shrinkwrap", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the tree says of itself."""

    sizes: dict[str, int]
    """Path → bytes, of all that is sent; folders have -1."""
    recipe: str
    """The Dockerfiles' instructions, and the texts of the scripts and compose files that start the app."""
    read: Callable[[str], str]
    """The text of a small file of the tree, "" where it is none."""
    texts: Mapping[Kind, str] = field(default_factory=dict)
    """All texts that may name a file which the app needs, one after another."""
    is_whole: bool = True
    """Nothing of these was left out because it is too much."""
    is_code_whole: bool = True
    """No code was, and no setting."""
    is_remade: IsRemade = lambda *_: False
    by_name: dict[str, list[str]] = field(default_factory=dict)
    words: set[str] = field(default_factory=set)
    mentioned: dict[tuple[str, tuple[Kind, ...]], bool] = field(default_factory=dict)

    def named(self, name: str) -> list[str]:
        """Paths whose last part is `name`."""
        if not self.by_name:
            for path in self.sizes:
                self.by_name.setdefault(path.rpartition("/")[2], []).append(path)
        return self.by_name.get(name, [])

    def is_mentioned(self, word: str, expression: str, *kinds: Kind) -> bool:
        """Whether the Dockerfile or any text of the tree holds `expression`, of which `word` is a part.

        What is not known counts as mentioned.
        """
        key = (expression, kinds)
        if key not in self.mentioned:
            texts = [self.recipe, *(self.texts.get(kind, "") for kind in kinds or self.texts)]
            self.mentioned[key] = not self.is_whole or any(_holds(text, expression, (word,)) for text in texts)
        return self.mentioned[key]

    def is_in_code(
        self, expression: str | re.Pattern[str], words: Sequence[str], *kinds: Kind, if_unread: bool = True
    ) -> bool:
        """The same of what may run in the image, or tells how; of code alone where no `kinds` are given.

        Each match has one of the `words` in it. `if_unread` is the answer where not all of the code is known.
        """
        texts = [self.recipe, *(self.texts.get(kind, "") for kind in kinds or ("program", "page"))]
        return (if_unread and not self.is_code_whole) or any(_holds(text, expression, words) for text in texts)

    def has_words(self, name: str) -> bool:
        """Whether each word of a name stands somewhere by itself: if not, nothing holds the name by itself.

        Many files are asked for, and to look through all texts for each takes long.
        """
        if not self.words:
            for text in (self.recipe, *self.texts.values()):
                for lines in _pieces(text):
                    self.words.update(_WORD.findall(lines))
        return not self.is_whole or self.words.issuperset(_WORD.findall(name))


def _holds(text: str, expression: str | re.Pattern[str], words: Sequence[str]) -> bool:
    """A plain search takes a hundredth of the time of a regular expression's, so that looks only around the words."""
    for word in words:
        at = text.find(word)
        while at >= 0:
            if re.search(expression, text[max(0, at - _AROUND) : at + len(word) + _AROUND]):
                return True
            at = text.find(word, at + max(len(word), _AROUND // 2))
    return False


def _pieces(text: str) -> Iterator[str]:
    """Whole lines, some hundred thousand characters at a time."""
    start = 0
    while start < len(text):
        end = text.find("\n", start + 500_000) + 1 or len(text)
        yield text[start:end]
        start = end


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
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace")
    return "" if b"\0" in content else content.decode("utf-8", "replace")


def gather(
    walk: Walk,
    read: Callable[[str], str],
    instructions: Iterable[str],
    links: Mapping[str, str],
    is_remade: IsRemade = lambda *_: False,
) -> Evidence:
    """`instructions`: those of all Dockerfiles, and what else says how the app is built and started.

    `links`: path → where it leads, which names that as well as code would.
    """
    sizes = {entry[0]: -1 if stat.S_ISDIR(entry[1]) else entry[2] for entry in walk.entries}
    recipe = "\n".join(instructions)
    sources: dict[Kind, list[str]] = {kind: [] for kind in _ENDINGS}
    for path in _sources(sizes):
        sources[_kind(path, sizes[path])].append(path)
    texts = {kind: _together(sizes, read, paths) for kind, paths in sources.items()}
    code = "\n".join(text for kind, (text, _) in texts.items() if kind != "other")
    targets = [f'"{target}"' for path, target in links.items() if _NOT_THE_APP.isdisjoint(path.split("/"))]
    program = "\n".join([texts["program"][0], *scripts(sizes, code, read), *targets])
    return Evidence(
        sizes=sizes,
        recipe="\n".join([recipe, *scripts(sizes, recipe, read)]),
        read=read,
        texts={**{kind: text for kind, (text, _) in texts.items()}, "program": program},
        is_whole=all(is_whole for _, is_whole in texts.values()),
        is_code_whole=all(is_whole for kind, (_, is_whole) in texts.items() if kind != "other"),
        is_remade=is_remade,
    )


def _together(sizes: dict[str, int], read: Callable[[str], str], paths: Iterable[str]) -> tuple[str, bool]:
    """Their texts, and whether those are all."""
    texts, total, is_whole = [], 0, True
    for path in paths:
        if sizes[path] > SMALL or total + sizes[path] > MOST:
            is_whole = False
            continue
        texts.append(read(path))
        total += sizes[path]
    return "\n".join(texts), is_whole


def _sources(sizes: dict[str, int]) -> Iterator[str]:
    environments = tuple(path.removesuffix("pyvenv.cfg") for path in sizes if path.endswith("/pyvenv.cfg"))
    for path, size in sizes.items():
        *folders, name = path.split("/")
        if size < 0 or name in _IGNORES or _LOCKS.search(name):
            continue
        ending = os.path.splitext(name)[1].lower()
        if not ending and size > SMALL:  # a program for the processor
            continue
        is_text = ending in _KINDS or name.startswith((".env", "Dockerfile"))
        if is_text and _NOT_THE_APP.isdisjoint(folders) and not path.startswith(environments):
            yield path


def _kind(path: str, size: int) -> Kind:
    *folders, name = path.split("/")
    ending = os.path.splitext(name)[1].lower()
    is_beside = _RUN_BY_PEOPLE.fullmatch(name) or not _RUN_ELSEWHERE.isdisjoint(folders)
    if is_beside or (size > SMALL and ending in _DATA):
        return "other"
    if name.startswith((".env", "requirements", "constraints")):
        return "setting"
    return _KINDS.get(ending, "other")


def scripts(sizes: dict[str, int], text: str, read: Callable[[str], str]) -> list[str]:
    """Texts of what is named there, shell scripts mostly, and of what these name."""
    waiting = {
        path
        for path, size in sizes.items()
        if 0 < size <= SMALL and (path.endswith(_SHELL) or "." not in path.rpartition("/")[2])
    }
    found: list[str] = []
    pending = [text]
    while pending and waiting:
        words = set(re.findall(r"[\w.-]+", pending.pop()))
        named = {path for path in waiting if path.rpartition("/")[2] in words}
        waiting -= named
        found += (texts := [read(path) for path in sorted(named)])
        pending += texts
    return found
