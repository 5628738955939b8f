"""Settings from the environment and from `.env.build`, read once at the start and then only passed.

Relative folders lie below `DOCKWRIGHT_HOME`, so that a build leaves nothing in the folder it is started in.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from dockwright.errors import InvalidSetting

Isolation = Literal["shared", "isolated"]
Backend = Literal["embedded", "celery"]
LogFormat = Literal["text", "json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    home: Path
    workspace_dir: Path
    template_dir: Path
    storage_path: Path
    database_url: str
    timeout_seconds: int
    disk_min_free: int
    """In bytes."""
    network_name: str
    edge_bind: str
    image_substitutes: str | None
    """`python:*=localhost/base/python:3.11-slim,…`; none to use the base images that `dockwright base` made."""
    ca_bundle: Path | None
    isolation: Isolation
    queue_backend: Backend
    max_workers: int
    """Builds at once, over all workers."""
    client_max_workers: int
    """Builds at once of one client."""
    builder_max_workers: int
    """Builds at once on one builder."""
    redis_url: str
    registry_url: str | None
    registry_username: str | None
    registry_password: str | None
    source_folders: tuple[Path, ...]
    """Folders below which the API may build; none unless set."""
    git_private_hosts: frozenset[str]
    """Hosts of the private network whose repositories the API may build; none unless set."""
    secret_key_file: Path
    admin_email: str
    admin_password: str | None
    keep_builds: int
    """Finished builds that the clean-up of a server leaves to each project."""
    log_format: LogFormat
    server_url: str | None
    """The server that commands work against; none to work on `home`."""
    server_token: str | None

    def __repr__(self) -> str:
        """Without values: some of them are passwords."""
        return f"Settings(home={str(self.home)!r})"

    @property
    def database_file(self) -> Path | None:
        """The SQLite file, where the database is one."""
        prefix = "sqlite:///"
        return Path(self.database_url.removeprefix(prefix)) if self.database_url.startswith(prefix) else None


def default_home(environ: Mapping[str, str]) -> Path:
    base = environ.get("XDG_DATA_HOME") or str(Path(environ.get("HOME", "~")).expanduser() / ".local" / "share")
    return Path(environ.get("DOCKWRIGHT_HOME") or Path(base) / "dockwright").absolute()


def load(environ: Mapping[str, str] | None = None, env_file: Path = Path(".env.build")) -> Settings:
    """Raises `InvalidSetting` naming the setting, and what it may be."""
    environ = os.environ if environ is None else environ
    for name in environ:
        if name.startswith("DOCKWRIGHT_") and name not in KNOWN:
            raise InvalidSetting(f"There is no setting {name}", remedy="See docs/settings.md for their names")
    read = _Reader({**_env_file(env_file), **environ})
    home = default_home(read.values)
    workers = read("BUILD_QUEUE_MAX_WORKERS", "3", _positive)
    return Settings(
        home=home,
        workspace_dir=home / read("BUILD_WORKSPACE_DIR", "generated-bots", str),
        template_dir=home / read("BUILD_TEMPLATE_DIR", "build-templates", str),
        storage_path=home / read("BUILD_STORAGE_PATH", "artifacts", str),
        database_url=read("DATABASE_URL", "sqlite:///dockwright.db", lambda text: _database_url(text, home)),
        timeout_seconds=read("BUILD_TIMEOUT_SECONDS", "1800", _positive),
        disk_min_free=read("BUILD_DISK_MIN_FREE", "1GB", _size),
        network_name=read("DOCKER_NETWORK_NAME", "dockwright", str),
        edge_bind=read("EDGE_BIND", "127.0.0.1", str),
        image_substitutes=read("IMAGE_SUBSTITUTES", None, str),
        ca_bundle=read("CA_BUNDLE", None, _existing_file),
        isolation=read("BUILD_ISOLATION", "shared", _one_of(Isolation)),
        queue_backend=read("BUILD_QUEUE_BACKEND", "embedded", _one_of(Backend)),
        max_workers=workers,
        client_max_workers=read("BUILD_CLIENT_MAX_WORKERS", str(workers), _positive),
        builder_max_workers=read("BUILD_BUILDER_MAX_WORKERS", str(workers), _positive),
        redis_url=read("REDIS_URL", "redis://127.0.0.1:6379/0", _url("redis", "rediss", "unix")),
        registry_url=read("DOCKER_REGISTRY_URL", None, _registry),
        registry_username=read("DOCKER_REGISTRY_USERNAME", None, str),
        registry_password=read("DOCKER_REGISTRY_PASSWORD", None, str),
        source_folders=read("SOURCE_FOLDERS", "", _folders),
        git_private_hosts=read("GIT_PRIVATE_HOSTS", "", _hosts),
        secret_key_file=read("SECRET_KEY_FILE", str(home / "secret.key"), lambda text: home / text),
        admin_email=read("ADMIN_EMAIL", "admin@localhost", _email),
        admin_password=read("ADMIN_PASSWORD", None, str),
        keep_builds=read("BUILD_KEEP", "100", _positive),
        log_format=read("LOG_FORMAT", "text", _one_of(LogFormat)),
        server_url=read("DOCKWRIGHT_URL", None, _url("http", "https")),
        server_token=read("DOCKWRIGHT_TOKEN", None, _token),
    )


KNOWN = frozenset(
    {
        "BUILD_WORKSPACE_DIR",
        "BUILD_TEMPLATE_DIR",
        "BUILD_STORAGE_PATH",
        "BUILD_TIMEOUT_SECONDS",
        "BUILD_DISK_MIN_FREE",
        "DATABASE_URL",
        "DOCKER_NETWORK_NAME",
        "EDGE_BIND",
        "IMAGE_SUBSTITUTES",
        "CA_BUNDLE",
        "BUILD_ISOLATION",
        "BUILD_QUEUE_BACKEND",
        "BUILD_QUEUE_MAX_WORKERS",
        "BUILD_CLIENT_MAX_WORKERS",
        "BUILD_BUILDER_MAX_WORKERS",
        "BUILD_KEEP",
        "REDIS_URL",
        "DOCKER_REGISTRY_URL",
        "DOCKER_REGISTRY_USERNAME",
        "DOCKER_REGISTRY_PASSWORD",
        "SOURCE_FOLDERS",
        "GIT_PRIVATE_HOSTS",
        "SECRET_KEY_FILE",
        "ADMIN_EMAIL",
        "ADMIN_PASSWORD",
        "LOG_FORMAT",
        "DOCKWRIGHT_HOME",
        "DOCKWRIGHT_URL",
        "DOCKWRIGHT_TOKEN",
    }
)


def _env_file(path: Path) -> dict[str, str]:
    """`NAME=value` lines; `#` starts a comment line. An unknown name is an error: in a file of ours it is a typo."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"{path} cannot be read: {error}", remedy="Correct it, or remove it") from error
    values = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.partition("=")
        name = name.strip()
        if not equals or name not in KNOWN:
            raise InvalidSetting(
                f"{path}, line {number}: there is no setting {name!r}", remedy="See docs/settings.md for their names"
            )
        values[name] = value.strip().strip("\"'")
    return values


class _Reader:
    def __init__(self, values: dict[str, str]) -> None:
        self.values = values

    def __call__(self, name: str, default: str | None, convert: Callable[[str], Any]) -> Any:
        text = self.values.get(name) or default
        if text is None:
            return None
        try:
            return convert(text)
        except ValueError as error:
            shown = f"{name}={text!r}" if "@" not in text else name  # a URL may hold a password
            raise InvalidSetting(f"{shown}: {error}", remedy=f"Correct {name}, or leave it out") from error


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise ValueError("must be a whole number above 0")
    return int(text)


def _size(text: str) -> int:
    """`500MB`, `2GB` or a number of bytes; decimal units, as Docker prints them."""
    units = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "B": 1}
    number, factor = text.strip().upper(), 1
    for unit, value in units.items():
        if number.endswith(unit):
            number, factor = number.removesuffix(unit), value
            break
    if not number.strip().isdigit():
        raise ValueError("must be a size like 500MB or 2GB")
    return int(number) * factor


def _one_of(choices: Any) -> Callable[[str], str]:
    allowed = get_args(choices)

    def convert(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"must be one of: {', '.join(allowed)}")
        return text

    return convert


_REGISTRY = re.compile(
    r"https?://[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::\d{1,5})?(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*/?"
)


def _url(*schemes: str) -> Callable[[str], str]:
    def convert(text: str) -> str:
        scheme, _, rest = text.partition("://")
        if scheme not in schemes or not rest:
            raise ValueError(f"must be a URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        return text.rstrip("/")

    return convert


def _registry(text: str) -> str:
    """Images are named by it, so it must be what an image's name may begin with."""
    if "@" in text:  # told without the value, which holds a password
        raise InvalidSetting(
            "DOCKER_REGISTRY_URL holds a user name",
            remedy="Set DOCKER_REGISTRY_USERNAME and DOCKER_REGISTRY_PASSWORD, and take it out of the URL",
        )
    if not _REGISTRY.fullmatch(text):
        raise ValueError("must be like https://registry.example:5000 or https://registry.example/team")
    return text.rstrip("/")


def _token(text: str) -> str:
    """It goes into a header. A wrong one is told without its value."""
    if not text.isascii() or not text.isprintable() or " " in text:
        raise InvalidSetting("DOCKWRIGHT_TOKEN cannot be a token", remedy="Copy it anew, or make another")
    return text


def _folders(text: str) -> tuple[Path, ...]:
    """Separated by colons, as in PATH."""
    folders = tuple(Path(part) for part in text.split(os.pathsep) if part)
    for folder in folders:
        if not folder.is_absolute():
            raise ValueError("must be absolute folders, separated by colons")
    return tuple(folder.resolve() for folder in folders)


def _hosts(text: str) -> frozenset[str]:
    """Separated by commas."""
    hosts = [part.strip().lower() for part in text.split(",") if part.strip()]
    for host in hosts:
        if not re.fullmatch(r"[a-z0-9_.-]+|[0-9a-f:.]+", host):
            raise ValueError("must be names or addresses of hosts, separated by commas, without ports")
    return frozenset(hosts)


def _email(text: str) -> str:
    name, at, host = text.partition("@")
    if not (name and at and host) or " " in text:
        raise ValueError("must be an e-mail address")
    return text.lower()


def _database_url(text: str, home: Path) -> str:
    """A relative SQLite file lies below the home; PostgreSQL is spoken to by psycopg."""
    if text.startswith(("postgresql://", "postgres://")):
        return "postgresql://" + text.partition("://")[2]
    file = text.removeprefix("sqlite:///")
    if file in {text, ""}:
        raise ValueError("must be sqlite:///FILE or postgresql://USER@HOST/NAME")
    return f"sqlite:///{home / file}"


def _existing_file(text: str) -> Path:
    path = Path(text).absolute()
    if not path.is_file():
        raise ValueError("there is no such file")
    return path
