"""What the three business types have in common: records with a state, kept by the app, changed by API and by chat.

A desk answers two questions. Without a language model: does this message ask for something that the desk does
(`reply`)? With one: what may the model call (`tools`), and what must happen whatever the model does (`after`)?
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar

import anyio.to_thread
from pydantic import BaseModel, ConfigDict

from app.knowledge import Hit
from app.records import Change, Record, Store
from app.tools import Tool, ToolError, parameters_of

View = dict[str, Any]


class Form(BaseModel):
    """The body of a request: an unknown member is an error, a blank text is none."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class MoveRefused(Exception):
    """The record's state cannot become the one asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One message of a conversation and what is known about it."""

    message: str
    session_id: str
    history: tuple[dict[str, str], ...] = ()
    """Earlier messages, oldest first: {"role": "user" | "assistant", "content"}."""
    further: tuple[str, ...] = ()
    """Instructions that came with the request, for the language model."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """For the language model: temperature and the like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskReply:
    text: str
    records: tuple[View, ...] = ()
    """Made or changed."""
    replaces_answer: bool = True
    """False where the text stands below what the training data says."""


class Desk:
    """One kind of record. The subclasses say what is in it, how it moves, and when a conversation makes one."""

    kind: ClassVar[str]
    plural: ClassVar[str]
    state: ClassVar[str] = "status"
    """What the API calls the record's state."""
    initial: ClassVar[str]
    moves: ClassVar[Mapping[str, frozenset[str]]]
    filters: ClassVar[tuple[str, ...]]
    """Fields that a list can be narrowed by."""
    create_form: ClassVar[type[Form]]
    patch_form: ClassVar[type[Form]]
    instructions: ClassVar[str]
    """For the language model."""
    is_internal: ClassVar[bool] = False
    """The chat itself shows everybody's records: with a staff token set, it is for staff alone."""

    def __init__(self, store: Store, rules: Sequence[str] = ()) -> None:
        self.store = store
        self.rules = rules

    # --- records ---

    def create(self, form: Form, session_id: str = "") -> View:
        values = form.model_dump(mode="json")
        status = values.pop(self.state, None) or self.initial
        return self.view(self.store.create(self.kind, status, self.completed(status, values), session_id))

    def get(self, number: int) -> View:
        return self.view(self.store.get(self.kind, number))

    def patch(self, number: int, form: Form, session_id: str | None = None) -> View:
        """Changes what `form` sets. With a `session_id`, only a record of that conversation: else `KeyError`."""
        values = form.model_dump(mode="json", exclude_unset=True)
        wanted = values.pop(self.state, None)

        def decide(record: Record) -> Change:
            if session_id is not None and record.session_id != session_id:
                raise KeyError(number)
            status = wanted or record.status
            self.check_move(record, status)
            return Change(status=status, fields=self.completed(status, values, record))

        return self.view(self.store.change(self.kind, number, decide))

    def check_move(self, record: Record, status: str) -> None:
        allowed = self.moves.get(record.status, frozenset(self.moves))
        if status != record.status and status not in allowed:
            possible = ", ".join(sorted(allowed)) or "nothing else"
            raise MoveRefused(f"A {self.kind} that is {record.status} can become {possible}, not {status}")

    def completed(self, status: str, values: Mapping[str, Any], record: Record | None = None) -> dict[str, Any]:
        """`values` with what follows from them and from the state. `record`: as it was, where it is changed."""
        return dict(values)

    def view(self, record: Record) -> View:
        return {
            "id": record.id,
            self.state: record.status,
            **{name: value for name, value in record.fields.items() if name not in {"id", self.state}},
            "session_id": record.session_id,
            "created_at": _time(record.created_at),
            "updated_at": _time(record.updated_at),
        }

    def mine(self, session_id: str, limit: int = 20) -> list[View]:
        return [self.view(record) for record in self.store.list(self.kind, session_id=session_id, limit=limit)[0]]

    def open_record(self, session_id: str, closed: frozenset[str]) -> View | None:
        """The newest of the conversation's records that is not closed."""
        return next((view for view in self.mine(session_id) if view[self.state] not in closed), None)

    # --- conversations ---

    def reply(self, turn: Turn, hits: Sequence[Hit]) -> DeskReply | None:
        """Without a language model: what the desk does about a message, none where it is not for the desk."""
        raise NotImplementedError

    def tools(self, turn: Turn, touched: list[View]) -> list[Tool]:
        """With a language model: what it may call in this turn. A tool adds the records it changes to `touched`."""
        raise NotImplementedError

    def after(self, turn: Turn, touched: Sequence[View]) -> DeskReply | None:
        """With a language model: what must happen although the model did not do it."""
        return None

    def tool(
        self, name: str, description: str, form: type[BaseModel], work: Callable[[Any], View | list[View]]
    ) -> Tool:
        """A tool that checks its arguments against `form` and does `work` in a thread."""
        return Tool(name=name, description=description, parameters=parameters_of(form), run=_runner(form, work))


def _runner(
    form: type[BaseModel], work: Callable[[Any], View | list[View]]
) -> Callable[[dict[str, Any]], Awaitable[str]]:
    async def run(arguments: dict[str, Any]) -> str:
        checked = form.model_validate(arguments)
        try:
            result = await anyio.to_thread.run_sync(partial(work, checked))
        except KeyError as error:
            raise ToolError("there is no such record in this conversation") from error
        except MoveRefused as error:
            raise ToolError(str(error)) from error
        return _as_json(result)

    return run


def _as_json(result: View | list[View]) -> str:
    hidden = {"session_id"}
    views = result if isinstance(result, list) else [result]
    shown = [{name: value for name, value in view.items() if name not in hidden} for view in views]
    return json.dumps(shown if isinstance(result, list) else shown[0], ensure_ascii=False)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
