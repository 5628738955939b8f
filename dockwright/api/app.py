"""The ASGI application: every route twice, at /api/v1 and at /api, and what stands beside them."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import metadata

from fastapi import FastAPI

from dockwright.api import bodies, openapi, problems, streams
from dockwright.api.admissions import Admissions
from dockwright.api.routes import (
    audit,
    auth,
    builds,
    clients,
    explain,
    images,
    meta,
    metrics,
    products,
    projects,
    secrets,
    system,
    templates,
    users,
)
from dockwright.api.tails import Tails
from dockwright.services.state import State

ROUTERS = tuple(
    module.router
    for module in (
        builds,  # the first that is looked through
        auth,
        clients,
        users,
        audit,
        templates,
        projects,
        secrets,
        explain,
        streams,
        images,
        products,
        system,
    )
)
MOUNTS = (("/api/v1", True), ("/api", False))
"""Where the routes are, and whether the OpenAPI document shows them there."""


def create_app(state: State) -> FastAPI:
    """`state` is the server's own, of the local client, with the bus that tells of new events."""
    app = FastAPI(
        title="Dockwright",
        version=metadata.version("dockwright"),
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=openapi.operation_id,
    )
    app.state.dockwright = state
    app.state.tails = Tails(state)
    app.state.admissions = Admissions(state)
    app.state.started_at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    for prefix, is_shown in MOUNTS:
        for router in ROUTERS:
            app.include_router(router, prefix=prefix, include_in_schema=is_shown)
    app.include_router(meta.router)
    app.include_router(metrics.router)
    problems.install(app)
    openapi.install(app)
    app.add_middleware(bodies.BodyLimit)
    app.add_middleware(problems.LastResort)  # around all others
    return app
