"""Forms that several areas share."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

MAX_DEPTH = 50
NO_NUL = r"^[^\x00]*$"


class Asked(BaseModel):
    """A body: a field that is not known is a mistake, and a number is not a text."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Finding(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    where: str = Field(alias="in", description="`body`, `path`, `query` or `header`.")
    place: str = Field(description="The field, as `source.variables[2].name`; empty for the whole.")
    message: str
    type: str


class Problem(BaseModel):
    """RFC 9457. Match on `code`; read `detail` and `remedy`."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "urn:dockwright:not_found",
                "title": "Not found",
                "status": 404,
                "detail": "There is no build 12",
                "code": "not_found",
                "remedy": "See: GET /api/v1/builds",
            }
        }
    )

    type: str
    title: str
    status: int
    detail: str = Field(description="What happened, to what.")
    code: str = Field(description="Stable and unique.")
    remedy: str = Field(description="What to do.")
    stage: str | None = Field(default=None, description="Of a build or a deployment: where it failed.")
    step: str | None = None
    exit_code: int | None = Field(default=None, description="Of the step, or of the app that ended.")
    last_lines: list[str] | None = Field(default=None, description="What the step or the app said last.")
    errors: list[Finding] | None = Field(default=None, description="Of a request that is not in the right form.")


def _checked_json(value: dict[str, Any]) -> dict[str, Any]:
    """What JSON of a database can hold: no numbers beyond numbers, no halves of characters, no endless depth."""
    left: list[tuple[Any, int]] = [(value, 0)]
    while left:
        one, depth = left.pop()
        if depth > MAX_DEPTH:
            raise ValueError(f"is nested deeper than {MAX_DEPTH} levels")
        if isinstance(one, float) and not math.isfinite(one):
            raise ValueError("holds a number that is none")
        if isinstance(one, str) and _is_broken(one):
            raise ValueError("holds half of a character (a lone surrogate)")
        if isinstance(one, dict):
            left += [(part, depth + 1) for pair in one.items() for part in pair]
        elif isinstance(one, list):
            left += [(part, depth + 1) for part in one]
    return value


def _is_broken(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


JsonObject = Annotated[dict[str, Any], AfterValidator(_checked_json)]
Text = Annotated[str, StringConstraints(max_length=10_000, pattern=NO_NUL)]
Line = Annotated[str, StringConstraints(max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")]
Slug = Annotated[str, StringConstraints(max_length=40, pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
Port = Annotated[int, Field(ge=1, le=65535)]
Environment = Annotated[
    dict[
        Annotated[str, StringConstraints(max_length=200, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")],
        Annotated[str, StringConstraints(max_length=32_000, pattern=NO_NUL)],
    ],
    Field(max_length=200),
]
