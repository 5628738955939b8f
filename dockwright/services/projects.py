"""Projects: made from a template, or the first time that a folder or a repository is built; found by their name."""

from __future__ import annotations

import re
import unicodedata
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import delete, func, or_, select
from sqlalchemy import update as update_rows
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from dockwright.db.stored import storable
from dockwright.db.tables import Build, Deployment, DockerImage, Product, Project, Release, Template
from dockwright.domain.source import (
    FolderSource,
    GitSource,
    Source,
    TemplateSource,
    UploadSource,
    source_to_json,
    url_without_credentials,
)
from dockwright.domain.transitions import FINISHED
from dockwright.errors import Conflict, NotAllowedError, NotFound, PathNotFound, UsageError
from dockwright.services.audit import Actor, record
from dockwright.services.names import number_of
from dockwright.services.paging import page
from dockwright.services.state import State

MAX_SLUG = 40
TRIES = 20
KNOWN_SHOWN = 10
_REMOTE_GIT = re.compile(r"(?:https?|ssh|git)://[^\s\0]+|[\w.-]+@[\w.-]+:(?!//)[^\s\0]+", re.ASCII)


def slug_of(name: str) -> str:
    """A name as it may stand in image names, container names and host names: `Süd Bot!` → `sud-bot`."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:MAX_SLUG].strip("-") or "app"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewProject:
    """What a project is made from (CONTRACT, "Shapes")."""

    name: str
    slug: str | None = None
    description: str = ""
    source: Source
    build: dict[str, Any] = field(default_factory=dict)
    deploy: dict[str, Any] = field(default_factory=dict)
    auto_build: bool = False


def create_from_template(state: State, template_name: str, name: str, variables: dict[str, Any]) -> dict[str, Any]:
    """Checks the variables and makes the project. Raises `UnknownTemplate`, `InvalidVariable` or `Conflict`."""
    return create(state, NewProject(name=name, source=TemplateSource(template=template_name, variables=variables)))


def create(state: State, new: NewProject, actor: Actor | None = None) -> dict[str, Any]:
    """Checks the source and makes the project.

    Raises `UsageError` for a name or a source that cannot be, `NotAllowedError` for a folder that is not among
    SOURCE_FOLDERS, `UnknownTemplate`, `InvalidVariable`, and `Conflict` for a name or slug that is taken.
    """
    _check_name(new.name)
    source, description = checked_source(state, new.source, new.description)
    for _ in range(TRIES):
        with suppress(IntegrityError), state.session() as session:
            _check_free(session, state, new.name, new.slug)
            project = Project(
                client_id=state.client_id,
                name=new.name,
                slug=new.slug or _free_slug(session, state.client_id, slug_of(new.name)),
                description=description,
                build=new.build,
                deploy=new.deploy,
                auto_build=new.auto_build,
            )
            _set_source(session, state, project, source)
            session.add(project)
            session.flush()
            # Asked again, now that nobody else writes: one of that name may have come in between.
            _check_free(session, state, new.name, None, besides=project.id)
            _record(session, actor, "project.create", project)
            return as_dict(project)
    raise _is_being_made(new.name)


CHANGEABLE = frozenset({"name", "description", "build", "deploy", "auto_build"})


def update(state: State, project_id: int, changes: dict[str, Any], actor: Actor | None = None) -> dict[str, Any]:
    """`changes`: columns of `CHANGEABLE`, and `source` as a `Source`. Builds that run go on with what was before.

    Raises `NotFound`, and as `create` does.
    """
    changes = dict(changes)
    if "name" in changes:
        _check_name(changes["name"])
    source: Source | None = changes.pop("source", None)
    if source is not None:
        source, described = checked_source(state, source, changes.get("description", ""))
        changes |= {"description": described} if described else {}
    assert changes.keys() <= CHANGEABLE
    with state.session() as session:
        project = _row(session, state, project_id)
        if changes.get("name", project.name) != project.name:
            _check_free(session, state, changes["name"], None)
        if source is not None:
            _set_source(session, state, project, source)
        for name, value in changes.items():
            setattr(project, name, value)
        session.flush()
        _record(session, actor, "project.update", project, changed=sorted({*changes, *(["source"] if source else [])}))
        return as_dict(project)


def remove(state: State, project_id: int, actor: Actor | None = None) -> None:
    """With its builds and the rows of its images; what they left on the engine goes with the next clean-up.

    Raises `NotFound`, and `Conflict` while it builds or a product rests on it.
    """
    with state.session() as session:
        project = _row(session, state, project_id)
        builds = select(Build.id).where(Build.project_id == project_id)
        # Written first, so that nobody queues a build of it while we look.
        session.execute(update_rows(Project).where(Project.id == project_id).values(build_id=None))
        active = session.scalar(builds.where(Build.status.not_in(FINISHED)).limit(1))
        if active is not None:
            raise Conflict(
                f"Build {active} of it has not finished", remedy=f"Wait for it, or cancel it: DELETE /builds/{active}"
            )
        images = select(DockerImage.id).where(DockerImage.project_id == project_id)
        rests = or_(Product.project_id == project_id, Product.image_id.in_(images))
        product = session.scalar(select(Product).where(rests).limit(1))
        if product is not None:
            raise Conflict(
                f'The product "{product.slug}" rests on it', remedy=f"Remove it first: DELETE /products/{product.id}"
            )
        for table in (Release, Deployment):
            session.execute(update_rows(table).where(table.build_id.in_(builds)).values(build_id=None))
        _record(session, actor, "project.remove", project)
        session.execute(delete(DockerImage).where(DockerImage.project_id == project_id))
        session.execute(delete(Build).where(Build.project_id == project_id))
        session.execute(delete(Project).where(Project.id == project_id))


def listing(state: State, limit: int, cursor: str | None = None) -> tuple[list[dict[str, Any]], str | None]:
    """The client's projects, newest first, and the cursor of what is behind them."""
    with state.session() as session:
        query = select(Project).where(Project.client_id == state.client_id)
        found = page(session, query, Project.id, limit, cursor)
    return [as_dict(row) for row in found.rows], found.next_cursor


def checked_source(state: State, source: Source, description: str = "") -> tuple[Source, str]:
    """The source as it may be kept, and the project's description, which a template's variables may hold as well.

    What a server is asked to build must not be read from its own disk, but for the folders that its operator names.
    """
    match source:
        case TemplateSource():
            return _checked_template(state, source, description)
        case FolderSource():
            return FolderSource(path=_allowed_folder(state, source.path)), description
        case GitSource():
            return _checked_git(state, source), description
        case UploadSource():
            return source, description


def _checked_template(state: State, source: TemplateSource, description: str) -> tuple[Source, str]:
    from dockwright.sources.template import load_template
    from dockwright.sources.variables import check_variables

    template = load_template(source.template, state.settings)
    variables = dict(source.variables)
    # The project's own description is the template's: one place to write it, whichever way it is given.
    described = variables.pop("description", None)
    checked = check_variables(template, variables)
    text = description or ("" if described is None else str(described))
    return TemplateSource(template=template.name, variables=checked), storable(text)


def _allowed_folder(state: State, text: str) -> str:
    path = Path(text).resolve()
    if not any(path.is_relative_to(folder) for folder in state.settings.source_folders):
        raise NotAllowedError(
            f"The folder {text} is not among those that may be built",
            remedy="The operator names them in SOURCE_FOLDERS; or upload an archive instead",
        )
    if not path.is_dir():
        raise PathNotFound(f"There is no folder {text}", remedy="Give a folder on the server that is there")
    return str(path)


def _checked_git(state: State, source: GitSource) -> GitSource:
    location = source.url.removeprefix("file://")
    if location.startswith("/"):
        _allowed_folder(state, location)
    elif not _REMOTE_GIT.fullmatch(source.url):
        raise UsageError(
            "This is no Git URL that a server can fetch from",
            remedy="Give https://…, ssh://…, git://… or user@host:path",
        )
    if url_without_credentials(source.url) != source.url:
        raise UsageError("The URL holds a name or a password, which no project keeps", remedy="Leave them out of it")
    return source


def _check_name(name: str) -> None:
    if not name.strip() or len(name) > 255 or storable(name) != name:
        raise UsageError("A project's name has 1 to 255 characters of UTF-8", remedy="Give it another name")


def _check_free(session: Session, state: State, name: str, slug: str | None, besides: int = 0) -> None:
    mine = select(Project.slug).where(Project.client_id == state.client_id, Project.id != besides)
    if (known := session.scalar(mine.where(Project.name == name))) is not None:
        raise Conflict(f'There is a project "{name}" already', remedy=f'Build it with: dockwright build "{known}"')
    if slug is not None and session.scalar(mine.where(Project.slug == slug)) is not None:
        raise Conflict(f'The slug "{slug}" is another project\'s', remedy="Give it another slug, or none")


def _set_source(session: Session, state: State, project: Project, source: Source) -> None:
    variables: dict[str, Any] = {}
    project.template_id = None
    if isinstance(source, TemplateSource):
        variables = source.variables
        project.template_id = _template_row(session, state, source.template)
    if isinstance(source, UploadSource) and source.digest is None and project.source_key:
        return  # an upload as before: what was uploaded stays
    project.source = source_to_json(source)
    project.source_key = f"upload:{source.digest}" if isinstance(source, UploadSource) and source.digest else None
    project.personality = variables.get("personality")
    project.business_rules = variables.get("business_rules")
    project.training_data = variables.get("training_data")


def _template_row(session: Session, state: State, name: str) -> int:
    from dockwright.sources.template import load_template

    template = load_template(name, state.settings)
    row = session.scalar(select(Template).where(Template.name == name))
    if row is None:
        row = Template(name=name)
        session.add(row)
    row.title, row.description, row.variables_schema = template.title, template.description, dict(template.schema)
    session.flush()
    return row.id


def _row(session: Session, state: State, project_id: int) -> Project:
    found = session.get(Project, project_id)
    if found is None or found.client_id != state.client_id:
        raise NotFound(f"There is no project {project_id}", remedy="See: GET /api/v1/projects")
    return found


def _is_being_made(name: str) -> Conflict:
    return Conflict(f'"{name}" is being made by several processes at once', remedy="Try again in a moment")


def _record(session: Session, actor: Actor | None, action: str, project: Project, **detail: Any) -> None:
    if actor is not None:
        record(session, actor, action, "project", project.id, slug=project.slug, **detail)


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
    raise _is_being_made(name)


def remove_slip(state: State, project_id: int, build_id: int) -> bool:
    """Removes a project and its only build, the one given; false where there is more of it by now."""
    with suppress(IntegrityError), state.session() as session:
        # Written first: where SQLite keeps the rows, nobody begins another build of it while we look. Elsewhere the
        # other's row refuses what we are about to do.
        session.execute(update_rows(Project).where(Project.id == project_id).values(build_id=None))
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
        return as_dict(_row(session, state, project_id))


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
        "created_at": project.created_at,
    }


def _free_slug(session: Session, client_id: int, slug: str) -> str:
    taken = set(
        session.scalars(select(Project.slug).where(Project.client_id == client_id, Project.slug.startswith(slug)))
    )
    if slug not in taken:
        return slug
    return next(f"{slug}-{number}" for number in range(2, len(taken) + 3) if f"{slug}-{number}" not in taken)
