"""The use case `dev`: a folder's services, and every change of a file brought to them until it is interrupted."""

from __future__ import annotations

import io
import os
import shutil
import stat
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dockwright.docker.engine import Engine
from dockwright.domain.build import BuildRequest
from dockwright.domain.plan import ServicePlan
from dockwright.errors import DockwrightError, Interrupted, NotFound, SourceChanged, by_code
from dockwright.insight import context as contexts
from dockwright.insight import ignore
from dockwright.insight.context import Entry
from dockwright.insight.ignore import Rules
from dockwright.insight.watching import WatchRule, copied_only, reloads_itself, watch_rules
from dockwright.process import Cancel
from dockwright.services import compose
from dockwright.services.build import BuildOptions
from dockwright.services.compose import Build, Services
from dockwright.services.running_services import Awaited, Running, listing
from dockwright.services.state import State
from dockwright.stages import fetch
from dockwright.stages.plan import plan

LOOK_SECONDS = 0.4
SETTLE_SECONDS = 0.1
"""An editor writes several files, and one in several steps."""
STOP_SECONDS = 2
_ALWAYS_IGNORED = (".git", "**/*~", "**/.*.sw?")
Say = Callable[[str], None]
Report = Callable[[dict[str, Any]], None]
"""Takes what has happened: `event` is `ready`, `watching`, `changed` or `failed`."""


def dev(
    state: State,
    path: str,
    options: BuildOptions,
    build: Build,
    cancel: Cancel,
    say: Say,
    report: Report,
) -> dict[str, Any] | None:
    """Until the cancel is set; then all that it started is removed, volumes excepted. Returns the error of a build that
    failed at the beginning; a later one is reported, and the services run on.
    """
    services, error = compose.prepare(state, path, options, build, cancel, say)
    if services is None:
        return error
    try:
        compose.start(services, cancel, say)
        report({"event": "ready", **compose.told(services)})
        _Live(state, path, options, build, cancel, say, report, services).watch()
    except Interrupted:
        say("Stopping")
    finally:
        compose.stop(services.name, Cancel(), say)
    return None


class _Folder:
    """A folder that is looked at every so often."""

    def __init__(self, root: Path, rules: Rules) -> None:
        self.root, self._rules = root, rules
        self._seen = self._look()

    def _look(self) -> dict[str, Entry]:
        return {entry[0]: entry for entry in contexts.walk(self.root, self._rules).entries}

    def changed(self, settle: Callable[[], None]) -> set[str]:
        """Paths that differ from the last look, once nothing moves any more; folders are not told."""
        try:
            now = self._look()
            while now != self._seen:
                settle()
                again = self._look()
                if again == now:
                    break
                now = again
        except SourceChanged:  # a file vanished under the look: the next one tells
            return set()
        before, self._seen = self._seen, now
        different = {path for path in before.keys() | now.keys() if before.get(path) != now.get(path)}
        return {path for path in different if not stat.S_ISDIR((now.get(path) or before[path])[1])}


@dataclass(slots=True)
class _Watched:
    """A folder and what a change in it means: a rule of the compose file, or what the image is made of."""

    services: tuple[str, ...]
    folder: _Folder
    rule: WatchRule | None = None


@dataclass(slots=True)
class _Live:
    state: State
    path: str
    options: BuildOptions
    build: Build
    cancel: Cancel
    say: Say
    report: Report
    services: Services
    engine: Engine = field(default_factory=Engine)
    copied_into: set[str] = field(default_factory=set)
    """Services whose containers hold files that their image does not."""

    def watch(self) -> None:
        watched = list(self._watched())
        names = sorted({name for one in watched for name in one.services})
        self.report({"event": "watching", "services": names})
        took = 0.0
        while True:
            # A look at a large folder takes its time: a tenth of it all goes into looking, and no more.
            self.cancel.sleep(max(LOOK_SECONDS, 9 * took))
            took = 0.0
            for one in watched:
                started = time.monotonic()
                changed = one.folder.changed(lambda: self.cancel.sleep(SETTLE_SECONDS))
                if changed:
                    self._bring(one, changed)
                else:
                    took += time.monotonic() - started

    def _watched(self) -> Iterator[_Watched]:
        ruled: set[str] = set()
        for name in sorted(self.services.wanted):
            for rule in watch_rules(self.services.document["services"][name]):
                ruled.add(name)
                yield _Watched((name,), folder_of_rule(rule, self.services.document["services"][name]), rule)
        for planned in self._plans():
            names = tuple(
                name
                for name in (planned.service, *planned.shared_with)
                if name in self.services.wanted and name not in ruled
            )
            if names:
                root = Path(os.path.realpath(planned.context))
                yield _Watched(names, _Folder(root, ignore.load_rules(root, planned.dockerfile)))
                yield from self._beside(planned, names, root)

    @staticmethod
    def _beside(planned: ServicePlan, names: tuple[str, ...], root: Path) -> Iterator[_Watched]:
        """What the image is made of and the context does not hold: named folders, a Dockerfile from elsewhere."""
        places = [Path(place) for place in planned.contexts.values() if place.startswith("/")]
        if not planned.dockerfile.is_relative_to(root) and planned.dockerfile.is_file():
            places.append(planned.dockerfile)
        for place in places:
            rule = WatchRule(path=str(place), action="rebuild", target="")
            yield _Watched(names, _folder_of(rule), rule)

    def _plans(self) -> tuple[ServicePlan, ...]:
        request: BuildRequest = self.services.request
        ctx = compose.stage_context(self.state, request, self.cancel, lambda _: None)
        try:
            return plan(ctx, fetch.fetch(ctx, request.source)).services
        finally:
            if ctx.workspace.exists():
                shutil.rmtree(ctx.workspace)

    def _bring(self, watched: _Watched, changed: set[str]) -> None:
        started = time.monotonic()
        event: dict[str, Any] = {"event": "changed", "files": sorted(changed), "services": list(watched.services)}
        try:
            how = self._ruled(watched, changed) if watched.rule else self._copied(watched, changed)
            event["action"] = how or self._rebuild(watched.services)
        except Interrupted:
            raise
        except DockwrightError as error:
            # The next change may mend it.
            event |= {"event": "failed", "error": error.as_dict()}
        self.report({**event, "seconds": round(time.monotonic() - started, 3)})

    # --- what is done of a change -----------------------------------------------------------------------------------

    def _ruled(self, watched: _Watched, changed: set[str]) -> str | None:
        """As the compose file has it. None where the image must be built: a file that is gone cannot be copied."""
        rule, root = watched.rule, watched.folder.root
        assert rule is not None
        if rule.action == "rebuild" or not all((root / path).is_file() for path in changed):
            return None
        is_file = Path(rule.path).is_file()
        places = {path: rule.target if is_file else f"{rule.target.rstrip('/')}/{path}" for path in changed}
        for container in self._containers(watched.services):
            self._put(container, [(root / path, place, None) for path, place in places.items()])
            if rule.action == "sync+restart":
                self._restart(container)
        self._await(watched.services)
        return "copied" if rule.action == "sync" else "copied and restarted"

    def _copied(self, watched: _Watched, changed: set[str]) -> str | None:
        """Into the containers, where a build would do nothing but copy as well; else none."""
        planned = next(
            one for one in self._plans() if one.service in watched.services or {*one.shared_with} & {*watched.services}
        )
        if planned.manifest is None:
            return None
        mappings = copied_only(sorted(changed), planned.manifest, planned.copies())
        if mappings is None or any(mapping.owner and not _is_number(mapping.owner) for mapping in mappings):
            return None
        how = "copied"
        for container in self._containers(watched.services):
            root = watched.folder.root
            self._put(container, [(root / one.source, one.destination, one) for one in mappings])
            config = container.details["Config"]
            if not reloads_itself([*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())]):
                self._restart(container)
                how = "copied and restarted"
        self._await(watched.services)
        return how

    def _rebuild(self, names: tuple[str, ...]) -> str:
        """Started anew are those whose image is another, and those of `names` that hold what is in no image."""
        services, error = compose.prepare(self.state, self.path, self.options, self.build, self.cancel, self.say)
        if services is None:
            assert error is not None
            raise by_code(error)
        self.services = services
        images = {one["service"]: one["digest"] for one in services.build["services"]}
        there = {one.service: one.details["Image"] for one in listing(self.engine, services.name)}
        anew = {name for name, digest in images.items() if name in services.wanted and there.get(name) != digest}
        anew |= self.copied_into & {*names}
        if not anew:
            return "unchanged"
        compose.start(services, self.cancel, self.say, only=frozenset(anew))
        self.copied_into -= anew
        return "rebuilt"

    # --- containers --------------------------------------------------------------------------------------------------

    def _containers(self, names: tuple[str, ...]) -> list[Running]:
        return [one for one in listing(self.engine, self.services.name) if one.service in names]

    def _put(self, container: Running, files: list[tuple[Path, str, Any]]) -> None:
        """A file below a folder of the host that is mounted there is the host's own: it is seen already."""
        self.copied_into.add(container.service)
        mounted = [one["Destination"] for one in container.details["Mounts"] if one["Type"] == "bind"]
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as archive:
            for file, place, mapping in files:
                if any(place == folder or place.startswith(f"{folder.rstrip('/')}/") for folder in mounted):
                    continue
                archive.add(file, arcname=place.lstrip("/"), recursive=False, filter=self._as_there(container, mapping))
            end = archive.offset
        # No more than the two blocks of zeros that end an archive: an engine that reads no further closes its end.
        self.engine.put_archive(container.name, content.getvalue()[: end + 2 * tarfile.BLOCKSIZE])

    def _as_there(self, container: Running, mapping: Any) -> Callable[[tarfile.TarInfo], tarfile.TarInfo]:
        """With the owner that the file has in the container, or that a build would give it; and a build's mode."""

        def changed(member: tarfile.TarInfo) -> tarfile.TarInfo:
            there = self._member(container.name, f"/{member.name}")
            if there is not None:
                member.uid, member.gid = there.uid, there.gid
            else:
                owner = (mapping.owner if mapping else None) or "0:0"
                uid, _, gid = owner.partition(":")
                member.uid, member.gid = int(uid), int(gid or uid)
            member.uname = member.gname = ""
            if mapping is not None and mapping.mode & 0o7777:
                member.mode = mapping.mode & 0o7777
            return member

        return changed

    def _member(self, container: str, path: str) -> tarfile.TarInfo | None:
        try:
            with self.engine.archive(container, path) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
                return archive.next()
        except NotFound:
            return None

    def _restart(self, container: Running) -> None:
        self.engine.restart_container(container.name, seconds=STOP_SECONDS)

    def _await(self, names: tuple[str, ...]) -> None:
        Awaited(self.engine, self.services.name, frozenset(names), since=time.time()).wait(self.cancel)


def folder_of_rule(rule: WatchRule, service: Mapping[str, Any]) -> _Folder:
    """For a rule of the compose file. What the service's context leaves out is no change of it, as with compose."""
    build = service.get("build") or {}
    context, path = Path(os.path.realpath(build.get("context", "/"))), Path(os.path.realpath(rule.path))
    if not build or not path.is_relative_to(context):
        return _folder_of(rule)
    rules = ignore.load_rules(context, context / (build.get("dockerfile") or "Dockerfile"))
    folder = "" if path == context else path.relative_to(context).as_posix()
    return _folder_of(rule, rules.below(folder))


def _folder_of(rule: WatchRule, left_out: Rules | None = None) -> _Folder:
    """A file that is named by itself is looked at, ignored or not."""
    path = Path(rule.path)
    own = ignore.parse_rules("\n".join([*_ALWAYS_IGNORED, *rule.ignore]))
    rules = Rules([*(left_out.patterns if left_out else ()), *own.patterns])
    return _file(path) if path.is_file() else _Folder(path, rules)


def _file(path: Path) -> _Folder:
    """One file alone."""
    return _Folder(path.parent, ignore.parse_rules(f"*\n!{path.name}"))


def _is_number(owner: str) -> bool:
    return all(part.isdigit() for part in owner.split(":"))
