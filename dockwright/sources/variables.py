"""A template's variables: checked against its schema, completed from its defaults, read from `--set` options."""

from __future__ import annotations

import copy
import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockwright.errors import InvalidVariable, PathNotFound
from dockwright.sources.template import Template

if TYPE_CHECKING:
    from jsonschema import FormatChecker
    from jsonschema.exceptions import ValidationError

_WORDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
}


def check_variables(template: Template, variables: Mapping[str, Any]) -> dict[str, Any]:
    """The variables with defaults filled in. Raises `InvalidVariable` naming the first that is wrong by its path."""
    from jsonschema import Draft202012Validator

    filled: dict[str, Any] = _with_defaults(template.schema, copy.deepcopy(dict(variables)))
    for path, text in _texts(filled, ()):
        _check_text(template, path, text)
    validator = Draft202012Validator(dict(template.schema), format_checker=_formats())
    errors = sorted(validator.iter_errors(filled), key=_place)
    if errors:
        raise _explained(template, errors[0])
    return filled


def _place(error: ValidationError) -> list[str]:
    """Sorts the entries of a list by their number."""
    return [f"{part:09}" if isinstance(part, int) else part for part in error.absolute_path]


def _with_defaults(schema: Mapping[str, Any], value: Any) -> Any:
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        return [_with_defaults(schema["items"], item) for item in value]
    if not isinstance(value, dict):
        return value
    for name, inner in schema.get("properties", {}).items():
        if name not in value and "default" in inner:
            value[name] = copy.deepcopy(inner["default"])
        if name in value:
            value[name] = _with_defaults(inner, value[name])
    return value


def _texts(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, (*path, str(key)))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, (*path, index))


def _check_text(template: Template, path: Sequence[str | int], text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _wrong(template, path, "holds half of a character (a lone surrogate)") from error


def _formats() -> FormatChecker:
    """Formats of our own, which a template's schema may name."""
    from jsonschema import FormatChecker

    from dockwright.insight.literals import canonical_requirement

    checker = FormatChecker(formats=())

    @checker.checks("requirement", raises=ValueError)
    def is_requirement(value: object) -> bool:
        return not isinstance(value, str) or bool(canonical_requirement(value))

    @checker.checks("http-url", raises=ValueError)
    def is_http_url(value: object) -> bool:
        return not isinstance(value, str) or bool(re.fullmatch(r"https?://[^\s/?#@\\]+([/?#][^\s\\]*)?", value))

    return checker


def _explained(template: Template, error: ValidationError) -> InvalidVariable:
    path = list(error.absolute_path)
    wanted: Any = error.validator_value
    schema: Any = error.schema
    instance: Any = error.instance
    if error.validator == "required":
        missing = next(name for name in wanted if name not in instance)
        return _wrong(template, [*path, missing], "is missing")
    if error.validator == "additionalProperties":
        known = list(schema.get("properties", {}))
        return _unknown(path, next(iter(sorted(str(name) for name in instance if name not in known))), known)
    return _wrong(template, path, _complaint(error))


def _complaint(error: ValidationError) -> str:  # noqa: PLR0911 - a table of sentences
    """What is wrong with a value, without the value itself: it may be long, or nobody else's business."""
    wanted: Any = error.validator_value
    schema: Any = error.schema
    instance: Any = error.instance
    match error.validator:
        case "type":
            words = [_WORDS[name] for name in ([wanted] if isinstance(wanted, str) else wanted)]
            return f"must be {' or '.join(words)}, is {_kind(error.instance)}"
        case "enum":
            return f"must be one of {', '.join(map(str, wanted))}"
        case "minLength" | "minItems":
            return f"must have at least {wanted} {_units(instance)}, has {len(instance)}"
        case "maxLength" | "maxItems":
            return f"must have at most {wanted} {_units(instance)}, has {len(instance)}"
        case "format" if isinstance(error.cause, ValueError):
            return str(error.cause).replace("\n", " ")
        case "pattern" | "format":
            return f"does not have the right form: {schema.get('description', wanted)}"
        case _:
            return error.message


def _units(value: Any) -> str:
    return "characters" if isinstance(value, str) else "entries"


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    kinds = ((bool, "true or false"), (int | float, "a number"), (str, "text"), (list, "a list"), (dict, "a mapping"))
    return next((word for kind, word in kinds if isinstance(value, kind)), f"a {type(value).__name__}")


def _wrong(template: Template, path: Sequence[str | int], complaint: str) -> InvalidVariable:
    name = shown_path(path)
    return InvalidVariable(
        f"{name}: {complaint}" if name else f"The variables: {complaint}",
        remedy=f'Correct it; the variables of the template "{template.name}" are {", ".join(_known(template))}',
    )


def _unknown(path: Sequence[str | int], name: str, known: Sequence[str]) -> InvalidVariable:
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {shown_path([*path, near[0]])}?" if near else "there is no such variable"
    return InvalidVariable(
        f"{shown_path([*path, name])}: {hint}", remedy=f"Use one of: {', '.join(known)}" if known else "Leave it out"
    )


def shown_path(path: Iterable[str | int]) -> str:
    """`training_data[2].answer`"""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _known(template: Template) -> list[str]:
    return list(template.schema.get("properties", {}))


# --- `--set name=value` -----------------------------------------------------------------------------------------


def assign(
    template: Template, assignments: Iterable[str], variables: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """`variables` with `--set` options put in, in their order; not yet checked.

    An option is `personality.tone=warm`, `business_rules=["Be brief"]` or `training_data=@file.json` (or `.yaml`).
    What the schema says is text stays as it is typed; lists, mappings, numbers and booleans are JSON.
    Raises `InvalidVariable` naming the variable, and `PathNotFound` for a file.
    """
    result = copy.deepcopy(dict(variables or {}))
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name.strip():
            raise InvalidVariable(f"{assignment!r} is not name=value", remedy="Write --set personality.tone=warm")
        path = name.strip().split(".")
        _put(result, path, _value(path, _schema_at(template, path), text))
    return result


def _schema_at(template: Template, path: Sequence[str]) -> Mapping[str, Any]:
    schema = template.schema
    for depth, name in enumerate(path):
        known = schema.get("properties", {})
        if name not in known:
            raise _unknown(path[:depth], name, list(known))
        schema = known[name]
    return schema


def _value(path: Sequence[str], schema: Mapping[str, Any], text: str) -> Any:
    kind = schema.get("type", "string")
    if kind == "string":
        return text
    if text.startswith("@"):
        return read_values(Path(text[1:]))
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidVariable(
            f"{shown_path(path)}: must be {_WORDS.get(str(kind), kind)} written as JSON ({error.msg})",
            remedy=f"Write it as JSON in quotes, or name a file: --set {shown_path(path)}=@file.json",
        ) from error


def read_values(file: Path) -> Any:
    """The content of a JSON or YAML file. Raises `PathNotFound` and `InvalidVariable`."""
    import yaml

    try:
        text = file.read_text(encoding="utf-8")
        return json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise PathNotFound(
            f"{file} cannot be read: {error.strerror}", remedy="Name a file of values that is there"
        ) from error
    except (ValueError, yaml.YAMLError) as error:
        cause = " ".join(str(error).split())
        raise InvalidVariable(f"{file} is neither JSON nor YAML: {cause}", remedy="Correct the file") from error


def _put(variables: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for depth, name in enumerate(path[:-1], 1):
        variables = variables.setdefault(name, {})
        if not isinstance(variables, dict):
            raise InvalidVariable(f"{shown_path(path[:depth])}: is not a mapping", remedy="Set it as a whole")
    variables[path[-1]] = value
