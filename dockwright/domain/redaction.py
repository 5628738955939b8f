"""Takes the values of secrets out of whatever is stored or shown: as they are, and as common tools write them.

It guards against accidents: whoever writes the Dockerfile can disguise a value in ways that nobody foresees.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from dockwright.errors import DockwrightError

MIN_LENGTH = 4
"""Of a value: one that is shorter stands in half of all lines by chance."""
MAX_BYTES = 64_000
"""Of a value."""
WINDOW = 8
"""How many characters of an encoded value are enough to know it by: six bytes in base64, four in hexadecimal."""
OUR_WORDS = frozenset({"status", "state", "stage", "kind", "code", "stream", "digest", "service"})
"""Members of our documents that hold our own words alone: programs go by them, whatever a secret's value may be."""

_RUN = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}")
_TO_STANDARD = str.maketrans("-_", "+/")


class Redactor:
    """`redactor(text)` has `***NAME***` in place of each value.

    >>> Redactor({"KEY": "hunter2!"})("the key is hunter2!")
    'the key is ***KEY***'
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        self._forms = _forms(values)
        self._windows = {window: name for name, value in values.items() for window in _windows(value)}

    def __bool__(self) -> bool:
        return bool(self._forms)

    def __call__(self, text: str) -> str:
        if not self._forms:
            return text
        text = _RUN.sub(self._run, text)
        for form, mask in self._forms:
            if form in text:
                text = text.replace(form, mask)
        return text

    def is_in(self, text: str) -> bool:
        """Whether a value stands in it, as it is or written as a whole: for megabytes, in which it hardly ever does."""
        return any(form in text for form, _ in self._forms)

    def document(self, value: Any) -> Any:
        """The same for all that a JSON document says, except in our own words."""
        if not self._forms:
            return value
        if isinstance(value, str):
            return self(value)
        if isinstance(value, Mapping):
            return {name: one if name in OUR_WORDS else self.document(one) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.document(one) for one in value]
        return value

    def error(self, error: DockwrightError | None) -> None:
        """In place: it is told in many places."""
        if error is None or not self._forms:
            return
        error.message, error.remedy = self(error.message), self(error.remedy)
        error.args = (error.message,)
        error.step = None if error.step is None else self(error.step)
        error.last_lines = [self(line) for line in error.last_lines]

    def _run(self, found: re.Match[str]) -> str:
        """A whole run of encoded characters goes, where it holds a part of a value: tools break long ones up."""
        run = found[0]
        for text in {run.translate(_TO_STANDARD), run.lower()}:
            for start in range(len(text) - WINDOW + 1):
                if (name := self._windows.get(text[start : start + WINDOW])) is not None:
                    return _mask(name)
        return run


def _mask(name: str) -> str:
    return f"***{name}***"


def _forms(values: Mapping[str, str]) -> list[tuple[str, str]]:
    """(form, mask), the longest first: a value that holds another one goes as a whole."""
    masks: dict[str, str] = {}
    for name, value in values.items():
        for form in _forms_of(value):
            if len(form) >= MIN_LENGTH:
                masks.setdefault(form, _mask(name))
    return sorted(masks.items(), key=lambda item: (-len(item[0]), item[0]))


def _forms_of(value: str) -> Iterator[str]:
    # Loaded here: most builds have no secrets, and all load this module.
    import html
    import shlex
    from urllib.parse import quote, quote_plus

    for line in value.splitlines():  # each is a line of a log, too
        yield from (line.strip(), json.dumps(line.strip())[1:-1])
    for text in {value, value.strip()}:
        yield text
        yield from (quote(text), quote(text, safe=""), quote_plus(text), html.escape(text))
        yield from {re.sub("%[0-9A-F]{2}", lambda escape: escape[0].lower(), form) for form in (quote(text, safe=""),)}
        yield from (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
        yield shlex.quote(text).strip("'")
    for content in {_bytes(value), _bytes(value.strip()), _bytes(value) + b"\n"}:
        yield from (base64.b64encode(content).decode(), base64.urlsafe_b64encode(content).decode())
        yield from (base64.b64encode(content).decode().rstrip("="), content.hex(), content.hex().upper())
        yield from _cores(content)


def _windows(value: str) -> Iterator[str]:
    """Parts of what base64 and hexadecimal make of the value, wherever it stands in what was encoded."""
    content = _bytes(value)
    for core in _cores(content):
        yield from (core[start : start + WINDOW] for start in range(0, len(core) - WINDOW + 1, 4))
    digits = content.hex()
    yield from (digits[start : start + WINDOW] for start in range(0, len(digits) - WINDOW + 1, 2))


def _cores(content: bytes) -> Iterator[str]:
    """Its base64 behind 0, 1 and 2 bytes of something else, without the characters that others have a part in."""
    for before, mixed in ((0, 0), (1, 2), (2, 3)):
        encoded = base64.b64encode(b"\0" * before + content).decode().rstrip("=")
        yield encoded[mixed : len(encoded) - (1 if (before + len(content)) % 3 else 0)]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


NO_SECRETS = Redactor({})
