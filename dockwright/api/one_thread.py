"""One thread for a whole request: the sign-in, the checks of what was sent, the route's function and its answer.

FastAPI hands each of them to a thread of the pool by itself, with the event loop in between. Each such way takes longer
than looking up a token does, and a build that is queued waits for all of them.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

from fastapi import HTTPException
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

P = ParamSpec("P")
T = TypeVar("T")
Answer = Callable[[Request], Coroutine[Any, Any, Response]]


class OneThreadRoute(APIRoute):
    """For functions that are plain `def`; an `async def` runs in the event loop as ever."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self._is_plain = not inspect.iscoroutinefunction(endpoint)
        super().__init__(path, _as_coroutine(endpoint) if self._is_plain else endpoint, **options)

    def get_route_handler(self) -> Answer:
        answer = super().get_route_handler()
        return partial(self._in_one_thread, answer) if self._is_plain else answer

    async def _in_one_thread(self, answer: Answer, request: Request) -> Response:
        if self.body_field is not None:
            try:
                await request.body()  # the request keeps it
            except ClientDisconnect as error:
                raise HTTPException(400, "The body was cut off") from error
        return await run_in_threadpool(_finish, answer, request)


async def aside(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """For a dependency that may block: in this thread if it is one of the pool, in one of them if it is the loop's."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return function(*args, **kwargs)
    return await run_in_threadpool(function, *args, **kwargs)


def _as_coroutine(function: Callable[P, T]) -> Callable[P, Awaitable[T]]:
    @wraps(function)
    async def called(*args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)

    return called


def _finish(answer: Answer, request: Request) -> Response:
    """There is nothing to wait for: the body is there, and all that is called is called in this thread."""
    work = answer(request)
    try:
        work.send(None)
    except StopIteration as done:
        response: Response = done.value
        return response
    work.close()
    raise AssertionError("a plain route, or what it depends on, waits for the event loop")
