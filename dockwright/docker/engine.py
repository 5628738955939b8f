"""The only door to the Docker engine's HTTP API: small typed calls, errors translated."""

from __future__ import annotations

import json
import os
import re
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO

from dockwright.docker import wire
from dockwright.errors import NotFound, UsageError
from dockwright.process import Cancel

Document = dict[str, Any]
"""A JSON object as the engine gives it."""

MAX_LINE = 4000
"""Characters of one log line that are kept."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@/+-]*")


class Engine:
    """Safe to use from several threads: each call has a connection of its own, which costs under 1 ms."""

    def __init__(self, host: str | None = None) -> None:
        """`host` is unix:///path or tcp://address:port; none for DOCKER_HOST, else the usual socket."""
        self.host = host or os.environ.get("DOCKER_HOST") or wire.DEFAULT_HOST
        self._info: Document | None = None

    # --- any call ------------------------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        *,
        timeout: float = 60.0,
    ) -> Any:
        """The answer's JSON; none where it has no body, text where it is not JSON. `timeout` in seconds."""
        with wire.exchange(self.host, method, path, query=query, body=body, timeout=timeout) as answer:
            content = answer.stream.read()
        if not content:
            return None
        if "json" in answer.headers.get("content-type", ""):
            return json.loads(content)
        return content.decode("utf-8", "replace")

    @contextmanager
    def open(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = 60.0,
        cancel: Cancel | None = None,
    ) -> Iterator[BinaryIO]:
        """The answer's body as a stream, for archives and logs. `timeout` in seconds a read, none for ever.

        On a cancel the engine ends what it does for this call; raises as `Cancel.check` does.
        """
        with wire.exchange(
            self.host, method, path, query=query, body=body, headers=headers, timeout=timeout, cancel=cancel
        ) as answer:
            yield answer.stream

    # --- the engine ----------------------------------------------------------------------------------------------

    def ping(self) -> None:
        """Raises `EngineUnreachable` when the engine does not answer."""
        self.request("GET", "/_ping", timeout=5.0)

    def version(self) -> Document:
        return _object(self.request("GET", "/version"))

    def info(self) -> Document:
        """What the engine is; asked for once, since it takes 10 ms and more to tell while it builds."""
        if self._info is None:
            self._info = _object(self.request("GET", "/info"))
        return self._info

    def df(self) -> Document:
        """What images, containers, volumes and the build cache take on disk."""
        return _object(self.request("GET", "/system/df", timeout=300.0))

    # --- images --------------------------------------------------------------------------------------------------

    def image(self, ref: str) -> Document | None:
        """By name, id or digest; none when the engine has no such image."""
        return self._found(f"/images/{_part(ref)}/json")

    def images(self, labels: Mapping[str, str] | None = None, *, dangling: bool | None = None) -> list[Document]:
        filters = _filters(labels)
        if dangling is not None:
            filters["dangling"] = ["true" if dangling else "false"]
        return _objects(self.request("GET", "/images/json", {"filters": json.dumps(filters)}))

    def held_bytes(self) -> dict[str, int]:
        """Image id → bytes that no other image has a share in: what its removal alone frees."""
        found = _objects(self.request("GET", "/images/json", {"shared-size": "true"}, timeout=300.0))
        return {image["Id"]: int(image["Size"]) - max(0, int(image["SharedSize"])) for image in found}

    def tag_image(self, ref: str, name: str) -> None:
        """Gives the image a further name, with or without a tag."""
        repository, tag = split_name(name)
        self.request("POST", f"/images/{_part(ref)}/tag", {"repo": repository, "tag": tag})

    def remove_image(self, ref: str, force: bool = False) -> None:
        """Raises `Conflict` while a container uses it; an image that is not there is fine."""
        self._remove(f"/images/{_part(ref)}", {"force": _flag(force)})

    # --- containers ----------------------------------------------------------------------------------------------

    def container(self, name: str) -> Document | None:
        """By name or id; none when there is no such container."""
        return self._found(f"/containers/{_part(name)}/json")

    def containers(self, labels: Mapping[str, str] | None = None, *, all: bool = True) -> list[Document]:  # noqa: A002
        """Those that carry all of the labels; only the running ones unless `all`."""
        query = {"all": _flag(all), "filters": json.dumps(_filters(labels))}
        return _objects(self.request("GET", "/containers/json", query))

    def create_container(self, name: str | None, config: Mapping[str, Any]) -> str:
        """`config` as the engine's API takes it, `HostConfig` and `NetworkingConfig` included. Returns the id."""
        query = {"name": _part(name)} if name else None
        return str(self.request("POST", "/containers/create", query, config)["Id"])

    def start_container(self, name: str) -> None:
        self.request("POST", f"/containers/{_part(name)}/start")

    def stop_container(self, name: str, seconds: int = 10) -> None:
        """Asks it to end, and kills it after so many seconds."""
        self.request("POST", f"/containers/{_part(name)}/stop", {"t": seconds}, timeout=seconds + 60.0)

    def restart_container(self, name: str, seconds: int = 10) -> None:
        self.request("POST", f"/containers/{_part(name)}/restart", {"t": seconds}, timeout=seconds + 60.0)

    def kill(self, name: str, sign: str = "SIGKILL") -> None:
        self.request("POST", f"/containers/{_part(name)}/kill", {"signal": sign})

    def remove_container(self, name: str, force: bool = True, volumes: bool = False) -> None:
        """`volumes` are its anonymous ones. A container that is not there is fine."""
        self._remove(f"/containers/{_part(name)}", {"force": _flag(force), "v": _flag(volumes)})

    def logs(self, name: str, tail: int = 100) -> list[str]:
        """The last lines of both streams, in the order in which the engine got them."""
        details = self.container(name)
        if details is None:
            raise NotFound(f"There is no container {name}", remedy="It may have been removed meanwhile")
        query = {"stdout": "true", "stderr": "true", "tail": str(tail)}
        with self.open("GET", f"/containers/{_part(name)}/logs", query) as stream:
            chunks = _raw(stream) if details["Config"]["Tty"] else _frames(stream)
            return _last_lines(chunks, tail)

    @contextmanager
    def archive(self, name: str, path: str) -> Iterator[BinaryIO]:
        """A tar stream (`tarfile.open(fileobj=…, mode="r|")`) of a file or folder. Raises `NotFound`."""
        with self.open("GET", f"/containers/{_part(name)}/archive", {"path": path}, timeout=300.0) as stream:
            yield stream

    def put_archive(self, name: str, content: bytes) -> None:
        """Unpacks a tar archive over the container's root; folders on the way are made."""
        self.request("PUT", f"/containers/{_part(name)}/archive", {"path": "/"}, content, timeout=300.0)

    def changes(self, name: str) -> dict[str, int]:
        """Paths that differ from the image: 0 modified, 1 added, 2 deleted."""
        found = self.request("GET", f"/containers/{_part(name)}/changes") or []
        return {str(change["Path"]): int(change["Kind"]) for change in found}

    # --- networks and volumes ------------------------------------------------------------------------------------

    def network(self, name: str) -> Document | None:
        return self._found(f"/networks/{_part(name)}")

    def networks(self, labels: Mapping[str, str]) -> list[Document]:
        return _objects(self.request("GET", "/networks", {"filters": json.dumps(_filters(labels))}))

    def create_network(self, name: str, internal: bool = False, labels: Mapping[str, str] | None = None) -> str:
        """A bridge; an internal one has no way out. Raises `Conflict` when the name is taken."""
        body = {"Name": _part(name), "Driver": "bridge", "Internal": internal, "Labels": dict(labels or {})}
        return str(self.request("POST", "/networks/create", body={**body, "CheckDuplicate": True})["Id"])

    def remove_network(self, name: str) -> None:
        """A network that is not there is fine."""
        self._remove(f"/networks/{_part(name)}")

    def connect(self, network: str, container: str) -> None:
        self.request("POST", f"/networks/{_part(network)}/connect", body={"Container": _part(container)})

    def create_volume(self, name: str, labels: Mapping[str, str] | None = None) -> None:
        """A volume that is there already stays as it is, its labels too."""
        self.request("POST", "/volumes/create", body={"Name": _part(name), "Labels": dict(labels or {})})

    def volumes(self, labels: Mapping[str, str] | None = None) -> list[Document]:
        found = self.request("GET", "/volumes", {"filters": json.dumps(_filters(labels))})
        return _objects(found.get("Volumes"))

    def remove_volume(self, name: str, force: bool = False) -> None:
        """Raises `Conflict` while a container uses it; a volume that is not there is fine."""
        self._remove(f"/volumes/{_part(name)}", {"force": _flag(force)})

    # --- in common -----------------------------------------------------------------------------------------------

    def _found(self, path: str) -> Document | None:
        try:
            return _object(self.request("GET", path))
        except NotFound:
            return None

    def _remove(self, path: str, query: Mapping[str, str] | None = None) -> None:
        try:
            self.request("DELETE", path, query, timeout=120.0)
        except NotFound:
            return


def split_name(name: str) -> tuple[str, str]:
    """`host:5000/pay:v1` → (`host:5000/pay`, `v1`); the tag is `latest` where there is none."""
    repository, colon, tag = name.rpartition(":")
    return (repository, tag) if colon and "/" not in tag else (name, "latest")


def _part(name: str) -> str:
    """A name as a part of a path. What could mean another path than its own is refused, not repaired."""
    if not _NAME.fullmatch(name) or ".." in name or "//" in name:
        raise UsageError(
            f"{name!r} is no name of an image, container, network or volume",
            remedy="Names hold letters, digits and _ . - ; images also / : @",
        )
    return name


def _filters(labels: Mapping[str, str] | None) -> dict[str, list[str]]:
    return {"label": [f"{name}={value}" if value else name for name, value in labels.items()]} if labels else {}


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _object(document: Any) -> Document:
    assert isinstance(document, dict), f"the engine answered {type(document).__name__} for an object"
    return document


def _objects(documents: Any) -> list[Document]:
    return [_object(document) for document in documents or []]


def _raw(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    while chunk := stream.read(65536):
        yield 1, chunk


def _frames(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """(1 stdout or 2 stderr, bytes). Each frame has a head of 8 bytes: stream, three zeros, length."""
    while len(head := stream.read(8)) == 8:
        yield head[0], stream.read(int.from_bytes(head[4:], "big"))


def _last_lines(chunks: Iterator[tuple[int, bytes]], count: int) -> list[str]:
    """A line may come in several chunks, the two streams' chunks interleave, and a line may never end."""
    lines: deque[str] = deque(maxlen=count)
    begun: dict[int, bytes] = {}
    for number, chunk in chunks:
        *ended, rest = (begun.get(number, b"") + chunk).split(b"\n")
        begun[number] = rest[: 4 * MAX_LINE]
        lines.extend(_line(line) for line in ended)
    lines.extend(_line(line) for line in begun.values() if line)
    return list(lines)


def _line(content: bytes) -> str:
    return content.decode("utf-8", "replace").rstrip("\r")[:MAX_LINE]
