"""What fields of several routes are made of: each says in the OpenAPI document what the database can hold."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query
from pydantic import Field, SecretStr, StringConstraints

from dockwright.services.paging import MAX_LIMIT
from dockwright.services.passwords import MAX_LENGTH, MIN_LENGTH

MAX_ID = 2**31 - 1
"""What an id's column holds; a larger number is refused before PostgreSQL does it."""

_EMAIL = r"^[^@\s\x00-\x1f\x7f]{1,64}@[^@\s\x00-\x1f\x7f]+$"

RowId = Annotated[int, Path(ge=1, le=MAX_ID)]
Called = Annotated[
    str,
    Query(
        alias="name",
        min_length=1,
        max_length=512,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="What a person calls it: its name, its slug or its number.",
    ),
]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="How many at most.")]
Cursor = Annotated[
    str | None, Query(max_length=20, description="The next_cursor of the answer before.", examples=["120"])
]
Email = Annotated[
    str,
    StringConstraints(
        max_length=254,
        strip_whitespace=True,
        to_lower=True,
        pattern=r"^[^@\s\x00-\x1f\x7f]{1,64}@[^@\s\x00-\x1f\x7f]+$",
    ),
    Field(examples=["ada@example.com"]),
]
Name = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""A line of text that a person gave."""
Password = Annotated[SecretStr, Field(min_length=MIN_LENGTH, max_length=MAX_LENGTH)]
