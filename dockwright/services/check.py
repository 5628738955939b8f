"""The use case `check`: all that can be said of a folder before any build."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

from dockwright.errors import DockerfileSyntax, UsageError
from dockwright.insight import requirements, rules_context, rules_image, rules_packages, rules_steps, rules_variables
from dockwright.insight.compose_file import ComposeFile
from dockwright.insight.dockerfile import Instruction, parse
from dockwright.insight.findings import Finding, arranged, found, softened, without_silenced
from dockwright.insight.rules_compose import findings as compose_findings
from dockwright.insight.subject import Subject, commands
from dockwright.insight.unset import STAND_IN, demanded, unset_bases
from dockwright.insight.usage import Use, is_there
from dockwright.insight.variables import platform_args
from dockwright.process import Cancel
from dockwright.services import resolving
from dockwright.services.composed import Composed, composed
from dockwright.services.known_images import KnownImages
from dockwright.services.survey import Folder, Survey, Unit, look
from dockwright.settings import Settings
from dockwright.stages.asked import host_platform
from dockwright.stages.base_images import NAME

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


def check(
    settings: Settings,
    path: Path,
    cancel: Cancel,
    *,
    with_pip: bool = False,
    args: Mapping[str, str] = MappingProxyType({}),
) -> Checked:
    """`with_pip` asks the package index whether requirements fit together with all that they need themselves.

    `args` are passed to every image. Raises `PathNotFound`, `NoDockerfile`, and `UsageError` for an ignore file that
    cannot be read."""
    with TemporaryDirectory(prefix="dockwright-check-") as workspace:
        checking = _Checking(settings, composed(look(path), Path(workspace), cancel), cancel, with_pip, args)
        for unit in checking.folder.units:
            if unit.dockerfile.is_file():
                checking.unit(unit)
        checking.compose()
        checking.requirements()
    kept = without_silenced(arranged(checking.findings), checking.texts)
    return Checked(findings=tuple(kept), contexts=tuple(checking.contexts.values()))


@dataclass(frozen=True, slots=True)
class _Unset:
    """What a Dockerfile needs of arguments that have no value, as `Subject` has it."""

    bases: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    demanded: tuple[tuple[Instruction, str], ...] = ()


@dataclass(slots=True)
class _Checking:
    settings: Settings
    composed: Composed
    cancel: Cancel
    with_pip: bool
    args: Mapping[str, str]
    findings: list[Finding] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    contexts: dict[Path, dict[str, Any]] = field(default_factory=dict)
    images: KnownImages = field(init=False)
    installed: dict[str, str | None] = field(default_factory=dict)
    """Requirements file → Python version of the image that it is installed in."""
    together: list[tuple[str, ...]] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    """Of all files in the contexts, without their folders."""

    def __post_init__(self) -> None:
        self.images = KnownImages(self.settings)

    @property
    def folder(self) -> Folder:
        return self.composed.folder

    # --- one image -------------------------------------------------------------------------------------------------

    def unit(self, unit: Unit) -> None:
        start = len(self.findings)
        self._image(unit)
        found_here = self.findings[start:]
        if unit.service and unit.service.inline is not None:
            found_here = [self._in_compose_file(unit, one) for one in found_here]
        if unit.service and unit.service.service in self.composed.inactive:
            found_here = [softened(one) for one in found_here]
        self.findings[start:] = found_here

    def _image(self, unit: Unit) -> None:
        place = self._place(unit)
        passed, unset = self._filled(replace(unit, args={**_platform_args(unit), **unit.args, **self.args}))
        survey = Survey(passed, self.folder.units, self.images)
        self.texts[place] = survey.text
        self._ignore_file(survey)
        try:
            subject = self._subject(survey, place, unset)
            if unknown := self._unknown_target(subject, unit):
                self.findings.append(unknown)
                self._context(survey, None, place)
                return
            for rule in RULES:
                settled = unit.service.settled if unit.service else ()
                self.findings += [self._located(survey, one) for one in rule(subject) if one.code not in settled]
        except DockerfileSyntax as error:
            self.findings.append(_syntax(error, place))
            self._context(survey, None, place)
            return
        self.findings += self.images.findings(subject)
        if unit.service and isinstance(self.folder.compose, ComposeFile):
            where = self.folder.compose.place(unit.service.service, "build", "args")
            self.findings += rules_variables.unknown_args(subject, unit.service.args, where)
        self._context(survey, subject, place)
        self._installs(subject, unit)

    def _place(self, unit: Unit) -> str:
        """Of its Dockerfile."""
        if unit.service and unit.service.inline is not None:
            return f"the Dockerfile of {unit.service.service}"
        return self.folder.place(unit.dockerfile)

    def _in_compose_file(self, unit: Unit, finding: Finding) -> Finding:
        """What is found in a Dockerfile that stands there."""
        compose, place = self.folder.compose, self._place(unit)
        assert unit.service is not None and isinstance(compose, ComposeFile)
        if finding.place != place and not finding.place.startswith(f"{place}:"):
            return finding
        line = int(finding.place.removeprefix(place).removeprefix(":") or 1)
        where = compose.place_in_text(line, unit.service.service, "build", "dockerfile_inline")
        return replace(finding, place=where)

    def _filled(self, unit: Unit) -> tuple[Unit, _Unset]:
        """With something in the place of arguments that have to have a value: all else can be looked at."""
        unset = _Unset()
        try:
            dockerfile = parse(unit.dockerfile.read_text(encoding="utf-8", errors="surrogateescape"))
            unset = _Unset(unset_bases(dockerfile, unit.args, NAME.fullmatch), tuple(demanded(dockerfile, unit.args)))
        except (DockerfileSyntax, ValueError):  # told when it is looked at
            return unit, unset
        names = {name for one in unset.bases.values() for name in one} | {name for _, name in unset.demanded}
        return replace(unit, args={**unit.args, **dict.fromkeys(sorted(names), STAND_IN)}), unset

    def _unknown_target(self, subject: Subject, unit: Unit) -> Finding | None:
        compose = self.folder.compose
        try:
            _ = subject.final
        except UsageError as error:
            assert unit.service is not None and isinstance(compose, ComposeFile)
            return found(
                "target_unknown", compose.place(unit.service.service, "build", "target"), error.message, error.remedy
            )
        return None

    def _subject(self, survey: Survey, place: str, unset: _Unset) -> Subject:
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
            contexts=unit.service.contexts if unit.service else frozenset(),
            unset=unset.bases,
            demanded=unset.demanded,
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
        if not prefix or finding.place.startswith(self._place(survey.unit)):
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
        self.findings += rules_context.secrets(survey.root, survey.context, subject, prefix, place)
        if survey.root in self.contexts:
            return
        self.names.update(path.rpartition("/")[2] for path in survey.context.index.files)
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
        compose, refused = self.folder.compose, self.composed.refused
        if isinstance(compose, Finding):
            self.findings.append(compose)
        if not isinstance(compose, ComposeFile):
            return
        for part in compose.parts or (compose,):
            self._text(part.path)
        found_here = list(compose_findings(compose, self._is_there, is_whole=self.composed.is_whole))
        self.findings += found_here
        if refused and all(one.severity != "error" for one in found_here):  # else compose says the same, and less
            self.findings.append(refused)

    def _is_there(self, path: str) -> bool:
        return (self.folder.root / path).exists()

    def _text(self, path: str) -> None:
        file = self.folder.root / path
        if file.is_file():
            self.texts[path] = file.read_text(encoding="utf-8", errors="replace")

    # --- requirements ----------------------------------------------------------------------------------------------

    def _installs(self, subject: Subject, unit: Unit) -> None:
        prefix = posixpath.normpath(self.folder.place(unit.context))
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

    def requirements(self) -> None:
        """Those that an image installs, and what is named like one in the folder."""
        root = self.folder.root
        there = {path.name for path in root.glob("requirements*.txt") if path.is_file()}
        for group in requirements.groups(sorted(there | self.installed.keys()), self.together):
            found_here = self._asked_together(group)
            self.findings += found_here if self._is_installed(group) else map(softened, found_here)

    def _is_installed(self, group: tuple[str, ...]) -> bool:
        """As far as it can be told: where nothing is, by a script perhaps, `requirements.txt` is what it installs."""
        return group[0] in self.installed or (not self.installed and group == ("requirements.txt",))

    def _asked_together(self, group: tuple[str, ...]) -> list[Finding]:
        files = requirements.Files(self._requirements_text)
        for path in group:
            files.add(path)
        environment = requirements.environment_of(self.installed.get(group[0]))
        own = [softened(one) if self._may_be_elsewhere(one) else one for one in files.findings]
        found_here = [*own, *requirements.contradictions(files, environment)]
        if self.with_pip and not any(one.severity == "error" for one in found_here):
            impossible = resolving.resolve(files, environment, self.installed.get(group[0]), self.cancel)
            found_here += [impossible] if impossible else []
        return found_here

    def _may_be_elsewhere(self, finding: Finding) -> bool:
        """An included file, which the image may have in another folder than the tree."""
        path = finding.message.removeprefix("There is no ")
        is_there = path.rpartition("/")[2] in self.names or path.startswith("../")
        return finding.code == "requirements_missing" and is_there

    def _requirements_text(self, path: str) -> str | None:
        """None for what is not there, or lies outside of the folder."""
        place = (self.folder.root / path).resolve()
        if path.startswith("../") or not place.is_file():
            return None
        self.texts[path] = requirements.decoded(place.read_bytes())
        return self.texts[path]


def _platform_args(unit: Unit) -> dict[str, str]:
    """What the builder itself passes."""
    here = host_platform()
    platforms = unit.service.platforms if unit.service else ()
    wanted = here if here in platforms or not platforms else platforms[0]
    builder, target = platform_args(here), platform_args(wanted)
    return {name: (builder if name.startswith("BUILD") else target)[name] for name in target}


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
