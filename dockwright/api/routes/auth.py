"""Signing in and out, and API tokens."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field, SecretStr

from dockwright.api import auth
from dockwright.api.auth import SESSION_COOKIE, Viewer, csrf_token
from dockwright.api.fields import Cursor, Email, Limit, Name, Password, RowId
from dockwright.api.one_thread import OneThreadRoute
from dockwright.domain.roles import Role
from dockwright.services import accounts, sign_in, tokens
from dockwright.services.sign_in import SignedIn

router = APIRouter(prefix="/auth", tags=["auth"], route_class=OneThreadRoute)


class Login(BaseModel):
    email: Email
    password: Annotated[SecretStr, Field(max_length=1024)]


class NewPassword(BaseModel):
    current_password: Annotated[SecretStr, Field(max_length=1024)]
    new_password: Password


class AccessTokenOut(BaseModel):
    access_token: str
    token_type: str = "bearer"  # noqa: S105
    csrf_token: str = Field(description="What a browser sends as X-CSRF-Token with each change.")


class ClientOut(BaseModel):
    id: int
    slug: str
    name: str
    created_at: datetime


class Me(BaseModel):
    user_id: int
    email: str
    role: Role
    client: ClientOut = Field(description="The client that is acted for.")
    csrf_token: str | None = Field(description="Of a browser's session; none for a bearer token.")


class TokenIn(BaseModel):
    name: Name


class TokenOut(BaseModel):
    id: int
    name: str
    created_at: datetime
    used_at: datetime | None = Field(description="When it was used last, to within five minutes.")


class NewToken(TokenOut):
    token: str = Field(description="Its value, which is shown this once.")


class TokenList(BaseModel):
    items: list[TokenOut]
    next_cursor: str | None


@router.post("/login")
def login(body: Login, request: Request, response: Response) -> AccessTokenOut:
    """Begins a session: the token is for programs, the cookies for a browser. It ends after 12 hours of no use."""
    state = auth.base_state(request)
    begun = sign_in.sign_in(state, body.email, body.password.get_secret_value(), auth.address_of(request))
    return _begun(begun, request, response)


@router.put("/password")
def change_password(body: NewPassword, caller: Viewer, request: Request, response: Response) -> AccessTokenOut:
    """Ends all sessions of the user and begins a new one; API tokens stay."""
    current, new = body.current_password.get_secret_value(), body.new_password.get_secret_value()
    begun = sign_in.change_password(caller.state, caller.email, current, new, caller.address)
    return _begun(begun, request, response)


def _begun(begun: SignedIn, request: Request, response: Response) -> AccessTokenOut:
    auth.set_cookies(response, begun.token, is_https=request.url.scheme == "https")
    return AccessTokenOut(access_token=begun.token, csrf_token=csrf_token(begun.token))


@router.post("/logout", status_code=204)
def logout(caller: Viewer, response: Response) -> None:
    """Ends the session; 409 with an API token, which is none."""
    tokens.sign_out(caller.state, caller, caller.token_id)
    auth.remove_cookies(response)


@router.get("/me")
def me(caller: Viewer, request: Request) -> Me:
    """Who is signed in, and for which client."""
    session = None if "Authorization" in request.headers else request.cookies.get(SESSION_COOKIE)
    client = accounts.get_client(caller.state, caller.client_id)
    return Me(
        user_id=caller.user_id,
        email=caller.email,
        role=caller.role,
        client=ClientOut(**client),
        csrf_token=csrf_token(session) if session else None,
    )


@router.get("/tokens")
def list_tokens(caller: Viewer, limit: Limit = 50, cursor: Cursor = None) -> TokenList:
    """One's own API tokens, without their values."""
    items, next_cursor = tokens.listing(caller.state, caller.user_id, limit, cursor)
    return TokenList(items=[TokenOut(**item) for item in items], next_cursor=next_cursor)


@router.post("/tokens", status_code=201)
def create_token(body: TokenIn, caller: Viewer) -> NewToken:
    """An API token that may do what its user may, until it is deleted."""
    value, item = tokens.create(caller.state, caller, caller.user_id, body.name)
    return NewToken(**item, token=value)


@router.delete("/tokens/{token_id}", status_code=204)
def delete_token(token_id: RowId, caller: Viewer) -> None:
    """From this moment on it is refused."""
    tokens.remove(caller.state, caller, caller.user_id, token_id)
