"""No body is larger than its address takes: told before it is read where its length is given, else while it comes."""

from __future__ import annotations

import re

from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dockwright.api import problems
from dockwright.sources.bounds import MAX_ARCHIVE_BYTES

MAX_JSON_BYTES = 8 * 10**6
"""Some thousand questions with their answers, which a template takes as its training data."""
_UPLOAD = re.compile(r"/api(?:/v1)?/projects/[^/]*/source")


class BodyLimit:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = MAX_ARCHIVE_BYTES if _UPLOAD.fullmatch(scope["path"]) else MAX_JSON_BYTES
        if _length(scope) > most:
            answer = problems.answer(413, "body_too_large", _detail(most), problems.REMEDIES[413])
            await answer(scope, receive, send)
            return
        so_far = 0

        async def receiving() -> Message:
            nonlocal so_far
            message = await receive()
            so_far += len(message.get("body", b""))
            if so_far > most:
                raise HTTPException(413, _detail(most))
            return message

        await self._app(scope, receiving, send)


def _length(scope: Scope) -> int:
    """0 where it is not given: then it is counted."""
    given = dict(scope["headers"]).get(b"content-length", b"")
    return int(given) if given.isdigit() and len(given) < 20 else 0


def _detail(most: int) -> str:
    return f"The body is larger than {most:,} bytes"
