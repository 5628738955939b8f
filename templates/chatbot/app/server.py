"""Puts the app together."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response

from app import chat_api, info_api, openai_api
from app.assistant import Assistant
from app.conversation import Conversation
from app.desk import Desk
from app.endpoints import endpoint_tools
from app.leads import Leads
from app.limits import Gate, set_up_log
from app.llm import CONNECT_SECONDS, LanguageModel
from app.options import Options
from app.records import Store, StoreUnavailable
from app.records_api import records_router
from app.tasks import Tasks
from app.tickets import Tickets

DESKS: dict[str, type[Desk]] = {
    "customer_support": Tickets,
    "sales_assistant": Leads,
    "project_management": Tasks,
}

_TAKEN = ("open_ticket", "change_ticket", "list_tickets", "save_lead", "create_task", "change_task", "list_tasks")
"""Names of the desks' own tools."""


def create_app(assistant: Assistant, options: Options) -> FastAPI:
    set_up_log()
    client = httpx.AsyncClient(timeout=httpx.Timeout(options.timeout_seconds, connect=CONNECT_SECONDS))
    desk_type = DESKS.get(assistant.assistant_type)
    desk = desk_type(Store(options.data_dir), assistant.business_rules) if desk_type else None
    app = FastAPI(
        title=assistant.name, description=assistant.description, docs_url=None, redoc_url=None, lifespan=_lifespan
    )
    app.state.assistant = assistant
    app.state.options = options
    app.state.client = client
    app.state.started_at = time.time()
    app.state.conversation = Conversation(
        assistant,
        model=_model(options, client),
        desk=desk,
        http_tools=endpoint_tools(assistant.endpoints, client, _secrets(assistant, options), _TAKEN),
        timeout_seconds=options.timeout_seconds,
    )
    for router in (info_api.router, chat_api.router, openai_api.router):
        app.include_router(router)
    if desk is not None:
        app.include_router(records_router(desk))
    _add_error_answers(app)
    app.add_middleware(Gate, max_body_bytes=options.max_body_bytes)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    await app.state.client.aclose()


def _model(options: Options, client: httpx.AsyncClient) -> LanguageModel | None:
    if not options.api_key:
        return None
    return LanguageModel(client, base_url=options.base_url, api_key=options.api_key, model=options.model)


def _secrets(assistant: Assistant, options: Options) -> dict[str, str]:
    return {name: options.environ.get(name, "") for name in assistant.environment_vars}


def _add_error_answers(app: FastAPI) -> None:
    """Every error is JSON: {"detail"}, and under /v1 what OpenAI's clients expect."""

    @app.exception_handler(openai_api.ProtocolError)
    async def protocol_error(request: Request, error: openai_api.ProtocolError) -> Response:
        return JSONResponse(error.body, error.status)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        return _error(request, error.status_code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return _error(request, 422, _complaint(error))

    @app.exception_handler(StoreUnavailable)
    async def no_store(request: Request, error: StoreUnavailable) -> Response:
        return _error(request, 503, "The records cannot be reached; see /health")


def _error(request: Request, status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    if request.url.path.startswith("/v1/"):
        kind = "authentication_error" if status == 401 else "invalid_request_error"
        body: dict[str, Any] = openai_api.ProtocolError(status, text, kind=kind).body
        return JSONResponse(body, 400 if status == 422 else status, headers)
    return JSONResponse({"detail": text}, status, headers)


def _complaint(error: RequestValidationError) -> str:
    """The first thing that is wrong, on one line, without the value itself."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part not in {"body", "query", "path"})
    return f"{place}: {first['msg']}" if place else str(first["msg"])
