"""Errors as answers: `application/problem+json` (RFC 9457) with a code and a remedy, whatever went wrong and where."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import IntegrityError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dockwright.db.stored import storable
from dockwright.errors import DockwrightError, TooManyAttempts

MEDIA_TYPE = "application/problem+json"
REMEDIES = {
    400: "Send the body as JSON",
    404: "See /api/docs for what there is",
    405: "See /api/docs for what this address takes",
    413: "Send less at once",
    415: "See /api/docs for what this address takes",
}
CODES = {400: "malformed_body", 413: "body_too_large", 415: "unsupported_media_type"}
MAX_ERRORS = 20
MAX_PLACE = 200
"""Characters of a field's name, which may be the sender's own."""

log = structlog.get_logger()


def install(app: FastAPI) -> None:
    app.add_exception_handler(DockwrightError, _of_ours)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(IntegrityError, _of_a_race)


def answer(
    status: int,
    code: str,
    detail: str,
    remedy: str,
    *,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> Response:
    document = {
        "type": f"urn:dockwright:{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": storable(detail),
        "code": code,
        "remedy": storable(remedy),
        **more,
    }
    return Response(json.dumps(document), status, headers, MEDIA_TYPE)


async def _of_ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, DockwrightError)
    if error.http_status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        method = request.scope.get("method", "WebSocket")
        log.warning("request.failed", method=method, path=request.url.path, code=error.code, why=error.message)
    headers = {"WWW-Authenticate": "Bearer"} if error.http_status == HTTPStatus.UNAUTHORIZED else {}
    if isinstance(error, TooManyAttempts):
        headers["Retry-After"] = str(error.retry_after)
    return answer(error.http_status, error.code, error.message, error.remedy, headers=headers, **_place_of(error))


def _place_of(error: DockwrightError) -> dict[str, Any]:
    """Of what ran and failed, as a build's error has it; nothing of any other error."""
    found = {
        "stage": error.stage,
        "step": None if error.step is None else storable(error.step),
        "exit_code": error.step_exit_code,
        "last_lines": [storable(line) for line in error.last_lines] or None,
    }
    return {name: value for name, value in found.items() if value is not None}


async def _of_a_race(request: Request, error: Exception) -> Response:
    """What was looked at before it was written was changed, or removed, by somebody else in between."""
    log.warning("request.raced", method=request.method, path=request.url.path, why=str(error).partition("\n")[0])
    return answer(
        HTTPStatus.CONFLICT, "conflict", "Somebody else has changed it at the same moment", "Look at it and try again"
    )


async def _of_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    if _is_not_json(request, error):
        return answer(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            CODES[415],
            "The body is not said to be JSON",
            "Send it with the header Content-Type: application/json",
        )
    found = [_finding(one) for one in error.errors()[:MAX_ERRORS]]
    first = found[0] if found else {"place": "", "message": "The request is wrong"}
    detail = f"{first['place']}: {first['message']}" if first["place"] else first["message"]
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    return answer(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "invalid_request",
        detail + more,
        "Correct what `errors` names; /api/docs has the form",
        errors=found,
    )


def _is_not_json(request: Request, error: RequestValidationError) -> bool:
    """A body of another type is left as it is, and then is no object."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_json = kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
    return not is_json and any(tuple(one["loc"]) == ("body",) and one["type"] != "missing" for one in error.errors())


def _finding(error: Mapping[str, Any]) -> dict[str, str]:
    """Without the value: it may be a password."""
    where, *path = error["loc"] or ("body",)
    if error["type"] == "json_invalid":
        path = []
    return {"in": str(where), "place": _place(path), "message": storable(str(error["msg"])), "type": error["type"]}


def _place(path: Sequence[str | int]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
    return storable(text)[:MAX_PLACE]


async def _of_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    detail = str(error.detail)
    if detail == status.phrase:  # what the framework says by itself
        words = {404: f"There is nothing at {request.url.path}", 405: f"{request.url.path} takes no {request.method}"}
        detail = words.get(status, f"{request.method} {request.url.path}: {detail}")
    code = CODES.get(status, status.name.lower())
    return answer(status, code, detail, REMEDIES.get(status, "See /api/docs"), headers=error.headers)


class LastResort:
    """Around everything else: what nobody foresaw is logged with its traceback and told without it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def sending(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception:
            log.exception("request.broke", method=scope["method"], path=scope["path"])
            if has_begun:
                raise  # the server cuts the connection: half an answer must not look like a whole one
            await _internal()(scope, receive, send)


def _internal() -> Response:
    return answer(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal_error",
        "Dockwright itself failed",
        "This is a bug: please report it with the server's log",
    )
