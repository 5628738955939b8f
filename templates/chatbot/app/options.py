"""Settings of the running container, from its environment, read once."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    environ: Mapping[str, str]
    """For the variables that this assistant expects beside those below."""
    api_key: str = ""
    base_url: str = "https://api.openai.com/v1"
    model: str = "gpt-4o-mini"
    timeout_seconds: int = 60
    """For one answer, tools included."""
    data_dir: Path = Path("/data")
    staff_token: str = ""
    max_message_chars: int = 4000
    max_history: int = 20
    """Messages of a conversation that are remembered."""
    max_body_bytes: int = 262_144
    build_date: str = ""
    git_commit: str = ""
    cache_bust: str = ""


def options_from(environ: Mapping[str, str]) -> Options:
    """Raises `ValueError` naming a variable whose value is wrong."""
    defaults = Options(environ={})
    return Options(
        environ=dict(environ),
        api_key=environ.get("OPENAI_API_KEY", "").strip(),
        base_url=_address(environ, "OPENAI_BASE_URL", defaults.base_url),
        model=environ.get("OPENAI_MODEL") or defaults.model,
        timeout_seconds=_number(environ, "OPENAI_TIMEOUT_SECONDS", defaults.timeout_seconds),
        data_dir=Path(environ.get("DATA_DIR") or defaults.data_dir),
        staff_token=environ.get("STAFF_TOKEN", "").strip(),
        max_message_chars=_number(environ, "MAX_MESSAGE_CHARS", defaults.max_message_chars),
        max_history=_number(environ, "MAX_HISTORY", defaults.max_history),
        max_body_bytes=_number(environ, "MAX_BODY_BYTES", defaults.max_body_bytes),
        build_date=environ.get("BUILD_DATE", ""),
        git_commit=environ.get("GIT_COMMIT", ""),
        cache_bust=environ.get("CACHE_BUST", ""),
    )


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{name}={text!r} must be a whole number above 0")
    return int(text)


def _address(environ: Mapping[str, str], name: str, default: str) -> str:
    text = (environ.get(name) or default).strip().rstrip("/")
    if not text.startswith(("http://", "https://")):
        raise ValueError(f"{name}={text!r} must begin with http:// or https://")
    return text
