"""`/metrics` for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from dockwright.api.one_thread import OneThreadRoute
from dockwright.services import metrics

router = APIRouter(tags=["system"], route_class=OneThreadRoute)


@router.get("/metrics", response_class=Response, summary="Figures for Prometheus")
def show(request: Request) -> Response:
    """Counts alone, of all clients together: no names of anybody's."""
    return Response(metrics.exposition(request.app.state.dockwright), media_type=CONTENT_TYPE_LATEST)
