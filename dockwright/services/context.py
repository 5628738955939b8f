"""The use case `context`: what is sent to the builder, what of it is used, and what an ignore file could leave out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import Any

from dockwright.errors import NoDockerfile, SourceChanged, UsageError
from dockwright.insight import suggestions, usage
from dockwright.process import Cancel
from dockwright.services.composed import composed
from dockwright.services.known_images import KnownImages
from dockwright.services.survey import Folder, Survey, look
from dockwright.settings import Settings

_ROUNDS = 5
"""How often what is left is looked at again; two are enough for all but made-up trees."""


def survey_of(settings: Settings, folder: Folder) -> Survey:
    """Of the folder's own context: what PATH/Dockerfile builds, else the first service that is built from PATH."""
    own = [unit for unit in folder.units if unit.context == folder.root]
    if not own:
        places = sorted({folder.place(unit.context) for unit in folder.units})
        raise NoDockerfile(
            f"{folder.root} is not sent to a builder itself",
            remedy=f"Give the folder of one service: {', '.join(str(folder.root / place) for place in places)}"
            if places
            else "Give the folder that holds the Dockerfile",
        )
    first = min(own, key=lambda unit: unit.dockerfile.name != "Dockerfile")
    return Survey(first, folder.units, KnownImages(settings))


def measured(survey: Survey) -> dict[str, Any]:
    """CONTRACT, `context --json`."""
    roots = [path for path in survey.suggested.dropped if path in survey.context.index.files]
    largest = suggestions.largest_folders(survey.context, roots)
    return {
        "files": survey.walk.files,
        "bytes": survey.walk.bytes,
        "used_bytes": usage.size_of(survey.context, survey.used),
        "ignored_bytes": survey.left_out_bytes(),
        "largest": [{"path": path, "bytes": size} for path, size in largest],
        "suggestions": [one.as_dict() for one in survey.suggested.suggestions],
    }


def write(survey: Survey) -> dict[str, Any]:
    """Adds what is suggested to the ignore file; answers as `measured` does, of the context as it is then.

    Its "suggestions" are those that were written. Raises `SourceChanged` when a file that is used would be dropped,
    which only a tree that changes meanwhile can bring about, and `UsageError` for a file that may not be written.
    """
    written = []
    # What one pattern leaves out may have stood in the way of another.
    for _ in range(_ROUNDS):
        suggested = survey.suggested
        if not suggested.suggestions:
            break
        _extend(survey)
        written += [one.as_dict() for one in suggested.suggestions]
        survey = Survey(survey.unit, survey.others, survey.known, shared=survey.shared)
    return {**measured(survey), "suggestions": written}


def _extend(survey: Survey) -> None:
    path = survey.ignore_file
    old = path.read_text(encoding="utf-8", errors="surrogateescape") if path.is_file() else ""
    new = suggestions.extended(old, [one.pattern for one in survey.suggested.suggestions])
    after = Survey(survey.unit, survey.others, survey.known, rules_text=new, shared=survey.shared)
    lost = survey.used_by_any - survey.suggested.dropped - set(after.context.index.files)
    if lost:
        raise SourceChanged(
            f"{path.name} would leave out {min(lost)}, which is used: nothing was written",
            remedy="Try again when nothing writes to the folder",
        )
    _replace(path, new)


def _replace(path: Path, text: str) -> None:
    """In one step: a build that begins meanwhile sees the old file or the new one."""
    try:
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            file.write(text.encode("utf-8", "surrogateescape"))
        os.chmod(file.name, path.stat().st_mode & 0o777 if path.exists() else 0o644)
        Path(file.name).replace(path)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}", remedy="Give yourself the right to write there"
        ) from error


def context(
    settings: Settings, path: Path, *, write_file: bool = False, warn: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Where it cannot be told what is taken in, nothing is suggested and `warn` is told why; with `write_file` that is
    an error.

    Raises `PathNotFound`, `NoDockerfile`, `DockerfileSyntax`, `UsageError`, `ComposeFileWrong`, `ToolMissing`.
    """
    with TemporaryDirectory(prefix="dockwright-context-") as workspace:
        survey = survey_of(settings, composed(look(path), Path(workspace), Cancel()).folder)
        doubt = survey.doubt
        if doubt is not None and write_file:
            raise doubt
        if doubt is not None:
            warn(f"Nothing can be suggested: {doubt.message}")
        return write(survey) if write_file else measured(survey)
