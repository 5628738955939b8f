"""What the next build is explained from: the build before it. No import here takes time: every build comes by."""

from __future__ import annotations

from dockwright.db import explanations
from dockwright.domain.build import BuildRequest
from dockwright.domain.explanation import Circumstances, Forgotten, Previous
from dockwright.services.state import State


def previous_of(state: State, request: BuildRequest, service: str) -> Previous | Forgotten | None:
    """The last build of the same project, service and profile that built the image. From any thread."""
    from dockwright.insight import inputs

    found = explanations.last_built(
        state.connection,
        project_id=request.project_id,
        profile=request.profile,
        service=service,
        before=request.build_id,
    )
    if found is None:
        return None
    if isinstance(found, int):
        return Forgotten(build_id=found)
    return Previous(
        build_id=found.build_id,
        manifest=inputs.from_json(found.manifest),
        circumstances=Circumstances(**found.explanation["circumstances"]),
    )
