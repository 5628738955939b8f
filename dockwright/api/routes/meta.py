"""Beside the API: whether the server is up and ready, what it was built from, and its documentation."""

from __future__ import annotations

import json
import os
import platform
from datetime import datetime
from importlib import resources

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from dockwright.api import problems
from dockwright.api.auth import base_state
from dockwright.api.schemas.system import BuildInfo, Health, Readiness
from dockwright.services import system

router = APIRouter(tags=["system"])


@router.get("/healthz")
async def get_health() -> Health:
    """The process is up."""
    return Health(status="ok")


@router.get("/readyz", response_model=Readiness)
def get_readiness(request: Request) -> Readiness | Response:
    """The database and the engine answer; 503 with the reason where one does not."""
    missing = system.not_ready(base_state(request))
    if not missing:
        return Readiness(status="ready")
    told = " · ".join(one["message"] for one in missing)
    return problems.answer(503, "not_ready", told, missing[0]["remedy"], parts=missing)


@router.get("/build/info")
def get_build_info(request: Request) -> BuildInfo:
    """What this server was built from."""
    return BuildInfo(
        build_date=os.environ.get("BUILD_DATE", ""),
        git_commit=os.environ.get("GIT_COMMIT", ""),
        cache_bust=os.environ.get("CACHE_BUST", ""),
        python_version=platform.python_version(),
        container_started=request.app.state.started_at,
        status="healthy",
    )


@router.get("/build-info.js", response_class=Response)
def get_build_info_script() -> Response:
    """The same for a page: `window.BUILD_INFO`."""
    build_date = os.environ.get("BUILD_DATE", "")
    info = {
        "buildDate": build_date,
        "gitCommit": os.environ.get("GIT_COMMIT", ""),
        "cacheBust": os.environ.get("CACHE_BUST", ""),
        "buildTimestamp": _milliseconds(build_date),
    }
    return Response(f"window.BUILD_INFO = {json.dumps(info)};\n", media_type="text/javascript")


def _milliseconds(text: str) -> int | None:
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        return None


@router.get("/api/docs", include_in_schema=False)
def get_docs() -> HTMLResponse:
    """Made of the OpenAPI document by a page that loads nothing from elsewhere: networks may be closed."""
    page = resources.files("dockwright.api").joinpath("docs.html").read_text(encoding="utf-8")
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})


_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'"
)
