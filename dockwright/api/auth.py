"""Who asks: a bearer token or a browser's session, the client acted for, and the role.

Routes take `Viewer`, `Member`, `Owner` or `Admin` and work on `caller.state`, which knows no other client.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Header
from fastapi.openapi.models import APIKey, HTTPBearer
from fastapi.security.base import SecurityBase
from starlette.requests import HTTPConnection
from starlette.responses import Response

from dockwright.api.fields import MAX_ID as MAX_ID  # noqa: PLC0414 - routes find it beside their caller
from dockwright.api.one_thread import aside
from dockwright.domain.roles import Role, is_at_least
from dockwright.errors import CsrfTokenNeeded, NotAllowedError, SignInNeeded
from dockwright.services import accounts, tokens
from dockwright.services.state import LOCAL_CLIENT_ID, State

SESSION_COOKIE = "dockwright_session"
CSRF_COOKIE = "dockwright_csrf"
CSRF_HEADER = "X-CSRF-Token"
CLIENT_HEADER = "X-Dockwright-Client"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and for which client."""

    user_id: int
    email: str
    role: Role
    client_id: int
    """The client acted for."""
    state: State
    """Sees this client alone."""
    address: str | None
    token_id: int
    """Of the session or API token that it came with."""

    def state_of(self, client_id: int) -> State:
        """For a route that names a client: an administrator may name any. Raises `NotFound`."""
        if client_id == self.client_id:
            return self.state
        if self.role != "admin":
            raise accounts.no_such_client(client_id)
        accounts.get_client(self.state, client_id)
        return self.state.of_client(client_id)


class _Bearer(SecurityBase):
    """FastAPI's own knows no WebSocket."""

    def __init__(self) -> None:
        self.model = HTTPBearer(description="The `access_token` of a login, or an API token.")
        self.scheme_name = "bearer"

    async def __call__(self, connection: HTTPConnection) -> str | None:
        scheme, _, value = connection.headers.get("Authorization", "").partition(" ")
        return value.strip() if scheme.lower() == "bearer" else None


class _SessionCookie(SecurityBase):
    def __init__(self) -> None:
        described = f"A browser's session. All but GET and HEAD need its {CSRF_HEADER} header as well."
        self.model = APIKey.model_validate({"in": "cookie", "name": SESSION_COOKIE, "description": described})
        self.scheme_name = "session"

    async def __call__(self, connection: HTTPConnection) -> str | None:
        return connection.cookies.get(SESSION_COOKIE)


def base_state(connection: HTTPConnection) -> State:
    """The server's own, of the local client: for what is asked before anybody has signed in."""
    state: State = connection.app.state.dockwright
    return state


def address_of(connection: HTTPConnection) -> str | None:
    return connection.client.host if connection.client else None


async def signed_in(
    connection: HTTPConnection,
    bearer: Annotated[str | None, Depends(_Bearer())],
    cookie: Annotated[str | None, Depends(_SessionCookie())],
    client: Annotated[
        int | None,
        Header(alias=CLIENT_HEADER, ge=1, le=MAX_ID, description="The client that an administrator acts for."),
    ] = None,
) -> Caller:
    """Raises `SignInNeeded`, `CsrfTokenNeeded`, or `NotFound` for a client that the caller may not act for."""
    return await aside(_sign_in, connection, bearer, cookie, client)


def _sign_in(connection: HTTPConnection, bearer: str | None, cookie: str | None, client: int | None) -> Caller:
    base = base_state(connection)
    value = bearer or cookie
    identity = tokens.identify(base, value) if value else None
    if identity is None or value is None:
        raise SignInNeeded(
            "This session or token is not valid any more" if value else "This needs a session or a token",
            remedy="Sign in with POST /api/v1/auth/login, or send an API token as: Authorization: Bearer …",
        )
    if not bearer:
        _check_same_site(connection, value)
    client_id = _client_acted_for(base, identity, client)
    state = base.of_client(client_id)
    state.actor = identity.email
    return Caller(
        user_id=identity.user_id,
        email=identity.email,
        role=identity.role,
        client_id=client_id,
        state=state,
        address=address_of(connection),
        token_id=identity.token_id,
    )


def csrf_token(session_token: str) -> str:
    """Follows from the session's token, which no other site can read, and tells nothing of it."""
    return hmac.new(session_token.encode(), b"csrf", hashlib.sha256).hexdigest()


def set_cookies(response: Response, session_token: str, *, is_https: bool) -> None:
    """The session, which scripts cannot read, and the token that they send back with each change."""
    for name, value, is_hidden in (
        (SESSION_COOKIE, session_token, True),
        (CSRF_COOKIE, csrf_token(session_token), False),
    ):
        age = int(tokens.LONGEST.total_seconds())
        response.set_cookie(name, value, max_age=age, httponly=is_hidden, secure=is_https, samesite="strict")


def remove_cookies(response: Response) -> None:
    for name in (SESSION_COOKIE, CSRF_COOKIE):
        response.delete_cookie(name)


def _check_same_site(connection: HTTPConnection, session_token: str) -> None:
    """A browser sends its cookie along whichever page asked: this tells our own pages from others."""
    if connection.scope["type"] == "websocket":
        # A page cannot give headers to a WebSocket, but the browser tells which page it is.
        if urlsplit(connection.headers.get("Origin", "")).netloc != connection.headers.get("Host"):
            raise CsrfTokenNeeded(
                "A page of another origin asked for this with your session",
                remedy="Open it from the server's own pages, or send an API token as: Authorization: Bearer …",
            )
    elif connection.scope["method"] not in SAFE_METHODS:
        sent = connection.headers.get(CSRF_HEADER, "")
        if not hmac.compare_digest(sent.encode(), csrf_token(session_token).encode()):
            raise CsrfTokenNeeded(
                f"A change with a session cookie needs its {CSRF_HEADER} header",
                remedy=f"Send the csrf_token of GET /api/v1/auth/me as {CSRF_HEADER}",
            )


def _client_acted_for(base: State, identity: tokens.Identity, asked: int | None) -> int:
    own = identity.client_id or LOCAL_CLIENT_ID
    if asked is None or asked == own:
        return own
    if identity.role != "admin":
        raise accounts.no_such_client(asked)
    accounts.get_client(base, asked)
    return asked


def _with_role(needed: Role) -> Callable[[Caller], Awaitable[Caller]]:
    async def check(caller: Annotated[Caller, Depends(signed_in)]) -> Caller:
        if not is_at_least(caller.role, needed):
            raise NotAllowedError(
                f"This needs the role {needed}, and yours is {caller.role}",
                remedy="Ask an administrator for it" if needed == "admin" else "Ask an owner of your client for it",
            )
        return caller

    return check


viewer = _with_role("viewer")
member = _with_role("member")
owner = _with_role("owner")
admin = _with_role("admin")

Viewer = Annotated[Caller, Depends(viewer)]
Member = Annotated[Caller, Depends(member)]
Owner = Annotated[Caller, Depends(owner)]
Admin = Annotated[Caller, Depends(admin)]
