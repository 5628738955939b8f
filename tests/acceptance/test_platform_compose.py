"""The whole platform from its compose file: Dockwright builds its own image, and that deploys an app."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from commandline import Home, get
from servers import free_port

from dockwright.docker.engine import Engine

REPOSITORY = Path(__file__).resolve().parents[2]
EMAIL = "me@example.org"
ENDED = {"deployed", "succeeded", "failed", "canceled"}
APP = {
    "Dockerfile": 'FROM busybox\nCOPY index.html /www/\nEXPOSE 8080\nCMD ["httpd", "-f", "-p", "8080", "-h", "/www"]\n',
    "index.html": "from the platform\n",
}

pytestmark = pytest.mark.timeout(900)


class Platform:
    """The compose file, under a name and on ports of its own."""

    def __init__(self, folder: Path, image: str) -> None:
        self.name = f"dockwright-test-{secrets.token_hex(3)}"
        self.state = folder / "state"
        self.password = {name: secrets.token_hex(12) for name in ("POSTGRES", "REDIS", "REGISTRY", "ADMIN")}
        self.ports = {name: free_port() for name in ("POSTGRES", "REDIS", "REGISTRY", "SERVER")}
        values = {
            **{f"{name}_PASSWORD": text for name, text in self.password.items()},
            **{f"{name}_PORT": port for name, port in self.ports.items()},
            "POSTGRES_IMAGE": "localhost/base/postgres:15",
            "REDIS_IMAGE": "localhost/base/redis:7",
            "REGISTRY_IMAGE": "localhost/base/registry:2",
            "DOCKWRIGHT_IMAGE": image,
            "STATE_FOLDER": self.state,
            "ADMIN_EMAIL": EMAIL,
            "DOCKER_GID": os.stat("/var/run/docker.sock").st_gid,
        }
        self.env_file = folder / "env"
        self.env_file.write_text("".join(f"{name}={text}\n" for name, text in values.items()))
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.ports['SERVER']}", trust_env=False, timeout=30)

    def compose(self, *arguments: str, may_fail: bool = False) -> str:
        files = ("--file", str(REPOSITORY / "deploy/compose.yaml"), "--env-file", str(self.env_file))
        command = ["docker", "compose", "--project-name", self.name, *files, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0 and not may_fail:
            raise AssertionError(done.stdout + done.stderr + self.compose("logs", "--tail=40", may_fail=True))
        return done.stdout

    def sign_in(self) -> None:
        answer = self.ask("POST", "/auth/login", json={"email": EMAIL, "password": self.password["ADMIN"]})
        self.http.headers["Authorization"] = f"Bearer {answer['access_token']}"

    def ask(self, method: str, path: str, **options: Any) -> Any:
        answer = self.http.request(method, f"/api/v1{path}", **options)
        assert answer.is_success, answer.text
        return answer.json()

    def ended(self, build_id: int) -> dict[str, Any]:
        for _ in range(600):
            status: dict[str, Any] = self.ask("GET", f"/builds/{build_id}/status")
            if status["status"] in ENDED:
                return status
            time.sleep(0.2)
        raise AssertionError(f"{status}\n{self.compose('logs', '--tail=60', 'server', 'worker')}")

    def log_of(self, build_id: int) -> str:
        return self.http.get(f"/api/v1/builds/{build_id}/logs").text

    def until_answers(self, url: str) -> None:
        for _ in range(150):
            with contextlib.suppress(OSError):
                if get(url, "/index.html")[0] == 200:
                    return
            time.sleep(0.2)
        raise AssertionError(self.compose("logs", "--tail=60", "server", "worker"))

    def remove(self) -> None:
        """The platform, and what it made of its clients'."""
        self.http.close()
        psql = ("psql", "-U", "dockwright", "-Atc", "SELECT slug FROM clients")
        slugs = self.compose("exec", "-T", "postgres", *psql, may_fail=True)
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "5")
        engine = Engine()
        for slug in slugs.split():
            labels = {"dev.dockwright.client": slug}
            for container in engine.containers(labels):
                engine.remove_container(container["Id"], volumes=True)
            for network in engine.networks(labels):
                engine.remove_network(network["Id"])
            for image in engine.images(labels):
                engine.remove_image(image["Id"], force=True)

    def in_registry(self) -> Any:
        login = ("dockwright", self.password["REGISTRY"])
        return httpx.get(f"http://127.0.0.1:{self.ports['REGISTRY']}/v2/_catalog", auth=login, trust_env=False).json()


def archive(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, bases: None, server_bases: None) -> Iterator[Platform]:
    """Healthy, all of it. The image is built by Dockwright, from this checkout."""
    folder = tmp_path_factory.mktemp("platform")
    home = Home(folder / "home")
    document = home.build(REPOSITORY, "--until", "test")
    running = Platform(folder, document["services"][0]["image"])
    try:
        running.compose("up", "--detach", "--wait", "--wait-timeout", "120")
        yield running
    finally:
        running.remove()
        home.clean()


def test_the_platform_is_started_and_deploys_what_is_uploaded(platform: Platform) -> None:
    platform.sign_in()
    port = free_port()
    project = platform.ask(
        "POST",
        "/projects",
        json={"name": "Pages", "source": {"kind": "upload"}, "deploy": {"auto": True, "port": port}},
    )
    headers = {"Content-Type": "application/gzip"}
    platform.ask("POST", f"/projects/{project['id']}/source", content=archive(APP), headers=headers)
    queued = platform.ask("POST", "/builds/queue", json={"project_id": project["id"]})
    status = platform.ended(queued["build_id"])
    assert status["status"] == "deployed", platform.log_of(queued["build_id"])
    assert get(status["deployment_url"], "/index.html") == (200, APP["index.html"])
    assert len(platform.in_registry()["repositories"]) == 1
    platform.compose("exec", "-T", "worker", "dockwright", "doctor")

    # Started a second time it is left as it is; an edge that ends with the worker that it belongs to is started again.
    platform.compose("up", "--detach", "--wait")
    platform.compose("restart", "worker")
    platform.until_answers(status["deployment_url"])


def test_nothing_of_it_is_open_to_the_network_and_no_password_is_an_argument(platform: Platform) -> None:
    listening = subprocess.run(["ss", "-ltnH"], capture_output=True, text=True, check=True).stdout
    for port in platform.ports.values():
        addresses = [line.split()[3] for line in listening.splitlines() if line.split()[3].endswith(f":{port}")]
        assert addresses == [f"127.0.0.1:{port}"]
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            arguments = entry.read_bytes()
            assert not [name for name, text in platform.password.items() if text.encode() in arguments]
    assert httpx.get(f"http://127.0.0.1:{platform.ports['REGISTRY']}/v2/", trust_env=False).status_code == 401
