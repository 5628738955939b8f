"""A server of the API within the test's process, on a real database, and somebody who asks it."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from httpx import Response

from dockwright import settings as settings_module
from dockwright.api.app import create_app
from dockwright.db.tables import Client, User
from dockwright.domain.roles import Role
from dockwright.services import tokens
from dockwright.services.state import State

OWN_ID = 2_000_000_011
"""Of the asking user and their token: no test that tries small numbers deletes them."""


class Api:
    """Client 1 has a slug of its own, so that nothing on the engine is taken for this test's but what is."""

    def __init__(self, home: Path, environ: dict[str, str] | None = None) -> None:
        named = {"DOCKWRIGHT_HOME": str(home), **(environ or {})}
        self.state = State(settings_module.load(named, home / "none"))
        self.slug = f"t{secrets.token_hex(5)}"
        _ = self.state.connection  # the schema first
        with self.state.session() as session:
            session.get_one(Client, 1).slug = self.slug
        self.app = create_app(self.state)
        self.http = TestClient(self.app, raise_server_exceptions=False)

    def close(self) -> None:
        self.http.close()
        self.state.close()

    def add_client(self, client_id: int) -> None:
        with self.state.session() as session:
            session.add(Client(id=client_id, slug=f"{self.slug}x{client_id}", name=f"Client {client_id}"))

    def caller(self, role: Role = "admin", client_id: int = 1) -> Caller:
        with self.state.session() as session:
            user_id = OWN_ID + secrets.randbelow(10**6)
            user = User(
                id=user_id,
                client_id=None if role == "admin" else client_id,
                email=f"{role}-{user_id}@example.com",
                password_hash="none",
                role=role,
            )
            session.add(user)
            session.flush()
            value, row = tokens.issue(session, user_id, "api", "test")
            row.id = user_id
        return Caller(self.http, value)


class Caller:
    def __init__(self, http: TestClient, token: str) -> None:
        self._http, self.token = http, token
        self.headers = {"Authorization": f"Bearer {token}"}

    def __call__(self, method: str, path: str, *, status: int | None = None, **options: Any) -> Response:
        """`path` below /api/v1, unless it begins with a slash of its own. `status`: what it must be."""
        url = path if path.startswith("/") else f"/api/v1/{path}"
        headers = {**self.headers, **options.pop("headers", {})}
        if options.get("json") is not None:  # in ASCII: a lone surrogate has no other form
            options["content"] = json.dumps(options.pop("json"))
            headers["Content-Type"] = "application/json"
        answer = self._http.request(method, url, headers=headers, **options)
        assert status in {None, answer.status_code}, f"{method} {url}: {answer.status_code} {answer.text}"
        return answer

    def get(self, path: str, **options: Any) -> Any:
        return self("GET", path, status=200, **options).json()

    def post(self, path: str, body: Any = None, *, status: int = 200, **options: Any) -> Any:
        return self("POST", path, status=status, json=body, **options).json()

    def refused(self, method: str, path: str, status: int, code: str, **options: Any) -> dict[str, Any]:
        """The problem, which is one of RFC 9457 with a remedy."""
        answer = self(method, path, status=status, **options)
        assert answer.headers["content-type"] == "application/problem+json"
        problem: dict[str, Any] = answer.json()
        assert problem["code"] == code, problem
        assert problem["status"] == status and problem["type"] == f"urn:dockwright:{code}" and problem["title"]
        assert problem["detail"] and problem["remedy"]
        return problem
