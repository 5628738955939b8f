"""What the next build is explained from: the build before it. No import here takes time: every build comes by."""

from __future__ import annotations

from dockwright.db import explanations
from dockwright.domain.build import BuildRequest
from dockwright.domain.explanation import Circumstances, Forgotten, Previous
from dockwright.services.state import State


def previous_of(state: State, request: BuildRequest, service: str) -> Previous | Forgotten | None:
    """The last build of the same project, service and profile that built the image. From any thread."""
    from dockwright.insight import inputs

    project_id, profile, before = request.project_id, request.profile, request.build_id
    found = explanations.last_built(
        state.connection, project_id=project_id, profile=profile, service=service, before=before
    )
    if found is None:
        build_id = explanations.forgotten(state.connection, project_id=project_id, profile=profile, before=before)
        return None if build_id is None else Forgotten(build_id=build_id)
    return Previous(
        build_id=found.build_id,
        manifest=inputs.from_json(found.manifest),
        circumstances=Circumstances(**found.explanation["circumstances"]),
    )
