"""Why a build took what it took."""

from __future__ import annotations

from fastapi import APIRouter

from dockwright.api.auth import Viewer
from dockwright.api.fields import RowId
from dockwright.api.one_thread import OneThreadRoute
from dockwright.api.schemas.explain import ExplanationOut
from dockwright.services import explain

router = APIRouter(prefix="/builds", tags=["builds"], route_class=OneThreadRoute)


@router.get("/{build_id}/explain")
def explain_build(build_id: RowId, caller: Viewer) -> ExplanationOut:
    """Each step that ran with its one root cause; the causes by what they cost, each with what to change."""
    return ExplanationOut(**explain.explain(caller.state, build_id))
