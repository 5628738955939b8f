"""The server as its users see it."""

from __future__ import annotations

from fastapi import APIRouter

from dockwright.api.auth import Viewer
from dockwright.api.one_thread import OneThreadRoute
from dockwright.api.schemas.system import SystemOut
from dockwright.services import system

router = APIRouter(tags=["system"], route_class=OneThreadRoute)


@router.get("/system")
def get_system(caller: Viewer) -> SystemOut:
    """Builders, queue, disk, versions. Counts are one's own client's, an administrator's those of all together."""
    return SystemOut(**system.overview(caller.state, of_all_clients=caller.role == "admin"))
