"""How a time and a text are stored, so that both databases take them and give them back alike."""

from __future__ import annotations

import time


def timestamp(at: float) -> str:
    """The form in which SQLAlchemy keeps a time in SQLite, in UTC."""
    whole, fraction = divmod(at, 1)
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(whole)) + f".{int(fraction * 1e6):06d}"


def storable(text: str) -> str:
    """A file's name, or a line of a Dockerfile, need not be UTF-8, and may hold NUL; what is stored must not."""
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
