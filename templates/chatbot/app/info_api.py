"""What the app tells of itself: its page, its health, what it was built from, and what it is."""

import json
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio.to_thread
from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response

from app.access import is_staff
from app.assistant import Assistant
from app.conversation import Conversation
from app.options import Options
from app.records import StoreUnavailable

router = APIRouter(tags=["info"])

STATIC = Path(__file__).parent / "static"
_FRESH = {"Cache-Control": "no-cache"}
"""A browser asks each time whether a file has changed, so a new release is seen at once."""


@router.get("/", include_in_schema=False)
def page() -> FileResponse:
    return FileResponse(STATIC / "chat.html", media_type="text/html; charset=utf-8", headers=_FRESH)


@router.get("/static/{name}", include_in_schema=False)
def static_file(name: str) -> Response:
    files = {"chat.js": "text/javascript; charset=utf-8", "chat.css": "text/css; charset=utf-8"}
    if name not in files:
        return Response(status_code=404)
    return FileResponse(STATIC / name, media_type=files[name], headers=_FRESH)


@router.get("/health")
async def health(request: Request) -> dict[str, Any]:
    """Healthy is an app that answers. What an operator should put right stands in `warnings`."""
    conversation: Conversation = request.app.state.conversation
    warnings = [*_missing_variables(request), *await _record_warnings(request)]
    return {"status": "healthy", "mode": conversation.mode, "warnings": warnings}


def _missing_variables(request: Request) -> list[str]:
    assistant: Assistant = request.app.state.assistant
    options: Options = request.app.state.options
    return [f"{name} is not set" for name in assistant.environment_vars if not options.environ.get(name)]


async def _record_warnings(request: Request) -> list[str]:
    conversation: Conversation = request.app.state.conversation
    if conversation.desk is None:
        return []
    options: Options = request.app.state.options
    warnings = []
    if not options.staff_token:
        warnings.append(
            f"STAFF_TOKEN is not set: whoever reaches the app can read and change {conversation.desk.plural}"
        )
    try:
        await anyio.to_thread.run_sync(conversation.desk.store.check)
    except StoreUnavailable as error:
        warnings.append(f"DATA_DIR cannot be written: {error}")
    return warnings


@router.get("/build/info")
def build_info(request: Request) -> dict[str, str]:
    options: Options = request.app.state.options
    return {
        "build_date": options.build_date,
        "git_commit": options.git_commit,
        "cache_bust": options.cache_bust,
        "python_version": platform.python_version(),
        "container_started": _time(request.app.state.started_at),
        "status": "healthy",
    }


@router.get("/build-info.js")
def build_info_script(request: Request) -> Response:
    options: Options = request.app.state.options
    info = {
        "buildDate": options.build_date,
        "gitCommit": options.git_commit,
        "cacheBust": options.cache_bust,
        "buildTimestamp": _milliseconds(options.build_date),
    }
    return Response(
        f"window.BUILD_INFO = {json.dumps(info, indent=2)};\n", media_type="text/javascript", headers=_FRESH
    )


@router.get("/config")
def config(request: Request) -> dict[str, Any]:
    """What the page shows. Prompts, rules and addresses stay inside."""
    assistant: Assistant = request.app.state.assistant
    conversation: Conversation = request.app.state.conversation
    options: Options = request.app.state.options
    desk = conversation.desk
    return {
        "name": assistant.name,
        "description": assistant.description,
        "assistant_type": assistant.assistant_type,
        "personality": {"tone": assistant.tone, "style": assistant.style},
        "mode": conversation.mode,
        "business_rules": len(assistant.business_rules),
        "training_data": len(assistant.training_data),
        "tools": [tool.name for tool in conversation.http_tools],
        "suggestions": conversation.suggestions(),
        "records": {"kind": desk.kind, "plural": desk.plural, "state": desk.state} if desk else None,
        "needs_token": not is_staff(request),
        "max_message_chars": options.max_message_chars,
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _milliseconds(text: str) -> int:
    """Of an RFC 3339 time; 0 for anything else, since a build may pass any text."""
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        return 0
