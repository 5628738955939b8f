"""The desk's records over HTTP: list, create, read and change."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request

from app.access import MIN_SESSION_CHARS, is_staff, require_staff
from app.desk import Desk, MoveRefused
from app.tasks import Tasks

MAX_LIMIT = 200
Number = Annotated[int, Path(ge=1, le=2**31)]


def records_router(desk: Desk) -> APIRouter:
    """Routes below /tickets, /leads or /tasks."""
    router = APIRouter(prefix=f"/{desk.plural}", tags=[desk.plural])
    create_form, patch_form = desk.create_form, desk.patch_form

    @router.get("", summary=f"List {desk.plural}, newest first")
    def list_records(
        request: Request,
        session_id: str | None = None,
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
        offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
    ) -> dict[str, Any]:
        if not (session_id and len(session_id) >= MIN_SESSION_CHARS):
            require_staff(request)
        status, fields = _filters(desk, request)
        found, total = desk.store.list(
            desk.kind, status=status, session_id=session_id, fields=fields, limit=limit, offset=offset
        )
        return {"items": [desk.view(record) for record in found], "total": total}

    @router.post("", status_code=201, dependencies=[Depends(require_staff)], summary=f"Create a {desk.kind}")
    def create_record(form: create_form) -> dict[str, Any]:  # type: ignore[valid-type]
        return desk.create(form)

    if isinstance(desk, Tasks):

        @router.get("/summary", dependencies=[Depends(require_staff)], summary="Counts, progress and what is overdue")
        def summary() -> dict[str, Any]:
            return desk.summary()

    @router.get("/{number}", summary=f"One {desk.kind}")
    def get_record(number: Number, request: Request, session_id: str | None = None) -> dict[str, Any]:
        record = _found(desk, number)
        is_own = bool(session_id) and len(str(session_id)) >= MIN_SESSION_CHARS and record["session_id"] == session_id
        if not is_own and not is_staff(request):
            require_staff(request)
        return record

    @router.patch("/{number}", dependencies=[Depends(require_staff)], summary=f"Change a {desk.kind}")
    def patch_record(number: Number, form: patch_form) -> dict[str, Any]:  # type: ignore[valid-type]
        try:
            return desk.patch(number, form)
        except KeyError as error:
            raise _missing(desk, number) from error
        except MoveRefused as error:
            raise HTTPException(409, str(error)) from error

    return router


def _filters(desk: Desk, request: Request) -> tuple[str | None, dict[str, str]]:
    """The query's filters; one that is not known is an error rather than a list of everything."""
    known = {desk.state, *desk.filters}
    given = {
        name: value for name, value in request.query_params.items() if name not in {"session_id", "limit", "offset"}
    }
    unknown = sorted(given.keys() - known)
    if unknown:
        raise HTTPException(422, f"{unknown[0]} is not a filter; there are {', '.join(sorted(known))}")
    status = given.pop(desk.state, None)
    if status is not None and status not in desk.moves:
        raise HTTPException(422, f"{desk.state} must be one of {', '.join(desk.moves)}")
    return status, given


def _found(desk: Desk, number: int) -> dict[str, Any]:
    try:
        return desk.get(number)
    except KeyError as error:
        raise _missing(desk, number) from error


def _missing(desk: Desk, number: int) -> HTTPException:
    return HTTPException(404, f"There is no {desk.kind} {number}")
