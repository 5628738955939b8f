"""The buildx command as a whole, without an engine, and what its failures come to."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dockwright.docker.buildx import Build, build_command, find_plugin
from dockwright.domain.plan import ServicePlan
from dockwright.errors import (
    BaseImageMissing,
    BuilderFailed,
    DockwrightError,
    EngineUnreachable,
    StepFailed,
    ToolMissing,
)

PLAN = ServicePlan(
    service="app",
    context=Path("/state/contexts/local-app/local-app-1234"),
    dockerfile=Path("/src/Dockerfile"),
    target=None,
    args={},
    secrets=(),
    tags=("local/app:b1",),
    labels={},
    substitutes={},
    base_ports=frozenset(),
    manifest_digest="0" * 64,
    manifest=None,
    context_files=1,
    context_bytes=1,
    reuse=None,
    manifest_json=str,
    sending=lambda: None,
    copies=lambda: None,
    changed_since=list,
)


def test_the_least_command() -> None:
    assert build_command(PLAN, Path("/out/m.json")) == [
        "build",
        "--builder=default",
        "--progress=rawjson",
        "--metadata-file=/out/m.json",
        "--provenance=false",
        "--file=/src/Dockerfile",
        "--tag=local/app:b1",
        "/state/contexts/local-app/local-app-1234",
    ]


def test_everything_a_plan_may_hold() -> None:
    plan = replace(
        PLAN,
        target="app",
        args={"A": "1 2", "B": "$(touch x)"},
        secrets=("id=ca,src=/etc/ca.crt",),
        labels={"dev.dockwright.build": "7"},
        substitutes={"python:3.12": "localhost/base/python:3.11-slim"},
        no_cache=True,
    )
    command = build_command(plan, Path("/m"))
    assert command[6:-1] == [
        "--tag=local/app:b1",
        "--label=dev.dockwright.build=7",
        "--build-arg=A=1 2",
        "--build-arg=B=$(touch x)",
        "--secret=id=ca,src=/etc/ca.crt",
        "--build-context=python:3.12=docker-image://localhost/base/python:3.11-slim",
        "--target=app",
        "--no-cache",
    ]


def test_a_missing_plugin_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setattr("dockwright.docker.buildx.PLUGIN_FOLDERS", ())
    with pytest.raises(ToolMissing, match="docker-buildx"):
        find_plugin()


def test_the_users_own_plugin_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plugin = tmp_path / "cli-plugins" / "docker-buildx"
    plugin.parent.mkdir()
    plugin.touch(mode=0o755)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert find_plugin() == str(plugin)


# --- failures: a program in buildx's place writes what buildx writes --------------------------------------------------


def _failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, output: str) -> DockwrightError:
    (tmp_path / "output").write_text(output)
    plugin = tmp_path / "plugin"
    plugin.write_text(f"#!/bin/sh\ncat {tmp_path}/output >&2\nexit 1\n")
    plugin.chmod(0o755)
    monkeypatch.setattr("dockwright.docker.buildx.find_plugin", lambda: str(plugin))
    from dockwright.process import Cancel

    with pytest.raises(DockwrightError) as caught:
        Build(PLAN, tmp_path / "metadata.json").run(lambda _: None, Cancel())
    return caught.value


def _vertex(name: str, **facts: Any) -> dict[str, Any]:
    return {"digest": f"sha256:{name}", "name": name, "started": "2026-01-01T00:00:00Z", **facts}


def test_a_step_that_failed_comes_before_those_that_were_ended_with_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    document = {
        "vertexes": [
            _vertex("[other 2/2] RUN sleep 9", completed="2026-01-01T00:00:01Z", error="context canceled"),
            _vertex(
                "[2/3] RUN make",
                completed="2026-01-01T00:00:01Z",
                error='process "/bin/sh -c make" did not complete successfully: exit code: 3',
            ),
        ],
        "logs": [{"vertex": "sha256:[2/3] RUN make", "stream": 2, "data": "bm8gcnVsZQo="}],
    }
    error = _failure(monkeypatch, tmp_path, json.dumps(document, indent=2) + "\nERROR: failed to solve\n")
    assert isinstance(error, StepFailed)
    assert (error.step, error.step_exit_code, error.last_lines) == ("[2/3] RUN make", 3, ["no rule"])


def test_a_base_image_that_cannot_be_had_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = "[internal] load metadata for docker.io/library/nosuch:1"
    document = {"vertexes": [_vertex(name, completed="2026-01-01T00:00:01Z", error="no such host")]}
    error = _failure(monkeypatch, tmp_path, json.dumps(document) + "\n")
    assert isinstance(error, BaseImageMissing)
    assert "nosuch:1" in error.message


def test_whatever_else_buildx_says_is_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    error = _failure(monkeypatch, tmp_path, "ERROR: no builder instance\n")
    assert isinstance(error, BuilderFailed)
    assert error.message == "no builder instance"


@pytest.mark.parametrize(
    "line",
    [
        "ERROR: failed to receive status: rpc error: code = Unavailable desc = error reading from server: EOF",
        "ERROR: failed to solve: Unavailable: error reading from server: EOF",
    ],
)
def test_an_engine_that_goes_away_is_told_in_either_form(line: str, tmp_path: Path) -> None:
    build = Build(PLAN, tmp_path / "metadata.json")
    build.take(line, lambda _: None)
    assert isinstance(build.failure(1), EngineUnreachable)
