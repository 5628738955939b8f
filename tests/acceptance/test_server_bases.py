"""The stand-ins of PostgreSQL, Redis and the registry, used as anybody's compose file uses the originals."""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from commandline import Home

POSTGRES = "localhost/base/postgres:15"
REDIS = "localhost/base/redis:7"
REGISTRY = "localhost/base/registry:2"

Start = Callable[..., str]

pytestmark = pytest.mark.usefixtures("server_bases")


@pytest.fixture
def start() -> Iterator[Start]:
    """`start(image, *command, options=())`: the name of a container that runs."""
    names: list[str] = []

    def run(image: str, *command: str, options: tuple[str, ...] = ()) -> str:
        names.append(f"dockwright-test-{secrets.token_hex(4)}")
        docker("run", "--detach", "--name", names[-1], *options, image, *command)
        return names[-1]

    yield run
    for name in names:
        docker("rm", "--force", "--volumes", name)


def docker(*arguments: str, code: int = 0) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout.strip()


def until(name: str, *command: str) -> str:
    """The output of the command in the container once it succeeds."""
    for _ in range(150):
        done = subprocess.run(["docker", "exec", name, *command], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.strip()
        time.sleep(0.1)
    raise AssertionError(done.stdout + done.stderr + docker("logs", name))


def address(name: str) -> str:
    return docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", name)


# --- postgres ---------------------------------------------------------------------------------------------------------


def psql(url: str, statement: str) -> tuple[str, ...]:
    return ("psql", url, "--no-align", "--tuples-only", "--command", statement)


def test_postgresql_makes_its_user_and_database_and_asks_for_the_password(start: Start) -> None:
    options = ("-e", "POSTGRES_USER=me", "-e", "POSTGRES_PASSWORD=right", "-e", "POSTGRES_DB=shop")
    name = start(POSTGRES, options=options)
    until(name, "pg_isready", "--host=127.0.0.1")
    url = f"postgresql://me:right@{address(name)}/shop"
    assert until(name, *psql(url, "SELECT current_user, current_database()")) == "me|shop"
    docker("exec", name, *psql(url.replace("right", "wrong"), "SELECT 1"), code=2)


def test_postgresql_runs_the_scripts_that_were_added_at_its_first_start_only(start: Start, tmp_path) -> None:
    (tmp_path / "1.sql").write_text("CREATE TABLE made (at int); INSERT INTO made VALUES (1);")
    (tmp_path / "2.sh").write_text('psql --username="$POSTGRES_USER" --command="INSERT INTO made VALUES (2)"\n')
    tmp_path.chmod(0o755)
    options = ("-e", "POSTGRES_USER=postgres", "-e", "POSTGRES_PASSWORD=p")
    name = start(POSTGRES, options=(*options, "-v", f"{tmp_path}:/docker-entrypoint-initdb.d:ro"))
    ready = ("pg_isready", "--host=127.0.0.1")
    until(name, *ready)
    docker("restart", name)
    until(name, *ready)
    url = "postgresql://postgres@127.0.0.1/postgres"
    assert until(name, *psql(url, "SELECT count(*), sum(at) FROM made")) == "2|3"


def test_postgresql_without_a_password_says_what_is_missing(start: Start) -> None:
    name = start(POSTGRES)
    assert docker("wait", name) == "1"
    logs = subprocess.run(["docker", "logs", name], capture_output=True, text=True, check=True)
    assert "POSTGRES_PASSWORD" in logs.stderr


def test_no_two_clusters_share_a_key() -> None:
    found = docker(
        "run", "--rm", "--entrypoint", "find", POSTGRES, "/etc/ssl/private", "/var/lib/postgresql", "-type", "f"
    )
    assert found == ""


# --- redis ------------------------------------------------------------------------------------------------------------


def test_redis_answers_other_containers_and_runs_as_its_own_user(start: Start) -> None:
    name = start(REDIS)
    assert until(name, "redis-cli", "-h", address(name), "ping") == "PONG"
    assert docker("exec", name, "stat", "--format=%U", "/proc/1") == "redis"


@pytest.mark.parametrize("command", [("redis-server", "/etc/my.conf"), ("/etc/my.conf",)])
def test_redis_takes_a_configuration_file_and_options(start: Start, tmp_path, command: tuple[str, ...]) -> None:
    file = tmp_path / "my.conf"
    file.write_text("requirepass right\n")
    tmp_path.chmod(0o755)
    name = start(REDIS, *command, "--appendonly", "yes", options=("-v", f"{file}:/etc/my.conf:ro"))
    assert until(name, "redis-cli", "-a", "right", "--no-auth-warning", "ping") == "PONG"
    assert "NOAUTH" in docker("exec", name, "redis-cli", "ping")
    assert until(name, "redis-cli", "-a", "right", "--no-auth-warning", "config", "get", "appendonly").endswith("yes")


# --- registry ---------------------------------------------------------------------------------------------------------


def test_the_registry_takes_an_image_and_its_settings_from_the_environment(start: Start, home: Home) -> None:
    name = start(REGISTRY, options=("-p", "127.0.0.1::5000", "-e", "REGISTRY_STORAGE_DELETE_ENABLED=true"))
    until(name, "wget", "--quiet", "--spider", "http://127.0.0.1:5000/")
    image = f"127.0.0.1:{docker('port', name, '5000').rpartition(':')[2]}/box:1"
    docker("tag", "localhost/base/busybox:latest", image)
    try:
        docker("push", "--quiet", image)
    finally:
        docker("image", "rm", image)
    assert until(name, "wget", "-qO-", "http://127.0.0.1:5000/v2/_catalog") == '{"repositories":["box"]}'
