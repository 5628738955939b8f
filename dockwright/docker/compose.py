"""Compose files through the compose plug-in: read as it reads them, and started and stopped by it."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockwright import process
from dockwright.docker.buildx import find_plugin
from dockwright.domain.source import COMPOSE_FILES
from dockwright.errors import ComposeFileWrong, ToolMissing, UnsafeSource
from dockwright.insight import compose as insight
from dockwright.process import Cancel

OVERRIDES = (
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
)
if TYPE_CHECKING:
    import subprocess

INSTALL = "Install it (Debian: docker-compose, elsewhere docker-compose-plugin), then see: dockwright doctor"
_LOGGED = re.compile(r'time="[^"]*" level=(?P<level>\w+) msg="(?P<text>(?:[^"\\]|\\.)*)"')
_PASSED = ("PATH", "DOCKER_HOST")
"""All that a compose file from somewhere else may know of the environment here."""


def find_files(root: Path) -> tuple[Path, ...]:
    """The folder's compose file and what overrides it; nothing where there is none."""
    main = next((root / name for name in COMPOSE_FILES if (root / name).is_file()), None)
    if main is None:
        return ()
    override = next((root / name for name in OVERRIDES if (root / name).is_file()), None)
    return (main, override) if override else (main,)


def plugin() -> str:
    try:
        return find_plugin("docker-compose")
    except ToolMissing as error:
        raise ToolMissing(error.message, remedy=INSTALL) from error


def arguments(files: tuple[Path, ...], *words: str, name: str | None = None) -> list[str]:
    """The arguments after the plug-in's path. The folder of the first file is the project's."""
    command = ["--ansi=never", "--progress=plain"]
    if name is not None:
        command.append(f"--project-name={name}")
    if files:
        command.append(f"--project-directory={files[0].parent}")
    return [*command, *(f"--file={file}" for file in files), *words]


def config(
    files: tuple[Path, ...],
    *,
    is_trusted: bool,
    cancel: Cancel,
    warn: Callable[[str], None] = lambda _: None,
    with_profiles: bool = False,
) -> dict[str, Any]:
    """The canonical document: variables put in, files that it includes or extends merged, paths absolute.

    `with_profiles` has the services of every profile in it, not only those of the profiles that are chosen now.
    A file that is not the user's own sees no variables of this machine, and no file outside its folder. Raises
    `ComposeFileWrong` with what compose says of it, `UnsafeSource`, `ToolMissing`.
    """
    begun = None if with_profiles else _begun.pop(files, None)
    if is_trusted:
        done = (begun or _Reading(files, cancel, with_profiles)).result()
    else:
        _check_inside(files)
        passed = [f"{name}={os.environ[name]}" for name in _PASSED if name in os.environ]
        command = ["env", "-i", *passed, "COMPOSE_EXPERIMENTAL_GIT_REMOTE=0"]
        command += _config_command(files, with_profiles)
        done = process.run(command, cwd=files[0].parent, cancel=cancel)
    lines = [_plain(line) for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
    if done.returncode != 0:
        problem = lines[-1] if lines else f"compose ended with status {done.returncode}"
        raise ComposeFileWrong(
            f"{files[0].name} cannot be read: {problem}",
            remedy="Correct it; docker compose config shows how it is understood",
            last_lines=lines[:-1],
        )
    for line in lines:
        warn(line)
    # What it prints is to be read as a compose file again, where a dollar is written as two.
    document: dict[str, Any] = json.loads(done.stdout.decode(errors="replace").replace("$$", "$"))
    return document


def begin_config(files: tuple[Path, ...], cancel: Cancel) -> None:
    """Starts to read the user's own files: compose takes as long for it as we do to come to where it is needed."""
    _begun[files] = _Reading(files, cancel)


class _Reading(threading.Thread):
    """Compose at work on a file."""

    def __init__(self, files: tuple[Path, ...], cancel: Cancel, with_profiles: bool = False) -> None:
        super().__init__(name="compose-config", daemon=True)
        self._files, self._cancel, self._with_profiles = files, cancel, with_profiles
        self._done: subprocess.CompletedProcess[bytes] | None = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            command = _config_command(self._files, self._with_profiles)
            self._done = process.run(command, cwd=self._files[0].parent, cancel=self._cancel)
        except BaseException as error:  # noqa: BLE001 - raised again by whoever asks for the result
            self._error = error

    def result(self) -> subprocess.CompletedProcess[bytes]:
        self.join()
        if self._error is not None:
            raise self._error
        assert self._done is not None
        return self._done


_begun: dict[tuple[Path, ...], _Reading] = {}


def _config_command(files: tuple[Path, ...], with_profiles: bool = False) -> list[str]:
    profiles = ["--profile=*"] if with_profiles else []
    return [plugin(), *profiles, *arguments(files, "config", "--format=json")]


def _plain(line: str) -> str:
    """What a line of compose's own log says."""
    match = _LOGGED.match(line)
    return match["text"].replace('\\"', '"') if match else line


def run(
    files: tuple[Path, ...],
    name: str,
    *words: str,
    cancel: Cancel,
    say: Callable[[str], None],
    env: Mapping[str, str] | None = None,
) -> tuple[int, list[str]]:
    """One command of the plug-in for the project `name`: its exit status, and all that it said, a line each."""
    said: list[str] = []
    rest = b""

    def take(chunk: bytes) -> None:
        nonlocal rest
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            text = _plain(line.decode(errors="replace").strip())
            if text:
                said.append(text)
                say(text)

    command = [plugin(), *arguments(files, *words, name=name)]
    done = process.run(command, env=env, cancel=cancel, on_stdout=take, on_stderr=take)
    if rest:
        take(b"\n")
    return done.returncode, said


def _check_inside(files: tuple[Path, ...]) -> None:
    root = files[0].parent.resolve()
    pending, seen = [*files, root / ".env"], set[Path]()
    while pending:
        file = pending.pop().resolve()
        if not file.is_relative_to(root):
            raise _leads_out(str(file))
        if file in seen or not file.is_file() or file.name == ".env":
            continue
        seen.add(file)
        for path, is_compose in insight.references(load(file)):
            place = (file.parent / path).resolve()
            if "$" in path or "://" in path or not place.is_relative_to(root):
                raise _leads_out(path)
            if is_compose:
                pending.append(place)


def _leads_out(path: str) -> UnsafeSource:
    return UnsafeSource(
        f"The compose file reads {path}, which lies outside the source", remedy="Put a copy of it into the source"
    )


def load(file: Path) -> Mapping[str, Any]:
    """The file as it is written, without the plug-in; {} where it is no mapping. Raises `ComposeFileWrong`."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Compose's own tags (`!reset`, `!override`) change nothing of the paths below them."""

    def plain(loader: Any, _: str, node: yaml.Node) -> Any:
        if isinstance(node, yaml.MappingNode):
            return loader.construct_mapping(node, deep=True)
        return loader.construct_sequence(node, deep=True) if isinstance(node, yaml.SequenceNode) else node.value

    Loader.add_multi_constructor("!", plain)
    try:
        document = yaml.load(file.read_bytes(), Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, RecursionError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ComposeFileWrong(f"{file.name} is no YAML: {first}", remedy="Correct it, and build again") from error
    return document if isinstance(document, Mapping) else {}
