"""Which Dockerfiles are built with a context, or may be: what any of them takes in must not be ignored.

Those of compose files are told by compose itself. What else is named like a Dockerfile counts as well, for somebody may
build it with `--file`; so does what compose files say that are given with `--file`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dockwright.docker import compose
from dockwright.errors import ComposeFileWrong, DockwrightError, ToolMissing, UsageError
from dockwright.insight.possible import TOOLS_FOLDERS
from dockwright.process import Cancel

Document = Mapping[str, Any]
_DOCKERFILE = re.compile(r"(?:.*[._-])?(?:docker|container)file(?:[._-].*)?", re.IGNORECASE)
_NO_DOCKERFILES = frozenset(
    (
        *(".dockerignore", ".md", ".rst", ".txt", ".html", ".json", ".yaml", ".yml", ".toml", ".lock", ".sh", ".py"),
        *(".js", ".ts", ".tsx", ".jsx", ".go", ".rs", ".rb", ".java", ".kt", ".php", ".cs", ".c", ".h", ".cpp", ".pyc"),
        *(".j2", ".jinja", ".tmpl", ".tpl", ".template", ".erb", ".vim", ".el", ".svg", ".png"),
    )
)
"""Texts about Dockerfiles, and those that Dockerfiles are made of."""
_COMPOSE = re.compile(r".*compose.*\.ya?ml", re.IGNORECASE)
_STARTS = ("command", "entrypoint", "environment", "working_dir", "healthcheck")
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://|[\w.-]+@[\w.-]+:", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharer:
    """A Dockerfile that is built with the context, or may be."""

    path: Path
    """Of the compose file for one that stands in it."""
    text: str
    args: Mapping[str, str] = field(default_factory=dict)
    starts: str = ""
    """What the compose file says of how its service is started."""
    is_inline: bool = False


@dataclass(slots=True)
class Sharers:
    """Of one context."""

    root: Path
    found: list[Sharer] = field(default_factory=list)
    starts: list[str] = field(default_factory=list)
    """What compose files say of how services are started whose image may be any."""
    elsewhere: set[Path] = field(default_factory=set)
    """Dockerfiles that are built with other contexts."""
    watched: set[Path] = field(default_factory=set)
    """What compose keeps the same in running containers (`develop.watch`); it leaves out what is ignored."""
    doubt: DockwrightError | None = None
    """Why it cannot be told what is taken in."""

    def add_services(self, document: Document, file: Path, *, is_canonical: bool = False) -> None:
        """Those of a canonical document, or of a file as it is written: that may be laid over another one."""
        services = document.get("services")
        for name, service in services.items() if isinstance(services, Mapping) else ():
            if isinstance(service, Mapping):
                self._add_watched(service, file)
                starts = json.dumps({key: service.get(key) for key in _STARTS if service.get(key)})
                build = service.get("build")
                build = {"context": build} if isinstance(build, str) else build
                if isinstance(build, Mapping):
                    self._add_build(str(name), build, file, is_canonical, starts)
                else:
                    self.starts.append(starts)

    def _add_watched(self, service: Document, file: Path) -> None:
        develop = service.get("develop")
        rules = (develop.get("watch") or ()) if isinstance(develop, Mapping) else ()
        for rule in rules:
            path = (file.parent / str(rule.get("path") if isinstance(rule, Mapping) else "")).resolve()
            if path.is_relative_to(self.root):
                self.watched.add(path)

    def _add_build(self, service: str, build: Document, file: Path, is_canonical: bool, starts: str) -> None:
        written = str(build.get("context") or self.root)
        if _ADDRESS.match(written):
            return
        contexts = build.get("additional_contexts")
        if self._is_root_among(contexts.values() if isinstance(contexts, Mapping) else (), file):
            self.doubt = UsageError(
                f"The service {service} in {file.name} takes any file of this folder in (additional_contexts)",
                remedy="Write the ignore file by hand",
            )
        name = str(build.get("dockerfile") or "Dockerfile")
        if is_canonical and Path(written).resolve() != self.root:
            self.elsewhere.add(Path(written, name).resolve())
        elif is_canonical or "$" in written or self._is_root_among([written], file):
            self._add_built_here(build, file, starts)

    def _add_built_here(self, build: Document, file: Path, starts: str) -> None:
        dockerfile = self.root / str(build.get("dockerfile") or "Dockerfile")
        inline = build.get("dockerfile_inline")
        if inline is not None:
            sharer = Sharer(path=file, text=str(inline), args=_args(build), starts=starts, is_inline=True)
            self.found.append(sharer)
        elif dockerfile.is_file():
            self._add_file(dockerfile.resolve(), _args(build), starts)

    def _is_root_among(self, places: Any, file: Path) -> bool:
        """Paths are seen from the file, or from the one that it is laid over."""
        folders = {file.parent, self.root}
        local = [str(place) for place in places if not _ADDRESS.match(str(place))]
        return any((folder / place).resolve() == self.root for folder in folders for place in local)

    def _add_file(self, path: Path, args: Mapping[str, str] | None = None, starts: str = "") -> None:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
        self.found.append(Sharer(path=path, text=text, args=args or {}, starts=starts))

    def add_tree(self) -> None:
        """What lies in the tree, whether the ignore file leaves it out or not: a builder gets it by itself."""
        told = compose.find_files(self.root)
        files = list(_build_files(self.root))
        for path in [one for one in files if _COMPOSE.fullmatch(one.name) and one not in told]:
            with suppress(ComposeFileWrong):  # compose reads none of these by itself, and says so when it is given one
                self.add_services(compose.load(path), path)
        known = {one.path for one in self.found if not one.is_inline} | self.elsewhere
        for path in files:
            is_compose = _COMPOSE.fullmatch(path.name)
            if not is_compose and path.resolve() not in known:
                self._add_file(path)


def sharers(root: Path, cancel: Cancel) -> Sharers:
    """`root` is the context. Raises nothing of compose's: that is the answer's `doubt`."""
    root = root.resolve()
    answer = Sharers(root)
    for folder in _folders(root):
        files = compose.find_files(folder)
        if not files:
            continue
        try:
            document = compose.config(files, is_trusted=True, cancel=cancel, with_profiles=True)
            answer.add_services(document, files[0], is_canonical=True)
        except (ComposeFileWrong, ToolMissing) as error:
            answer.doubt = error
    answer.add_tree()
    return answer


def _folders(root: Path) -> Iterator[Path]:
    """The context, and the folders above it as far as their Git checkout goes: their compose files may build it."""
    yield root
    top = next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), root)
    folder = root
    while folder != top:
        folder = folder.parent
        yield folder


def _build_files(root: Path) -> Iterator[Path]:
    """What is named like a compose file or a Dockerfile; not what tools have put there, nor links to nowhere."""
    for folder, below, names in os.walk(root):
        below[:] = [] if "pyvenv.cfg" in names else sorted(set(below) - TOOLS_FOLDERS)
        for name in sorted(names):
            is_dockerfile = _DOCKERFILE.fullmatch(name) and os.path.splitext(name)[1].lower() not in _NO_DOCKERFILES
            if (is_dockerfile or _COMPOSE.fullmatch(name)) and os.path.isfile(os.path.join(folder, name)):
                yield Path(folder, name)


def _args(build: Document) -> dict[str, str]:
    """Those that the file gives a value."""
    args = build.get("args")
    if isinstance(args, Mapping):
        return {str(name): str(value) for name, value in args.items() if value is not None}
    pairs = (str(one).partition("=") for one in args or ())
    return {name: value for name, equals, value in pairs if equals}
