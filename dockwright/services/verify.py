"""The use case `verify`: does what runs equal the source? Nothing is built for it."""

from __future__ import annotations

import os
import shutil
from typing import Any

from sqlalchemy import select

from dockwright.db import tables
from dockwright.docker import builders
from dockwright.docker.engine import Engine
from dockwright.domain.build import BuildRequest, History, Profile
from dockwright.domain.events import Event
from dockwright.domain.product import LiveState
from dockwright.domain.source import GitSource, TemplateSource, source_from_json
from dockwright.errors import Conflict, NotFound
from dockwright.process import Cancel
from dockwright.services import live, products
from dockwright.services.state import State
from dockwright.sources.detect import detect, is_path, source_key
from dockwright.stages import fetch, generate
from dockwright.stages.context import StageContext
from dockwright.stages.plan import Planner
from dockwright.stages.verify import prove


def verify(state: State, argument: str | int, cancel: Cancel) -> dict[str, Any]:
    """CONTRACT, `verify --json`, with what each instance says below `instances`. `ok` only when every one is."""
    product, project = _product_and_project(state, argument)
    with state.session() as session:
        release = session.scalar(
            select(tables.Release).where(
                tables.Release.product_id == product.id, tables.Release.number == product.release_number
            )
        )
        build = session.get(tables.Build, release.build_id) if release and release.build_id else None
    found = live.live_state(state, product, project=project.slug, env={})
    if release is None or not found.instances:
        raise Conflict(
            f'Nothing of "{product.slug}" is running', remedy=f"Start it with: dockwright start {product.slug}"
        )
    ctx = _context(state, project, build, release.digest, cancel)
    try:
        proofs = _proofs(ctx, found, release.digest, build)
    finally:
        if ctx.workspace.exists():
            shutil.rmtree(ctx.workspace)
    worst = next((proof for _, proof in proofs if not proof["ok"]), proofs[0][1])
    return {**worst, "product": product.slug, "instances": [{"name": name, **proof} for name, proof in proofs]}


def _proofs(
    ctx: StageContext, found: LiveState, digest: str, build: tables.Build | None
) -> list[tuple[str, dict[str, Any]]]:
    tree = fetch.fetch(ctx, ctx.request.source)
    if isinstance(ctx.request.source, TemplateSource):
        tree = generate.generate(ctx, tree)
    planned = Planner(ctx, tree).plan()
    engine = Engine()
    proofs = []
    for instance in found.instances:
        proof = prove(
            engine,
            instance.container_id,
            f"http://{instance.address}:{instance.port}",
            copies=planned.copies(),
            wanted_digest=digest,
            # A dev build's clock is among its inputs, so no other build's manifest equals its own.
            wanted_manifest=planned.manifest_digest if build is None or build.profile == "prod" else None,
            revision=tree.revision,
            scratch=ctx.workspace,
        )
        proofs.append((instance.name, proof.as_dict()))
    return proofs


def _product_and_project(state: State, argument: str | int) -> tuple[tables.Product, tables.Project]:
    """By a path or URL its project's product; by a name or a number the product."""
    with state.session() as session:
        if isinstance(argument, str) and is_path(argument):
            key = source_key(detect(argument))
            project = session.scalar(
                select(tables.Project).where(
                    tables.Project.client_id == state.client_id, tables.Project.source_key == key
                )
            )
            found = select(tables.Product).where(tables.Product.project_id == (project.id if project else 0))
            product = session.scalar(found)
            if project is None or product is None:
                raise NotFound(
                    f"Nothing was deployed from {argument}", remedy=f"Deploy it with: dockwright build {argument}"
                )
            return product, project
        product = products.find(state, argument)
        project = session.get(tables.Project, product.project_id) if product.project_id else None
        if project is None:
            raise Conflict(
                f'"{product.slug}" has no source to compare with', remedy="Only products of a project can be verified"
            )
        return product, project


def _context(
    state: State, project: tables.Project, build: tables.Build | None, digest: str, cancel: Cancel
) -> StageContext:
    source = source_from_json(project.source)
    if isinstance(source, GitSource) and build is not None:
        # What runs was built from this commit; the ref may have moved since, and then the answer says so.
        source = GitSource(url=source.url, ref=build.ref, subdir=source.subdir)
    profile: Profile = "prod"
    with state.session() as session:
        image = select(tables.DockerImage.build_date).where(tables.DockerImage.digest == digest)
        build_date = session.scalar(image.limit(1))
    options = build.options if build else {}
    request = BuildRequest(
        build_id=build.id if build else 0,
        client=state.client,
        project=project.slug,
        project_id=project.id,
        name=project.name,
        description=project.description,
        source=source,
        profile=profile,
        build_date=build_date,
        dockerfile=project.build.get("dockerfile"),
        target=project.build.get("target"),
        args={**project.build.get("args", {}), **options.get("args", {})},
    )

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
