"""Talks to a language model over the protocol of OpenAI's chat completions, always streaming."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

MAX_ANSWER_CHARS = 100_000
CONNECT_SECONDS = 5.0
TRIES = 2
_RETRYABLE = frozenset({429, 502, 503, 504})

Message = dict[str, Any]


class LanguageModelError(Exception):
    """The model gave no answer. `code` is for programs, the text for people."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(slots=True, kw_only=True)
class ToolCall:
    id: str = ""
    name: str = ""
    arguments: str = ""
    """JSON as the model wrote it: it may be wrong."""

    def as_message(self) -> Message:
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


@dataclass(slots=True, kw_only=True)
class Completion:
    """What is known when the model has ended."""

    calls: list[ToolCall] = field(default_factory=list)
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0


class LanguageModel:
    def __init__(self, client: httpx.AsyncClient, *, base_url: str, api_key: str, model: str) -> None:
        self._client = client
        self._url = f"{base_url}/chat/completions"
        self._api_key = api_key
        self.model = model
        self._counts_tokens = True

    async def complete(
        self, messages: Sequence[Message], tools: Sequence[Message] = (), **parameters: Any
    ) -> AsyncIterator[str | Completion]:
        """Yields pieces of text as they come, and at the end one `Completion`. Raises `LanguageModelError`."""
        body = {"model": self.model, "messages": list(messages), "stream": True, **parameters}
        if tools:
            body["tools"] = list(tools)
        try:
            response = await self._open(body)
        except httpx.HTTPError as error:
            raise _unreachable(error) from error
        try:
            async for part in _parts(response):
                yield part
        except httpx.HTTPError as error:
            raise _unreachable(error) from error
        finally:
            await response.aclose()

    async def _open(self, body: dict[str, Any]) -> httpx.Response:
        """A response that streams. A busy or restarting endpoint is asked once more."""
        for attempt in range(1, TRIES + 1):
            try:
                response = await self._send(body)
            except httpx.ConnectError:
                if attempt == TRIES:
                    raise
            else:
                if response.is_success:
                    return response
                error = await _refusal(response)
                if response.status_code not in _RETRYABLE or attempt == TRIES:
                    raise error
            await asyncio.sleep(0.4)
        raise AssertionError("unreachable")

    async def _send(self, body: dict[str, Any]) -> httpx.Response:
        response = await self._post(
            {**body, "stream_options": {"include_usage": True}} if self._counts_tokens else body
        )
        if response.status_code != 400 or not self._counts_tokens:
            return response
        # Some endpoints do not know stream_options. Only where leaving it out helps was it the reason.
        second = await self._post(body)
        if second.is_success:
            self._counts_tokens = False
        await response.aclose()
        return second

    async def _post(self, body: dict[str, Any]) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._api_key}"}
        return await self._client.send(
            self._client.build_request("POST", self._url, json=body, headers=headers), stream=True
        )


def _unreachable(error: httpx.HTTPError) -> LanguageModelError:
    if isinstance(error, httpx.TimeoutException):
        return LanguageModelError("timeout", "The language model did not answer in time")
    return LanguageModelError("unreachable", "The language model cannot be reached")


async def _refusal(response: httpx.Response) -> LanguageModelError:
    await response.aclose()
    match response.status_code:
        case 401 | 403:
            return LanguageModelError("unauthorized", "The language model refused the key")
        case 404:
            return LanguageModelError("not_found", "The endpoint does not know this language model")
        case 429:
            return LanguageModelError("rate_limited", "The language model is busy, or the account is used up")
        case status:
            return LanguageModelError("failed", f"The language model answered with an error ({status})")


async def _parts(response: httpx.Response) -> AsyncIterator[str | Completion]:
    completion = Completion()
    length = 0
    async for chunk in _chunks(response):
        text = _take(chunk, completion)
        length += len(text)
        if length > MAX_ANSWER_CHARS:
            raise LanguageModelError("failed", "The language model did not stop")
        if text:
            yield text
    completion.calls = [call for call in completion.calls if call.name]
    yield completion


async def _chunks(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The JSON objects of an event stream, or the one object of an endpoint that does not stream."""
    if "application/json" in response.headers.get("content-type", ""):
        yield _json(await response.aread())
        return
    is_complete = False
    async for line in response.aiter_lines():
        name, _, value = line.partition(":")
        if name == "data" and value.strip() == "[DONE]":
            is_complete = True
            break
        if name == "data":
            chunk = _json(value)
            is_complete = is_complete or _is_last(chunk)
            yield chunk
    if not is_complete:
        raise LanguageModelError("failed", "The language model broke off")


def _is_last(chunk: dict[str, Any]) -> bool:
    return any(isinstance(choice, dict) and choice.get("finish_reason") for choice in chunk.get("choices") or ())


def _json(text: str | bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise LanguageModelError("failed", "The language model answered with something that is not JSON") from error
    if not isinstance(value, dict) or value.get("error"):
        raise LanguageModelError("failed", "The language model answered with an error")
    return value


def _take(chunk: dict[str, Any], completion: Completion) -> str:
    """Adds a chunk's tool calls, usage and reason to `completion`, and returns its text."""
    usage = chunk.get("usage")
    if isinstance(usage, dict):
        completion.prompt_tokens += int(usage.get("prompt_tokens") or 0)
        completion.completion_tokens += int(usage.get("completion_tokens") or 0)
    choices = chunk.get("choices") or [{}]
    choice = choices[0] if isinstance(choices[0], dict) else {}
    completion.finish_reason = choice.get("finish_reason") or completion.finish_reason
    delta = choice.get("delta") or choice.get("message") or {}
    for place, part in enumerate(delta.get("tool_calls") or ()):
        _take_call(completion.calls, part.get("index", place), part)
    return str(delta.get("content") or "")


def _take_call(calls: list[ToolCall], index: int, part: dict[str, Any]) -> None:
    """A call comes in pieces: its id and name first, its arguments a few characters at a time."""
    if not 0 <= index < 32:
        raise LanguageModelError("failed", "The language model asked for too many tools at once")
    while len(calls) <= index:
        calls.append(ToolCall())
    function = part.get("function") or {}
    calls[index].id = part.get("id") or calls[index].id
    calls[index].name = function.get("name") or calls[index].name
    calls[index].arguments += function.get("arguments") or ""
