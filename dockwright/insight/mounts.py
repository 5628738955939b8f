"""The `--mount` of a RUN: what it brings into the step from elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

_TYPES = ("bind", "cache", "tmpfs", "secret", "ssh")
_SHARING = ("shared", "private", "locked")
_SWITCHES = ("readonly", "ro", "readwrite", "rw", "required")
_KEYS = (*_SWITCHES, "type", "from", "source", "src", "target", "dst", "destination", "size", "id", "sharing")
_KEYS_OF_FILES = ("mode", "uid", "gid", "env")


@dataclass(frozen=True, slots=True)
class Mount:
    kind: str
    origin: str
    """Build target or image that it is mounted from; "" for the context, or where the kind has none."""
    source: str

    @property
    def takes_context(self) -> bool:
        return self.kind == "bind" and not self.origin


def parse_mount(value: str, expand: Callable[[str], str] | None = None) -> Mount:
    """Raises `ValueError` with the cause.

    `expand` puts variables in; without it, values that hold variables are not judged.
    """
    import csv

    fields: dict[str, str] = {}
    for field in next(csv.reader([value]), []):
        key, has_value, text = field.partition("=")
        key = key.lower()
        _check_field(key, text, bool(has_value), field)
        fields[key] = expand(text) if expand and key != "from" else text
    kind = fields.get("type", "bind").lower()
    if expand is not None or "$" not in kind:
        _check_choice("mount type", kind, _TYPES)
    if "$" not in fields.get("sharing", "$"):
        _check_choice("sharing value", fields["sharing"].lower(), _SHARING)
    return Mount(kind, fields.get("from", ""), fields.get("source", fields.get("src", "")))


def _check_field(key: str, text: str, has_value: bool, field: str) -> None:
    if key not in _KEYS and key not in _KEYS_OF_FILES:
        raise ValueError(f"unexpected key '{key}' in '{field}'")
    if not has_value and key not in _SWITCHES:
        raise ValueError(f"invalid field '{field}' must be a key=value pair")
    if key == "from" and "$" in text[:-1]:
        raise ValueError("'from' doesn't support variable expansion, define alias stage instead")


def _check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"unsupported {what} {value!r}; use one of {', '.join(choices)}")
