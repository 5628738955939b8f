"""POST /chat: the app's own protocol, as JSON or as server-sent events."""

import json
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal
from uuid import uuid4

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.access import require_staff
from app.conversation import Answer, Conversation, Delta, ToolUse
from app.desk import Turn
from app.limits import log
from app.options import Options

router = APIRouter(tags=["chat"])

MAX_HISTORY_SENT = 200


def _whole(text: str) -> str:
    """JSON can hold half of a character, which nothing that is written as UTF-8 can."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError("holds half of a character (a lone surrogate)") from error
    return text


Text = Annotated[str, AfterValidator(_whole)]


class Said(BaseModel):
    model_config = ConfigDict(extra="ignore")
    role: Literal["user", "assistant"]
    content: Text


class ChatRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")
    message: Text = Field(min_length=1)
    stream: bool = False
    history: list[Said] = Field(default=[], max_length=MAX_HISTORY_SENT)
    session_id: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]{8,64}$")
    """Ties a conversation to the records that it makes; one is made up where none is sent."""


@router.post("/chat")
async def chat(body: ChatRequest, request: Request) -> Any:
    conversation, options = state_of(request)
    turn = Turn(
        message=checked_message(body.message, options),
        session_id=body.session_id or uuid4().hex,
        history=kept_history([said.model_dump() for said in body.history], options),
    )
    if body.stream:
        return StreamingResponse(_events(conversation, turn), media_type="text/event-stream", headers=STREAM_HEADERS)
    answer = await whole_answer(conversation, turn)
    return JSONResponse(answer.as_json())


STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""So that no proxy on the way keeps a stream back."""


def state_of(request: Request) -> tuple[Conversation, Options]:
    conversation: Conversation = request.app.state.conversation
    if conversation.desk is not None and conversation.desk.is_internal:
        require_staff(request)
    return conversation, request.app.state.options


def checked_message(message: str, options: Options) -> str:
    if not message.strip():
        raise HTTPException(422, "The message is empty")
    if len(message) > options.max_message_chars:
        raise HTTPException(422, f"The message is longer than {options.max_message_chars} characters")
    return message


def kept_history(history: list[dict[str, str]], options: Options) -> tuple[dict[str, str], ...]:
    """The newest messages; each cut to the length that a message may have, several times over for the assistant's."""
    longest = options.max_message_chars * 4
    kept = history[-options.max_history :]
    return tuple({"role": item["role"], "content": item["content"][:longest]} for item in kept if item["content"])


async def whole_answer(conversation: Conversation, turn: Turn) -> Answer:
    started = time.monotonic()
    async for part in conversation.answer(turn):
        if isinstance(part, Answer):
            log_answer(part, started)
            return part
    raise AssertionError("a conversation ends with its answer")


async def _events(conversation: Conversation, turn: Turn) -> AsyncIterator[str]:
    """Events `delta` {"text"}, `tool` {"name"}, and at the end `done` with what /chat answers without a stream."""
    started = time.monotonic()
    async for part in conversation.answer(turn):
        match part:
            case Delta(text):
                yield event("delta", {"text": text})
            case ToolUse(name):
                yield event("tool", {"name": name})
            case Answer():
                log_answer(part, started)
                yield event("done", part.as_json())


def event(name: str, value: Any) -> str:
    return f"event: {name}\ndata: {json.dumps(value)}\n\n"


def log_answer(answer: Answer, started: float) -> None:
    fields = {
        "mode": answer.mode,
        "degraded": answer.degraded["code"] if answer.degraded else None,
        "sources": len(answer.sources),
        "records": [record["id"] for record in answer.records],
        "tools": answer.tools_used,
        "chars": len(answer.reply),
        "ms": round((time.monotonic() - started) * 1000, 1),
    }
    log.info("answer", extra={"fields": fields})
