"""A project made, and built at once where that was asked for; with a word on what comes next."""

from __future__ import annotations

from typing import Any

from dockwright.domain.source import UploadSource
from dockwright.services import projects, queueing
from dockwright.services.audit import Actor
from dockwright.services.projects import NewProject
from dockwright.services.state import State
from dockwright.services.uploads import Incoming


def create(state: State, new: NewProject, actor: Actor) -> dict[str, Any]:
    """The project with `build_id` and `message`. Raises as `projects.create` does."""
    project = projects.create(state, new, actor)
    what = f'{"Assistant" if is_assistant(project) else "Project"} "{project["name"]}" has been created'
    if project["source"]["kind"] == "upload":
        then = ", which builds it" if project["auto_build"] else ""
        message = f"{what}. Send its source archive with POST /projects/{project['id']}/source{then}"
    elif project["auto_build"]:
        project["build_id"], told = _queue(state, project["id"], actor)
        message = f"{what} and {told}"
    else:
        message = f"{what}. Build it with POST /builds/trigger/{project['id']}"
    return {**project, "message": message}


def keep_upload(state: State, incoming: Incoming, sent: UploadSource, actor: Actor) -> dict[str, Any]:
    """What was uploaded, and the build that it started. Raises as `Incoming.keep` does."""
    kept = incoming.keep(sent, actor)
    project_id = kept["project_id"]
    message, build_id = f"The source is here. Build it with POST /builds/trigger/{project_id}", None
    if projects.get(state, project_id)["auto_build"]:
        build_id, told = _queue(state, project_id, actor)
        message = f"The source is here and {told}"
    return {**kept, "build_id": build_id, "message": message}


def is_assistant(project: dict[str, Any]) -> bool:
    """DESIGN, "Words": a project whose source is a chatbot template."""
    source = project["source"]
    return bool(source["kind"] == "template" and source["template"] == "chatbot")


def _queue(state: State, project_id: int, actor: Actor) -> tuple[int, str]:
    queued = queueing.queue_build(state, project_id, actor=actor)
    number, place = queued.build_id, f" at place {queued.position}" if queued.position else ""
    return number, f"its build {number} is queued{place}; watch it at /builds/{number}/status"
