"""Whatever is asked of a real server: no 5xx, and every answer is as the OpenAPI document says."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from api_caller import Api, Caller
from servers import free_port
from structlog.testing import capture_logs

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
LEFT_OUT = {
    "clean_up": "asks the engine for all that it holds, each time",
    "logs": "of a build that nobody runs has no end where it is followed",
    "show": "is for Prometheus",
}


@contextmanager
def _served(api: Api) -> Iterator[str]:
    """Its address."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(api.app, port=port, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


def _fill(caller: Caller) -> None:
    """Something to be found under small numbers."""
    template = {"kind": "template", "template": "chatbot"}
    project = caller.post("projects", {"name": "P", "source": template}, status=201)
    caller.post(f"builds/trigger/{project['id']}", status=202)
    caller.post("projects", {"name": "U", "source": {"kind": "upload"}}, status=201)
    caller.post("products", {"name": "X"}, status=201)


@pytest.mark.timeout(400)
def test_no_input_breaks_it(api: Api, tmp_path: Path) -> None:
    caller = api.caller()
    _fill(caller)
    with capture_logs() as told, _served(api) as url:
        command = _command(url, caller, tmp_path)
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert [one for one in told if one["log_level"] in {"error", "warning"}] == []
    assert done.returncode == 0, done.stdout[-12_000:] + done.stderr[-2_000:]
    assert caller.get("auth/me")["role"] == "admin"
    statuses = _statuses(tmp_path / "events.ndjson")
    assert sum(statuses.values()) > 1_000, statuses
    assert statuses[200] + statuses[201] > 200, statuses


def _command(url: str, caller: Caller, folder: Path) -> list[str]:
    """Every operation, with examples, values at the bounds of what the document allows and beyond, and random ones."""
    return [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{url}/api/openapi.json"),
        *("--header", f"Authorization: Bearer {caller.token}"),
        *("--checks", CHECKS, "--phases", "examples,coverage,fuzzing"),
        *("--max-examples", "4", "--seed", "7", "--generation-deterministic"),
        *("--suppress-health-check", "all", "--continue-on-failure", "--no-color", "--warnings", "off"),
        *("--report-ndjson-path", str(folder / "events.ndjson"), "--output-sanitize", "true"),
        *(f"--exclude-operation-id={name}" for name in LEFT_OUT),
    ]


def _statuses(report: Path) -> Counter[int]:
    found: Counter[int] = Counter()
    for line in report.read_text().splitlines():
        found.update(_in(json.loads(line)))
    return found


def _in(document: object) -> Iterator[int]:
    if isinstance(document, dict):
        if isinstance(document.get("status_code"), int):
            yield document["status_code"]
        document = list(document.values())
    if isinstance(document, list):
        for part in document:
            yield from _in(part)
