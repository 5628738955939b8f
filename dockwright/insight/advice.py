"""What to change so that a cause costs less the next time: said only where it is right for this very Dockerfile."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from dockwright.domain.explanation import Cause, ExplainedStep, Explanation
from dockwright.domain.plan import InputFile, InputManifest, InputStep
from dockwright.insight.alone import Read, can_install, destination, is_asked_for, is_for_tools

_PYTHON = re.compile(r"\bpip3?\s+install\b|\buv\s+(?:pip\s+(?:install|sync)|sync)\b|\bpoetry\s+install\b")
_REQUIREMENTS = re.compile(r"(?:^|\s)(?:-r|--requirement[= ]|-c|--constraint[= ])\s*([^\s;&|]+)")
_LOCAL_PACKAGE = re.compile(r"\bpip3?\s+install\b[^&|;]*(?:\s(?:-e|--editable)\b|\s\.(?:\[|/|\s|$))")
_NODE = re.compile(r"\b(?:npm\s+(?:ci|i|install)|yarn(?:\s+install)?(?=\s*(?:--|$|&|;))|pnpm\s+(?:i|install))\b")
_SYSTEM_PACKAGES = re.compile(r"\b(?:apt-get|apt|dnf|yum)\s(?:-\S+\s)*install\b|\bapk\s(?:-\S+\s)*add\b")
_READ_BY_TOOLS = re.compile(
    r"(?i)proxy|^(?:PIP|UV|NPM|YARN|PNPM|NODE|DEBIAN|APT|CURL|WGET|SSL|REQUESTS|POETRY|GO\w*|CARGO|RUST\w*|PYTHON\w*|LD|LC"
    r"|CC|CXX|\w*FLAGS|TAR|GNU\w*)(?:_|$)|^(?:PATH|HOME|LANG|TZ|CI|USER|SHELL|IFS|TMPDIR|UMASK)$"
)
"""Names of variables that package managers and the like look at by themselves."""
_GO = re.compile(r"\bgo\s+mod\s+download\b")
_NODE_FILES = ("package.json", "package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml", ".npmrc")
_PYTHON_FILES = ("pyproject.toml", "poetry.lock", "uv.lock")
_GO_FILES = ("go.mod", "go.sum")
_PLAIN = re.compile(
    r"\s*(?:apt-get|apt|apk|dnf|yum|pip3?|python3? -m pip|npm (?:ci|install|i)|mkdir|rm|chown|chmod|cp|mv|ln|useradd|"
    r"groupadd|adduser|addgroup|curl|wget|tar|echo|true|sleep|touch|set|uv pip|uv sync|:)(?:\s|$)"
)
"""Commands that do not look at an argument unless it is named. Of all others nobody knows."""
_GLOB = re.compile(r"(?<!\S)(?!/(?:var|tmp)/)\S*[*?]")
"""Of files that are not named one by one; caches and package lists are nobody's."""
_SHELL_SEPARATORS = re.compile(r"&&|\|\||[;|\n]")
_NOT_OF_THE_APP = re.compile(
    r"(?:^|/)(?:\.git|\.github|\.gitlab|\.vscode|\.idea|__pycache__|\.pytest_cache|\.mypy_cache|\.ruff_cache)/"
    r"|(?:^|/)(?:\.dockerignore|\.gitignore|\.gitattributes|\.editorconfig|\.gitlab-ci\.yml)$"
    r"|^(?:Dockerfile[^/]*|[^/]*\.dockerignore|(?:docker-)?compose[^/]*\.ya?ml)$|\.pyc$"
)


def advice(cause: Cause, told: Explanation, manifest: InputManifest, read: Read = lambda _: "") -> str | None:
    """One sentence, or none where nothing is better than what is there. `read`: the text of a file of the context."""
    steps = _Steps(told, manifest, read)
    root = steps.of(cause.steps[0])
    if cause.cause == "arg_changed" and root is not None:
        return _lower_arg(cause, root, steps)
    if cause.cause == "files_changed" and root is not None and isinstance(cause.detail, list):
        return _files(cause, cause.detail, root, steps)
    return _general(cause)


_GENERAL = {
    "base_moved": "That is how fixes in the base come in; a tag that names a full version moves less often",
    "evicted": "The builder dropped these results to make room: give its build cache more (builder.gc of the engine)",
    "other_builder": "Each builder has a cache of its own: build a project on the same one",
}


def _general(cause: Cause) -> str | None:
    if cause.cause == "no_cache" and cause.detail == "--no-cache":
        return "Without --no-cache only what changed is run again"
    if cause.cause == "no_cache" and cause.detail == "no_cache in the compose file":
        return "Without no_cache in the service's build only what changed is run again"
    if cause.cause == "no_cache":
        return "The profile prod runs only what changed; dev runs everything, as it is meant to"
    if cause.cause == "unknown" and isinstance(cause.detail, str) and "checksum" in cause.detail:
        return "Give that ADD a --checksum: then it is run only when that changes"
    if cause.cause == "base_moved" and "manifest:" in str(cause.detail):
        return None  # another service of the same source
    return _GENERAL.get(cause.cause)


class _Steps:
    """The steps of the manifest with what was told of them."""

    def __init__(self, told: Explanation, manifest: InputManifest, read: Read) -> None:
        self.all, self.read = manifest.steps, read
        known = [(step, manifest.steps[step.index]) for step in told.steps if step.index is not None]
        self._of = {step.name: found for step, found in known}
        self._told = {found.index: step for step, found in known}

    def of(self, name: str) -> InputStep | None:
        return self._of.get(name)

    def told(self, step: InputStep) -> ExplainedStep | None:
        return self._told.get(step.index)

    def seconds(self, steps: Iterable[InputStep]) -> float:
        """Of those that ran."""
        return sum(told.seconds for step in steps if (told := self.told(step)) and not told.cached)

    def after(self, step: InputStep) -> list[InputStep]:
        """Those of the same target behind it."""
        return [one for one in self.all if one.target == step.target and one.index > step.index]

    def followers(self, step: InputStep, cause: Cause) -> list[InputStep]:
        """Those of the same target that ran because it did."""
        return [one for one in self.after(step) if (told := self.told(one)) and told.name in cause.steps]


# --- an argument stands too high -------------------------------------------------------------------------------------


def _lower_arg(cause: Cause, root: InputStep, steps: _Steps) -> str | None:
    names = re.findall(r"(\w+): ", str(cause.detail))
    declared = [step for step in steps.all if step.instruction == "ARG" and step.target == root.target]
    name = next((name for name in names if any(_declares(step, name) for step in declared)), None)
    if name is None:
        return None
    spared = []
    for step in [root, *steps.after(root)]:
        if not _is_untouched_by(step, name):
            break
        spared.append(step)
    saved = steps.seconds(step for step in spared if _is_of(step, cause, steps))
    last = next((step for step in reversed(spared) if _is_of(step, cause, steps)), None)
    if last is None or saved <= 0:
        return None
    line = next(step.line for step in declared if _declares(step, name))
    setter = next(
        (f" and the ENV that uses it (line {step.line})" for step in _env_between(name, line, last, steps)), ""
    )
    lines = f"lines {root.line} to {last.line} do" if root.line != last.line else f"line {root.line} does"
    return (
        f"Move `ARG {name}` (line {line}){setter} below line {last.line}: {lines} not use it,"
        f" and that saves {_time(saved)} a build"
    )


def _env_between(name: str, line: int, last: InputStep, steps: _Steps) -> list[InputStep]:
    return [
        step
        for step in steps.all
        if step.instruction == "ENV"
        and step.target == last.target
        and name in step.args
        and line < step.line < last.line
    ]


def _declares(step: InputStep, name: str) -> bool:
    return any(word.partition("=")[0] == name for word in step.text.split()[1:])


def _is_of(step: InputStep, cause: Cause, steps: _Steps) -> bool:
    told = steps.told(step)
    return told is not None and told.name in cause.steps


def _is_untouched_by(step: InputStep, name: str) -> bool:
    if step.instruction in ("ENV", "ARG"):
        return True
    if re.search(rf"\b{re.escape(name)}\b", step.text):
        return False
    if step.instruction != "RUN":
        return True
    return is_plain(step.text) and not _LOCAL_PACKAGE.search(step.text) and not _READ_BY_TOOLS.search(name)


def is_plain(text: str) -> bool:
    """Whether a RUN is made of commands alone that take in no variable by themselves."""
    _, _, command = re.sub(r"\s--(?:mount|network|security)=\S+", "", text).partition(" ")
    if command.lstrip().startswith(("[", "<<")):
        return False
    return all(_PLAIN.match(part) for part in _SHELL_SEPARATORS.split(command) if part.strip())


# --- files ------------------------------------------------------------------------------------------------------------


def _files(cause: Cause, paths: list[str], root: InputStep, steps: _Steps) -> str | None:
    if root.instruction not in ("COPY", "ADD"):
        return None
    if unused := _unused(paths, steps):
        return (
            f"Write {_listed(unused)} to .dockerignore: the image does not need {'it' if len(unused) == 1 else 'them'}"
        )
    return _manifests_first(cause, paths, root, steps) or _packages_first(cause, root, steps)


def _unused(paths: Sequence[str], steps: _Steps) -> list[str]:
    """Patterns that leave all of them out; none where one of them may be needed."""
    if not all(_NOT_OF_THE_APP.search(path) for path in paths):
        return []
    patterns = list(dict.fromkeys(_pattern(path) for path in paths))
    texts = "\n".join(step.text for step in steps.all if step.instruction != "FROM")
    names = [pattern.removeprefix("**/").removeprefix("*").rstrip("/") for pattern in patterns]
    if any(re.search(rf"(?<!\w){re.escape(name.lstrip('.'))}(?!\w)", texts) for name in names):
        return []
    files = {path: InputFile(path, mode, digest) for step in steps.all for path, mode, digest in step.files}
    of_the_app = [file for path, file in files.items() if not _NOT_OF_THE_APP.search(path)]
    return [] if is_asked_for(names, of_the_app, steps.read) else patterns


def _pattern(path: str) -> str:
    match = _NOT_OF_THE_APP.search(path)
    assert match is not None
    if path.endswith(".pyc"):
        return "**/__pycache__" if "__pycache__/" in path else "**/*.pyc"
    if match[0].endswith("/"):
        return match[0].strip("/") if path.startswith(match[0]) else f"**/{match[0].strip('/')}"
    return path


def _manifests_first(cause: Cause, paths: list[str], root: InputStep, steps: _Steps) -> str | None:
    """The install comes behind a COPY of much more than it reads."""
    for step in steps.followers(root, cause):
        if step.instruction in ("COPY", "ADD"):
            return None
        if step.instruction != "RUN":
            continue
        if not (read := _read_by(step.text)):
            if is_plain(step.text):
                continue
            return None
        known = {path: path.rpartition("/")[2] for path, _, _ in root.files}
        wanted = [path for path, name in known.items() if name in read and path.count("/") <= _depth(root)]
        saved = steps.seconds([step])
        if not wanted or set(wanted) & set(paths) or saved <= 0:
            return None
        if is_for_tools(root, steps.all) or not can_install(wanted, known, steps.read):
            return None
        return (
            f"Copy {_listed(wanted)} by {'itself' if len(wanted) == 1 else 'themselves'} above"
            f" `{_brief(step.text)}` (line {step.line}), and the rest (line {root.line}) below it:"
            f" that saves {_time(saved)} whenever other files change"
        )
    return None


def _packages_first(cause: Cause, root: InputStep, steps: _Steps) -> str | None:
    """System packages are installed behind a COPY of the app, which they do not look at."""
    for step in steps.followers(root, cause):
        saved = steps.seconds([step])
        if step.instruction == "RUN" and _SYSTEM_PACKAGES.search(step.text) and saved > 0:
            if not is_plain(step.text) or _reads_files(step.text, root, steps) or _is_set_between(root, step, steps):
                return None
            return (
                f"Move `{_brief(step.text)}` (line {step.line}) above line {root.line}: it reads none of those files,"
                f" and that saves {_time(saved)} whenever they change"
            )
        if step.instruction in ("COPY", "ADD") or (step.instruction == "RUN" and not is_plain(step.text)):
            return None
    return None


def _is_set_between(root: InputStep, step: InputStep, steps: _Steps) -> bool:
    """Whether what the step runs as, or with, is set behind the COPY."""
    between = (one for one in steps.after(root) if one.index < step.index)
    return any(one.instruction in ("ARG", "ENV", "USER", "SHELL") for one in between)


def _reads_files(text: str, root: InputStep, steps: _Steps) -> bool:
    """Whether it names one of the files that the step copies, may install from one, or have its settings from one."""
    folder = destination(root, steps.all)
    if is_for_tools(root, steps.all) or "./" in text or (folder != "/" and folder in text) or _GLOB.search(text):
        return True
    names = {path.rpartition("/")[2] for path, _, _ in root.files}
    return any(re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", text) for name in names)


def _depth(root: InputStep) -> int:
    """How deep files lie that the step puts at its destination."""
    return 1 if any(word not in (".", "./") for word in root.resolved.split()[1:-1] if not word.startswith("-")) else 0


def _read_by(text: str) -> tuple[str, ...]:
    """Names of files that an install reads; none where it is no install, or reads the app itself."""
    if not is_plain_install(text) or _LOCAL_PACKAGE.search(text):
        return ()
    if found := _REQUIREMENTS.findall(text):
        return tuple(path.rpartition("/")[2] for path in found)
    if _NODE.search(text):
        return _NODE_FILES
    if _GO.search(text):
        return _GO_FILES
    return ()


def is_plain_install(text: str) -> bool:
    return bool(_PYTHON.search(text) or _NODE.search(text) or _GO.search(text)) and (
        is_plain(text) or bool(_GO.fullmatch(text.partition(" ")[2].strip()))
    )


def _listed(names: Sequence[str]) -> str:
    shown = [f"`{name}`" for name in names[:4]]
    if len(names) > 4:
        return f"{', '.join(shown)} and {len(names) - 4} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _brief(text: str) -> str:
    line = " ".join(re.sub(r"\s--mount=\S+", "", text).split())
    return line if len(line) <= 60 else f"{line[:59]}…"


def _time(seconds: float) -> str:
    return (
        f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s" if seconds >= 0.95 else f"{seconds * 1000:.0f} ms"
    )
