"""The OpenAPI document: what FastAPI writes, with the problem answers of every operation, good for making a client."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from dockwright.api.problems import MEDIA_TYPE
from dockwright.api.schemas.common import Problem

DESCRIPTION = """
Takes a template, a Git tag or a folder to a tested, running container.

Sign in with `POST /api/v1/auth/login`, and send the token as `Authorization: Bearer …`. Errors are
`application/problem+json` with a `code` to match on and a `remedy` to read. Lists take `limit` and `cursor`.
The same routes are at `/api`.
"""
TAGS = (
    ("auth", "Signing in, sessions and API tokens."),
    ("clients", "Tenants, each of which sees nothing of the others."),
    ("users", "People with a role in a client."),
    ("audit", "Who did what."),
    ("templates", "What projects are made from, and the variables they ask for."),
    ("projects", "What to build: a source, build settings, deploy settings."),
    ("secrets", "Kept encrypted, never shown."),
    ("builds", "Runs of the pipeline: queued, watched, canceled, done again."),
    ("images", "What builds produced."),
    ("products", "What runs: started, scaled, given another release, rolled back."),
    ("system", "The server itself."),
)
_MUTATING = frozenset({"post", "put", "patch", "delete"})
_TEXT = {
    "401": "Not signed in, or not any more",
    "403": "The caller's role is not enough",
    "404": "There is no such thing, or it is another client's",
    "409": "It is in a state in which this cannot be done",
    "413": "The body is too large",
    "415": "The body is of a type that this does not take",
    "422": "What was asked cannot be meant; `errors` names the fields",
    "default": "Another problem: a needed part that does not answer (503), too many attempts (429)",
}


def operation_id(route: APIRoute) -> str:
    """The function's name: `queueBuild` of a generated client is `queue_build` here. A test holds them apart."""
    return route.name


def install(app: FastAPI) -> None:
    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    made = get_openapi(
        title=app.title,
        version=app.version,
        description=DESCRIPTION,
        routes=app.routes,
        tags=[{"name": name, "description": text} for name, text in TAGS],
        license_info=None,
    )
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs", {}))
    schemas["Problem"] = problem
    for path in made["paths"].values():
        for method, operation in path.items():
            _add_problems(method, operation)
    return made


def _add_problems(method: str, operation: dict[str, Any]) -> None:
    parameters = operation.get("parameters", ())
    statuses = ["default"]
    if operation.get("security"):
        statuses += ["401", "403"]
    if any(one["in"] in {"path", "header"} for one in parameters) or method in _MUTATING:
        statuses.append("404")
    if method in _MUTATING:
        statuses += ["409", "413"]
    if "requestBody" in operation:
        statuses.append("415")
    if parameters or "requestBody" in operation:
        statuses.append("422")
    answers = operation["responses"]
    answers.pop("422", None)
    for status in sorted(statuses):
        content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
        answers.setdefault(status, {"description": _TEXT[status], "content": content})
