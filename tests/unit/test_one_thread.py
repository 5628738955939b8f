"""A plain route in one thread: who runs where, and what an answer is when something is wrong."""

import asyncio
import threading
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI
from pydantic import BaseModel

from dockwright.api.one_thread import OneThreadRoute, aside


class Sent(BaseModel):
    number: int


async def _thread_of_dependency() -> int:
    return await aside(threading.get_ident)


Asking = Annotated[int, Depends(_thread_of_dependency)]


def _app() -> FastAPI:
    router = APIRouter(route_class=OneThreadRoute)

    @router.post("/plain")
    def plain(asking: Asking, body: Sent) -> dict[str, int]:
        return {"asking": asking, "answering": threading.get_ident(), "number": body.number}

    @router.get("/in-the-loop")
    async def in_the_loop(asking: Asking) -> dict[str, int]:
        return {"asking": asking, "answering": threading.get_ident()}

    @router.get("/waits")
    def waits(_: Annotated[None, Depends(_waiting)]) -> None:
        raise AssertionError("never called")

    app = FastAPI()
    app.include_router(router)
    return app


async def _waiting() -> None:
    await asyncio.sleep(0)


def _ask(method: str, path: str, body: Any = None) -> httpx.Response:
    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(_app()), base_url="http://test") as client:
            return await client.request(method, path, json=body)

    return asyncio.run(ask())


def test_a_plain_function_runs_where_its_dependencies_do() -> None:
    answer = _ask("POST", "/plain", {"number": 3}).json()
    assert answer["asking"] == answer["answering"] != threading.get_ident()
    assert answer["number"] == 3


def test_what_may_block_keeps_out_of_the_event_loop() -> None:
    answer = _ask("GET", "/in-the-loop").json()
    assert answer["answering"] == threading.get_ident() != answer["asking"]


def test_what_is_wrong_with_a_body_is_told() -> None:
    assert _ask("POST", "/plain", {"number": "none"}).status_code == 422


def test_a_dependency_that_waits_for_the_loop_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="waits for the event loop"):
        _ask("GET", "/waits")


def test_a_sender_who_goes_away_is_no_fault_of_the_server() -> None:
    statuses = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        statuses.append(message.get("status"))

    path = {"path": "/plain", "raw_path": b"/plain", "query_string": b"", "root_path": "", "scheme": "http"}
    headers = [(b"content-type", b"application/json"), (b"content-length", b"13")]
    scope = {"type": "http", "http_version": "1.1", "method": "POST", "headers": headers, "state": {}, **path}
    asyncio.run(_app()(scope, receive, send))
    assert statuses[0] == 400
