"""Who may see what. Without STAFF_TOKEN the app is open, for a team behind its own login, and /health says so."""

import hmac

from fastapi import HTTPException, Request

from app.options import Options

MIN_SESSION_CHARS = 16
"""A session id is what opens a visitor's own records, so it must be one that nobody guesses."""


def is_staff(request: Request) -> bool:
    options: Options = request.app.state.options
    if not options.staff_token:
        return True
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), options.staff_token.encode())


def require_staff(request: Request) -> None:
    if not is_staff(request):
        raise HTTPException(
            401,
            "This needs the staff token: send it as Authorization: Bearer TOKEN",
            headers={"WWW-Authenticate": "Bearer"},
        )
