"""The use case `verify`: does what runs equal the source? Nothing is built for it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import false, or_, select

from dockwright.db import tables
from dockwright.docker import builders
from dockwright.docker.engine import Engine
from dockwright.domain.build import BuildRequest, History
from dockwright.domain.events import Event
from dockwright.domain.plan import Plan, ServicePlan
from dockwright.domain.source import GitSource, Source, TemplateSource, Tree, source_from_json
from dockwright.insight.bundle import OlderBundle, older_bundle
from dockwright.insight.copies import NOTHING_COPIED, Copies, sources_of
from dockwright.insight.input_changes import InputChanges, input_changes
from dockwright.process import Cancel
from dockwright.services import compose, subjects
from dockwright.services.state import State
from dockwright.services.subjects import LABEL, Found, Subject
from dockwright.stages import fetch, generate, proof
from dockwright.stages.asked import SERVICE
from dockwright.stages.context import StageContext
from dockwright.stages.plan import plan
from dockwright.stages.proof import Proof, Wanted
from dockwright.stages.verify import declared_args, prove


def verify(state: State, argument: str | int, cancel: Cancel) -> dict[str, Any]:
    """CONTRACT, `verify --json`, with what each container says below `instances`. `ok` only when every one is."""
    found = subjects.find(state, argument)
    sources = _Sources(state, found.project, cancel)
    try:
        proofs = [(one.name, one.service, _prove(state, sources, one)) for one in found.containers]
        if not found.is_one:
            proofs += _missing(state, sources, found)
    finally:
        sources.remove()
    documents = [{"name": name, "service": service, **proof.as_dict()} for name, service, proof in proofs]
    worst = next((document for document in documents if not document["ok"]), documents[0])
    top = {name: value for name, value in worst.items() if name not in {"name", "service", "status", "last_lines"}}
    return {
        **top,
        "findings": [finding for document in documents for finding in document["findings"]],
        "product": found.name,
        "project": found.project.slug,
        "instances": documents,
    }


def _prove(state: State, sources: _Sources, one: Subject) -> Proof:
    engine = Engine()
    details = engine.container(one.container_id)
    digest = details["Image"] if details else ""
    image = _ImageRows(state, sources.project, digest)
    tree, service, gone = sources.service(one, image)
    if service is None:
        wanted = Wanted(copies=NOTHING_COPIED, revision=tree.revision, gone=gone, is_foreign=True, may_end=True)
    else:
        wanted = _wanted(state, one, image, tree, service)
    return prove(engine, one.container_id, one.addresses, wanted, sources.workspace)


def _missing(state: State, sources: _Sources, found: Found) -> Iterator[tuple[str, str, Proof]]:
    """Of the services that `up` has started, where any of their containers is there."""
    if sources.composed is None:
        return
    tree, planned = sources.composed
    for service, (there, wanted) in sorted(compose.missing(state, found.project.slug, planned.standing).items()):
        yield service, service, proof.missing(service, there, wanted, tree.revision)


def _wanted(state: State, one: Subject, image: _ImageRows, tree: Tree, service: ServicePlan) -> Wanted:
    copies: Copies = service.copies()
    release = one.release
    return Wanted(
        copies=copies,
        revision=tree.revision,
        digest=release.digest if release else None,
        image_name=release.image_name if release else None,
        manifest_digest=service.manifest_digest,
        build_args=declared_args(service),
        newer=image.newer(service.service),
        moved_by=image.moved_by(release.image_name) if release else None,
        changes=_changes(state, image, one, service),
        older_bundle=_older_bundle(tree, copies),
        may_end=one.is_composed,
    )


def _older_bundle(tree: Tree, copies: Copies) -> OlderBundle | None:
    """The files of a checkout or an archive are not as old as they look."""
    return older_bundle(tree.root, sources_of(copies.mappings)) if tree.is_in_place else None


def _changes(state: State, image: _ImageRows, one: Subject, service: ServicePlan) -> Callable[[], InputChanges]:
    build_id = image.row.build_id if image.row else one.build_id

    def changes() -> InputChanges:
        with state.session() as session:
            kept = session.scalar(
                select(tables.BuildArtifact.content)
                .join(tables.Build, tables.Build.id == tables.BuildArtifact.build_id)
                .where(
                    tables.Build.client_id == state.client_id,
                    tables.Build.id == build_id,
                    tables.BuildArtifact.artifact_type == "plan",
                    tables.BuildArtifact.file_path == f"plan-{service.service}.json",
                )
            )
        if kept is None or service.manifest is None:
            return InputChanges()
        return input_changes(json.loads(kept), service.manifest)

    return changes


class _ImageRows:
    """What the rows know of the image that a container runs, and of those that were built since."""

    def __init__(self, state: State, project: tables.Project, digest: str) -> None:
        self._state = state
        self._of_project = tables.DockerImage.project_id == project.id
        self._digest = digest
        self.manifest = self._own_manifest(state.client, project.slug)
        """Of the inputs that it was built from; none for an image that is not of the project."""
        with state.session() as session:
            mine = select(tables.DockerImage).where(self._of_project, tables.DockerImage.digest == digest)
            self.row = session.scalar(mine.order_by(tables.DockerImage.id).limit(1))
            # What was made from it since, by hand, is no row, and keeps its labels.
            own = tables.DockerImage.manifest_digest == self.manifest if self.manifest else false()
            same = or_(tables.DockerImage.digest == digest, own)
            names = select(tables.DockerImage.service).where(self._of_project, same).distinct()
            self.services = sorted(session.scalars(names))
        """Those that it was built for."""

    def _own_manifest(self, client: str, project: str) -> str | None:
        found = Engine().image(self._digest) if self._digest else None
        labels = ((found or {}).get("Config") or {}).get("Labels") or {}
        is_own = labels.get(f"{LABEL}client") == client and labels.get(f"{LABEL}project") == project
        return labels.get(f"{LABEL}manifest") if is_own else None

    def newer(self, service: str) -> str | None:
        """The newest image of the service, where it is a later one, in words."""
        with self._state.session() as session:
            built = (self._of_project, tables.DockerImage.service == service, tables.DockerImage.digest.is_not(None))
            order = tables.DockerImage.built_at.desc(), tables.DockerImage.id.desc()
            newest = session.scalar(select(tables.DockerImage).where(*built).order_by(*order).limit(1))
        if newest is None or newest.digest == self._digest:
            return None
        return _named(newest)

    def moved_by(self, name: str) -> str | None:
        """The build that was given the same tag later, where it was one of ours."""
        found = Engine().image(name)
        if found is None or found["Id"] == self._digest:
            return None
        base, _, tag = name.rpartition(":")
        with self._state.session() as session:
            same = (tables.DockerImage.name == base, tables.DockerImage.tag == tag)
            rows = select(tables.DockerImage).where(self._of_project, *same, tables.DockerImage.digest == found["Id"])
            row = session.scalar(rows.limit(1))
        return _named(row) if row else None


def _named(image: tables.DockerImage) -> str:
    return f"build {image.build_id}, {image.name}:{image.tag}"


# --- what the source makes -----------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Sources:
    """The project's source, fetched once for each ref, and planned once for each set of arguments."""

    state: State
    project: tables.Project
    cancel: Cancel
    _contexts: list[StageContext] = field(default_factory=list)
    composed: tuple[Tree, Plan] | None = None
    """What the containers that compose has started should be, once one of them was looked at."""
    _planned: dict[str, tuple[Tree, Plan]] = field(default_factory=dict)

    @property
    def workspace(self) -> Any:
        return self._contexts[-1].workspace

    def service(self, one: Subject, image: _ImageRows) -> tuple[Tree, ServicePlan | None, str | None]:
        """The container's own service; none for one whose image is not built from the source, or whose service is not
        there any more: then its name comes as well.
        """
        tree, planned = self.planned(one, image)
        by_name = {name: each for each in planned.services for name in (each.service, *each.shared_with)}
        if one.service in by_name:
            return tree, by_name[one.service], None
        if one.is_composed and one.service not in planned.standing:
            return tree, None, one.service if image.manifest else None
        built_for = next((by_name[name] for name in image.services if name in by_name), None)
        if built_for is not None:
            return tree, built_for, None
        if one.service is None and len(planned.services) == 1:
            return tree, planned.services[0], None
        return tree, None, ", ".join(image.services) or one.service or "?" if image.manifest else None

    def planned(self, one: Subject, image: _ImageRows) -> tuple[Tree, Plan]:
        build = self._build(one)
        source = source_from_json(self.project.source)
        if isinstance(source, GitSource) and build is not None:
            # What runs was built from this commit; the ref may have moved since, and then the answer says so.
            source = GitSource(url=source.url, ref=build.ref, subdir=source.subdir)
        # One that was started by hand may be of a folder that has a Dockerfile as well.
        is_composed = one.is_composed or (one.release is None and not {SERVICE} >= {*image.services})
        request = self._request(source, build, image.row, is_composed=is_composed)
        key = json.dumps([str(source), dict(request.args), request.build_date, is_composed], sort_keys=True)
        if key not in self._planned:
            self._planned[key] = self._plan(request)
        if one.is_composed:
            self.composed = self._planned[key]
        return self._planned[key]

    def _build(self, one: Subject) -> tables.Build | None:
        with self.state.session() as session:
            found = session.get(tables.Build, one.build_id) if one.build_id else None
        return found if found is not None and found.project_id == self.project.id else None

    def _request(
        self, source: Source, build: tables.Build | None, image: tables.DockerImage | None, *, is_composed: bool
    ) -> BuildRequest:
        options = build.options if build else {}
        given = {**self.project.build.get("args", {}), **options.get("args", {})}
        # A dev build's clock is among its inputs: the source is planned as if it were built in that moment again.
        clock = _clock(image.build_date) if image is not None and image.profile == "dev" else {}
        return BuildRequest(
            build_id=build.id if build else 0,
            client=self.state.client,
            project=self.project.slug,
            project_id=self.project.id,
            name=self.project.name,
            description=self.project.description,
            source=source,
            profile="prod",
            build_date=image.build_date if image else None,
            dockerfile=self.project.build.get("dockerfile"),
            target=self.project.build.get("target"),
            args={**clock, **given},
            is_for_up=is_composed,
            is_remote=self.state.actor is not None,  # only who asks a server has signed in
        )

    def _plan(self, request: BuildRequest) -> tuple[Tree, Plan]:
        ctx = _context(self.state, request, self.cancel)
        self._contexts.append(ctx)
        tree = fetch.fetch(ctx, request.source)
        if isinstance(request.source, TemplateSource):
            tree = generate.generate(ctx, tree)
        return tree, plan(ctx, tree)

    def remove(self) -> None:
        for ctx in self._contexts:
            if ctx.workspace.exists():
                shutil.rmtree(ctx.workspace)


def _clock(build_date: str) -> dict[str, str]:
    try:
        seconds = int(datetime.fromisoformat(build_date).timestamp())
    except ValueError:
        return {}
    return {"BUILD_DATE": build_date, "CACHE_BUST": str(seconds)}


def _context(state: State, request: BuildRequest, cancel: Cancel) -> StageContext:
    def ignore_event(event: Event) -> None:
        """Looking is no build: there is no log to keep."""

    return StageContext(
        request=request,
        settings=state.settings,
        history=History(),
        workspace=state.settings.workspace_dir / f"verify-{os.getpid()}-{os.urandom(3).hex()}",
        sink=ignore_event,
        cancel=cancel,
        # What a builder was sent is remembered by its name: verifying must not look like a change of the builder.
        builder=builders.builder_for(state.settings, state.client),
    )
