"""Requirements files of Python: read with their includes, and what in them contradicts itself.

Nothing is fetched: told is what the files say of themselves. `resolve` in `services/check.py` asks pip for the rest.
"""

from __future__ import annotations

import codecs
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dockwright.insight.findings import Finding, found

if TYPE_CHECKING:
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

_INCLUDE = re.compile(r"(?:-r|--requirement|-c|--constraint)(?:\s*=\s*|\s+|(?<=-[rc]))(\S+)\s*$")
_OPTION = re.compile(r"\s--?[A-Za-z][\w-]*(?:[= ]\S+)?")
_DIRECT = re.compile(
    r"(?:[^\s@;#]*/|[A-Za-z]:\\|\.$|(?:[a-z+]+://)|(?:git|hg|svn|bzr)\+|\S+\.(?:whl|tar\.gz|zip)(?:$|\s))"
)
_CONSTRAINS = re.compile(r"(?:-c|--constraint)")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    # Those of 32 bits begin like those of 16.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_EDITABLE = re.compile(r"(?:-e|--editable)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    requirement: Requirement
    place: str
    text: str
    is_constraint: bool


@dataclass(slots=True)
class Files:
    """What a set of requirements files asks for together."""

    read: Callable[[str], str | None]
    """A file's text; none where there is no such file."""
    entries: list[Entry] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    """Lines like `--extra-index-url …`."""
    seen: set[str] = field(default_factory=set)

    def add(self, path: str, included_at: str | None = None, *, is_constraint: bool = False) -> None:
        if path in self.seen:
            return
        self.seen.add(path)
        text = self.read(path)
        if text is None:
            if included_at and "://" not in path:
                remedy = "Add the file, or correct the path, which is seen from the file that names it"
                self.findings.append(found("requirements_missing", included_at, f"There is no {path}", remedy))
            return
        for number, line in _logical_lines(text):
            self._line(path, number, line, is_constraint)

    def _line(self, path: str, number: int, line: str, is_constraint: bool) -> None:
        place = f"{path}:{number}"
        if (match := _INCLUDE.match(line)) and "${" not in line:
            below = (
                match[1] if "://" in match[1] else posixpath.normpath(posixpath.join(posixpath.dirname(path), match[1]))
            )
            self.add(below, place, is_constraint=is_constraint or bool(_CONSTRAINS.match(line)))
        elif line.startswith("-"):
            if not _EDITABLE.match(line):
                self.options.append(line)
        elif not _DIRECT.match(line) and "${" not in line:
            self._requirement(place, line, is_constraint)

    def _requirement(self, place: str, line: str, is_constraint: bool) -> None:
        from packaging.requirements import InvalidRequirement, Requirement

        text = _OPTION.split(line)[0].strip()
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            cause = str(error).splitlines()[0]
            message = f"pip cannot read {text!r}: {cause}"
            self.findings.append(
                found("requirements_unreadable", place, message, "Write it like name==1.2 or name>=1,<2")
            )
            return
        self.entries.append(Entry(requirement=requirement, place=place, text=text, is_constraint=is_constraint))


def decoded(content: bytes) -> str:
    """As pip reads it, for which a byte order mark says how the file is written."""
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    return content.decode(encoding, errors="replace").removeprefix("\ufeff")


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines without comments, continued ones joined, with the number of the first."""
    pending, start = "", 0
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        start = start if pending else number
        whole = pending + re.sub(r"(?:^|\s)#.*$", "", line)
        if whole.rstrip().endswith("\\"):
            pending = whole.rstrip()[:-1] + " "
            continue
        pending = ""
        if whole.strip():
            yield start, whole.strip()
    if pending.strip():
        yield start, pending.strip()


def applies(requirement: Requirement, environment: Mapping[str, str]) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({**_LINUX, **environment, "extra": ""})


_LINUX = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}


def environment_of(python: str | None) -> dict[str, str]:
    """Markers' values for a Python version like "3.11"; empty where it is not known."""
    return {"python_version": python, "python_full_version": f"{python}.0"} if python else {}


def contradictions(files: Files, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Of entries for the same package that hold at the same time."""
    from packaging.utils import canonicalize_name

    by_name: dict[str, list[Entry]] = {}
    for entry in files.entries:
        if applies(entry.requirement, environment):
            by_name.setdefault(canonicalize_name(entry.requirement.name), []).append(entry)
    for entries in by_name.values():
        yield from _contradiction(entries)


def _contradiction(entries: list[Entry]) -> Iterator[Finding]:
    last = entries[-1]
    if not all(entry.is_constraint for entry in entries) and not _has_version(entries):
        others = ", ".join(f"{entry.text} ({entry.place})" for entry in entries[:-1])
        alone = "no version can be both" if others else "no version fits"
        yield found(
            "requirements_conflict",
            last.place,
            f"{last.text} contradicts {others}: {alone}" if others else f"{last.text}: {alone}",
            "Keep one of them, or give both the same version",
        )
        return
    asked = [entry for entry in entries if not entry.is_constraint]
    for entry in asked[1:]:
        yield found(
            "requirements_duplicate",
            entry.place,
            f"{entry.requirement.name} is asked for twice, first in {asked[0].place}",
            "Keep one of the lines",
        )


def _has_version(entries: Iterable[Entry]) -> bool:
    """Whether any version could satisfy all: tried are those that are named, and their neighbours."""
    from packaging.specifiers import SpecifierSet

    wanted = [entry.requirement for entry in entries]
    urls = {one.url for one in wanted if one.url}
    if urls:
        return len(urls) == 1
    together = SpecifierSet()
    for one in wanted:
        together &= one.specifier
    return any(together.contains(version, prereleases=True) for version in _candidates(together))


def _candidates(together: SpecifierSet) -> Iterator[Version | str]:
    from packaging.version import InvalidVersion, Version

    yield Version("0")
    yield Version("99999")
    for specifier in together:
        text = specifier.version.removesuffix(".*")
        try:
            version = Version(text)
        except InvalidVersion:  # "===" takes any text
            yield text
            continue
        yield version
        release = ".".join(map(str, version.release))
        epoch = f"{version.epoch}!" if version.epoch else ""
        for ending in (".0.0.1", ".post1", "a0", ".1"):
            yield Version(f"{epoch}{release}{ending}")
        yield Version(f"{epoch}{release}.dev0")


def groups(paths: Iterable[str], installed_together: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Which files are installed together: those that one pip command names; each other one stands alone."""
    together = [group for group in installed_together if len(group) > 1]
    return [*together, *((path,) for path in paths)]
