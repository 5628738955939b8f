"""A compose file: what it builds, and what in it cannot be. Read without a Docker plug-in, so also where none is.

All values are texts, as they are written: a port like 22:22 is a number of seconds to YAML, and a port to Compose.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from dockwright.insight.findings import Finding, found
from dockwright.insight.secret_shapes import is_secret_name, is_value, shape_of

Value: TypeAlias = Any
"""A text, a list, a mapping of texts, or none."""
_VARIABLE = re.compile(r"\$(?:\$|(?P<plain>\w+)|\{(?P<braced>\w+)(?:(?P<sign>:?[-?+])(?P<word>[^}]*))?\})")
_SETTLED = {"healthcheck": "no_healthcheck", "user": "runs_as_root", "command": "command_in_shell_form"}
_REMOTE = re.compile(r"^(?:[a-z+]+://|git@|[\w.-]+/[\w.-]+\.git)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceBuild:
    """The `build` of a service."""

    service: str
    line: int
    context: str
    """Folder, from the compose file's own."""
    dockerfile: str
    """From the context."""
    target: str | None
    args: Mapping[str, str]
    is_for_gpu: bool
    settled: frozenset[str]
    """Codes of findings that do not hold, because the service says it itself: who it runs as, how its health is."""


@dataclass(frozen=True, slots=True)
class ComposeFile:
    path: str
    services: Mapping[str, Value]
    lines: Mapping[tuple[str | int, ...], int]
    """Where in the file something stands, by the keys that lead to it."""
    values: Mapping[str, str]
    """Variables that can be put in: the environment and `.env`."""

    def place(self, *keys: str | int) -> str:
        """Of the nearest thing that has a line."""
        where: tuple[str | int, ...] = ("services", *keys)
        while where and where not in self.lines:
            where = where[:-1]
        return f"{self.path}:{self.lines.get(where, 1)}"

    def put_in(self, text: str) -> str | None:
        """With variables put in; none where one of them has no value."""
        unknown = False

        def value(match: re.Match[str]) -> str:
            nonlocal unknown
            if match[0] == "$$":
                return "$"
            name, sign, word = match["plain"] or match["braced"], match["sign"] or "", match["word"] or ""
            known = self.values.get(name)
            if sign.endswith("+"):
                return word if known else ""
            if known or (known is not None and not sign.startswith(":")):
                return known
            unknown = unknown or not sign.endswith("-")
            return word if sign.endswith("-") else ""

        result = _VARIABLE.sub(value, text)
        return None if unknown else result


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
    services = document.get("services")
    if not isinstance(services, dict) and not document.get("include"):
        return _invalid(f"{path}:{lines.get(('services',), 1)}", "names no services")
    for name, service in (services or {}).items():
        if not isinstance(service, dict):
            return _invalid(f"{path}:{lines.get(('services', name), 1)}", f'has a service "{name}" that is no mapping')
    return ComposeFile(path, services or {}, lines, values)


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


def builds(compose: ComposeFile) -> list[ServiceBuild]:
    found_builds = []
    for name, service in compose.services.items():
        build = service.get("build")
        if isinstance(build, str):
            build = {"context": build}
        if not isinstance(build, dict) or "dockerfile_inline" in build:
            continue
        context = compose.put_in(str(build.get("context") or "."))
        dockerfile = compose.put_in(str(build.get("dockerfile") or "Dockerfile"))
        if context is None or dockerfile is None or _REMOTE.match(context):
            continue
        found_builds.append(
            ServiceBuild(
                service=name,
                line=int(compose.place(name, "build").rpartition(":")[2]),
                context=posixpath.normpath(context),
                dockerfile=dockerfile,
                target=compose.put_in(str(build["target"])) if build.get("target") else None,
                args=_args(compose, build.get("args")),
                is_for_gpu="gpus" in service
                or service.get("runtime") == "nvidia"
                or "gpu" in str(service.get("deploy")),
                settled=frozenset(code for key, code in _SETTLED.items() if service.get(key)),
            )
        )
    return found_builds


def _args(compose: ComposeFile, args: Value) -> dict[str, str]:
    """Those that have a value here."""
    pairs = _pairs(args)
    values = {name: compose.values.get(name) if value is None else compose.put_in(value) for name, value in pairs}
    return {name: value for name, value in values.items() if value is not None}


def _pairs(settings: Value) -> list[tuple[str, str | None]]:
    """Of a mapping, or of a list of `NAME=value`."""
    if isinstance(settings, dict):
        return [(name, None if value is None else str(value)) for name, value in settings.items()]
    texts = [str(text).partition("=") for text in settings or () if isinstance(text, str)]
    return [(name, value if equals else None) for name, equals, value in texts]


# --- findings ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Ports:
    taken: dict[tuple[str, str], list[tuple[str, str]]] = field(default_factory=dict)
    """Host port and protocol → address and service."""

    def take(self, address: str, port: str, protocol: str, service: str) -> str | None:
        """The service that holds it already, on the same address or on all."""
        holders = self.taken.setdefault((port, protocol), [])
        clash = next((name for other, name in holders if _ANY & {address, other} or address == other), None)
        holders.append((address, service))
        return clash


_ANY = {"", "0.0.0.0", "::", "[::]"}  # noqa: S104 - read in a file, nothing is opened


def findings(compose: ComposeFile, is_there: Callable[[str], bool]) -> Iterator[Finding]:
    """`is_there`: whether a path, seen from the compose file's folder, exists."""
    ports = _Ports()
    for name, service in compose.services.items():
        if (
            not service.get("image")
            and not service.get("build")
            and "extends" not in service
            and "provider" not in service
        ):
            yield found(
                "compose_no_image",
                compose.place(name),
                f'The service "{name}" has neither an image nor a build',
                "Add image: NAME or build: FOLDER",
            )
        yield from _published(compose, name, service, ports)
        yield from _paths(compose, name, service, is_there)
        yield from _needs(compose, name, service)
        yield from _secrets(compose, name, service)
    for build in builds(compose):
        yield from _build_paths(compose, build, is_there)


def _published(compose: ComposeFile, name: str, service: Value, ports: _Ports) -> Iterator[Finding]:
    if service.get("profiles"):
        return  # such services seldom run beside the others
    for place, entry in enumerate(service.get("ports") or ()):
        for address, port, protocol in _host_ports(compose, entry):
            holder = ports.take(address, port, protocol, name)
            if holder is not None:
                yield found(
                    "compose_port_conflict",
                    compose.place(name, "ports", place),
                    f'The services "{holder}" and "{name}" both publish port {port}'
                    if holder != name
                    else f'The service "{name}" publishes port {port} twice',
                    "Give one of them another port, or publish only one of them",
                )


def _host_ports(compose: ComposeFile, entry: Value) -> Iterator[tuple[str, str, str]]:
    """Address, port and protocol on the host; nothing where the engine chooses, or a variable has no value."""
    if isinstance(entry, dict):
        text = f"{entry.get('host_ip') or ''}:{entry.get('published') or ''}:{entry.get('target') or ''}"
        text += f"/{entry.get('protocol') or 'tcp'}"
    else:
        text = str(entry)
    full = compose.put_in(text)
    if full is None:
        return
    full, _, protocol = full.partition("/")
    match = re.fullmatch(r"(?:(?P<address>\[[^\]]*\]|[^:]*):)?(?P<first>\d+)(?:-(?P<last>\d+))?:[\d-]+", full)
    if match is None:
        return
    first, last = int(match["first"]), int(match["last"] or match["first"])
    for port in range(first, min(last, first + 1000) + 1):
        yield match["address"] or "", str(port), protocol or "tcp"


def _paths(compose: ComposeFile, name: str, service: Value, is_there: Callable[[str], bool]) -> Iterator[Finding]:
    files = service.get("env_file")
    for place, entry in enumerate(files if isinstance(files, list) else [files] if files else []):
        is_required = not (isinstance(entry, dict) and str(entry.get("required")).lower() == "false")
        written = str(entry.get("path") if isinstance(entry, dict) else entry)
        path = compose.put_in(written)
        if path and is_required and not is_there(path):
            yield found(
                "compose_path_missing",
                compose.place(name, "env_file", place),
                f'The service "{name}" reads its environment from {path}, and there is no such file',
                "Write it (often there is an example beside it), or mark it with required: false",
            )


def _build_paths(compose: ComposeFile, build: ServiceBuild, is_there: Callable[[str], bool]) -> Iterator[Finding]:
    place = f"{compose.path}:{build.line}"
    if not is_there(build.context):
        message = f'The service "{build.service}" is built from {build.context}, and there is no such folder'
        yield found("compose_path_missing", place, message, "Correct the path, which is seen from the compose file")
    elif not is_there(posixpath.join(build.context, build.dockerfile)):
        message = f'The service "{build.service}" is built by {build.dockerfile}, which {build.context} does not hold'
        yield found("compose_path_missing", place, message, "Write it, or name the right one with dockerfile:")


def _needs(compose: ComposeFile, name: str, service: Value) -> Iterator[Finding]:
    needs = service.get("depends_on")
    optional = {
        one
        for one, how in (needs.items() if isinstance(needs, dict) else ())
        if str((how or {}).get("required")) == "false"
    }
    linked = [str(link).partition(":")[0] for link in service.get("links") or ()]
    for other in [*(needs or ()), *linked]:
        if other not in compose.services and other not in optional:
            yield found(
                "compose_unknown_service",
                compose.place(name, "depends_on"),
                f'The service "{name}" needs "{other}", and there is no service of that name',
                f"Use one of its services: {', '.join(compose.services)}",
            )


def _secrets(compose: ComposeFile, name: str, service: Value) -> Iterator[Finding]:
    for variable, value in _pairs(service.get("environment")):
        shape = shape_of(value or "")
        if value and (shape or (is_secret_name(variable) and is_value(value))):
            yield found(
                "compose_secret",
                compose.place(name, "environment", variable),
                f'The environment of "{name}" holds {shape or "what looks like a secret"} in {variable}',
                f"Write {variable}: ${{{variable}}} and set it in a .env file that is not committed",
            )
