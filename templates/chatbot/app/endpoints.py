"""The project's HTTP APIs as tools.

The host is the project's alone: the model fills only parts of the path and the query, and a redirect to another host
is not followed. Placeholders that are named in the project's environment variables are filled from the environment,
so a key never passes through the model.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from app.assistant import Endpoint
from app.tools import Tool, ToolError, unique_names

TIMEOUT_SECONDS = 10.0
MAX_RESPONSE_BYTES = 64 * 1024
MAX_REDIRECTS = 3
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def endpoint_tools(
    endpoints: Iterable[Endpoint], client: httpx.AsyncClient, secrets: Mapping[str, str], taken: Iterable[str] = ()
) -> list[Tool]:
    """`secrets`: the environment variables that the project names, "" for one that is not set. `taken`: other tools."""
    listed = list(endpoints)
    names = unique_names((endpoint.name for endpoint in listed), taken)
    return [_tool(name, endpoint, client, secrets) for name, endpoint in zip(names, listed, strict=True)]


def _tool(name: str, endpoint: Endpoint, client: httpx.AsyncClient, secrets: Mapping[str, str]) -> Tool:
    async def run(arguments: dict[str, Any]) -> str:
        return await _call(endpoint, client, secrets, arguments)

    return Tool(
        name=name,
        description=endpoint.description or f"{endpoint.method} {_shown(endpoint.url)}",
        parameters=_parameters(endpoint, secrets),
        run=run,
    )


def _shown(url: str) -> str:
    """An address without its query, which may hold a key."""
    return url.partition("?")[0]


def _parameters(endpoint: Endpoint, secrets: Mapping[str, str]) -> dict[str, Any]:
    asked = [name for name in dict.fromkeys(_PLACEHOLDER.findall(endpoint.url)) if name not in secrets]
    properties: dict[str, Any] = {name: {"type": "string"} for name in asked}
    if endpoint.method in {"GET", "DELETE"}:
        properties["query"] = {"type": "object", "description": "Further query parameters"}
    else:
        properties["body"] = {"type": "object", "description": "The JSON body"}
    return {"type": "object", "properties": properties, "required": asked}


async def _call(
    endpoint: Endpoint, client: httpx.AsyncClient, secrets: Mapping[str, str], arguments: dict[str, Any]
) -> str:
    url = _filled_url(endpoint.url, secrets, arguments)
    headers = {name: _filled_header(value, secrets) for name, value in endpoint.headers.items()}
    query, body = arguments.get("query"), arguments.get("body")
    request = client.build_request(
        endpoint.method,
        httpx.URL(url).copy_merge_params(_flat(query)) if isinstance(query, dict) and query else url,
        headers=headers,
        json=body if endpoint.method not in {"GET", "DELETE"} and isinstance(body, dict) else None,
        timeout=TIMEOUT_SECONDS,
    )
    try:
        return await _send(client, request)
    except httpx.TimeoutException as error:
        raise ToolError("the API did not answer in time") from error
    except httpx.HTTPError as error:
        raise ToolError("the API cannot be reached") from error


def _filled_url(url: str, secrets: Mapping[str, str], arguments: Mapping[str, Any]) -> str:
    def value_of(match: re.Match[str]) -> str:
        name = match[1]
        if name in secrets:
            return quote(_secret(secrets, name), safe=".-_~:" if match.start() < host_end else "")
        value = arguments.get(name)
        if not isinstance(value, str | int | float) or str(value) in {"", ".", ".."}:
            raise ToolError(f"{name} must be given, as text")
        if match.start() < host_end:
            raise ToolError("the host of an endpoint is not for the model to choose")
        return quote(str(value), safe="")

    host_end = len(url) - len(re.sub(r"^https?://[^/?#]*", "", url))
    return _PLACEHOLDER.sub(value_of, url)


def _filled_header(value: str, secrets: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda match: _secret(secrets, match[1]) if match[1] in secrets else match[0], value)


def _secret(secrets: Mapping[str, str], name: str) -> str:
    if not secrets[name]:
        raise ToolError(f"the operator has not set {name}")
    return secrets[name]


def _flat(query: Mapping[str, Any]) -> dict[str, str]:
    return {str(key): value if isinstance(value, str) else json.dumps(value) for key, value in query.items()}


async def _send(client: httpx.AsyncClient, request: httpx.Request) -> str:
    home = _origin(str(request.url))
    for _ in range(MAX_REDIRECTS + 1):
        response = await client.send(request, stream=True, follow_redirects=False)
        try:
            if response.next_request is None:
                return f"Status {response.status_code}\n{await _text(response)}"
            request = response.next_request
        finally:
            await response.aclose()
        if _origin(str(request.url)) != home:
            raise ToolError("the API redirects to another host; that is not followed")
    raise ToolError("the API redirects in a circle")


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()


async def _text(response: httpx.Response) -> str:
    kept = bytearray()
    async for chunk in response.aiter_bytes():
        kept += chunk
        if len(kept) > MAX_RESPONSE_BYTES:
            return bytes(kept[:MAX_RESPONSE_BYTES]).decode("utf-8", "replace") + "\n(cut: it was longer)"
    return bytes(kept).decode("utf-8", "replace")
