"""Passwords: Argon2 hashes, checked in the same time whether there is such a user or not."""

from __future__ import annotations

import threading
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from dockwright.errors import UsageError

MIN_LENGTH = 10
MAX_LENGTH = 1024
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
"""19 MB a check, as OWASP has it for Argon2id: many sign-ins at once must not take the memory that builds need."""
_TURNS = threading.BoundedSemaphore(4)


def check(password: str) -> None:
    """Raises `UsageError`, without the password in it, for one that is too short or too long."""
    if len(password) < MIN_LENGTH:
        raise UsageError("The password is too short", remedy=f"Use at least {MIN_LENGTH} characters")
    if len(password) > MAX_LENGTH:
        raise UsageError("The password is too long", remedy=f"Use at most {MAX_LENGTH} characters")


def hash_of(password: str) -> str:
    """Raises as `check` does."""
    check(password)
    with _TURNS:
        return _HASHER.hash(_bytes(password))


def is_right(password: str, password_hash: str | None) -> bool:
    """`password_hash` is none where there is no such user: the time it takes tells nothing of that."""
    with _TURNS:
        try:
            _HASHER.verify(password_hash or _nobodys(), _bytes(password[: MAX_LENGTH + 1]))
        except (VerifyMismatchError, InvalidHashError):
            return False
    return password_hash is not None


@cache
def _nobodys() -> str:
    return _HASHER.hash("nobody's password")


def _bytes(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")
