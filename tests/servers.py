"""PostgreSQL, Redis and an image registry for tests: real ones, started here, on free ports of 127.0.0.1 and in folders
of their own, gone with the session. A test that needs one that is not installed fails.

A server can be killed and started again on its old port, with what it had stored, for tests of what happens then.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import http.client
import os
import pwd
import secrets
import shutil
import signal
import socket
import string
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

PROGRAM_FOLDERS = "/usr/lib/postgresql/*/bin"
"""Where Debian keeps PostgreSQL's programs: off the path, a folder a version."""


def free_port() -> int:
    """Outside of the ports that Dockwright takes by itself, and of those of outgoing connections."""
    while True:
        port = 30000 + secrets.randbelow(2700)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Server(ABC):
    """A process that listens on one port for as long as a `with` lasts."""

    def __init__(self) -> None:
        self.port = free_port()
        # Not below pytest's own folders: nobody but their owner may look into those, and PostgreSQL is another user.
        self.folder = Path(tempfile.mkdtemp(prefix="dockwright-test-"))
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.prepare()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder)

    def start(self) -> None:
        """Returns when it answers."""
        assert not self.answers(), f"something listens on port {self.port} already"
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self.command(), user=self.user(), stdout=log, stderr=log, cwd=self.folder)
        for _ in range(600):
            if self.process.poll() is not None or self.answers():
                break
            time.sleep(0.02)
        assert self.process.poll() is None and self.answers(), self.log()

    def stop(self) -> None:
        """As its operator would."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """At once, as a crash."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(timeout=20)
            self.process = None

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def prepare(self) -> None:  # noqa: B027 (most need nothing)
        """What must be in the folder before the first start."""

    def user(self) -> str | None:
        """Whom it runs as; `None` for ourselves."""
        return None

    @abstractmethod
    def command(self) -> list[str]: ...

    @abstractmethod
    def answers(self) -> bool: ...


class Postgres(Server):
    """`url` is its administrator's, for the database `postgres`."""

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def prepare(self) -> None:
        if (user := self.user()) is not None:
            shutil.chown(self.folder, user, user)
        initdb = [self.program("initdb"), "--pgdata", str(self.folder / "data"), "--username=postgres"]
        options = ["--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        subprocess.run([*initdb, *options], check=True, user=user, cwd=self.folder, stdout=subprocess.DEVNULL)

    def command(self) -> list[str]:
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": str(self.folder), "fsync": "off"}
        options = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        return [self.program("postgres"), "-D", str(self.folder / "data"), "-p", str(self.port), *options]

    def answers(self) -> bool:
        ready = [self.program("pg_isready"), "--quiet", "--host=127.0.0.1", f"--port={self.port}"]
        return subprocess.run(ready, check=False).returncode == 0

    def stop(self) -> None:
        """Its fast shutdown: connections are closed."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Its immediate shutdown: no process writes anything more, and the next start recovers as after a crash. A
        SIGKILL would leave the processes of its connections behind, and no new server starts beside those."""
        self._end(signal.SIGQUIT)

    def user(self) -> str | None:
        """PostgreSQL refuses to run as root."""
        return pwd.getpwnam("postgres").pw_name if os.getuid() == 0 else None

    @staticmethod
    def program(name: str) -> str:
        newest = sorted(Path("/").glob(f"{PROGRAM_FOLDERS}/{name}".lstrip("/")), key=lambda path: float(path.parts[4]))
        return str(newest[-1]) if newest else installed(name, "postgresql")


class Redis(Server):
    """Forgets everything when it ends, unless it is to keep it: then a crash loses at most the last write."""

    def __init__(self, *, keep: bool = False) -> None:
        super().__init__()
        self.keep = keep

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        program = installed("redis-server", "redis-server")
        kept = ["--appendonly", "yes", "--appendfsync", "always"] if self.keep else ["--appendonly", "no"]
        place = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder), "--save", ""]
        return [program, *place, *kept]

    def ask(self, words: str) -> bytes:
        """The answer's first bytes; `words` as one would type them."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(words.encode() + b"\r\n")
            return connection.recv(1000)

    def answers(self) -> bool:
        try:
            return self.ask("PING") == b"+PONG\r\n"
        except ConnectionError:
            return False


class Registry(Server):
    """An image registry at `address`; with a `password`, only for the user `builder`."""

    username = "builder"

    def __init__(self, *, password: str | None = None) -> None:
        super().__init__()
        self.password = password

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def prepare(self) -> None:
        lines = [
            "version: 0.1",
            f"storage: {{filesystem: {{rootdirectory: {self.folder}/images}}, delete: {{enabled: true}}}}",
            f'http: {{addr: "{self.address}"}}',
        ]
        if self.password is not None:
            (self.folder / "htpasswd").write_text(htpasswd(self.username, self.password))
            lines.append(f"auth: {{htpasswd: {{realm: tests, path: {self.folder}/htpasswd}}}}")
        (self.folder / "registry.yml").write_text("\n".join(lines) + "\n")

    def command(self) -> list[str]:
        return [installed("docker-registry", "docker-registry"), "serve", str(self.folder / "registry.yml")]

    def get(self, path: str, *, login: bool = True) -> tuple[int, str]:
        headers = {}
        if login and self.password is not None:
            token = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
            headers["Authorization"] = f"Basic {token}"
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def answers(self) -> bool:
        try:
            return self.get("/v2/")[0] == 200
        except OSError:
            return False


def installed(program: str, package: str) -> str:
    found = shutil.which(program)
    assert found is not None, f"{package} is not installed: scripts/setup.sh --dev does it"
    return found


def htpasswd(username: str, password: str) -> str:
    """A line of the kind that a registry takes: bcrypt alone, which the C library of the system has."""
    crypt = ctypes.CDLL("libcrypt.so.1").crypt
    crypt.restype = ctypes.c_char_p
    salt = "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(21))
    hashed: bytes = crypt(password.encode(), f"$2b$04${salt}O".encode())
    return f"{username}:{hashed.decode()}\n"


def fresh_database(url: str) -> str:
    """The URL of a new, empty database on the server that `url` leads to."""
    name = f"test_{secrets.token_hex(6)}"
    subprocess.run([Postgres.program("createdb"), f"--maintenance-db={url}", name], check=True)
    return f"{url.rpartition('/')[0]}/{name}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One for all tests. A test that stops it starts it again."""
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url(postgres: Postgres) -> str:
    """Its administrator's: see `fresh_database`."""
    return postgres.url


@pytest.fixture
def database_url(postgres_url: str) -> str:
    """Of an empty PostgreSQL database, this test's alone."""
    return fresh_database(postgres_url)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    """One for all tests. A test that stops it starts it again."""
    with Redis(keep=True) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: Redis) -> str:
    """Of a Redis that holds nothing."""
    assert redis_server.ask("FLUSHALL") == b"+OK\r\n"
    return redis_server.url


@pytest.fixture
def registry() -> Iterator[Registry]:
    """An empty one that anybody may push to."""
    with Registry() as server:
        yield server


@pytest.fixture
def locked_registry() -> Iterator[Registry]:
    """An empty one that asks for a password."""
    with Registry(password=secrets.token_urlsafe(12)) as server:
        yield server
