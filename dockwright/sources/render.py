"""Renders a template's folder into a source tree: the same input gives the same bytes, modes and times."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from dockwright.errors import InvalidTemplate, InvalidVariable
from dockwright.insight.literals import Literal, filters_for
from dockwright.sources.template import FILE_NAME, Template

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

SUFFIX = ".template"
_CACHES = {"__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache"}
"""What tools leave behind when somebody works on a template."""

SECOND = 1_577_836_800
"""2020-01-01: every rendered file has this second; the nanoseconds follow its content."""


def template_names(variables: Mapping[str, Any], *, name: str, description: str, project_id: int) -> dict[str, Any]:
    """The names that templates see: every variable in capitals, and those of the project (CONTRACT, "Aliases")."""
    names = {key.upper(): value for key, value in variables.items()}
    personality = variables.get("personality")
    if isinstance(personality, Mapping):
        names["PERSONALITY_TONE"] = personality.get("tone", "")
        names["PERSONALITY_STYLE"] = personality.get("style", "")
        names["SYSTEM_PROMPT"] = personality.get("system_prompt", "")
    return {**names, "CHATBOT_NAME": name, "CHATBOT_DESCRIPTION": description, "PROJECT_ID": project_id}


def render_tree(template: Template, names: Mapping[str, Any], target: Path) -> int:
    """Renders into the empty folder `target` and returns the number of files.

    Files that end in `.template` go through Jinja2 and lose that ending; all others are copied byte for byte.
    Raises `InvalidTemplate`, or `InvalidVariable` where a value has no literal in the file's language.
    """
    made: dict[PurePosixPath, Path] = {}
    for file in _files(template):
        relative = PurePosixPath(file.relative_to(template.root).as_posix())
        output = relative.with_name(relative.name.removesuffix(SUFFIX))
        if output in made:
            raise _broken(template, relative, f"{output} is made twice")
        made[output] = file
    for output, file in sorted(made.items()):
        is_rendered = file.name.endswith(SUFFIX)
        content = _render(template, file, output, names) if is_rendered else file.read_bytes()
        _write(target, output, content, is_executable=bool(file.stat().st_mode & 0o100))
    _fix_folders(target)
    return len(made)


def _files(template: Template) -> Iterator[Path]:
    for path in sorted(template.root.rglob("*")):
        relative = path.relative_to(template.root)
        if _CACHES & set(relative.parts) or relative.as_posix() == FILE_NAME:
            continue
        if path.is_symlink():
            raise _broken(template, PurePosixPath(relative.as_posix()), "a link cannot be rendered")
        if path.is_file():
            yield path


def _render(template: Template, file: Path, output: PurePosixPath, names: Mapping[str, Any]) -> bytes:
    from jinja2 import TemplateError, TemplateSyntaxError, UndefinedError
    from jinja2.exceptions import SecurityError

    relative = PurePosixPath(file.relative_to(template.root).as_posix())
    try:
        text = _environment(output.name).from_string(file.read_text(encoding="utf-8")).render(names)
    except TemplateSyntaxError as error:
        raise _broken(template, relative, f"line {error.lineno}: {error.message}") from error
    except (UndefinedError, SecurityError, TemplateError, UnicodeDecodeError, TypeError) as error:
        raise _broken(template, relative, str(error)) from error
    except ValueError as error:
        raise InvalidVariable(
            f"A variable cannot be written into {output}: {error}", remedy="Change the text of that variable"
        ) from error
    return text.encode("utf-8")


def _environment(file_name: str) -> SandboxedEnvironment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        finalize=_only_literals,
        autoescape=False,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.clear()
    environment.filters.update({name: _defined(make) for name, make in filters_for(file_name).items()})
    return environment


def _defined(make: Callable[[Any], Literal]) -> Callable[[Any], Literal]:
    from jinja2 import Undefined

    def checked(value: Any) -> Literal:
        return make(str(value) if isinstance(value, Undefined) else value)  # str() raises, naming what is not defined

    return checked


def _only_literals(value: Any) -> Any:
    """What Jinja2 asks of each value that it is about to print."""
    if isinstance(value, Literal) or type(value) is int:
        return value
    from jinja2 import Undefined

    if isinstance(value, Undefined):
        return str(value)  # raises as well
    raise TypeError(f"a {type(value).__name__} is printed without a filter that makes it a literal, such as | py")


def _write(target: Path, output: PurePosixPath, content: bytes, *, is_executable: bool) -> None:
    path = target / output
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755 if is_executable else 0o644)
    _set_time(path, content)


def _set_time(path: Path, content: bytes) -> None:
    """A fixed second, so that trees compare equal; nanoseconds from the content, since BuildKit takes a file whose
    size and time it has seen for one that it has already (docs/design: the source's bytes)."""
    nanoseconds = int.from_bytes(hashlib.sha256(content).digest()[:8], "big") % 1_000_000_000
    moment = SECOND * 1_000_000_000 + nanoseconds
    os.utime(path, ns=(moment, moment))


def _fix_folders(target: Path) -> None:
    folders = [path for path in target.rglob("*") if path.is_dir()]
    for folder in [*folders, target]:
        folder.chmod(0o755)
        os.utime(folder, ns=(SECOND * 1_000_000_000, SECOND * 1_000_000_000))


def _broken(template: Template, relative: PurePosixPath, cause: str) -> InvalidTemplate:
    return InvalidTemplate(
        f"The template {template.name!r} is broken: {relative}: {cause}", remedy=f"Correct {template.root / relative}"
    )
