"""Customer support: tickets, and the rules by which a conversation goes to a person."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from app.desk import Desk, DeskReply, Form, Turn, View
from app.knowledge import Hit
from app.records import Record
from app.tools import Tool
from app.words import content_words, is_greeting, is_thanks

Status = Literal["open", "in_progress", "escalated", "resolved"]
Priority = Literal["low", "normal", "high", "urgent"]

MISSES_BEFORE_ESCALATION = 2
RULE_SHARE = 0.6
"""Share of an escalation rule's words that a message must hold for the rule to apply."""

_LEVELS: tuple[Priority, ...] = ("low", "normal", "high", "urgent")

_HUMAN = re.compile(
    r"\b(?:(?:speak|talk|chat|connect|transfer|forward|pass)\b.{0,20}\b(?:to|with)\b.{0,20}\b(?:human|person|people|agent|someone"
    r"|somebody|representative|manager|supervisor|colleague|staff|team)|(?:real|actual|live)\s+(?:human|person|agent)"
    r"|(?:need|want|get|give)\s+(?:me\s+)?(?:a|an|the|your)\s+(?:human|person|agent|representative|manager|supervisor)"
    r"|human\s+(?:agent|help|support|please)|customer\s+service\s+representative)\b",
    re.IGNORECASE,
)
_ANGER = re.compile(
    r"\b(?:angry|furious|outrag\w+|unacceptable|ridiculous|terrible|horrible|awful|useless|worst|disgust\w+|scam|fraud"
    r"|lawyer|sue|legal action|fed up|sick of|never again|complain(?:t|ts|ing)?|rip[- ]?off)\b",
    re.IGNORECASE,
)
_URGENT = re.compile(
    r"\b(?:urgent(?:ly)?|asap|immediately|emergency|right now|critical|as soon as possible)\b", re.IGNORECASE
)
_ASKED = re.compile(
    r"\b(?:open|create|raise|file|make|submit|log|start|need|want)\s+(?:me\s+)?(?:a|an|another|the)?\s*(?:new\s+)?(?:support\s+)?"
    r"(?:ticket|case|complaint)\b",
    re.IGNORECASE,
)
_STATE_ASKED = re.compile(
    r"\b(?:status|state|update|news|progress|where)\b.{0,40}\b(?:ticket|case|complaint)\b", re.IGNORECASE
)
_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")


class CreateTicket(Form):
    subject: str = Field(min_length=1, max_length=200)
    description: str = Field(default="", max_length=10_000)
    priority: Priority = "normal"
    status: Literal["open", "escalated"] = "open"
    customer_name: str = Field(default="", max_length=200)
    customer_email: str = Field(default="", max_length=320)
    assignee: str = Field(default="", max_length=200)
    escalation_reason: str = Field(default="", max_length=500)


class PatchTicket(Form):
    subject: str | None = Field(default=None, min_length=1, max_length=200)
    description: str | None = Field(default=None, max_length=10_000)
    priority: Priority | None = None
    status: Status | None = None
    customer_name: str | None = Field(default=None, max_length=200)
    customer_email: str | None = Field(default=None, max_length=320)
    assignee: str | None = Field(default=None, max_length=200)
    escalation_reason: str | None = Field(default=None, max_length=500)
    resolution: str | None = Field(default=None, max_length=10_000)


class OpenTicket(Form):
    """What the language model gives."""

    subject: str = Field(min_length=1, max_length=200, description="The problem in a few words")
    description: str = Field(default="", max_length=10_000, description="What a colleague must know to solve it")
    priority: Priority = "normal"
    escalate: bool = Field(default=False, description="True when the customer asks for a person, or is upset")
    customer_name: str = Field(default="", max_length=200)
    customer_email: str = Field(default="", max_length=320)


class ChangeTicket(Form):
    ticket_id: int = Field(ge=1, le=2**31)
    priority: Priority | None = None
    status: Status | None = None
    note: str = Field(default="", max_length=2000, description="What is new")


class Nothing(Form):
    pass


class Tickets(Desk):
    kind = "ticket"
    plural = "tickets"
    initial = "open"
    moves: ClassVar = {
        "open": frozenset({"in_progress", "escalated", "resolved"}),
        "in_progress": frozenset({"open", "escalated", "resolved"}),
        "escalated": frozenset({"in_progress", "resolved"}),
        "resolved": frozenset({"open"}),
    }
    filters = ("priority", "assignee", "customer_email")
    create_form = CreateTicket
    patch_form = PatchTicket
    instructions = (
        "Support tickets: open one with open_ticket when you cannot solve a problem, when the customer asks for it or "
        "for a person, or is upset, and tell the customer its number. Use change_ticket for what comes later."
    )

    def completed(self, status: str, values: Mapping[str, Any], record: Record | None = None) -> dict[str, Any]:
        completed = {name: value for name, value in values.items() if value is not None}
        if status == "escalated" and not (record and record.fields.get("escalation_reason")):
            completed["escalation_reason"] = completed.get("escalation_reason") or "escalated by staff"
        return completed

    # --- when a conversation goes to a person ---

    def escalation_reason(self, message: str) -> str | None:
        """Why a person must see this message, none where the assistant may go on alone."""
        if _HUMAN.search(message):
            return "the customer asked for a person"
        if _ANGER.search(message) or _is_shouting(message):
            return "the customer is upset"
        if _URGENT.search(message):
            return "the customer says that it is urgent"
        held = set(content_words(message))
        for rule in self.rules:
            if rule.strip().lower().startswith("escalate") and _applies(rule, held):
                return f"rule: {rule}"[:500]
        return None

    def reply(self, turn: Turn, hits: Sequence[Hit]) -> DeskReply | None:
        if _STATE_ASKED.search(turn.message):
            return self._states(turn)
        reason = self.escalation_reason(turn.message)
        is_asked = bool(_ASKED.search(turn.message))
        if reason is None and not is_asked:
            if reply := self._address_for_ticket(turn):
                return reply
            reason = self._after_misses(turn, hits)
        if reason is None and not is_asked:
            return None
        ticket = self.open_for(turn, reason)
        text = f"{_opening(ticket)} {_ending(ticket)}"
        return DeskReply(text=text, records=(ticket,), replaces_answer=not hits)

    def after(self, turn: Turn, touched: Sequence[View]) -> DeskReply | None:
        """That a person is called in does not depend on the model."""
        reason = self.escalation_reason(turn.message)
        if reason is None or any(ticket["status"] == "escalated" for ticket in touched):
            return None
        ticket = self.open_for(turn, reason)
        return DeskReply(text=f"{_opening(ticket)}", records=(ticket,), replaces_answer=False)

    def _address_for_ticket(self, turn: Turn) -> DeskReply | None:
        """The answer to "At which email address can we reach you?"."""
        email = _EMAIL.search(turn.message)
        ticket = self.open_record(turn.session_id, frozenset({"resolved"})) if email else None
        if email is None or ticket is None or ticket.get("customer_email"):
            return None
        ticket = self.patch(ticket["id"], PatchTicket(customer_email=email[0][:320]))
        return DeskReply(text=f"Thank you. We will write to {email[0]} about ticket {ticket['id']}.", records=(ticket,))

    def _after_misses(self, turn: Turn, hits: Sequence[Hit]) -> str | None:
        if is_greeting(turn.message) or is_thanks(turn.message):
            return None
        misses = self.store.count_miss(turn.session_id, is_miss=not hits)
        return f"no answer was found {misses} times in a row" if misses >= MISSES_BEFORE_ESCALATION else None

    def open_for(self, turn: Turn, reason: str | None) -> View:
        """The conversation's ticket: the one that is open, with this message added, or a new one."""
        priority = priority_of(turn.message, reason)
        ticket = self.open_record(turn.session_id, frozenset({"resolved"}))
        if ticket is None:
            return self.create(_ticket_from(turn, priority, reason), turn.session_id)
        return self._add(ticket, turn, priority, reason)

    def _add(self, ticket: View, turn: Turn, priority: Priority, reason: str | None) -> View:
        values: dict[str, Any] = {
            "description": f"{ticket.get('description', '')}\n\n{turn.message}".strip()[-10_000:],
            "priority": max(priority, ticket.get("priority", "normal"), key=_LEVELS.index),
        }
        if reason:
            values |= {"escalation_reason": reason}
            if ticket["status"] != "escalated":
                values |= {"status": "escalated"}
        return self.patch(ticket["id"], PatchTicket(**values))

    def _states(self, turn: Turn) -> DeskReply:
        """Only of the conversation's own tickets: a number alone opens nobody else's."""
        tickets = self.mine(turn.session_id)
        if not tickets:
            return DeskReply(
                text="There is no ticket from this conversation. Tell me your problem and I will open one."
            )
        lines = [
            f"Ticket {ticket['id']} ({ticket.get('subject', '')}): {_said(ticket['status'])}." for ticket in tickets
        ]
        return DeskReply(text="\n".join(lines))

    # --- for the language model ---

    def tools(self, turn: Turn, touched: list[View]) -> list[Tool]:
        def open_ticket(form: OpenTicket) -> View:
            given = form.model_dump()
            reason = self.escalation_reason(turn.message) or (
                "the assistant escalated it" if given.pop("escalate") else None
            )
            given.pop("escalate", None)
            given |= {"status": "escalated", "escalation_reason": reason} if reason else {}
            touched.append(self.create(CreateTicket(**given), turn.session_id))
            return touched[-1]

        def change_ticket(form: ChangeTicket) -> View:
            values = form.model_dump(exclude={"ticket_id", "note"}, exclude_none=True)
            if form.note:
                values["description"] = f"{self.get(form.ticket_id).get('description', '')}\n\n{form.note}"[-10_000:]
            touched.append(self.patch(form.ticket_id, PatchTicket(**values), turn.session_id))
            return touched[-1]

        return [
            self.tool("open_ticket", "Open a support ticket", OpenTicket, open_ticket),
            self.tool("change_ticket", "Change a ticket of this conversation", ChangeTicket, change_ticket),
            self.tool(
                "list_tickets", "The tickets of this conversation", Nothing, lambda _: self.mine(turn.session_id)
            ),
        ]


def priority_of(message: str, reason: str | None) -> Priority:
    if _URGENT.search(message):
        return "urgent"
    return "high" if reason else "normal"


def _applies(rule: str, held: set[str]) -> bool:
    """A rule's words, but for "escalate" itself, stand in the message."""
    wanted = [word for word in dict.fromkeys(content_words(rule)) if not word.startswith("escalat")]
    return bool(wanted) and sum(word in held for word in wanted) / len(wanted) >= RULE_SHARE


def _is_shouting(message: str) -> bool:
    letters = [character for character in message if character.isalpha()]
    is_loud = len(letters) >= 12 and sum(character.isupper() for character in letters) / len(letters) > 0.8
    return is_loud or "!!!" in message


def _ticket_from(turn: Turn, priority: Priority, reason: str | None) -> CreateTicket:
    said = [item["content"] for item in turn.history if item["role"] == "user"][-3:]
    email = _EMAIL.search("\n".join([turn.message, *reversed(said)]))
    return CreateTicket(
        subject=_subject(said, turn.message),
        description="\n\n".join([*said, turn.message])[-10_000:],
        priority=priority,
        status="escalated" if reason else "open",
        customer_email=email[0][:320] if email else "",
        escalation_reason=reason or "",
    )


def _subject(said: Sequence[str], message: str) -> str:
    """ "Give me a person" says nothing about the problem; what was said before it does."""
    is_call = _HUMAN.search(message) or _ASKED.search(message)
    text = said[-1] if said and is_call and len(message) < 80 else message
    line = " ".join(text.split())
    return line if len(line) <= 120 else f"{line[:117]}..."


def _opening(ticket: View) -> str:
    if ticket["status"] == "escalated":
        return f"I have passed this on to a colleague: ticket {ticket['id']}, priority {ticket['priority']}."
    return f"I have opened ticket {ticket['id']} for you, priority {ticket['priority']}."


def _ending(ticket: View) -> str:
    if ticket.get("customer_email"):
        return f"We will write to {ticket['customer_email']}."
    return "At which email address can we reach you?"


def _said(status: str) -> str:
    return status.replace("_", " ")
