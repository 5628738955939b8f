"""What the language model may call: the desk's own tools, and the HTTP APIs of the project."""

import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

MAX_RESULT_CHARS = 8_000

Run = Callable[[dict[str, Any]], Awaitable[str]]


class ToolError(Exception):
    """The call cannot be done; the text tells the model why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    name: str
    description: str
    parameters: Mapping[str, Any]
    """JSON Schema of an object."""
    run: Run

    def as_message(self) -> dict[str, Any]:
        function = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": function}


async def call(tools: Mapping[str, Tool], name: str, arguments: str) -> str:
    """The tool's result as text for the model; what goes wrong is told in that text, so that it can correct itself."""
    tool = tools.get(name)
    if tool is None:
        return f"Error: there is no tool {name!r}"
    try:
        values = json.loads(arguments or "{}")
    except ValueError:
        return "Error: the arguments are not JSON"
    if not isinstance(values, dict):
        return "Error: the arguments must be a JSON object"
    try:
        result = await tool.run(values)
    except ToolError as error:
        return f"Error: {error}"
    except ValidationError as error:
        return f"Error: {complaint(error)}"
    return result if len(result) <= MAX_RESULT_CHARS else f"{result[:MAX_RESULT_CHARS]}\n(cut: it was longer)"


def complaint(error: ValidationError) -> str:
    """The first thing that is wrong, on one line."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'body'}: {first['msg']}"


def parameters_of(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema()
    return {key: value for key, value in schema.items() if key != "title"}


def unique_names(names: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """Names as the protocol allows them (letters, digits, `_` and `-`, at most 64), each one different."""
    used = set(taken)
    result = []
    for name in names:
        base = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_")[:56] or "endpoint"
        candidate, number = base, 2
        while candidate in used:
            candidate, number = f"{base}_{number}", number + 1
        used.add(candidate)
        result.append(candidate)
    return result
