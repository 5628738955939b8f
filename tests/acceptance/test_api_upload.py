"""Over the API alone: an archive is sent, built, deployed, sent again with other bytes, started anew, rolled back."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from commandline import Home, get
from serving import Serving

DOCKERFILE = """\
FROM python:3.11-slim
WORKDIR /app
COPY app.py ./
EXPOSE 8000
CMD ["python", "app.py"]
"""
APP = """\
import http.server, os
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"VERSION " + os.environ.get("MODE", "plain").encode())
http.server.HTTPServer(("", 8000), Page).serve_forever()
"""


def _archive(version: str) -> bytes:
    """The same sizes and times whatever the version."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, text in (("app/Dockerfile", DOCKERFILE), ("app/app.py", APP.replace("VERSION", version))):
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(text), 1_700_000_000
            tar.addfile(info, io.BytesIO(text.encode()))
    return stream.getvalue()


@pytest.fixture
def ask(home: Home) -> Iterator[Callable[..., Any]]:
    with Serving(home) as server, httpx.Client(base_url=f"{server.url}/api/v1", timeout=60, trust_env=False) as http:
        body = {"email": "admin@localhost", "password": "a password for tests"}
        http.headers["Authorization"] = f"Bearer {http.post('/auth/login', json=body).json()['access_token']}"

        def call(method: str, path: str, status: int = 200, **options: Any) -> Any:
            answer = http.request(method, path, **options)
            assert answer.status_code == status, answer.text
            return answer.json() if answer.content else None

        yield call


def test_from_an_archive_to_what_runs(ask: Callable[..., Any], tmp_path: Path) -> None:
    body = {"name": f"Up {tmp_path.name}", "source": {"kind": "upload"}, "auto_build": True}
    project = ask("POST", "/projects", 201, json=body)["id"]

    def send(version: str) -> dict[str, Any]:
        """The finished build's status."""
        options = {"content": _archive(version), "headers": {"Content-Type": "application/gzip"}}
        build = ask("POST", f"/projects/{project}/source", 201, **options)["build_id"]
        until = time.monotonic() + 120
        while time.monotonic() < until:
            status: dict[str, Any] = ask("GET", f"/builds/{build}/status")
            if status["completed_at"]:
                assert status["status"] == "deployed", status
                return status
            time.sleep(0.1)
        raise AssertionError("the build did not end")

    url = send("v1")["deployment_url"]
    assert get(url) == (200, "v1 plain")
    again = send("v2")
    assert (again["deployment_url"], get(url)) == (url, (200, "v2 plain")), "the image holds the bytes that were sent"
    product = ask("GET", f"/builds/{again['build_id']}/deployment")["product_id"]
    path = f"/products/{product}"
    assert ask("GET", f"{path}/verify")["ok"]

    ask("PATCH", path, json={"env_vars": {"MODE": "loud"}})
    assert get(url) == (200, "v2 plain"), "it takes effect with the next start"
    assert ask("POST", f"{path}/restart")["release"] == 3 and get(url) == (200, "v2 loud")
    before = ask("GET", path)["instances"][0]["container_id"]
    restarted = ask("POST", f"{path}/restart")
    assert restarted["release"] == 3 and restarted["instances"][0]["container_id"] != before
    assert ask("POST", f"{path}/rollback", json={"release": 1})["release"] == 1 and get(url) == (200, "v1 plain")
    assert ask("POST", f"{path}/stop")["status"] == "stopped"
    assert ask("POST", f"{path}/start")["status"] == "running" and get(url) == (200, "v1 plain")

    deployments = ask("GET", f"{path}/deployments")["items"]
    assert {one["created_by"] for one in deployments} == {"admin@localhost"}
    assert {one["created_by"] for one in ask("GET", f"{path}/releases")["items"]} == {"admin@localhost"}

    ask("DELETE", f"/projects/{project}", 409)
    ask("POST", f"{path}/stop")
    ask("DELETE", path, 204)
    ask("DELETE", f"/projects/{project}", 204)


def test_a_product_of_an_image_as_the_operator_makes_it(ask: Callable[..., Any], tmp_path: Path) -> None:
    body = {"name": f"Pay {tmp_path.name}", "source": {"kind": "upload"}, "deploy": {"auto": False}}
    project = ask("POST", "/projects", 201, json=body)["id"]
    options = {"content": _archive("v1"), "headers": {"Content-Type": "application/gzip"}}
    ask("POST", f"/projects/{project}/source", 201, **options)
    build = ask("POST", f"/builds/trigger/{project}", 202)["build_id"]
    until = time.monotonic() + 120
    while not (status := ask("GET", f"/builds/{build}/status"))["completed_at"] and time.monotonic() < until:
        time.sleep(0.1)
    assert status["status"] == "succeeded", status
    (image,) = ask("GET", "/images")
    asked = {"name": f"Allianz {tmp_path.name}", "replicas": 2, "image_id": image["id"], "env_vars": {"MODE": "x"}}
    product = ask("POST", "/products", 201, json=asked)
    assert (product["status"], product["image_name"]) == ("stopped", f"{image['name']}:{image['tag']}")
    ask("POST", "/builds/cleanup", json={"keep": 1})
    started = ask("POST", f"/products/{product['id']}/start")
    assert (started["status"], started["release"], len(started["instances"])) == ("running", 1, 2)
    assert get(started["url"]) == (200, "v1 x")
    ask("POST", f"/products/{product['id']}/stop")
