"""The workflows of docs/ci.md: well-formed, and their commands do here what they are to do there."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from commandline import COMMAND, Home
from pages import PAGES

PAGE = Path(__file__).parents[2] / "docs" / "ci.md"
Folder = Callable[..., Path]


def workflows() -> tuple[dict[str, Any], dict[str, Any]]:
    """GitHub's and GitLab's. A YAML reader takes the word `on` for a truth value."""
    github, gitlab = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    return yaml.load(github, yaml.BaseLoader), yaml.load(gitlab, yaml.BaseLoader)


class Runner:
    """A folder as a CI's runner has it, in which commands are run as it runs them."""

    def __init__(self, home: Home, place: Path, profile: str) -> None:
        self.place, self.home = place, home
        self.summary = place / "summary.md"
        path = f"{Path(COMMAND).parent}:{os.environ['PATH']}"
        told = {"PATH": path, "PROFILE": profile, "VITE_API_URL": "", "GITHUB_STEP_SUMMARY": str(self.summary)}
        self.env = {**home.env, **told}

    def run(self, script: str, code: int = 0) -> str:
        """What it said on standard error."""
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
        pipe = subprocess.PIPE
        done = subprocess.run(
            command, check=False, cwd=self.place, env=self.env, text=True, stdout=pipe, stderr=pipe, timeout=200
        )
        assert done.returncode == code, f"{script}\n{done.stdout}\n{done.stderr}"
        assert done.stdout == "" or "--json" not in script
        return done.stderr

    def told(self, name: str) -> Any:
        return json.loads((self.place / name).read_text())


@pytest.fixture
def steps() -> dict[str, str]:
    """Name of a step that runs something → its commands."""
    job = workflows()[0]["jobs"]["image"]
    return {step["name"]: step["run"] for step in job["steps"] if "run" in step}


def test_the_workflow_has_what_github_asks_for() -> None:
    workflow = workflows()[0]
    assert set(workflow) == {"name", "on", "permissions", "jobs"}
    assert set(workflow["on"]) == {"pull_request", "push"}
    (job,) = workflow["jobs"].values()
    assert set(job) == {"runs-on", "timeout-minutes", "env", "steps"} and int(job["timeout-minutes"]) > 0
    for step in job["steps"]:
        assert ("uses" in step) != ("run" in step)
        assert "uses" not in step or re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"])
        assert "${{" not in step.get("run", ""), "what comes from outside is never put into a script"
    assert "'dev'" in job["env"]["PROFILE"] and "'prod'" in job["env"]["PROFILE"]


@pytest.mark.parametrize("profile", ["dev", "prod"])
def test_its_steps_build_and_verify(
    home: Home, folder: Folder, tmp_path: Path, steps: dict[str, str], profile: str
) -> None:
    folder("app", PAGES).rename(tmp_path / "app")
    runner = Runner(home, tmp_path, profile)
    runner.run(steps["Check"])
    lines = runner.run(steps["Build, test, deploy and verify"])
    assert re.search(r"^build +\[1/3\] WORKDIR /www: (cached|done in .*)$", lines, re.M), lines
    assert "\x1b" not in lines and "\r" not in lines
    runner.run(steps["Verify"])
    runner.run(steps["Summary"])
    build = runner.told("build.json")
    assert build["status"] == "deployed" and runner.told("verify.json")["ok"]
    assert "findings" in runner.told("check.json")
    summary = runner.summary.read_text()
    assert f"Build {build['build_id']} of no commit: deployed in " in summary and "steps cached" in summary
    if profile == "prod":
        runner.run(steps["Build, test, deploy and verify"])
        assert runner.told("build.json")["services"][0]["reused"]


def test_a_failure_ends_with_its_code_and_says_why(
    home: Home, folder: Folder, tmp_path: Path, steps: dict[str, str]
) -> None:
    folder("app", {"Dockerfile": "FROM busybox\nRUN echo the reason; exit 7\n"}).rename(tmp_path / "app")
    runner = Runner(home, tmp_path, "prod")
    build = steps["Build, test, deploy and verify"]
    runner.run(build, code=1)
    runner.run(steps["Summary"])
    error = runner.told("build.json")["error"]
    assert error["exit_code"] == 7 and "the reason" in "\n".join(error["last_lines"])
    assert error["code"] in runner.summary.read_text() and error["remedy"] in runner.summary.read_text()
    runner.run(steps["Verify"], code=2)
    runner.run(build.replace("build app", "build nowhere"), code=2)
    runner.env["DOCKER_HOST"] = "unix:///nowhere/docker.sock"
    runner.run(build, code=3)
    runner.run(steps["Summary"])


def test_the_lines_for_any_other_ci(home: Home, folder: Folder, tmp_path: Path) -> None:
    job = workflows()[1]["image"]
    assert job["artifacts"]["when"] == "always" and job["retry"]["exit_codes"] == ["3"]
    app = folder("app", PAGES)
    runner = Runner(home, app, "prod")
    (app / ".dockerignore").write_text("*.json\n")
    for line in job["script"]:
        runner.run(line)
    assert runner.told("build.json")["status"] == "deployed" and runner.told("verify.json")["ok"]
