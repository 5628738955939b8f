"""Requests to a Dockwright server, and its problem answers turned back into the errors that they were.

Only commands that work against a server load this, since httpx takes longer to load than a quick build takes.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import httpx

from dockwright import errors
from dockwright.errors import (
    DockwrightError,
    InvalidSetting,
    NotAllowedError,
    ServerUnreachable,
    SignInNeeded,
    UsageError,
)
from dockwright.settings import Settings

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0
SILENCE_SECONDS = 45.0
"""Of an event stream, which says something every fifteen seconds."""
MOUNT = "/api/v1"


class Connection:
    """To the server of the settings. Its methods raise `ServerUnreachable`, and the errors that the server answers."""

    def __init__(self, settings: Settings) -> None:
        assert settings.server_url is not None
        self.url = settings.server_url.removesuffix(MOUNT).removesuffix("/api")
        self.has_token = settings.server_token is not None
        if not urlsplit(self.url).hostname:
            raise InvalidSetting(f"DOCKWRIGHT_URL={self.url!r} names no host", remedy="Give it as https://host:port")
        self._client = httpx.Client(
            base_url=self.url + MOUNT,
            headers=_authorization(settings.server_token),
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            verify=_tls(self.url, settings),
            trust_env=not _is_loopback(self.url),  # a proxy's own loopback is not ours
        )

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
        token: str | None = None,
        seconds: float | None = ANSWER_SECONDS,
    ) -> Any:
        """The answer, its times as `datetime`; none where it has no content. `seconds`: none to wait for ever."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        answer = self._send(method, path, json=body, params=given, headers=_authorization(token), read_seconds=seconds)
        return _with_times(answer)

    def upload(self, path: str, chunks: Iterator[bytes], size: int, query: Mapping[str, Any]) -> Any:
        headers = {"Content-Type": "application/gzip", "Content-Length": str(size)}
        # The whole archive is read once more at the other end before it answers.
        return _with_times(self._send("POST", path, content=chunks, params=query, headers=headers, read_seconds=600.0))

    def pages(self, path: str, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """The items of a list, page by page: all of them, or the first `limit`."""
        cursor, left = None, limit
        while left is None or left > 0:
            page = self.ask("GET", path, query={"limit": min(left or 200, 200), "cursor": cursor})
            yield from page["items"]
            cursor, left = page["next_cursor"], None if left is None else left - len(page["items"])
            if cursor is None:
                return

    @contextmanager
    def lines(self, path: str, query: Mapping[str, Any], headers: Mapping[str, str]) -> Iterator[Iterator[str]]:
        """Of a stream. What breaks it while it is read raises `httpx.TransportError`."""
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS, read=SILENCE_SECONDS)
        with self._client.stream("GET", path, params=query, headers=headers, timeout=timeout) as answer:
            if answer.status_code != httpx.codes.OK:
                answer.read()
                raise self._error(answer)
            yield answer.iter_lines()

    def _send(self, method: str, path: str, *, read_seconds: float | None, **parts: Any) -> Any:
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS, read=read_seconds)
        try:
            answer = self._client.request(method, path, timeout=timeout, **parts)
        except httpx.TransportError as error:
            raise self.unreachable(error) from error
        if not answer.is_success:
            raise self._error(answer)
        if answer.status_code == httpx.codes.NO_CONTENT:
            return None
        try:
            return answer.json()
        except ValueError as error:
            raise self._stranger(answer) from error

    # --- what went wrong ---------------------------------------------------------------------------------------------

    def unreachable(self, error: httpx.TransportError) -> ServerUnreachable:
        if _is_of_tls(error):
            return ServerUnreachable(
                f"The certificate of {self.url} is not trusted: {error}",
                remedy="Set CA_BUNDLE to the file with the authority that has signed it",
            )
        if isinstance(error, httpx.TimeoutException):
            return ServerUnreachable(
                f"The server at {self.url} does not answer in time", remedy="See whether it runs, and try again"
            )
        return ServerUnreachable(
            f"The server at {self.url} cannot be reached: {error}",
            remedy="Start it with dockwright serve, or correct DOCKWRIGHT_URL; without it, this machine is worked on",
        )

    def _error(self, answer: httpx.Response) -> DockwrightError:
        try:
            problem = answer.json()
            found = {"code": problem["code"], "message": problem["detail"], "remedy": problem["remedy"]}
        except (ValueError, KeyError, TypeError):
            return self._stranger(answer)
        rest = {name: problem.get(name) for name in ("stage", "step", "exit_code", "last_lines")}
        error = errors.by_code({**found, **rest})
        if type(error) is DockwrightError:  # a code that only servers have
            error = _by_status(answer.status_code)(error.message, remedy=error.remedy)
            error.code = found["code"]
        if isinstance(error, SignInNeeded):
            error.remedy = self._sign_in()
        if found["code"] == "invalid_request":
            error.remedy = f"Give it in the form that {self.url}/api/docs has"
        return error

    def _sign_in(self) -> str:
        made = "dockwright token create --user YOUR@EMAIL"
        if self.has_token:
            return f"Set DOCKWRIGHT_TOKEN to a token that is valid there; a new one is made with: {made}"
        return f"Set DOCKWRIGHT_TOKEN; a token is made with: {made}"

    def _stranger(self, answer: httpx.Response) -> ServerUnreachable:
        """Something between us and the server, or another server."""
        if answer.has_redirect_location:
            return ServerUnreachable(
                f"{self.url} leads on to {answer.headers['Location']}", remedy="Set DOCKWRIGHT_URL to where it leads"
            )
        return ServerUnreachable(
            f"{self.url} answers {answer.status_code}, and not as Dockwright does",
            remedy="Correct DOCKWRIGHT_URL, or see whether the server behind it runs",
        )


def _by_status(status: int) -> type[DockwrightError]:
    if status in {401, 403, 429}:
        return NotAllowedError
    if status in {502, 503, 504}:
        return ServerUnreachable
    return UsageError if status < 500 else DockwrightError


def _authorization(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def _tls(url: str, settings: Settings) -> ssl.SSLContext | bool:
    if not url.startswith("https:"):
        return True
    context = ssl.create_default_context()
    if settings.ca_bundle is not None:
        try:
            context.load_verify_locations(settings.ca_bundle)
        except (ssl.SSLError, OSError) as error:
            raise InvalidSetting(
                f"CA_BUNDLE={str(settings.ca_bundle)!r} holds no certificates: {error}", remedy="Give it a PEM file"
            ) from error
    return context


def _is_of_tls(error: BaseException) -> bool:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _with_times(value: Any) -> Any:
    """Times are known by their names, `…_at`."""
    if isinstance(value, list):
        return [_with_times(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        name: datetime.fromisoformat(one) if name.endswith("_at") and isinstance(one, str) else _with_times(one)
        for name, one in value.items()
    }
