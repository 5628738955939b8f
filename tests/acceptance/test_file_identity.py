"""Files that are not simply there: hard links, and folders that a later step emptied or replaced."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from commandline import Home

DOCKERFILE = """FROM python:3.11-slim
COPY . /app
RUN {step}
COPY serve.txt /srv/serve.txt
EXPOSE 8000
CMD ["python3", "-m", "http.server", "8000"]
"""


def write_source(root: Path, step: str) -> Path:
    root.mkdir()
    (root / "Dockerfile").write_text(DOCKERFILE.format(step=step))
    (root / "file.txt").write_text("the same")
    (root / "serve.txt").write_text("served")
    return root


@pytest.mark.parametrize(
    "step",
    [
        "true",
        "ln --force /app/again.txt /app/file.txt",
        "echo -n 'the same' > /app/own && ln --force /app/own /app/file.txt",  # the first name is not the source's
    ],
)
def test_hard_links_are_compared_by_content(home: Home, tmp_path: Path, step: str) -> None:
    source = write_source(tmp_path / "linked", step)
    os.link(source / "file.txt", source / "again.txt")
    proof = home.build(source)["proof"]
    assert proof["ok"]
    assert (proof["files_checked"], proof["files_differ"]) == (5, [])


@pytest.mark.parametrize(
    "step",
    [
        "rm -r /app && mkdir /app && echo other > /app/other",
        "rm /app/file.txt && mkdir /app/file.txt && rm -r /app/Dockerfile /app/serve.txt",
    ],
)
def test_what_a_run_removed_with_its_folder_cannot_be_compared_and_does_not_differ(
    home: Home, tmp_path: Path, step: str
) -> None:
    proof = home.build(write_source(tmp_path / "replaced", step))["proof"]
    assert (proof["ok"], proof["files_checked"], proof["files_differ"]) == (True, 1, [])
    assert {one["path"] for one in proof["files_unverifiable"]} == {
        "/app/Dockerfile",
        "/app/file.txt",
        "/app/serve.txt",
    }


def test_a_folder_that_a_run_moved_behind_a_link_is_compared_where_it_is_now(home: Home, tmp_path: Path) -> None:
    proof = home.build(write_source(tmp_path / "moved", "mv /app /kept && ln -s /kept /app"))["proof"]
    assert (proof["ok"], proof["files_checked"]) == (True, 4)
    assert proof["files_differ"] == proof["files_unverifiable"] == []
