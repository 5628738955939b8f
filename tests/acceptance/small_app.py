"""A small app in a small image, a world to deploy it in, and clients that watch for lost requests."""

from __future__ import annotations

import contextlib
import http.client
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dockwright.docker.engine import Engine
from dockwright.domain.product import Instance, LiveState, Product, Release
from dockwright.errors import EdgeError
from dockwright.process import Cancel
from dockwright.settings import Settings, load
from dockwright.targets import docker, haproxy
from dockwright.targets.cutover import CutOver
from dockwright.targets.docker import DockerTarget
from dockwright.targets.edge import Edge
from dockwright.targets.ports import EDGE_PORTS, is_free

BASE = "localhost/base/python:3.11-slim"

APP = r"""
import os, socket, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MODE, VERSION, NOTES = os.environ.get("MODE", ""), os.environ.get("VERSION", "none"), Path("/data/notes")


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        if self.path == "/crash":
            os._exit(3)
        elif self.path == "/stream":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for word in (b"first", b"later", b"ended"):
                self.wfile.write(b"5\r\n" + word + b"\r\n")
                time.sleep(0.7)
            self.wfile.write(b"0\r\n\r\n")
        elif self.path == "/health":
            self.answer(503 if MODE == "sick" else 200, '{"status": "ok", "items": [1, 2]}')
        elif self.path == "/outside":
            try:
                socket.create_connection(("192.0.2.1", 9), timeout=2)
            except OSError as error:
                self.answer(200, str(error))
        elif self.path == "/notes":
            self.answer(200, NOTES.read_text() if NOTES.exists() else "")
        else:
            self.answer(200, VERSION)

    def do_POST(self):
        text = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
        if self.path == "/notes":
            with NOTES.open("a") as file:
                file.write(text)
        self.answer(201, text)

    def answer(self, status, text):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128


print("starting", VERSION, flush=True)
if MODE == "exit":
    print("the treasure map is missing", file=sys.stderr, flush=True)
    sys.exit(7)
if MODE == "deaf":
    time.sleep(600)
Server(("127.0.0.1" if MODE == "local" else "0.0.0.0", 8080), Answers).serve_forever()
"""

DOCKERFILE = f"""
FROM {BASE}
COPY app.py /app.py
RUN mkdir /data
EXPOSE 8080
CMD ["python3", "/app.py"]
"""

HEALTH_COMMAND = "python3 -c 'import urllib.request as r; r.urlopen(\"http://127.0.0.1:8080/health\")'"
HEALTH_CHECK = f"HEALTHCHECK --interval=30s --timeout=3s CMD {HEALTH_COMMAND}\n"


def build_image(folder: Path, extra: str = "") -> str:
    """Builds it and returns its tag; the folder's name is unlike any other's, as BuildKit wants it."""
    context = folder / f"context-{secrets.token_hex(6)}"
    context.mkdir()
    (context / "app.py").write_text(APP)
    (context / "Dockerfile").write_text(DOCKERFILE + extra)
    tag = f"dockwright-test-{secrets.token_hex(4)}:1"
    done = subprocess.run(
        ["docker", "build", "-q", "-t", tag, str(context)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return tag


class World:
    """A home, a client and a product of this test's own; `clean` removes all that was made for them."""

    def __init__(self, home: Path) -> None:
        self.engine = Engine()
        self.cancel = Cancel()
        self.settings: Settings = load({"DOCKWRIGHT_HOME": str(home)}, env_file=home / "none")
        self.edge = Edge(self.settings)
        self.target = DockerTarget(self.engine, self.settings)
        self.client = f"test{secrets.token_hex(4)}"
        first = EDGE_PORTS.start + secrets.randbelow(800)
        port = next(port for port in range(first, EDGE_PORTS.stop) if is_free("127.0.0.1", port))
        self.product = Product(id=1, client=self.client, project="small", slug="shop", port=port)
        self.logged: list[str] = []

    def release(self, number: int, image: str, *, volumes: tuple[str, ...] = (), **env: str) -> Release:
        details = self.engine.image(image)
        assert details is not None
        return Release(
            number=number,
            image_name=image,
            digest=details["Id"],
            container_port=8080,
            env={"VERSION": f"v{number}", **env},
            volumes=volumes,
            build_id=40 + number,
        )

    def cut_over(self, release: Release, *, replicas: int = 1, keep: tuple[Instance, ...] = ()) -> CutOver:
        product = Product(**{**_fields(self.product), "replicas": replicas})
        return CutOver(
            self.target,
            self.edge,
            product=product,
            release=release,
            live=self.live(),
            cancel=self.cancel,
            keep=keep,
            log=self.logged.append,
            ready_seconds=20,
        )

    def live(self) -> LiveState:
        return LiveState(product=self.product, instances=docker.instances(self.product))

    def deploy(self, release: Release, **options: int) -> None:
        cut_over = self.cut_over(release, **options)
        cut_over.start()
        cut_over.commit()

    def containers(self) -> list[str]:
        return sorted(one["Names"][0] for one in self.engine.containers({"dev.dockwright.client": self.client}))

    def get(self, path: str = "/") -> tuple[int, str]:
        return self.call("GET", path)

    def call(self, method: str, path: str, body: str | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.product.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, body=body)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def clean(self) -> None:
        label = {"dev.dockwright.client": self.client}
        for container in self.engine.containers(label):
            self.engine.remove_container(container["Id"], volumes=True)
        for network in self.engine.networks(label):
            self.engine.remove_network(network["Id"])
        for volume in self.engine.volumes(label):
            self.engine.remove_volume(volume["Name"])
        for folder in (self.settings.home / "edge").glob("*/*"):
            with contextlib.suppress(EdgeError):
                os.kill(haproxy.process_id(folder), signal.SIGKILL)


def _fields(product: Product) -> dict[str, object]:
    return {name: getattr(product, name) for name in Product.__dataclass_fields__}


@pytest.fixture(name="world")
def world_fixture(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.clean()


@pytest.fixture(scope="session", name="images")
def images_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """`plain`, `checked` with a health check of the usual, slow kind, `volume` which declares one."""
    folder = tmp_path_factory.mktemp("images")
    tags = {
        "plain": build_image(folder),
        "checked": build_image(folder, HEALTH_CHECK),
        "volume": build_image(folder, "VOLUME /cache\n"),
    }
    yield tags
    for tag in tags.values():
        Engine().remove_image(tag, force=True)


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    cancel = Cancel(deadline=time.monotonic() + seconds)
    while not condition():
        cancel.sleep(0.02)
