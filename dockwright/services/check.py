"""The use case `check`: all that can be said of a folder before any build."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dockwright.errors import ComposeFileWrong, DockerfileSyntax, ToolMissing
from dockwright.insight import requirements, rules_context, rules_image, rules_packages, rules_steps, rules_variables
from dockwright.insight.findings import Finding, arranged, found, without_silenced
from dockwright.insight.rules_compose import findings as compose_findings
from dockwright.insight.subject import Subject, commands
from dockwright.insight.usage import Use, is_there
from dockwright.process import Cancel
from dockwright.services import resolving
from dockwright.services.known_images import KnownImages
from dockwright.services.survey import Folder, Survey, Unit, look
from dockwright.settings import Settings

RULES: tuple[Callable[[Subject], Iterator[Finding]], ...] = (
    *rules_image.RULES,
    *rules_variables.RULES,
    *rules_steps.RULES,
    *rules_packages.RULES,
)
_LINE = re.compile(r"^(?P<file>.+?), line (?P<line>\d+): ", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    findings: tuple[Finding, ...]
    contexts: tuple[dict[str, Any], ...]
    """Each context's "path", "files" and "bytes"."""

    @property
    def is_ok(self) -> bool:
        return all(one.severity != "error" for one in self.findings)


def check(settings: Settings, path: Path, cancel: Cancel, *, with_pip: bool = False) -> Checked:
    """`with_pip` asks the package index whether requirements fit together with all that they need themselves.

    Raises `PathNotFound`, `NoDockerfile`, and `UsageError` for an ignore file that cannot be read."""
    folder = look(path)
    checking = _Checking(settings, folder, cancel, with_pip)
    for unit in folder.units:
        if unit.dockerfile.is_file():
            checking.unit(unit)
    checking.compose()
    checking.requirements()
    kept = without_silenced(arranged(checking.findings), checking.texts)
    return Checked(findings=tuple(kept), contexts=tuple(checking.contexts.values()))


@dataclass(slots=True)
class _Checking:
    settings: Settings
    folder: Folder
    cancel: Cancel
    with_pip: bool
    findings: list[Finding] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    contexts: dict[Path, dict[str, Any]] = field(default_factory=dict)
    images: KnownImages = field(init=False)
    installed: dict[str, str | None] = field(default_factory=dict)
    """Requirements file → Python version of the image that it is installed in."""
    together: list[tuple[str, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.images = KnownImages(self.settings)

    # --- one image -------------------------------------------------------------------------------------------------

    def unit(self, unit: Unit) -> None:
        place = self.folder.place(unit.dockerfile)
        survey = Survey(unit, self.folder.units, self.images)
        self.texts[place] = survey.text
        self._ignore_file(survey)
        try:
            subject = self._subject(survey, place)
            for rule in RULES:
                settled = unit.service.settled if unit.service else ()
                self.findings += [self._located(survey, one) for one in rule(subject) if one.code not in settled]
        except DockerfileSyntax as error:
            self.findings.append(_syntax(error, place))
            self._context(survey, None, place)
            return
        self.findings += self.images.findings(subject)
        if unit.service and not isinstance(self.folder.compose, Finding) and self.folder.compose:
            where = self.folder.compose.place(unit.service.service, "build", "args")
            self.findings += rules_variables.unknown_args(subject, where)
        self._context(survey, subject, place)
        self._installs(subject)

    def _subject(self, survey: Survey, place: str) -> Subject:
        unit = survey.unit
        return Subject(
            dockerfile=survey.dockerfile,
            place=place,
            text=survey.text,
            context=survey.context,
            uses=tuple(survey.uses),
            target=unit.target,
            args=unit.args,
            images=survey.images,
            read=survey.read,
            is_for_gpu=bool(unit.service and unit.service.is_for_gpu),
        )

    def _ignore_file(self, survey: Survey) -> None:
        file = survey.ignore_file
        if file.is_file():
            self.texts[self.folder.place(file)] = file.read_text(encoding="utf-8", errors="replace")

    def _located(self, survey: Survey, finding: Finding) -> Finding:
        """With its place as the folder sees it; of a missing source, whether the ignore file is the cause."""
        if finding.code.startswith("copy_source_missing"):
            return self._with_cause(survey, finding)
        prefix = self._prefix(survey)
        if not prefix or finding.place.startswith(self.folder.place(survey.unit.dockerfile)):
            return finding
        return found(finding.code, f"{prefix}{finding.place}", finding.message, finding.remedy)

    def _with_cause(self, survey: Survey, finding: Finding) -> Finding:
        file = self.folder.place(survey.ignore_file)
        for use in survey.uses:
            if is_there(use) or not _tells_of(finding, use):
                continue
            cause = rules_context.ignored_source(use, survey.root, survey.rules, self.texts.get(file, ""))
            if cause:
                what = f"{use.instruction.keyword} takes in {use.source}, and {file}, line {cause[0]} leaves it out"
                remedy = f"Take {cause[1]!r} out of it, or add a line !{use.source} below"
                return found(finding.code, finding.place, what, remedy)
        return finding

    def _prefix(self, survey: Survey) -> str:
        place = self.folder.place(survey.root)
        return "" if place == "." else f"{place}/"

    def _context(self, survey: Survey, subject: Subject | None, place: str) -> None:
        """Once for each context; what a COPY takes in differs from Dockerfile to Dockerfile."""
        prefix = self._prefix(survey)
        taken = list(subject.uses) if subject else []
        self.findings += rules_context.secrets(survey.root, survey.context, taken, prefix, place)
        if survey.root in self.contexts:
            return
        self.contexts[survey.root] = {
            "path": self.folder.place(survey.root),
            "files": survey.walk.files,
            "bytes": survey.walk.bytes,
        }
        if subject is not None:
            self.findings += rules_context.size_findings(
                survey.walk.bytes,
                survey.walk.files,
                survey.suggested,
                _shown(survey.root),
                self.folder.place(survey.ignore_file),
                survey.ignore_file.is_file(),
            )

    # --- compose ---------------------------------------------------------------------------------------------------

    def compose(self) -> None:
        compose = self.folder.compose
        if compose is None:
            return
        if isinstance(compose, Finding):
            self.findings.append(compose)
            return
        file = self.folder.compose_files[0]
        self.texts[compose.path] = file.read_text(encoding="utf-8", errors="replace")
        found_here = list(compose_findings(compose, lambda path: (self.folder.root / path).exists()))
        self.findings += found_here
        if all(one.severity != "error" for one in found_here):  # else compose would say the same, and less
            self.findings += self._as_compose_reads_it(compose.path)

    def _as_compose_reads_it(self, place: str) -> Iterator[Finding]:
        from dockwright.docker import compose as plugin

        try:
            plugin.config(plugin.find_files(self.folder.root), is_trusted=True, cancel=self.cancel)
        except ToolMissing:
            return  # `doctor` tells that it is not there
        except ComposeFileWrong as error:
            yield found("compose_invalid", f"{place}:1", error.message, error.remedy)

    # --- requirements ----------------------------------------------------------------------------------------------

    def _installs(self, subject: Subject) -> None:
        prefix = posixpath.normpath(self.folder.place(self._root_of(subject)))
        for target in subject.needed:
            python = _python_of(subject.image_of(target).name)
            for instruction in target.instructions:
                if instruction.keyword != "RUN":
                    continue
                for words in commands(instruction):
                    arguments = rules_packages.pip_arguments(words)
                    named = rules_packages.requirement_files(subject, arguments)
                    paths = tuple(posixpath.normpath(posixpath.join(prefix, path)) for path in named)
                    self.installed.update(dict.fromkeys(paths, python))
                    self.together.append(paths)

    def _root_of(self, subject: Subject) -> Path:
        return next(unit.context for unit in self.folder.units if self.folder.place(unit.dockerfile) == subject.place)

    def requirements(self) -> None:
        """Those that an image installs, and what is named like one in the folder."""
        root = self.folder.root
        there = {path.name for path in root.glob("requirements*.txt") if path.is_file()}
        for group in requirements.groups(sorted(there | self.installed.keys()), self.together):
            files = requirements.Files(self._requirements_text)
            for path in group:
                files.add(path)
            self.findings += files.findings
            environment = requirements.environment_of(self.installed.get(group[0]))
            found_here = list(requirements.contradictions(files, environment))
            self.findings += found_here
            if self.with_pip and not any(one.severity == "error" for one in [*found_here, *files.findings]):
                impossible = resolving.resolve(files, environment, self.installed.get(group[0]), self.cancel)
                self.findings += [impossible] if impossible else []

    def _requirements_text(self, path: str) -> str | None:
        """None for what is not there, or lies outside of the folder."""
        place = (self.folder.root / path).resolve()
        if path.startswith("../") or not place.is_file():
            return None
        text = place.read_text(encoding="utf-8", errors="replace")
        self.texts[path] = text
        return text


def _tells_of(finding: Finding, use: Use) -> bool:
    return finding.place.endswith(f":{use.instruction.line}") and f"takes in {use.source}," in finding.message


def _syntax(error: DockerfileSyntax, place: str) -> Finding:
    match = _LINE.match(str(error))
    where = f"{place}:{match['line']}" if match else place
    return found("dockerfile_syntax", where, error.message, error.remedy)


def _shown(root: Path) -> str:
    """As somebody types it here."""
    return min(str(root), os.path.relpath(root), key=len)


def _python_of(image: str) -> str | None:
    match = re.search(r"(?:^|/)python:(3\.\d+)", image)
    return match[1] if match else None
