"""What this assistant is: the values of config/settings.py and config/prompts.py, frozen."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    question: str
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    name: str
    method: str
    url: str
    description: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assistant:
    project_id: int
    name: str
    description: str
    assistant_type: str
    tone: str
    style: str
    role: str
    """What the language model is told first."""
    business_rules: tuple[str, ...]
    training_data: tuple[Example, ...]
    endpoints: tuple[Endpoint, ...]
    environment_vars: tuple[str, ...]


def assistant_from(settings: ModuleType | Any, prompts: ModuleType | Any) -> Assistant:
    return Assistant(
        project_id=settings.PROJECT_ID,
        name=settings.CHATBOT_NAME,
        description=settings.CHATBOT_DESCRIPTION,
        assistant_type=settings.ASSISTANT_TYPE,
        tone=prompts.PERSONALITY_TONE,
        style=prompts.PERSONALITY_STYLE,
        role=prompts.SYSTEM_PROMPT or prompts.ROLE,
        business_rules=tuple(prompts.BUSINESS_RULES),
        training_data=tuple(Example(**item) for item in settings.TRAINING_DATA),
        endpoints=tuple(Endpoint(**item) for item in settings.API_ENDPOINTS),
        environment_vars=tuple(settings.ENVIRONMENT_VARS),
    )


def system_prompt(assistant: Assistant, facts: Sequence[Example], further: Sequence[str] = ()) -> str:
    """`facts`: the examples nearest to the question. `further`: instructions of the moment, a paragraph each."""
    parts = [assistant.role, f"Your name is {assistant.name}."]
    if assistant.description:
        parts.append(f"What you are for: {assistant.description}")
    if assistant.tone or assistant.style:
        parts.append(f"Your tone: {assistant.tone or 'neutral'}. Your style: {assistant.style or 'plain'}.")
    if assistant.business_rules:
        rules = "\n".join(f"{number}. {rule}" for number, rule in enumerate(assistant.business_rules, 1))
        parts.append(f"Rules that you always follow:\n{rules}")
    if facts:
        known = "\n\n".join(f"Q: {fact.question}\nA: {fact.answer}" for fact in facts)
        parts.append(f"What is known about this, and more certain than anything you remember:\n\n{known}")
    parts.append("When you do not know something, say so; never invent facts, prices, dates or promises.")
    return "\n\n".join([*parts, *further])
