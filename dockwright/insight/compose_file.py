"""A compose file: what it builds, and where in it something stands. Read without the plug-in, so also where none is.

All values are texts, as they are written: a port like 22:22 is a number of seconds to YAML, and a port to Compose.
Where the plug-in is, `understood` lays what compose makes of the files over what is written in them: variables put in,
files that are included or override merged. What is written says then only where a thing stands.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from dockwright.insight.findings import Finding, found

Value: TypeAlias = Any
"""A text, a list, a mapping of texts, or none."""
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_SETTLED = {"healthcheck": "no_healthcheck", "user": "runs_as_root", "command": "command_in_shell_form"}
_REMOTE = re.compile(r"^(?:[a-z+]+://|git@|[\w.-]+/[\w.-]+\.git)")
_CONTENT = "|"
"""The key below which the first line of a text of many lines is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceBuild:
    """The `build` of a service."""

    service: str
    context: str
    """Folder, from the compose file's own."""
    dockerfile: str
    """From the context."""
    inline: str | None = None
    """The Dockerfile itself, where it stands in the compose file."""
    target: str | None
    platforms: tuple[str, ...] = ()
    args: Mapping[str, str]
    contexts: frozenset[str] = frozenset()
    """Names of contexts beside the main one."""
    is_for_gpu: bool
    settled: frozenset[str]
    """Codes of findings that do not hold, because the service says it itself: who it runs as, how its health is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposeFile:
    path: str
    services: Mapping[str, Value]
    lines: Mapping[tuple[str | int, ...], int]
    """Where in the file something stands, by the keys that lead to it."""
    values: Mapping[str, str]
    """Variables that can be put in: the environment and `.env`."""
    includes: Value = None
    """What it says of other files to read."""
    parts: tuple[ComposeFile, ...] = ()
    """The files as they are written, where `services` is what compose makes of them."""

    @property
    def is_understood(self) -> bool:
        return bool(self.parts)

    def place(self, *keys: str | int) -> str:
        """Of the nearest thing that has a line."""
        where = ("services", *keys)
        nearest = max(self.parts or (self,), key=lambda part: len(part._nearest(where)))
        return f"{nearest.path}:{nearest.lines.get(nearest._nearest(where), 1)}"

    def place_in_text(self, line: int, *keys: str | int) -> str:
        """Of a line, from 1, of the text that stands there; of the text where its lines are not the file's own."""
        where = ("services", *keys, _CONTENT)
        for part in self.parts or (self,):
            if where in part.lines:
                return f"{part.path}:{part.lines[where] + line - 1}"
        return self.place(*keys)

    def _nearest(self, where: tuple[str | int, ...]) -> tuple[str | int, ...]:
        while where and where not in self.lines:
            where = where[:-1]
        return where

    def put_in(self, text: str) -> str | None:
        """With variables put in; none where one of them has no value."""
        return text if self.is_understood else _put_in(text, self.values)


def _put_in(text: str, values: Mapping[str, str]) -> str | None:
    parts = []
    at = 0
    while (dollar := text.find("$", at)) >= 0:
        parts.append(text[at:dollar])
        value, at = _variable(text, dollar + 1, values)
        if value is None:
            return None
        parts.append(value)
    return "".join([*parts, text[at:]])


def _variable(text: str, at: int, values: Mapping[str, str]) -> tuple[str | None, int]:
    """The value of what stands behind a dollar, and the place behind that."""
    if text.startswith("$", at):
        return "$", at + 1
    if plain := _NAME.match(text, at):
        return values.get(plain[0]), plain.end()
    name = _NAME.match(text, at + 1) if text.startswith("{", at) else None
    end = _closing(text, at)
    if name is None or end is None:
        return "$", at
    sign = re.compile(r":?[-?+]|").match(text, name.end(), end)
    assert sign is not None
    return _chosen(values.get(name[0]), sign[0], text[sign.end() : end], values), end + 1


def _closing(text: str, at: int) -> int | None:
    """The brace that closes the one at `at`, with those of other variables between them."""
    depth = 0
    for place in range(at, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return place
    return None


def _chosen(known: str | None, sign: str, word: str, values: Mapping[str, str]) -> str | None:
    is_set = bool(known) or (known is not None and not sign.startswith(":"))
    if sign.endswith("+"):
        return _put_in(word, values) if is_set else ""
    if is_set:
        return known
    return _put_in(word, values) if sign.endswith("-") else None


# --- as it is written -------------------------------------------------------------------------------------------------


def read_compose(text: str, path: str, values: Mapping[str, str]) -> ComposeFile | Finding:
    """The file, or what is wrong with it as a whole."""
    import yaml

    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        document, lines = _plain(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return _invalid(f"{path}:{mark.line + 1 if mark else 1}", f"is no YAML: {error.problem or error.context}")
    except (yaml.YAMLError, RecursionError) as error:
        return _invalid(f"{path}:1", f"is no YAML: {' '.join(str(error).split())}")
    if not isinstance(document, dict):
        return _invalid(f"{path}:1", "is no mapping")
    services, includes = document.get("services"), document.get("include")
    if not isinstance(services, dict) and not includes:
        return _invalid(f"{path}:{lines.get(('services',), 1)}", "names no services")
    for name, service in (services or {}).items():
        if not isinstance(service, dict):
            return _invalid(f"{path}:{lines.get(('services', name), 1)}", f'has a service "{name}" that is no mapping')
    return ComposeFile(path=path, services=services or {}, lines=lines, values=values, includes=includes)


def _invalid(place: str, cause: str) -> Finding:
    return found("compose_invalid", place, f"The compose file {cause}", "Correct it; see: docker compose config")


def _plain(node: Any) -> tuple[Value, dict[tuple[str | int, ...], int]]:
    """The document, all scalars as texts, and the line of each key and each item."""
    lines: dict[tuple[str | int, ...], int] = {}

    def plain(node: Any, where: tuple[str | int, ...], depth: int) -> Value:
        if node is None or depth > 30:
            return None
        lines.setdefault(where, node.start_mark.line + 1)
        if node.id == "scalar":
            if node.style == "|":
                lines.setdefault((*where, _CONTENT), node.start_mark.line + 2)
            return None if node.tag == "tag:yaml.org,2002:null" else node.value
        if node.id == "sequence":
            return [plain(item, (*where, place), depth + 1) for place, item in enumerate(node.value)]
        result: dict[str, Value] = {}
        for key, value in node.value:
            name = str(key.value)
            if name == "<<":
                for merged in value.value if value.id == "sequence" else [value]:
                    result = {**plain(merged, where, depth + 1), **result}
                continue
            lines.setdefault((*where, name), key.start_mark.line + 1)
            result[name] = plain(value, (*where, name), depth + 1)
        return result

    return plain(node, (), 0), lines


# --- as compose understands it ----------------------------------------------------------------------------------------


def understood(document: Mapping[str, Any], parts: Sequence[ComposeFile], root: str) -> ComposeFile:
    """What compose makes of the files in `parts`: its canonical document, where paths are absolute.

    Paths of builds are seen from `root` again, where the first of the files lies.
    """
    services = {name: _from(root, service) for name, service in (document.get("services") or {}).items()}
    return ComposeFile(path=parts[0].path, services=services, lines={}, values={}, parts=tuple(parts))


def _from(root: str, service: Mapping[str, Any]) -> dict[str, Any]:
    build = service.get("build")
    if not isinstance(build, Mapping) or not str(build.get("context", "")).startswith("/"):
        return dict(service)
    return {**service, "build": {**build, "context": os.path.relpath(build["context"], root)}}


# --- what is built ----------------------------------------------------------------------------------------------------


def builds(compose: ComposeFile) -> list[ServiceBuild]:
    found_builds = []
    for name, service in compose.services.items():
        build = service.get("build")
        if isinstance(build, str):
            build = {"context": build}
        if isinstance(build, dict) and (one := _build(compose, name, service, build)) is not None:
            found_builds.append(one)
    return found_builds


def _build(compose: ComposeFile, name: str, service: Value, build: dict[str, Value]) -> ServiceBuild | None:
    """None where variables are without a value, or what is built lies elsewhere."""
    context = compose.put_in(str(build.get("context") or "."))
    dockerfile = compose.put_in(str(build.get("dockerfile") or "Dockerfile"))
    inline = compose.put_in(str(build["dockerfile_inline"])) if "dockerfile_inline" in build else None
    if context is None or dockerfile is None or _REMOTE.match(context):
        return None
    if "dockerfile_inline" in build and inline is None:
        return None
    return ServiceBuild(
        service=name,
        context=posixpath.normpath(context),
        dockerfile=dockerfile,
        inline=inline,
        target=compose.put_in(str(build["target"])) if build.get("target") else None,
        platforms=tuple(build.get("platforms") or filter(None, [service.get("platform")])),
        args=_args(compose, build.get("args")),
        contexts=frozenset(name for name, _ in pairs(build.get("additional_contexts"))),
        is_for_gpu="gpus" in service or service.get("runtime") == "nvidia" or "gpu" in str(service.get("deploy")),
        settled=frozenset(code for key, code in _SETTLED.items() if service.get(key)),
    )


def _args(compose: ComposeFile, args: Value) -> dict[str, str]:
    """Those that have a value here."""
    values = {name: compose.values.get(name) if value is None else compose.put_in(value) for name, value in pairs(args)}
    return {name: value for name, value in values.items() if value is not None}


def pairs(settings: Value) -> list[tuple[str, str | None]]:
    """Of a mapping, or of a list of `NAME=value`."""
    if isinstance(settings, dict):
        return [(name, None if value is None else str(value)) for name, value in settings.items()]
    texts = [str(text).partition("=") for text in settings or () if isinstance(text, str)]
    return [(name, value if equals else None) for name, equals, value in texts]
