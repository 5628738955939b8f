"""Templates: where they are, what they ask for, and whether what they are given fits.

A template is a folder with `template.yaml`: name, title, description, `variables` (a JSON Schema) and `tests`.
The built-in ones are part of Dockwright; an operator adds others in `BUILD_TEMPLATE_DIR`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dockwright.domain.source import SmokeTest
from dockwright.errors import Conflict, InvalidTemplate, UnknownTemplate
from dockwright.settings import Settings

FILE_NAME = "template.yaml"
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateTest:
    """A smoke test, and the variables it is meant for."""

    test: SmokeTest
    when: Mapping[str, Any]
    """Top-level variables with the values that they must have; empty for always."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    name: str
    title: str
    description: str
    schema: Mapping[str, Any]
    """JSON Schema, draft 2020-12, of an object: one property a variable."""
    root: Path
    tests: tuple[TemplateTest, ...] = ()

    def smoke_tests(self, variables: Mapping[str, Any]) -> tuple[SmokeTest, ...]:
        """Those that fit checked `variables`."""
        return tuple(
            item.test for item in self.tests if all(variables.get(name) == value for name, value in item.when.items())
        )


def built_in_dir() -> Path:
    """`templates` of a checkout, or the copy that an installed wheel carries."""
    package = Path(__file__).resolve().parent.parent
    packed = package / "_templates"
    return packed if packed.is_dir() else package.parent / "templates"


def list_templates(settings: Settings) -> list[Template]:
    """All templates, by name. Raises `Conflict` for two of one name and `InvalidTemplate` for one that is broken."""
    return [read_template(root) for _, root in sorted(_roots(settings).items())]


def load_template(name: str, settings: Settings) -> Template:
    """Raises `UnknownTemplate`, with those there are, `Conflict` and `InvalidTemplate`."""
    roots = _roots(settings)
    if name not in roots:
        near = difflib.get_close_matches(name, roots, 1)
        hint = f'; did you mean "{near[0]}"?' if near else ""
        raise UnknownTemplate(
            f'There is no template "{name}"{hint}',
            remedy=f"Use one of: {', '.join(sorted(roots))}; or add yours to {settings.template_dir}",
        )
    return read_template(roots[name])


def _roots(settings: Settings) -> dict[str, Path]:
    """Only folders that were found are ever opened, so a name cannot lead out of the template folders."""
    roots = dict(_folders(built_in_dir()))
    for name, root in _folders(settings.template_dir):
        if name in roots:
            raise Conflict(
                f"The template in {root} has the name of a built-in one",
                remedy=f'Give the folder, and the "name" in its {FILE_NAME}, a name of its own',
            )
        roots[name] = root
    return roots


def _folders(parent: Path) -> Iterator[tuple[str, Path]]:
    if parent.is_dir():
        for root in parent.iterdir():
            if (root / FILE_NAME).is_file():
                yield root.name, root


def read_template(root: Path) -> Template:
    """Reads and checks `template.yaml`. Raises `InvalidTemplate` saying what is wrong with it."""
    file = root / FILE_NAME
    document = _read_yaml(file)
    unknown = sorted(map(str, set(document) - {"name", "title", "description", "variables", "tests"}))
    if unknown:
        raise _invalid(file, f"{unknown[0]!r} is not known there")
    name = _text(document, "name", file)
    if name != root.name or not _NAME.fullmatch(name):
        raise _invalid(file, f"its name {name!r} must be that of its folder, in small letters, digits and hyphens")
    return Template(
        name=name,
        title=_text(document, "title", file),
        description=_text(document, "description", file),
        schema=_schema(document.get("variables", {"type": "object"}), file),
        root=root,
        tests=tuple(_test(item, file) for item in document.get("tests") or ()),
    )


def _read_yaml(file: Path) -> dict[str, Any]:
    import yaml

    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise _invalid(file, f"it cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _invalid(file, " ".join(str(error).split())) from error
    if not isinstance(document, dict):
        raise _invalid(file, "it must be a mapping")
    return document


def _text(document: Mapping[str, Any], key: str, file: Path) -> str:
    value = document.get(key)
    if not isinstance(value, str) or not value.strip():
        raise _invalid(file, f"{key!r} must be there, as text")
    return value.strip()


def _schema(schema: Any, file: Path) -> Mapping[str, Any]:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise _invalid(file, f"its variables are not a JSON Schema: {error.message}") from error
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise _invalid(file, "its variables must be a JSON Schema of type object")
    return schema


def _test(item: Any, file: Path) -> TemplateTest:
    known = {field.name for field in fields(SmokeTest)}
    if not isinstance(item, dict) or not isinstance(item.get("name"), str) or not isinstance(item.get("path"), str):
        raise _invalid(file, "each of its tests must be a mapping with a name and a path")
    when = item.get("when", {})
    values = {key: value for key, value in item.items() if key != "when"}
    unknown = sorted(set(values) - known)
    if unknown or not isinstance(when, dict):
        raise _invalid(file, f"its test {item['name']!r}: {unknown[0] if unknown else 'when'!r} is not known there")
    values["contains"] = tuple(values.get("contains", ()))
    return TemplateTest(test=SmokeTest(**values), when=when)


def _invalid(file: Path, cause: str) -> InvalidTemplate:
    return InvalidTemplate(f"The template {file.parent.name!r} is broken: {cause}", remedy=f"Correct {file}")
