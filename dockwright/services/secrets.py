"""Secrets of clients and projects: put, named, deleted, and looked up for a build or an instance; never shown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from dockwright.db.tables import Secret, now
from dockwright.domain.redaction import MAX_BYTES, MIN_LENGTH, NO_SECRETS, Redactor
from dockwright.errors import Conflict, NotFound, UsageError
from dockwright.services import audit, projects, secret_key
from dockwright.services.audit import Actor
from dockwright.services.paging import page
from dockwright.services.state import State

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")


def put(state: State, actor: Actor, name: str, value: str, project_id: int | None = None) -> None:
    """Stores or replaces it; a project's own stands before the client's of the same name.

    Raises `UsageError`, `NotFound` for a project that is not the client's, or `SecretKeyUnusable`.
    """
    _check(name, value)
    _check_project(state, project_id)
    try:
        with state.session() as session:
            ciphertext = _key_to_write(session, state).encrypt(value.encode()).decode()
            row = session.scalar(select(Secret).where(*_place(state, project_id), Secret.name == name))
            if row is None:
                row = Secret(client_id=state.client_id, project_id=project_id, name=name)
                session.add(row)
            row.ciphertext, row.updated_at = ciphertext, now()
            session.flush()
            _record(session, state, actor, "secret.put", name, project_id)
    except IntegrityError as error:
        raise Conflict(f"The secret {name} is being stored by somebody else", remedy="Try again") from error


def delete(state: State, actor: Actor, name: str, project_id: int | None = None) -> None:
    """Raises `NotFound`. What runs keeps the value until it is started anew."""
    _check_project(state, project_id)
    with state.session() as session:
        session.delete(_row(session, state, name, project_id))
        _record(session, state, actor, "secret.delete", name, project_id)


def get(state: State, name: str, project_id: int | None = None) -> dict[str, Any]:
    """Its name and dates. Raises `NotFound`."""
    _check_project(state, project_id)
    with state.session() as session:
        return _as_dict(_row(session, state, name, project_id))


def names(
    state: State, limit: int, cursor: str | None = None, project_id: int | None = None
) -> tuple[list[dict[str, Any]], str | None]:
    """Names and dates: a project's own, or the client's."""
    _check_project(state, project_id)
    with state.session() as session:
        query = select(Secret).where(*_place(state, project_id))
        found = page(session, query, Secret.id, limit, cursor, newest_first=False)
    return [_as_dict(row) for row in found.rows], found.next_cursor


def values(state: State, project_id: int | None, wanted: Iterable[str]) -> dict[str, str]:
    """Raises `NotFound`, naming the first that is missing, or `SecretKeyUnusable`."""
    wanted = sorted(set(wanted))
    if not wanted:
        return {}
    found = _visible(state, project_id, Secret.name.in_(wanted))
    missing = next((name for name in wanted if name not in found), None)
    if missing is not None:
        where = "the client" if project_id is None else f"project {project_id}"
        raise NotFound(
            f"There is no secret {missing} for {where}",
            remedy=f"Store it with: PUT /api/v1/projects/{project_id or '{id}'}/secrets/{missing}",
        )
    return found


def redactor(state: State, project_id: int | None) -> Redactor:
    """Takes out all that the project, or a product without one, may have been given. Raises `SecretKeyUnusable`."""
    found = _visible(state, project_id)
    return Redactor(found) if found else NO_SECRETS


def seal(state: State, given: Mapping[str, str]) -> dict[str, str]:
    """Values for a row of another kind, encrypted as stored secrets are. Raises `SecretKeyUnusable`."""
    if not given:
        return {}
    with state.session() as session:
        key = _key_to_write(session, state)
    return {name: key.encrypt(value.encode("utf-8", "surrogatepass")).decode() for name, value in given.items()}


def unseal(state: State, sealed: Mapping[str, str]) -> dict[str, str]:
    """What `seal` was given. Raises `SecretKeyUnusable`."""
    if not sealed:
        return {}
    key = secret_key.load(state.settings.secret_key_file, may_make=False)
    return {name: _opened(state, key, text).decode("utf-8", "surrogatepass") for name, text in sealed.items()}


def _visible(state: State, project_id: int | None, *conditions: ColumnElement[bool]) -> dict[str, str]:
    """The client's, and over them the project's own."""
    own = Secret.project_id.is_(None) if project_id is None else _of_client_or(project_id)
    with state.session() as session:
        mine = select(Secret).where(Secret.client_id == state.client_id, own, *conditions)
        rows = sorted(session.scalars(mine), key=lambda row: row.project_id is not None)
    if not rows:
        return {}
    key = secret_key.load(state.settings.secret_key_file, may_make=False)
    return {row.name: _opened(state, key, row.ciphertext).decode() for row in rows}


def _of_client_or(project_id: int) -> ColumnElement[bool]:
    return or_(Secret.project_id.is_(None), Secret.project_id == project_id)


def _opened(state: State, key: Fernet, ciphertext: str) -> bytes:
    from cryptography.fernet import InvalidToken

    try:
        return key.decrypt(ciphertext.encode())
    except InvalidToken as error:
        raise secret_key.wrong(state.settings.secret_key_file) from error


def _key_to_write(session: Session, state: State) -> Fernet:
    """The very key that the others were encrypted with: a second one would be found out when it is too late."""
    other = session.scalar(select(Secret).limit(1))
    key = secret_key.load(state.settings.secret_key_file, may_make=other is None)
    if other is not None:
        _opened(state, key, other.ciphertext)
    return key


def _place(state: State, project_id: int | None) -> tuple[ColumnElement[bool], ...]:
    of_project = Secret.project_id.is_(None) if project_id is None else Secret.project_id == project_id
    return Secret.client_id == state.client_id, of_project


def _row(session: Session, state: State, name: str, project_id: int | None) -> Secret:
    row = session.scalar(select(Secret).where(*_place(state, project_id), Secret.name == name))
    if row is None:
        raise NotFound(f"There is no secret {name}", remedy="See the list of secrets")
    return row


def _check_project(state: State, project_id: int | None) -> None:
    if project_id is not None:
        projects.get(state, project_id)


def _check(name: str, value: str) -> None:
    """No value is in any error."""
    if not NAME.fullmatch(name):
        raise UsageError(
            "A secret's name is one of an environment variable", remedy="Use up to 100 letters, digits and _"
        )
    problem = None
    if len(value.strip()) < MIN_LENGTH:
        problem = f"is shorter than {MIN_LENGTH} characters, so it could not be kept out of logs"
    elif "\0" in value or value != value.encode("utf-8", "replace").decode():
        problem = "holds what no environment variable can hold"
    elif len(value.encode()) > MAX_BYTES:
        problem = f"is longer than {MAX_BYTES:,} bytes"
    if problem:
        raise UsageError(f"The value of {name} {problem}", remedy="Give it another value")


def _record(session: Session, state: State, actor: Actor, action: str, name: str, project_id: int | None) -> None:
    told_by = audit.acting_for(actor, state.client_id)
    audit.record(
        session, told_by, action, "project" if project_id else "client", project_id or state.client_id, name=name
    )


def _as_dict(row: Secret) -> dict[str, Any]:
    return {"name": row.name, "created_at": row.created_at, "updated_at": row.updated_at}
