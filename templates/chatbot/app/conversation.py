"""From a message to an answer: through the language model with its tools, or from the training data alone.

What a person can rely on, whatever the model does: an answer always comes (a model that fails is named, and the
training data answers), and what the desk must do for a message is done.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio.to_thread

from app.assistant import Assistant, system_prompt
from app.desk import Desk, DeskReply, Turn, View
from app.knowledge import Hit, Knowledge
from app.llm import Completion, LanguageModel, LanguageModelError, Message
from app.records import StoreUnavailable
from app.tools import Tool, call
from app.words import is_greeting, is_thanks

MAX_ROUNDS = 6
"""How often the model may ask for tools before it must answer."""

FACTS = 8
"""How many training examples the model is told with a question."""

NO_RECORDS = "My records cannot be reached at the moment, so I could not note this down. Please try again later."


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the reply."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolUse:
    name: str


@dataclass(slots=True, kw_only=True)
class Answer:
    """A whole answer; always the last part of a conversation's turn."""

    session_id: str
    reply: str = ""
    mode: str = "training_data"
    """"llm" or "training_data"."""
    sources: list[dict[str, Any]] = field(default_factory=list)
    records: list[View] = field(default_factory=list)
    degraded: dict[str, str] | None = None
    """{"code", "message"} where the language model failed."""
    tools_used: list[str] = field(default_factory=list)
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def as_json(self) -> dict[str, Any]:
        shown = ("reply", "sources", "mode", "degraded", "records", "tools_used", "session_id")
        return {name: getattr(self, name) for name in shown}


Part = Delta | ToolUse | Answer


class Conversation:
    def __init__(
        self,
        assistant: Assistant,
        *,
        model: LanguageModel | None,
        desk: Desk | None,
        http_tools: Sequence[Tool] = (),
        timeout_seconds: float = 60,
    ) -> None:
        self.assistant = assistant
        self.knowledge = Knowledge(assistant.training_data)
        self.model = model
        self.desk = desk
        self.http_tools = http_tools
        self.timeout_seconds = timeout_seconds

    @property
    def mode(self) -> str:
        return "llm" if self.model else "training_data"

    async def answer(self, turn: Turn) -> AsyncIterator[Part]:
        """Yields pieces of text and tools used as they come, and at the end the whole `Answer`. Never raises."""
        hits = await anyio.to_thread.run_sync(self.knowledge.answers, turn.message)
        answer = Answer(session_id=turn.session_id, sources=[_source(hit) for hit in hits])
        if self.model is not None:
            async for part in self._ask_model(self.model, turn, answer):
                yield part
        if answer.mode == "training_data":
            text = await self._from_training(turn, hits, answer)
            async for delta in _in_pieces(text, answer):
                yield delta
        _count_tokens(answer, turn)
        yield answer

    # --- with a language model ---

    async def _ask_model(self, model: LanguageModel, turn: Turn, answer: Answer) -> AsyncIterator[Part]:
        """Leaves `answer.mode` at "training_data" where the model failed before it said anything."""
        tools = self._tools(turn, answer.records)
        messages = self._messages(turn)
        try:
            async with asyncio.timeout(self.timeout_seconds):
                async for part in _rounds(model, messages, tools, turn, answer):
                    yield part
        except (LanguageModelError, TimeoutError) as error:
            answer.degraded = _failure(error)
            if answer.reply:
                answer.mode = "llm"
                yield _added(answer, f"\n\n({answer.degraded['message']}; this answer is not complete.)")
        else:
            answer.mode = "llm"
        if answer.mode == "llm":
            async for part in self._after(turn, answer):
                yield part

    def _tools(self, turn: Turn, touched: list[View]) -> dict[str, Tool]:
        own = self.desk.tools(turn, touched) if self.desk else []
        return {tool.name: tool for tool in [*own, *self.http_tools]}

    def _messages(self, turn: Turn) -> list[Message]:
        """The model sees examples that are merely near, too: it can tell what answers the question."""
        hits = self.knowledge.search(turn.message, FACTS)
        further = [self.desk.instructions] if self.desk else []
        prompt = system_prompt(self.assistant, [hit.example for hit in hits], [*further, *turn.further])
        return [{"role": "system", "content": prompt}, *turn.history, {"role": "user", "content": turn.message}]

    async def _after(self, turn: Turn, answer: Answer) -> AsyncIterator[Delta]:
        """What the desk must do although the model did not."""
        if self.desk is None:
            return
        reply = await _at_desk(partial(self.desk.after, turn, list(answer.records)))
        if reply is None:
            return
        answer.records = _merged(answer.records, reply.records)
        if reply.text:
            yield _added(answer, f"\n\n{reply.text}")

    # --- from the training data ---

    async def _from_training(self, turn: Turn, hits: Sequence[Hit], answer: Answer) -> str:
        desk_reply = await _at_desk(partial(self.desk.reply, turn, hits)) if self.desk else None
        text = hits[0].example.answer if hits else self._unknown(turn.message)
        if desk_reply is not None:
            answer.records = _merged(answer.records, desk_reply.records)
            is_alone = desk_reply.replaces_answer or (not hits and bool(desk_reply.records))
            text = desk_reply.text if is_alone else f"{text}\n\n{desk_reply.text}"
        if answer.degraded is None:
            return text
        return f"({answer.degraded['message']}; this answer comes from my training data.)\n\n{text}"

    def _unknown(self, message: str) -> str:
        """Says that it does not know, and what it can help with."""
        if is_thanks(message):
            return "You are welcome."
        if is_greeting(message):
            opening = " ".join(filter(None, [f"Hello, I am {self.assistant.name}.", self.assistant.description]))
        else:
            opening = "I do not have an answer to that."
        questions = self.suggestions()
        if not questions:
            return opening
        return "\n".join([f"{opening} You can ask me, for example:", *(f"• {question}" for question in questions)])

    def suggestions(self, limit: int = 4) -> list[str]:
        return [example.question for example in self.assistant.training_data[:limit]]


async def _rounds(
    model: LanguageModel, messages: list[Message], tools: Mapping[str, Tool], turn: Turn, answer: Answer
) -> AsyncIterator[Part]:
    """Asks the model, does what it calls for, and asks again with the results, until it answers."""
    offered = [tool.as_message() for tool in tools.values()]
    for number in range(MAX_ROUNDS):
        is_last = number == MAX_ROUNDS - 1
        said = ""
        completion = Completion()
        async for part in model.complete(messages, [] if is_last else offered, **turn.parameters):
            if isinstance(part, str):
                said += part
                yield _added(answer, part)
            else:
                completion = part
        answer.prompt_tokens += completion.prompt_tokens
        answer.completion_tokens += completion.completion_tokens
        answer.finish_reason = "length" if completion.finish_reason == "length" else "stop"
        if not completion.calls or is_last:
            break
        calls = completion.calls
        messages.append(
            {"role": "assistant", "content": said or None, "tool_calls": [item.as_message() for item in calls]}
        )
        for item in calls:
            yield ToolUse(item.name)
            answer.tools_used.append(item.name)
            messages.append(
                {"role": "tool", "tool_call_id": item.id, "content": await _called(tools, item.name, item.arguments)}
            )
    if not answer.reply.strip():
        raise LanguageModelError("failed", "The language model gave an empty answer")


async def _called(tools: Mapping[str, Tool], name: str, arguments: str) -> str:
    try:
        return await call(tools, name, arguments)
    except StoreUnavailable:
        return f"Error: {NO_RECORDS}"


async def _at_desk(work: partial[DeskReply | None]) -> DeskReply | None:
    """The desk reads and writes a file, so it works in a thread."""
    try:
        return await anyio.to_thread.run_sync(work)
    except StoreUnavailable:
        return DeskReply(text=NO_RECORDS, replaces_answer=False)


def _failure(error: LanguageModelError | TimeoutError) -> dict[str, str]:
    if isinstance(error, LanguageModelError):
        return {"code": error.code, "message": str(error)}
    return {"code": "timeout", "message": "The language model did not answer in time"}


def _added(answer: Answer, text: str) -> Delta:
    answer.reply += text
    return Delta(text)


async def _in_pieces(text: str, answer: Answer) -> AsyncIterator[Delta]:
    for piece in re.findall(r"\S+\s*|^\s+", text):
        yield _added(answer, piece)


def _merged(records: Sequence[View], more: Sequence[View]) -> list[View]:
    """The newest view of each record."""
    return list({record["id"]: record for record in [*records, *more]}.values())


def _source(hit: Hit) -> dict[str, Any]:
    return {"question": hit.example.question, "answer": hit.example.answer, "score": round(hit.score, 3)}


def _count_tokens(answer: Answer, turn: Turn) -> None:
    """Where the endpoint did not count them: four characters are about a token."""
    if not answer.prompt_tokens:
        answer.prompt_tokens = -(-len(turn.message) // 4)
    if not answer.completion_tokens:
        answer.completion_tokens = -(-len(answer.reply) // 4)
