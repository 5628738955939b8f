"""What in a compose file cannot be, and what should not stand in it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from dockwright.insight.compose_file import ComposeFile, ServiceBuild, Value, builds, pairs
from dockwright.insight.findings import Finding, found
from dockwright.insight.secret_shapes import is_secret_name, is_value, shape_of


@dataclass(slots=True)
class _Ports:
    taken: dict[tuple[str, str], list[tuple[str, str]]] = field(default_factory=dict)
    """Host port and protocol → address and service."""

    def take(self, address: str, port: str, protocol: str, service: str) -> str | None:
        """The service that holds it already, on the same address or on all."""
        holders = self.taken.setdefault((port, protocol), [])
        clash = next((name for other, name in holders if _is_one(address, other)), None)
        holders.append((address, service))
        return clash


def _is_one(address: str, other: str) -> bool:
    """Whether both cannot be listened at. All addresses of IPv4 and all of IPv6 can."""
    kinds = {_family(one) for one in (address, other)} - {None}
    return len(kinds) < 2 and (address == other or bool({address, other} & _ANY))


def _family(address: str) -> int | None:
    if not address:
        return None
    return 6 if ":" in address else 4


_ANY = {"", "0.0.0.0", "::", "[::]"}  # noqa: S104 - read in a file, nothing is opened


def findings(compose: ComposeFile, is_there: Callable[[str], bool], *, is_whole: bool = True) -> Iterator[Finding]:
    """`is_there`: whether a path, seen from the compose file's folder, exists.

    What is missing is told only where compose has not understood the files, and of files that are not `is_whole`
    (others are laid over them) no error is: what is missing here may stand there.
    """
    for part in compose.parts or (compose,):
        for name, service in part.services.items():
            yield from _secrets(part, name, service)
    if not is_whole:
        return
    ports = _Ports()
    for name, service in compose.services.items():
        yield from _published(compose, name, service, ports)
        if not compose.is_understood:
            yield from _nothing(compose, name, service)
            yield from _paths(compose, name, service, is_there)
            yield from _needs(compose, name, service)
    for build in builds(compose):
        yield from _build_paths(compose, build, is_there)


def _nothing(compose: ComposeFile, name: str, service: Value) -> Iterator[Finding]:
    if not any(service.get(key) for key in ("image", "build", "extends", "provider")):
        yield found(
            "compose_no_image",
            compose.place(name),
            f'The service "{name}" has neither an image nor a build',
            "Add image: NAME or build: FOLDER",
        )


def _published(compose: ComposeFile, name: str, service: Value, ports: _Ports) -> Iterator[Finding]:
    if service.get("profiles") or service.get("network_mode") == "host":
        return  # those of a profile seldom run beside the others; those on the host's network publish nothing
    for index, entry in enumerate(service.get("ports") or ()):
        for address, port, protocol in _host_ports(compose, entry):
            holder = ports.take(address, port, protocol, name)
            if holder is not None:
                yield found(
                    "compose_port_conflict",
                    _place_of_port(compose, name, index, port),
                    f'The services "{holder}" and "{name}" both publish port {port}'
                    if holder != name
                    else f'The service "{name}" publishes port {port} twice',
                    "Give one of them another port, or publish only one of them",
                )


def _place_of_port(compose: ComposeFile, name: str, index: int, port: str) -> str:
    """Compose arranges the entries anew, so which one it was is told by the port."""
    if not compose.is_understood:
        return compose.place(name, "ports", index)
    for part in compose.parts:
        entries = part.services.get(name, {}).get("ports")
        for place, entry in enumerate(entries if isinstance(entries, list) else ()):
            if any(port == published for _, published, _ in _host_ports(part, entry)):
                return part.place(name, "ports", place)
    return compose.place(name, "ports")


def _host_ports(compose: ComposeFile, entry: Value) -> Iterator[tuple[str, str, str]]:
    """Address, port and protocol on the host; nothing where the engine chooses, or a variable has no value."""
    if isinstance(entry, dict):
        address = str(entry.get("host_ip") or "")
        text = f"[{address}]" if ":" in address else address
        text += f":{entry.get('published') or ''}:{entry.get('target') or ''}/{entry.get('protocol') or 'tcp'}"
    else:
        text = str(entry)
    full = compose.put_in(text)
    if full is None:
        return
    full, _, protocol = full.partition("/")
    match = _PORTS.fullmatch(full)
    if match is None or (match["last"] and not match["to"]):  # of several for one, the engine takes one that is free
        return
    first, last = int(match["first"]), int(match["last"] or match["first"])
    for port in range(first, min(last, first + 1000) + 1):
        yield match["address"] or "", str(port), protocol or "tcp"


_PORTS = re.compile(r"(?:(?P<address>\[[^\]]*\]|[^:]*):)?(?P<first>\d+)(?:-(?P<last>\d+))?:\d+(?P<to>-\d+)?", re.ASCII)


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
    place = compose.place(build.service, "build")
    if not is_there(build.context):
        message = f'The service "{build.service}" is built from {build.context}, and there is no such folder'
        yield found("compose_path_missing", place, message, "Correct the path, which is seen from the compose file")
    elif build.inline is None and not is_there(posixpath.join(build.context, build.dockerfile)):
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
    for variable, value in pairs(service.get("environment")):
        shape = shape_of(value or "")
        if value and (shape or (is_secret_name(variable) and is_value(value))):
            yield found(
                "compose_secret",
                compose.place(name, "environment", variable),
                f'The environment of "{name}" holds {shape or "what looks like a secret"} in {variable}',
                f"Write {variable}: ${{{variable}}} and set it in a .env file that is not committed",
            )
