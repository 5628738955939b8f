"""What RUN does: layers that are doubled, installs in the wrong order, what package managers leave behind."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from dockwright.insight.alone import can_install
from dockwright.insight.dockerfile import Instruction
from dockwright.insight.findings import Finding
from dockwright.insight.mounts import parse_mount
from dockwright.insight.replay import resolve
from dockwright.insight.subject import Subject, commands
from dockwright.insight.usage import Use, size_of

_DOWNLOADS_INTO_SHELL = re.compile(
    r"\b(?:curl|wget)\b[^|;&]*\|\s*(?:sudo\s+(?:-\S+\s+)*)?(?:/bin/|/usr/bin/env\s+)?(?:(?:ba|z|da|a)?sh|python3?|node|perl)\b"
)
_CODE_FOR_SHELL = re.compile(r"\b(?:ba|z|da)?sh\s+(?:-c\s+[\"']?\$\(|<\()\s*(?:curl|wget)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Installer:
    """A package manager that installs what a manifest names."""

    command: re.Pattern[str]
    manifests: tuple[str, ...]
    """Files that decide what is installed, the one that must be there first."""
    name: str


INSTALLERS = (
    Installer(
        name="pip",
        command=re.compile(r"\b(?:pip3?|uv pip|python3? -m pip)\b.*\binstall\b.*(?:\s-r\s*|--requirement[= ])\S"),
        manifests=("requirements*.txt", "requirements/*.txt", "constraints*.txt"),
    ),
    Installer(
        name="Poetry", command=re.compile(r"\bpoetry\b.*\binstall\b"), manifests=("pyproject.toml", "poetry.lock")
    ),
    Installer(name="uv", command=re.compile(r"\buv\s+sync\b"), manifests=("pyproject.toml", "uv.lock")),
    Installer(
        name="Pipenv", command=re.compile(r"\bpipenv\b.*\b(?:install|sync)\b"), manifests=("Pipfile", "Pipfile.lock")
    ),
    Installer(
        name="npm",
        command=re.compile(r"\bnpm\s+(?:ci|i|install|clean-install)(?=\s*$|(?:\s+-(?!g\b|-global\b)\S+)+\s*$)"),
        manifests=("package.json", "package-lock.json", "npm-shrinkwrap.json"),
    ),
    Installer(
        name="Yarn",
        command=re.compile(r"\byarn(?:\s+install)?(?=\s*$|(?:\s+--\S+)+\s*$)"),
        manifests=("package.json", "yarn.lock"),
    ),
    Installer(
        name="pnpm",
        command=re.compile(r"\bpnpm\s+(?:i|install)(?=\s*$|(?:\s+-\S+)+\s*$)"),
        manifests=("package.json", "pnpm-lock.yaml"),
    ),
    Installer(name="Bundler", command=re.compile(r"\bbundle\s+install\b"), manifests=("Gemfile", "Gemfile.lock")),
    Installer(
        name="Composer",
        command=re.compile(r"\bcomposer\b.*\binstall\b"),
        manifests=("composer.json", "composer.lock"),
    ),
    Installer(name="Go", command=re.compile(r"\bgo\s+mod\s+download\b"), manifests=("go.mod", "go.sum")),
)


def doubled_layers(subject: Subject) -> Iterator[Finding]:
    """A file whose owner or mode changes is in the image twice: as it was copied and as it is now."""
    copied: list[tuple[Instruction, str]] = []
    for instruction, state in subject.steps(subject.final):
        if instruction.keyword in ("COPY", "ADD"):
            copied.append((instruction, resolve(state.workdir, state.scope.put_in(instruction.operands[-1]))))
        elif instruction.keyword == "RUN":
            for words in commands(instruction):
                if change := _recursive_change(words):
                    tool, value, paths = change
                    places = [resolve(state.workdir, _put_in(state.scope.put_in, path)) for path in paths]
                    hit = [one for one, landed in copied if any(_overlap(landed, place) for place in places)]
                    if hit:
                        yield _doubled(subject, instruction, tool, value, hit)
                        break


def _put_in(put_in: object, path: str) -> str:
    assert callable(put_in)
    try:
        return str(put_in(path))
    except ValueError:  # a shell's own words
        return path


def _doubled(subject: Subject, instruction: Instruction, tool: str, value: str, copied: list[Instruction]) -> Finding:
    lines = sorted({one.line for one in copied})
    paths = frozenset().union(*(use.paths for use in subject.uses if use.instruction in copied))
    size = size_of(subject.context, paths)
    shown = f" ({size / 1e6:.1f} MB)" if size >= 100_000 else ""
    return subject.found(
        "layer_doubled",
        instruction,
        f"{tool} -R writes what line {', '.join(map(str, lines))} copied into a second layer{shown}",
        f"Write {copied[-1].keyword} --{tool}={value} in line {lines[-1]}, and leave this out",
    )


def _recursive_change(words: list[str]) -> tuple[str, str, list[str]] | None:
    """Tool, owner or mode, and paths of a `chown -R` or `chmod -R`."""
    tool = words[0].rpartition("/")[2]
    if tool not in ("chown", "chmod"):
        return None
    options = [word for word in words[1:] if word.startswith("-")]
    operands = [word for word in words[1:] if not word.startswith("-")]
    is_recursive = any(word == "--recursive" or (not word.startswith("--") and "R" in word) for word in options)
    return (tool, operands[0], operands[1:]) if is_recursive and len(operands) > 1 else None


def _overlap(one: str, other: str) -> bool:
    return one == other or f"{one}/".startswith(f"{other}/".replace("//", "/")) or f"{other}/".startswith(f"{one}/")


def install_order(subject: Subject) -> Iterator[Finding]:
    """Everything is copied, and then the packages are installed: each change of any file installs them anew."""
    for target in subject.needed:
        instructions = subject.instructions(target)
        own = set(map(id, target.instructions))
        for installer in INSTALLERS:
            runs = [one for one in instructions if one.keyword == "RUN" and _installs(one, installer)]
            if runs and id(runs[0]) in own:
                before = instructions[: instructions.index(runs[0])]
                yield from _too_early(subject, installer, runs[0], before)


def _installs(instruction: Instruction, installer: Installer) -> bool:
    return any(installer.command.search(" ".join(words)) for words in commands(instruction))


def _too_early(
    subject: Subject, installer: Installer, run: Instruction, before: list[Instruction]
) -> Iterator[Finding]:
    from fnmatch import fnmatchcase

    for use in subject.uses:
        if not any(use.instruction is one for one in before) or use.instruction.keyword == "RUN" or not use.is_broad:
            continue
        prefix = f"{use.source.strip('*')}".rstrip("/")
        there = sorted(_below(path, prefix) for path in use.paths if not prefix or path.startswith(f"{prefix}/"))
        manifests = [path for path in there if any(fnmatchcase(path, wanted) for wanted in installer.manifests)]
        if manifests and len(there) > len(manifests):
            yield _order_finding(subject, installer, use, run, manifests)
            return


def _below(path: str, prefix: str) -> str:
    return path.removeprefix(f"{prefix}/") if prefix else path


def _order_finding(subject: Subject, installer: Installer, use: Use, run: Instruction, manifests: list[str]) -> Finding:
    prefix = f"{use.source.strip('*').rstrip('/')}/" if use.source.strip("*/") else ""
    names = [f"{prefix}{name}" for name in manifests]
    refers = "" if can_install(names, use.paths, subject.read) else " and what it refers to"
    refers = refers if len(names) == 1 else refers.replace("it refers", "they refer")
    return subject.found(
        "copy_before_install",
        use.instruction,
        f"{use.instruction.text} comes before the install in line {run.line}: any change of any file makes "
        f"{installer.name} install everything again",
        f"Copy {' and '.join(names[:3])}{refers} first, then install, and copy the rest after that",
    )


# --- package managers -------------------------------------------------------------------------------------------------


def apt(subject: Subject) -> Iterator[Finding]:
    for target in subject.needed:
        is_final = target in subject.chain(subject.final)
        for instruction in target.instructions:
            if instruction.keyword == "RUN":
                yield from _apt(subject, instruction, is_final)


def _apt(subject: Subject, instruction: Instruction, is_final: bool) -> Iterator[Finding]:
    calls = [words for words in commands(instruction) if words[0] in ("apt-get", "apt", "aptitude")]
    installs = [words for words in calls if "install" in words]
    if any("update" in words for words in calls) and len(calls) == 1:
        yield subject.found(
            "apt_update_alone",
            instruction,
            "The lists are fetched in a step of their own: it stays cached while they age, and installs after it fail",
            "Write update and install in one RUN: apt-get update && apt-get install …",
        )
    if not installs or not is_final:
        return
    text = instruction.full_text
    if "--no-install-recommends" not in text and "Install-Recommends" not in subject.text:
        yield subject.found(
            "apt_recommends",
            instruction,
            "apt-get install brings recommended packages along, which the app seldom needs",
            "Add --no-install-recommends",
        )
    if not re.search(r"/var/lib/apt(?:/lists)?\b", text) and not _caches(instruction, "/var/cache/apt", "/var/lib/apt"):
        yield subject.found(
            "apt_lists",
            instruction,
            "The package lists stay in the layer",
            "End this RUN with && rm -rf /var/lib/apt/lists/*",
        )


def pip_cache(subject: Subject) -> Iterator[Finding]:
    for instruction, state in subject.steps(subject.final):
        if instruction.keyword != "RUN" or state.scope.values.get("PIP_NO_CACHE_DIR"):
            continue
        calls = [" ".join(words) for words in commands(instruction)]
        installs = [call for call in calls if re.match(r"(?:pip3?|python3? -m pip) install\b", call)]
        if any("--no-cache-dir" not in call for call in installs) and not _caches(instruction, "/pip", "/.cache"):
            yield subject.found(
                "pip_cache",
                instruction,
                "pip's downloads stay in the layer, and the next build cannot use them",
                "Add --no-cache-dir, or keep them outside: RUN --mount=type=cache,target=/root/.cache/pip …",
            )


def _caches(instruction: Instruction, *parts: str) -> bool:
    """Whether a cache is mounted at a path that holds one of these."""
    for value in instruction.flag_values("mount"):
        is_there = any(part in value for part in parts)
        if is_there and parse_mount(value).kind in ("cache", "tmpfs"):
            return True
    return False


def downloads(subject: Subject) -> Iterator[Finding]:
    for target in subject.needed:
        for instruction in target.instructions:
            text = instruction.full_text.replace("\\\n", " ")
            if instruction.keyword == "RUN" and (_DOWNLOADS_INTO_SHELL.search(text) or _CODE_FOR_SHELL.search(text)):
                yield subject.found(
                    "pipe_to_shell",
                    instruction,
                    "A program is fetched and run unseen: what it is today nobody can tell tomorrow",
                    "Fetch it with ADD --checksum=sha256:… and run that file, or install a package",
                )


RULES = (doubled_layers, install_order, apt, pip_cache, downloads)
