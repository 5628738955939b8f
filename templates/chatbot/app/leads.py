"""Sales: leads that a conversation fills in, scored by budget, authority, need and timeline."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from app.desk import Desk, DeskReply, Form, Turn, View
from app.knowledge import Hit
from app.records import Record
from app.tools import Tool

Stage = Literal["new", "contacted", "qualified", "won", "lost"]

WEIGHTS = {"budget": 25, "need": 20, "timeline": 20, "authority": 15, "email": 10, "phone": 5, "company": 5}
"""What each known fact adds to a lead's score; 100 in all."""
QUALIFIED_SCORE = 60
CLOSED = frozenset({"won", "lost"})

QUESTIONS = {
    "need": "What are you looking for?",
    "budget": "What budget do you have in mind?",
    "timeline": "When would you like to start?",
    "authority": "Who decides on it at your side?",
    "company": "Which company are you from?",
    "name": "May I ask your name?",
    "email": "At which email address can we reach you?",
}
"""Asked one a message, in this order."""

_TEXT = {name: Field(default="", max_length=500) for name in ("company", "budget", "timeline", "authority")}

_INTEREST = re.compile(
    r"\b(?:buy|purchase|order|pric(?:e|es|ing)|quote|offer|cost|demo|trial|subscri\w+|licen[cs]e|plan|sales|interested"
    r"|budget|contract|upgrade|seats?)\b",
    re.IGNORECASE,
)
_MONEY = r"(?:[$€£]\s?\d[\d.,]*\s?[km]?|\d[\d.,]*\s?[km]?\s?(?:dollars?|euros?|pounds?|usd|eur|gbp|chf|[$€£]))"
_PATTERNS = {
    "email": re.compile(r"(?P<value>[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+)"),
    "phone": re.compile(r"(?<![\w.])(?P<value>\+\d[\d ()/-]{6,18}\d|\b0\d{1,4}[ /-]\d[\d ()/-]{4,14}\d)"),
    "budget": re.compile(
        rf"(?P<value>{_MONEY}(?:\s?(?:a|per)\s(?:month|year|seat|user))?)"
        r"|budget\s+(?:is|of|:)?\s*(?:about|around|up to)?\s*(?P<other>"
        rf"{_MONEY}|\d[\d.,]*\s?[km]?)",
        re.IGNORECASE,
    ),
    "timeline": re.compile(
        r"\b(?P<value>(?:in|within)\s+(?:the\s+next\s+)?(?:\d+|a|one|two|three|four|five|six)"
        r"\s+(?:days?|weeks?|months?|years?)"
        r"|(?:this|next)\s+(?:week|month|quarter|year)|by\s+(?:the\s+end\s+of\s+)?(?:january|february|march|april|may|june|july"
        r"|august|september|october|november|december|q[1-4]|summer|autumn|winter|spring|next\s+\w+|the\s+year)|asap"
        r"|as soon as possible|immediately|tomorrow|q[1-4](?:\s+20\d\d)?)\b",
        re.IGNORECASE,
    ),
    "authority": re.compile(
        r"\b(?:I am|I'm|I\u2019m|as)\s+(?:the|a|our)?\s*(?P<value>ceo|cto|cfo|coo|cio|founder|co-founder|owner|director"
        r"|managing director|head of [\w ]{2,30}|vp(?: of [\w ]{2,30})?|manager|decision maker)\b"
        r"|(?P<other>I (?:can )?decide)",
        re.IGNORECASE,
    ),
    "company": re.compile(
        r"\b(?:[Cc]ompany (?:is|name is)|[Ww]ork (?:for|at)|[Ff]rom|[Hh]ere at|[Bb]ehalf of)\s+"
        r"(?P<value>[A-Z0-9][\w&.-]*(?:\s+(?:[A-Z][\w&.-]*|&|GmbH|AG|Inc|Ltd|LLC))*)"
    ),
    "name": re.compile(
        r"\b(?:[Mm]y name is|[Mm]y name\u2019s|[Nn]ame:|[Tt]his is|I am|I'm|I\u2019m|[Cc]all me)\s+"
        r"(?P<value>[A-Z\u00c0-\u00de][\w'\u2019-]+(?:\s+[A-Z\u00c0-\u00de][\w'\u2019-]+){0,3})"
    ),
    "need": re.compile(
        r"\b(?:need|looking for|look for|searching for|want|would like|interested in|require)\s+"
        r"(?P<value>[^.?!\n]{3,160})",
        re.IGNORECASE,
    ),
}
_TITLES = re.compile(r"^(?:CEO|CTO|CFO|COO|CIO|VP|Head|Director|Owner|Founder|Interested|Looking)\b", re.IGNORECASE)


class CreateLead(Form):
    name: str = Field(default="", max_length=200)
    email: str = Field(default="", max_length=320, pattern=r"^$|^[^@\s]+@[^@\s]+\.[^@\s]+$")
    phone: str = Field(default="", max_length=40)
    company: str = _TEXT["company"]
    need: str = Field(default="", max_length=2000)
    budget: str = _TEXT["budget"]
    timeline: str = _TEXT["timeline"]
    authority: str = _TEXT["authority"]
    notes: str = Field(default="", max_length=10_000)
    assignee: str = Field(default="", max_length=200)
    stage: Stage | None = None


class PatchLead(CreateLead):
    """The same members; those that are not given stay as they are."""


class SaveLead(Form):
    """What the language model gives: everything that it learned of the visitor."""

    name: str = Field(default="", max_length=200)
    email: str = Field(default="", max_length=320)
    phone: str = Field(default="", max_length=40)
    company: str = _TEXT["company"]
    need: str = Field(default="", max_length=2000, description="What they want to solve or buy")
    budget: str = Field(default="", max_length=500, description="Amount and currency, as they said it")
    timeline: str = _TEXT["timeline"]
    authority: str = Field(default="", max_length=500, description="Who decides, or their role")
    notes: str = Field(default="", max_length=2000)


class Leads(Desk):
    kind = "lead"
    plural = "leads"
    state = "stage"
    initial = "new"
    moves: ClassVar = {
        "new": frozenset({"contacted", "qualified", "lost"}),
        "contacted": frozenset({"qualified", "lost"}),
        "qualified": frozenset({"contacted", "won", "lost"}),
        "won": frozenset(),
        "lost": frozenset({"contacted"}),
    }
    filters = ("email", "company", "assignee")
    create_form = CreateLead
    patch_form = PatchLead
    instructions = (
        "Leads: whenever the visitor tells who they are, what they need, their budget, their timeline or who decides, "
        "save it with save_lead at once. Ask for what is missing, one thing a message."
    )

    def completed(self, status: str, values: Mapping[str, Any], record: Record | None = None) -> dict[str, Any]:
        known = {**(record.fields if record else {}), **values}
        return {**values, "score": score(known)}

    def create(self, form: Form, session_id: str = "") -> View:
        lead = super().create(form, session_id)
        return self._qualified(lead) if getattr(form, "stage", None) is None else lead

    def view(self, record: Record) -> View:
        view = super().view(record)
        return {**view, "score": score(view), "missing": [name for name in QUESTIONS if not view.get(name)]}

    def learn(self, facts: Mapping[str, str], session_id: str) -> View:
        """Adds facts to the conversation's open lead, or makes one.

        Never to another conversation's lead of the same email address: whoever types an address would then read what
        its owner said.
        """
        lead = self.open_record(session_id, CLOSED)
        if lead is None:
            return self.create(CreateLead.model_validate(facts), session_id)
        news = {name: value for name, value in facts.items() if value and value != lead.get(name)}
        return self._qualified(self.patch(lead["id"], PatchLead.model_validate(news))) if news else lead

    def _qualified(self, lead: View) -> View:
        """A lead that can be reached and says enough is qualified by itself."""
        can_be_reached = lead.get("email") or lead.get("phone")
        if lead["stage"] in {"new", "contacted"} and lead["score"] >= QUALIFIED_SCORE and can_be_reached:
            return self.patch(lead["id"], PatchLead(stage="qualified"))
        return lead

    # --- conversations ---

    def reply(self, turn: Turn, hits: Sequence[Hit]) -> DeskReply | None:
        lead = self._learn_from(turn)
        if lead is None:
            return None
        missing = [name for name in QUESTIONS if not lead.get(name)]
        if missing:
            return DeskReply(text=QUESTIONS[missing[0]], records=(lead,), replaces_answer=False)
        return DeskReply(
            text=f"Thank you, {lead['name']}. A colleague will write to {lead['email']}.",
            records=(lead,),
            replaces_answer=False,
        )

    def after(self, turn: Turn, touched: Sequence[View]) -> DeskReply | None:
        """An email address or a budget is kept even where the model forgot to."""
        lead = self._learn_from(turn)
        return DeskReply(text="", records=(lead,), replaces_answer=False) if lead else None

    def _learn_from(self, turn: Turn) -> View | None:
        facts = facts_in(turn.message, _asked_for(turn))
        lead = self.open_record(turn.session_id, CLOSED)
        is_lead = lead is not None or bool(facts.keys() - {"name", "need"}) or bool(_INTEREST.search(turn.message))
        return self.learn(facts, turn.session_id) if is_lead else None

    def tools(self, turn: Turn, touched: list[View]) -> list[Tool]:
        def save_lead(form: SaveLead) -> View:
            touched.append(self.learn(form.model_dump(exclude_defaults=True), turn.session_id))
            return touched[-1]

        return [
            self.tool("save_lead", "Save what is known of this visitor; again when more is known", SaveLead, save_lead)
        ]


def score(facts: Mapping[str, Any]) -> int:
    """0 to 100."""
    return sum(weight for name, weight in WEIGHTS.items() if facts.get(name))


def facts_in(message: str, asked: str | None = None) -> dict[str, str]:
    """What a message says of its writer. `asked`: the fact that was asked for just before; a short answer is that."""
    facts = {}
    for name, pattern in _PATTERNS.items():
        match = pattern.search(message)
        value = next((part for part in match.groupdict().values() if part), "") if match else ""
        if value and not (name == "name" and _TITLES.match(value)):
            facts[name] = " ".join(value.split()).rstrip(".,;")[:300]
    is_answer = asked not in {None, "email"} and not facts.keys() - {"need"} and "?" not in message
    if asked and is_answer and asked not in facts and len(message) <= 200:
        facts[asked] = " ".join(message.split()).rstrip(".")
    return facts


def _asked_for(turn: Turn) -> str | None:
    """Which of the questions ends the assistant's last message."""
    last = next((item["content"] for item in reversed(turn.history) if item["role"] == "assistant"), "")
    return next((name for name, question in QUESTIONS.items() if last.rstrip().endswith(question)), None)
