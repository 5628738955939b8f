"""Images from one engine to another, as a stream: no registry between them, and no file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

from dockwright.docker import wire
from dockwright.docker.engine import Engine
from dockwright.errors import EngineError
from dockwright.process import Cancel

CHUNK_BYTES = 1 << 20
QUIET_SECONDS = 600.0
"""How long an engine may take between two reads or writes: it packs and unpacks whole layers in between."""
_LOADED = re.compile(r"Loaded image(?: ID)?: (\S+)")


def send(source: Engine, target: Engine, image: str, cancel: Cancel) -> str:
    """Brings the image of this id, or with its name, and returns its id there.

    The ids are equal where both engines keep images in the same way. Raises `NotFound`, `EngineError`,
    `EngineUnreachable`, and as `Cancel.check` does.
    """
    with source.open("GET", f"/images/{image}/get", timeout=QUIET_SECONDS, cancel=cancel) as stream:
        answer = _load(target, stream, cancel)
    loaded = _LOADED.findall(answer)
    found = target.image(loaded[-1]) if loaded else None
    if found is None:
        raise EngineError(
            f"The image {image} did not arrive: {_error_in(answer) or 'the engine named none that it loaded'}",
            remedy='"dockwright doctor" and the engine\'s own log tell more; the disk may be full',
        )
    return str(found["Id"])


def _load(target: Engine, stream: BinaryIO, cancel: Cancel) -> str:
    """What the engine says of it, a line each."""
    from http.client import HTTPConnection, HTTPException

    connection = HTTPConnection("docker")
    try:
        with wire.connect(target.host, QUIET_SECONDS) as connection.sock, wire.ended_by(cancel, connection.sock):
            # An engine that gives up closes its end before it has all, and says why.
            with suppress(BrokenPipeError):
                headers = {"Content-Type": "application/x-tar"}
                connection.request("POST", "/images/load?quiet=1", _chunks(stream, cancel), headers)
            answer = connection.getresponse()
            content = answer.read()
    except (ConnectionError, HTTPException) as error:
        cancel.check()
        raise EngineError(
            f"The engine ended the connection while it was given an image: {error or type(error).__name__}",
            remedy='"dockwright doctor" and the engine\'s own log tell more; the disk may be full',
        ) from error
    if answer.status >= 400:
        raise wire.refusal(answer.status, content)
    return "\n".join(_texts(content))


def _chunks(stream: BinaryIO, cancel: Cancel) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK_BYTES):
        cancel.check()
        yield chunk


def _texts(content: bytes) -> Iterator[str]:
    for line in content.splitlines():
        document = json.loads(line)
        yield f"error: {document['error']}" if "error" in document else str(document.get("stream", "")).strip()


def _error_in(answer: str) -> str | None:
    return next((line.removeprefix("error: ") for line in answer.splitlines() if line.startswith("error: ")), None)
