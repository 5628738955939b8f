"""The examples of docs/build-info.md, copied as they stand: built, asked, and verified."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from commandline import Home, get

PAGE = Path(__file__).parents[2] / "docs" / "build-info.md"
KEYS = ["build_date", "git_commit", "cache_bust", "python_version", "container_started", "status"]
SCRIPT_KEYS = ["buildDate", "gitCommit", "cacheBust", "buildTimestamp"]


def examples() -> dict[str, dict[str, str]]:
    """Heading → file → its text."""
    sections = re.split(r"^## (.+)\n", PAGE.read_text(), flags=re.M)[1:]
    files = {
        heading: dict(re.findall(r"^`([\w.]+)`\n\n```\w+\n(.*?)^```$", text, re.M | re.S))
        for heading, text in zip(sections[::2], sections[1::2], strict=True)
    }
    return {heading: found for heading, found in files.items() if found}


def committed(folder: Callable[..., Path], files: dict[str, str]) -> tuple[Path, str]:
    root = folder("told", {**files, ".dockerignore": ".git\n"})
    who = ["-c", "user.name=T", "-c", "user.email=t@example.com"]
    for command in (("init", "-q", "-b", "main"), ("add", "."), ("commit", "-q", "-m", "one")):
        subprocess.run(["git", "-C", str(root), *who, *command], check=True, timeout=60)
    done = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return root, done.stdout.strip()


def test_all_examples_are_tried() -> None:
    assert examples().keys() == {"FastAPI", "Flask", "Express", "A front end behind nginx"}


@pytest.mark.parametrize("heading", ["FastAPI", "Flask", "Express"])
def test_a_back_end(home: Home, folder: Callable[..., Path], heading: str) -> None:
    root, commit = committed(folder, examples()[heading])
    build = home.build(root)
    info = json.loads(get(build["deployment_url"], "/build/info")[1])
    assert {("python_version" if name == "node_version" else name) for name in info} == set(KEYS)
    assert heading == "Express" or set(info) == set(KEYS)
    assert commit.startswith(info["git_commit"]) and info["git_commit"]
    assert info["build_date"] == build["build_date"] and info["status"] == "healthy"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", info["container_started"])
    assert build["proof"]["build_info_ok"] is True


def test_a_front_end(home: Home, folder: Callable[..., Path]) -> None:
    root, commit = committed(folder, examples()["A front end behind nginx"])
    build = home.build(root, "--build-arg", "VITE_API_URL", env={"VITE_API_URL": "https://api.example"})
    url = build["deployment_url"]
    assert "https://api.example" in get(url, "/index-a1b2c3d4.js")[1]
    script = get(url, "/build-info.js")[1]
    assert re.findall(r"^  (\w+):", script, re.M) == SCRIPT_KEYS
    assert f"gitCommit: '{commit[:12]}'" in script and f"buildDate: '{build['build_date']}'" in script
    assert f"buildTimestamp: Date.parse('{build['build_date']}')" in script
    assert build["proof"]["build_info_ok"] is True
