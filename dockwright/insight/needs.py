"""Whether the app or its build needs what looks like ballast: what in the tree's texts says so.

Each is a question that is answered with yes where it cannot be told.
"""

from __future__ import annotations

import re

from dockwright.insight.evidence import Evidence, Kind

_NODE = re.compile(r"(?<![\w.-])(?:node(?:js)?|npm|npx|yarn|pnpm|bun|deno|pm2|next|nuxt|vite|tsx|ts-node)(?![\w-])")
_MAKES_OWN_VENV = re.compile(
    r"\buv\s+(?:sync|venv)\b|\bpdm\s+(?:install|sync)\b|VIRTUALENVS_IN_PROJECT|PIPENV_VENV_IN_PROJECT"
)
_MAKES_VENV = r"(?:-m\s+venv\b|\bvirtualenv\s|\buv\s+venv\b|\b(?:conda|mamba|micromamba)\s+(?:env|create)\b)[^\n;&|]*"
_ASKS_GIT = re.compile(
    r"\bgit\b[\"'`,\s]+(?:-\S+[\"'`,\s]+)*(?:describe|rev-parse|log|show|status|submodule|rev-list|ls-files|branch|tag)\b"
    r"|setuptools[_-]scm|hatch-vcs|versioningit|dunamai|dynamic-versioning|versioneer|\bvergen\b|\bdulwich\b|\bpygit2\b"
    r"|(?i:GitPython)|\b(?:simple|isomorphic|last-commit)-git\b|git-(?:revision|describe|rev-sync|last-commit|commit-id)"
    r"|shadow-rs|\bgit2\b|\bgo-git\b|\bjgit\b|gitversion|git-version|git-properties"
    r"|(?m:^\s*(?:import git\b|from git import))",
)
_WORDS_OF_GIT = ("git", "Git", "GIT", "scm", "vcs", "version", "dunamai", "vergen", "dulwich", "shadow-rs")
_PATH_OF_GIT = re.compile(r"(?<![\w*])(?<!\*/)\.git(?:/|[\"'`\s]|$)|[\"'`]git[\"'`]\s*[,)\]]")
_READS_ENV = re.compile(
    r"(?i:dotenv)|loadEnvFile|--env-file|env_?[fF]ile[\"']?\s*=|[\"']env_file[\"']|\bdecouple\b|\bimport environ\b"
    r"|\benvirons\b|\bviper\b|\bBaseSettings\b"
)
_WORDS_OF_ENV = ("env", "Env", "ENV", "decouple", "viper", "BaseSettings")
"""Libraries that read a `.env` without being told its name."""
_TOOLS_READ_ENV = re.compile(
    r"(?<![\w.-])(?:vite|next|nuxt|react-scripts|astro|gatsby|expo|remix|bun|deno|webpack|parcel|artisan|laravel"
    r"|vue-cli-service|svelte-kit)(?![\w-])"
)
"""Those that read the one of the project that they work on."""
_PLAIN_BASES = re.compile(
    r"(?:.*/)?(?:python|debian|ubuntu|alpine|busybox|nginx|httpd|caddy|golang|rust|php|ruby|openjdk|eclipse-temurin"
    r"|maven|gradle|amazoncorretto|tomcat|cuda|pytorch|tensorflow|fedora|centos|rockylinux|almalinux|amazonlinux"
    r"|archlinux|scratch|miniconda3?|anaconda3?|mambaforge|elixir|erlang|perl|swift|julia|r-base|astral-sh/uv"
    r"|dotnet/(?:aspnet|runtime|sdk)|distroless/[\w.-]+)(?:[:@].*)?"
)
"""Images that are known to have no Node."""
_AS_FOLDER = r"(?<![\w.-]){0}/|['\"/=]{0}['\"/\s]"
"""A folder's name as a path or a text of its own has it, not as a word of a sentence."""


def is_started_from(evidence: Evidence, folder: str) -> bool:
    own = folder.rpartition("/")[2]
    name = re.escape(own)
    has_program = rf"(?<![\w.-]){name}/[^\s*\"']"
    is_path = rf"(?<!/bin)[/=\"']{name}(?![\w.-])"
    return bool(re.search(is_path, evidence.recipe)) or evidence.is_in_code(
        has_program, [own], "program", "page", "setting"
    )


def makes_environment(evidence: Evidence, folder: str) -> bool:
    name = folder.rpartition("/")[2]
    is_made = rf"{_MAKES_VENV}(?<![\w.-]){re.escape(name)}(?![\w.-])"
    return bool(re.search(is_made, evidence.recipe)) or (
        name == ".venv" and bool(_MAKES_OWN_VENV.search(evidence.recipe))
    )


def has_no_node(image: str | None, text: str) -> bool:
    """Of a target: the image that it is built on, none for scratch, and what its instructions and scripts say.

    An image of which nothing is known may have it.
    """
    name = (image or "scratch").lower()
    return not _NODE.search(text) and "node" not in name and _PLAIN_BASES.fullmatch(name) is not None


def serves_packages(evidence: Evidence) -> bool:
    """A page may load them, and a program of any language hand them out."""
    return evidence.is_mentioned("node_modules/", r"node_modules/[\w@]") or evidence.is_in_code(
        r"(?<![\w-])node_modules(?![\w-])", ["node_modules"], "program"
    )


def asks_git(evidence: Evidence) -> bool:
    """Whether the app or its build runs Git, or looks into its folder itself."""
    return evidence.is_in_code(_ASKS_GIT, _WORDS_OF_GIT, "program", "page", "setting") or evidence.is_in_code(
        _PATH_OF_GIT, ["git"]
    )


def is_named(evidence: Evidence, path: str) -> bool:
    """Whether some text holds the file's name."""
    name = path.rpartition("/")[2]
    return evidence.is_mentioned(name, rf"(?<![\w-]){re.escape(name)}")


def is_wanted(evidence: Evidence, path: str, *kinds: Kind) -> bool:
    """Whether some text holds the file's name, with its ending or without, that of a folder above it, or the ending.

    The ending counts where names are made with it: `*.log`, `f"{name}.log"`, `".log"`; not in `console.log(text)`.
    Only texts of these `kinds` are asked for more than the file's own name, all where none are given.
    """
    *folders, name = path.split("/")
    stem, _, ending = name.rpartition(".")
    made = rf"(?:[*}})\]\"'`+\\]|%\w)\.{re.escape(ending)}\b(?!\s*\()"
    # A name is left-bounded where it counts, so that all of its words but the ending stand by themselves.
    is_own = evidence.has_words(stem) and (is_named(evidence, path) or _is_folder_named(evidence, stem, *kinds))
    return (
        is_own
        or evidence.is_mentioned(f".{ending}", made, *kinds)
        or any(_is_folder_named(evidence, folder, *kinds) for folder in folders)
    )


def _is_folder_named(evidence: Evidence, name: str, *kinds: Kind) -> bool:
    return bool(name) and evidence.is_mentioned(name, _AS_FOLDER.format(re.escape(name)), *kinds)


def is_read_as_settings(evidence: Evidence, path: str) -> bool:
    folder, _, name = path.rpartition("/")
    prefix = f"{folder}/" if folder else ""
    here = "\n".join([evidence.recipe, evidence.read(f"{prefix}package.json"), evidence.read(f"{prefix}composer.json")])
    return (
        bool(_TOOLS_READ_ENV.search(here))
        or evidence.is_in_code(_READS_ENV, _WORDS_OF_ENV, "program", "page", "setting")
        or evidence.is_in_code(rf"(?<![\w.)\]-]){re.escape(name)}(?![\w.-])", [name], "program", "page", "setting")
    )
