"""HTTP to the engine's socket, as small as it can be: one connection a request, HTTP/1.0.

An HTTP/1.0 request makes the engine answer without chunks and close at the end, so an answer is read to its end and
nothing needs parsing but a status line and a few headers. http.client costs 20 ms to import and the Docker SDK over 90,
where a whole build in which nothing changed takes 110.
"""

from __future__ import annotations

import errno
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

from dockwright.errors import Conflict, EngineError, EngineUnreachable, NotFound, UsageError
from dockwright.process import CANCEL_SECONDS, Cancel

DEFAULT_HOST = "unix:///var/run/docker.sock"
CONNECT_SECONDS = 5.0
MAX_HEADER_BYTES = 65536


class Answer:
    """An answer whose status is below 400; `stream` gives its body, once."""

    def __init__(self, status: int, headers: Mapping[str, str], stream: BinaryIO) -> None:
        self.status = status
        self.headers = headers
        self.stream = stream


def connect(host: str, timeout: float | None) -> socket.socket:
    """`host` is unix:///path or tcp://address:port. Raises `EngineUnreachable`, or `UsageError` for another scheme."""
    family, address = _address(host)
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.settimeout(CONNECT_SECONDS)
    try:
        connection.connect(address)
    except OSError as error:
        connection.close()
        raise _unreachable(host, error) from error
    connection.settimeout(timeout)
    return connection


def _address(host: str) -> tuple[socket.AddressFamily, Any]:
    if host.startswith("unix:///"):
        return socket.AF_UNIX, host.removeprefix("unix://")
    from urllib.parse import urlsplit  # 3 ms that the usual case need not pay, as below

    try:
        parts = urlsplit(host)
        if parts.scheme == "tcp" and parts.hostname:
            family = socket.AF_INET6 if ":" in parts.hostname else socket.AF_INET
            return family, (parts.hostname, parts.port or 2375)
    except ValueError:
        pass  # a port that is no number: told as below
    raise UsageError(
        f"DOCKER_HOST={host!r} is no address that Dockwright can speak to",
        remedy="Set it to unix:///path/to/docker.sock or tcp://address:port (without TLS), or unset it",
    )


def _unreachable(host: str, error: OSError) -> EngineUnreachable:
    if isinstance(error, PermissionError):
        return EngineUnreachable(
            f"The Docker engine's socket at {host} may not be opened by this user",
            remedy='Join the group that owns it ("sudo usermod -aG docker $USER", then log in again), or run as root',
        )
    reason = "the path is too long" if error.errno is None else errno.errorcode.get(error.errno, str(error))
    if isinstance(error, FileNotFoundError):
        reason = "there is no such socket"
    elif isinstance(error, ConnectionRefusedError):
        reason = "nothing listens there"
    return EngineUnreachable(
        f"The Docker engine does not answer at {host}: {reason}",
        remedy='Start it, or set DOCKER_HOST; "dockwright doctor" tells what is missing',
    )


@contextmanager
def exchange(
    host: str,
    method: str,
    path: str,
    *,
    query: Mapping[str, Any] | None = None,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
    timeout: float | None = 60.0,
    cancel: Cancel | None = None,
) -> Iterator[Answer]:
    """Sends one request and gives the answer while its connection is open.

    `path` is already quoted; `body` is sent as JSON unless none, bytes as they are; `timeout` in seconds for each read,
    none for ever.
    Raises `EngineUnreachable`, and for a status of 400 and above `NotFound`, `Conflict` or `EngineError`. On a cancel
    the connection ends, and with it what the engine does for it; raises as `Cancel.check` does.
    """
    connection = connect(host, timeout)
    try:
        with connection, ended_by(cancel, connection), connection.makefile("rb") as stream:
            connection.sendall(_request(method, path, query, body, headers))
            status, headers = _head(stream)
            if status >= 400 or 300 <= status < 304:
                raise refusal(status, stream.read())
            yield Answer(status, headers, stream)
    except TimeoutError as error:
        raise EngineUnreachable(
            f"The Docker engine did not answer {method} {path} within {timeout:g} s",
            remedy='Try again; where it lasts, "dockwright doctor" and the engine\'s own log tell more',
        ) from error
    except (ConnectionError, EOFError) as error:
        raise EngineUnreachable(
            f"The Docker engine ended the connection during {method} {path}",
            remedy='See whether the engine still runs: "dockwright doctor"',
        ) from error


@contextmanager
def ended_by(cancel: Cancel | None, connection: socket.socket) -> Iterator[None]:
    """A read may wait for the engine for as long as it likes: on a cancel the connection is shut down under it."""
    if cancel is None:
        yield
        return
    is_over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(cancel, connection, is_over), name="engine-call", daemon=True)
    watcher.start()
    try:
        yield
    except (OSError, EOFError):
        cancel.check()  # then it was this that ended the connection
        raise
    finally:
        is_over.set()
        watcher.join()
    cancel.check()


def _watch(cancel: Cancel, connection: socket.socket, is_over: threading.Event) -> None:
    while not is_over.wait(CANCEL_SECONDS):
        if cancel.is_set:
            with suppress(OSError):  # the engine has closed it
                connection.shutdown(socket.SHUT_RDWR)
            return


def _request(
    method: str, path: str, query: Mapping[str, Any] | None, body: Any, headers: Mapping[str, str] | None
) -> bytes:
    target = f"{path}?{_encoded(query)}" if query else path
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {target} HTTP/1.0", "Host: docker", f"Content-Length: {len(content)}"]
    if content:
        lines.append(f"Content-Type: application/{'octet-stream' if isinstance(body, bytes) else 'json'}")
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + content


def _head(stream: BinaryIO) -> tuple[int, dict[str, str]]:
    status_line = stream.readline(MAX_HEADER_BYTES).decode("latin-1").split(None, 2)
    if len(status_line) < 2 or not status_line[0].startswith("HTTP/") or not status_line[1].isdigit():
        raise EOFError("no HTTP answer")
    headers = {}
    while line := stream.readline(MAX_HEADER_BYTES).decode("latin-1").strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return int(status_line[1]), headers


def refusal(status: int, content: bytes) -> NotFound | Conflict | EngineError:
    message = _message(content) or f"status {status} without a reason"
    if status == 404:
        return NotFound(f"The Docker engine: {message}", remedy="Check the name; it may have been removed meanwhile")
    if status == 409:
        return Conflict(f"The Docker engine: {message}", remedy="Try again when whatever uses it has ended")
    return EngineError(f"The Docker engine: {message}", remedy='"dockwright doctor" and the engine\'s log tell more')


def _message(content: bytes) -> str:
    """The engine's own words, in one line."""
    text = content.decode("utf-8", "replace")
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if isinstance(document, dict) and isinstance(document.get("message"), str):
        text = document["message"]
    return " ".join(text.split())


def _encoded(query: Mapping[str, Any]) -> str:
    from urllib.parse import urlencode

    return urlencode(query)
