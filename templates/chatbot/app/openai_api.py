"""The same assistant under OpenAI's protocol: POST /v1/chat/completions and GET /v1/models."""

import hashlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any, Literal
from uuid import uuid4

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from app.chat_api import STREAM_HEADERS, Text, checked_message, kept_history, log_answer, state_of, whole_answer
from app.conversation import Answer, Conversation, Delta
from app.desk import Turn
from app.options import Options

router = APIRouter(prefix="/v1", tags=["openai"])

MODEL = "assistant"
_PASSED_ON = (
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "presence_penalty",
    "frequency_penalty",
    "seed",
)
_REFUSED = ("tools", "functions", "response_format", "audio", "modalities", "logprobs")
"""Things of the protocol that the assistant has no answer to; the tools that it uses are its own."""


class ContentPart(BaseModel):
    type: Literal["text"]
    text: Text


class ChatMessage(BaseModel):
    model_config = ConfigDict(extra="ignore")
    role: Literal["system", "developer", "user", "assistant"]
    content: Text | list[ContentPart] | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""


class StreamOptions(BaseModel):
    include_usage: bool | None = False


class CompletionRequest(BaseModel):
    model_config = ConfigDict(extra="allow")
    model: str = MODEL
    messages: list[ChatMessage] = Field(min_length=1, max_length=400)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: int | None = None
    user: str | None = Field(default=None, max_length=512)


class ProtocolError(Exception):
    """An error as OpenAI's clients expect it."""

    def __init__(
        self, status: int, message: str, *, kind: str = "invalid_request_error", param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": None}}


@router.get("/models")
def models(request: Request) -> dict[str, Any]:
    return {"object": "list", "data": [_model(request)]}


@router.get("/models/{name}")
def model(name: str, request: Request) -> dict[str, Any]:
    if name != MODEL:
        raise ProtocolError(404, f"The model {name!r} does not exist; there is {MODEL!r}", param="model")
    return _model(request)


def _model(request: Request) -> dict[str, Any]:
    return {"id": MODEL, "object": "model", "created": int(request.app.state.started_at), "owned_by": "assistant"}


@router.post("/chat/completions")
async def completions(body: CompletionRequest, request: Request) -> Any:
    conversation, options = state_of(request)
    turn = _turn(body, options)
    identity = {"id": f"chatcmpl-{uuid4().hex}", "created": int(time.time()), "model": MODEL}
    if body.stream:
        wants_usage = bool(body.stream_options and body.stream_options.include_usage)
        chunks = _chunks(conversation, turn, identity, wants_usage=wants_usage)
        return StreamingResponse(chunks, media_type="text/event-stream", headers=STREAM_HEADERS)
    answer = await whole_answer(conversation, turn)
    message = {"role": "assistant", "content": answer.reply, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish_reason}
    return JSONResponse({**identity, "object": "chat.completion", "choices": [choice], "usage": _usage(answer)})


def _turn(body: CompletionRequest, options: Options) -> Turn:
    extra = body.model_extra or {}
    for name in _REFUSED:
        if extra.get(name) and extra[name] != {"type": "text"}:
            raise ProtocolError(400, f"{name} is not supported: the assistant uses tools of its own", param=name)
    if body.n not in {None, 1}:
        raise ProtocolError(400, "n must be 1", param="n")
    spoken = [message for message in body.messages if message.role in {"user", "assistant"} and message.text]
    if not spoken or spoken[-1].role != "user":
        raise ProtocolError(400, "The last message must be the user's", param="messages")
    system = [message.text for message in body.messages if message.role in {"system", "developer"} and message.text]
    history = [{"role": message.role, "content": message.text} for message in spoken[:-1]]
    return Turn(
        message=checked_message(spoken[-1].text, options),
        session_id=_session(body.user),
        history=kept_history(history, options),
        further=tuple(text[: options.max_message_chars * 4] for text in system),
        parameters={name: extra[name] for name in _PASSED_ON if extra.get(name) is not None},
    )


def _session(user: str | None) -> str:
    """The protocol's `user`, hashed: as it came, it could be guessed to read that user's records."""
    return hashlib.sha256(f"user:{user}".encode("utf-8", "replace")).hexdigest()[:32] if user else uuid4().hex


def _usage(answer: Answer) -> dict[str, int]:
    sent, made = answer.prompt_tokens, answer.completion_tokens
    return {"prompt_tokens": sent, "completion_tokens": made, "total_tokens": sent + made}


async def _chunks(
    conversation: Conversation, turn: Turn, identity: dict[str, Any], *, wants_usage: bool
) -> AsyncIterator[str]:
    started = time.monotonic()

    def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return _line({**identity, "object": "chat.completion.chunk", "choices": [choice]})

    yield chunk({"role": "assistant", "content": ""})
    async for part in conversation.answer(turn):
        if isinstance(part, Delta):
            yield chunk({"content": part.text})
        elif isinstance(part, Answer):
            log_answer(part, started)
            yield chunk({}, part.finish_reason)
            if wants_usage:
                yield _line({**identity, "object": "chat.completion.chunk", "choices": [], "usage": _usage(part)})
    yield "data: [DONE]\n\n"


def _line(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value)}\n\n"
