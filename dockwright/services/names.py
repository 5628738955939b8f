"""What a user may call a thing: its name, its slug or its number."""

from __future__ import annotations

MAX_DIGITS = 18
"""More than any row's number has, and what a database column still holds."""


def number_of(name: str) -> int | None:
    """The number that the name may be; none for a name of another kind."""
    return int(name) if name.isascii() and name.isdigit() and len(name) <= MAX_DIGITS else None
