"""Projects: made from a template, or the first time that a folder or a repository is built; found by their name."""

from __future__ import annotations

import re
import unicodedata
from contextlib import suppress
from typing import Any

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from dockwright.db.journal import storable
from dockwright.db.tables import Build, Project, Template
from dockwright.domain.source import FolderSource, GitSource, TemplateSource, source_to_json
from dockwright.errors import Conflict, NotFound, UsageError
from dockwright.services.names import number_of
from dockwright.services.state import State

MAX_SLUG = 40
TRIES = 20
KNOWN_SHOWN = 10


def slug_of(name: str) -> str:
    """A name as it may stand in image names, container names and host names: `Süd Bot!` → `sud-bot`."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:MAX_SLUG].strip("-") or "app"


def create_from_template(state: State, template_name: str, name: str, variables: dict[str, Any]) -> dict[str, Any]:
    """Checks the variables and makes the project. Raises `UnknownTemplate`, `InvalidVariable` or `Conflict`."""
    from dockwright.sources.template import load_template
    from dockwright.sources.variables import check_variables

    if not name.strip() or len(name) > 255 or storable(name) != name:
        raise UsageError("A project's name has 1 to 255 characters of UTF-8", remedy="Give it another name")
    template = load_template(template_name, state.settings)
    variables = dict(variables)
    # The project's own description is the template's: one place to write it, whichever way it is given.
    description = storable(str(variables.pop("description", "")))
    checked = check_variables(template, variables)
    source = TemplateSource(template=template.name, variables=checked)
    with state.session() as session:
        if session.scalar(select(Project).where(Project.client_id == state.client_id, Project.name == name)):
            raise Conflict(f'There is a project "{name}" already', remedy=f'Build it with: dockwright build "{name}"')
        row = session.scalar(select(Template).where(Template.name == template.name))
        if row is None:
            row = Template(name=template.name)
            session.add(row)
        row.title, row.description, row.variables_schema = template.title, template.description, dict(template.schema)
        session.flush()
        project = Project(
            client_id=state.client_id,
            template_id=row.id,
            name=name,
            slug=_free_slug(session, state.client_id, slug_of(name)),
            description=description,
            source=source_to_json(source),
            personality=checked.get("personality"),
            business_rules=checked.get("business_rules"),
            training_data=checked.get("training_data"),
        )
        session.add(project)
        session.flush()
        return as_dict(project)


def create_from_source(state: State, source: FolderSource | GitSource, key: str, name: str) -> int:
    """The project of a folder or repository that is built for the first time; returns its id.

    Another process may make it, or take its slug, at the same moment: then it is that one's, or has another slug.
    """
    for _ in range(TRIES):
        with suppress(IntegrityError), state.session() as session:
            mine = Project.client_id == state.client_id
            found = session.scalar(select(Project.id).where(mine, Project.source_key == key))
            if found is not None:
                return found
            project = Project(
                client_id=state.client_id,
                name=name,
                slug=_free_slug(session, state.client_id, slug_of(name)),
                source=source_to_json(source),
                source_key=key,
            )
            session.add(project)
            session.flush()
            return project.id
    raise Conflict(f'"{name}" is being made by several processes at once', remedy="Try again in a moment")


def remove_slip(state: State, project_id: int, build_id: int) -> bool:
    """Removes a project and its only build, the one given; false where there is more of it by now."""
    with suppress(IntegrityError), state.session() as session:
        # Written first: where SQLite keeps the rows, nobody begins another build of it while we look. Elsewhere the
        # other's row refuses what we are about to do.
        session.execute(update(Project).where(Project.id == project_id).values(build_id=None))
        others = select(Build.id).where(Build.project_id == project_id, Build.id != build_id)
        if session.scalar(others.limit(1)) is not None:
            return False
        session.execute(delete(Build).where(Build.id == build_id))
        session.execute(delete(Project).where(Project.id == project_id))
        return True
    return False


def find(state: State, name: str) -> dict[str, Any]:
    """A project by its name, slug or id. Raises `NotFound`, naming those there are."""
    with state.session() as session:
        found = _named(session, state, name)
        if found is None:
            # Slugs, since two folders may share a name; the newest, which are the likely ones.
            mine = select(Project.slug).where(Project.client_id == state.client_id)
            slugs = session.scalars(mine.order_by(Project.id.desc()).limit(KNOWN_SHOWN)).all()
            known = f"There are: {', '.join(slugs)}" if slugs else "Make one with: dockwright new chatbot NAME"
            raise NotFound(f'There is no project "{name}", and no folder of that name', remedy=known)
        return as_dict(found)


def get(state: State, project_id: int) -> dict[str, Any]:
    """A project by its number alone. Raises `NotFound`."""
    with state.session() as session:
        found = session.get(Project, project_id)
        if found is None or found.client_id != state.client_id:
            raise NotFound(f"There is no project {project_id}", remedy="See: GET /api/v1/projects")
        return as_dict(found)


def is_known(state: State, name: str) -> bool:
    with state.session() as session:
        return _named(session, state, name) is not None


def _named(session: Session, state: State, name: str) -> Project | None:
    """What one project is called in full wins over what others are called in part or by number."""
    name = storable(name)
    matches = [Project.name == name, Project.slug == name.lower(), func.lower(Project.name) == name.lower()]
    if (number := number_of(name)) is not None:
        matches.append(Project.id == number)
    mine = select(Project).where(Project.client_id == state.client_id)
    by_match = [match.desc() for match in matches]
    return session.scalars(mine.where(or_(*matches)).order_by(*by_match, Project.id)).first()


def as_dict(project: Project) -> dict[str, Any]:
    """The project as CONTRACT's "Shapes" has it."""
    return {
        "id": project.id,
        "name": project.name,
        "slug": project.slug,
        "description": project.description,
        "source": project.source,
        "build": project.build,
        "deploy": project.deploy,
        "auto_build": project.auto_build,
        "build_id": project.build_id,
    }


def _free_slug(session: Session, client_id: int, slug: str) -> str:
    taken = set(
        session.scalars(select(Project.slug).where(Project.client_id == client_id, Project.slug.startswith(slug)))
    )
    if slug not in taken:
        return slug
    return next(f"{slug}-{number}" for number in range(2, len(taken) + 3) if f"{slug}-{number}" not in taken)
