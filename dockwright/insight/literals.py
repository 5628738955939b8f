"""User text as literals of the language of the file it is put into.

Every function takes plain values (text, numbers, booleans, none, lists, mappings) and returns a `Literal`: text that is
safe to print into a file of that language. The renderer prints nothing else, so a template that forgets its filter
fails instead of letting user text become code.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any


class Literal(str):
    """Text that was made by one of the functions below. Joining, slicing or changing it gives ordinary text again."""

    __slots__ = ()


def python(value: Any) -> Literal:
    """A Python expression in ASCII, one item a line, that evaluates to an equal value."""
    return Literal(_python(value, 0))


def _python(value: Any, depth: int) -> str:
    if value is None or isinstance(value, bool):
        return repr(value)
    if isinstance(value, int | float):
        return repr(_finite(value))
    if isinstance(value, str):
        return ascii(str(value))
    inner, outer = "    " * (depth + 1), "    " * depth
    if isinstance(value, Mapping):
        items = [f"{str(key)!a}: {_python(item, depth + 1)}" for key, item in value.items()]
        opening, closing = "{", "}"
    elif isinstance(value, list | tuple):
        items = [_python(item, depth + 1) for item in value]
        opening, closing = "[", "]"
    else:
        raise TypeError(f"a {type(value).__name__} has no literal")
    if not items:
        return opening + closing
    return opening + "\n" + "".join(f"{inner}{item},\n" for item in items) + outer + closing


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError(f"{number} has no literal")
    return number


def json_literal(value: Any) -> Literal:
    """JSON in ASCII; `<`, `>` and `&` are escaped too, so that it may stand inside a script element."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False)
    return Literal(re.sub("[<>&]", lambda match: f"\\u{ord(match[0]):04x}", text))


def yaml(value: Any) -> Literal:
    """A YAML flow value in ASCII. Not JSON: YAML reads an escaped surrogate pair as two characters."""
    return Literal(_yaml(value))


def compose(value: Any) -> Literal:
    """As `yaml`, for a compose file, in which `$` would start a variable."""
    return Literal(_yaml(value).replace("$", "$$"))


def _yaml(value: Any) -> str:
    if isinstance(value, str):
        return '"' + "".join(_yaml_character(character) for character in value) + '"'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_yaml(str(key))}: {_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_yaml(item) for item in value) + "]"
    return json.dumps(value, allow_nan=False)


def _yaml_character(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if " " <= character <= "~":
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def dockerfile(value: str) -> Literal:
    """A double-quoted word of LABEL or ENV. A Dockerfile has no escape for a line end: it becomes a space."""
    return Literal('"' + re.sub(r'(["\\$])', r"\\\1", _one_line(value)) + '"')


def nginx(value: str) -> Literal:
    """A double-quoted nginx parameter. nginx has no escape for `$`, which starts a variable: such text is refused."""
    if "$" in value:
        raise ValueError('nginx has no way to write "$"')
    return Literal('"' + re.sub(r'(["\\])', r"\\\1", _one_line(value)) + '"')


def requirement(value: str) -> Literal:
    """A line of requirements.txt: a package's name with its extras, versions and markers; no option, no address."""
    return Literal(canonical_requirement(value))


def canonical_requirement(value: str) -> str:
    """Raises `ValueError` saying what is wrong."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        parsed = Requirement(value)
    except InvalidRequirement as error:
        raise ValueError(f"{value!r} is not a package with an optional version, such as requests>=2.31") from error
    if parsed.url:
        raise ValueError(f"{value!r} names an address; only packages of the index are taken")
    return str(parsed)


def markdown(value: str) -> Literal:
    """Text within a paragraph or heading of Markdown."""
    return Literal(re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", _one_line(value)))


def comment(value: str) -> Literal:
    """The rest of a comment line, in quotes.

    The quotes keep `# escape=x` at the head of a Dockerfile from being a directive; the blank after "coding" keeps a
    line of Python from naming the file's encoding. Invisible characters, which can make a comment look like code in
    an editor, are dropped.
    """
    visible = "".join(character for character in _one_line(value) if unicodedata.category(character) != "Cf")
    return Literal('"' + re.sub("coding(?=[:=])", "coding ", visible) + '"')


def _one_line(value: str) -> str:
    """Control characters and every kind of line end as spaces."""
    if not isinstance(value, str):
        raise TypeError(f"a {type(value).__name__} is not text")
    return "".join(" " if unicodedata.category(character) in {"Cc", "Zl", "Zp"} else character for character in value)


FILTERS: Mapping[str, Callable[[Any], Literal]] = {
    "py": python,
    "json": json_literal,
    "yaml": yaml,
    "compose": compose,
    "dockerfile": dockerfile,
    "nginx": nginx,
    "requirement": requirement,
    "markdown": markdown,
    "comment": comment,
}

_LANGUAGES = (
    (r"(.*\.)?[Dd]ockerfile(\..*)?", ("dockerfile", "comment")),
    (r"(docker-)?compose(\..*)?\.ya?ml", ("compose", "comment")),
    (r".*\.py", ("py", "comment")),
    (r".*\.ya?ml", ("yaml", "comment")),
    (r".*\.(json|js)", ("json", "comment")),
    (r".*\.conf", ("nginx", "comment")),
    (r"requirements.*\.(txt|in)", ("requirement", "comment")),
    (r".*\.md", ("markdown",)),
)


def filters_for(file_name: str) -> Mapping[str, Callable[[Any], Literal]]:
    """The filters that suit a file, by its name without `.template`: a filter of another language is an error there.

    A file of a kind not known here gets all of them.
    """
    for pattern, names in _LANGUAGES:
        if re.fullmatch(pattern, file_name):
            return {name: FILTERS[name] for name in names}
    return FILTERS
