"""Templates and the variables they ask for."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from dockwright.api.auth import Viewer
from dockwright.api.one_thread import OneThreadRoute
from dockwright.api.schemas.system import TemplateDetail, TemplateList, TemplateSummary
from dockwright.sources import template as templates

router = APIRouter(prefix="/templates", tags=["templates"], route_class=OneThreadRoute)


@router.get("")
def list_templates(caller: Viewer) -> TemplateList:
    """All of them, by name."""
    found = templates.list_templates(caller.state.settings)
    return TemplateList(
        items=[TemplateSummary(name=one.name, title=one.title, description=one.description) for one in found]
    )


@router.get("/{name}")
def get_template(name: Annotated[str, Path(max_length=63, examples=["chatbot"])], caller: Viewer) -> TemplateDetail:
    """With its variables as JSON Schema."""
    found = templates.load_template(name, caller.state.settings)
    return TemplateDetail(
        name=found.name, title=found.title, description=found.description, variables=dict(found.schema)
    )
