"""What a `.dockerignore` may leave out: never what the image needs, whatever it looks like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dockwright import settings
from dockwright.services.context import context

MODEL = "\0" * 1_500_000
NODE = "FROM node:18\nCOPY . .\nRUN npm ci\n"
PYTHON = "FROM python:3.11-slim\nCOPY . .\nRUN pip install -r requirements.txt\n"
Tree = Callable[[dict[str, str]], Path]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")

    def make(files: dict[str, str]) -> Path:
        root = tmp_path / "app"
        for path, text in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        return root

    return make


def patterns(root: Path) -> set[str]:
    return {one["pattern"] for one in look(root)["suggestions"]}


def look(root: Path, *, write_file: bool = False) -> dict[str, Any]:
    return context(settings.load(), root, write_file=write_file)


BALLAST = {
    "packages that are installed anew": (
        NODE,
        {"package.json": "{}", "node_modules/a/index.js": "x"},
        "**/node_modules",
    ),
    "Node's packages without Node": (PYTHON, {"web/node_modules/a.js": "x"}, "**/node_modules"),
    "a virtual environment by its marker": (PYTHON, {"env-3/pyvenv.cfg": "", "env-3/lib/x.py": "x"}, "env-3"),
    "a cache": (PYTHON, {"a/__pycache__/m.pyc": "x", "a/m.py": "x"}, "**/__pycache__"),
    "compiled files with their sources": (PYTHON, {"m.py": "x", "m.pyc": "x"}, "**/*.pyc"),
    "history": (PYTHON, {".git/HEAD": "x"}, "**/.git"),
    "logs": (PYTHON, {"old.log": "x"}, "**/*.log"),
    "an editor's settings": (PYTHON, {".idea/x.xml": "x"}, "**/.idea"),
    "a model that nothing names": (PYTHON, {"w/big.gguf": MODEL, "main.py": "print()"}, "w/big.gguf"),
    "settings with passwords": (PYTHON, {".env": "DB_PASSWORD=hunter22\n"}, ".env"),
    "an output that is built anew": (
        "FROM node:18\nCOPY . .\nRUN npm ci && npm run build\n",
        {"package.json": "{}", ".gitignore": "/dist/\n", "dist/a.js": "x"},
        "dist",
    ),
    "a name of wildcards": (PYTHON, {"a[1]*/pyvenv.cfg": "", "a1/keep.py": "x"}, r"a\[1]\*"),
}


@pytest.mark.parametrize(("dockerfile", "files", "pattern"), BALLAST.values(), ids=BALLAST)
def test_known_ballast_is_suggested(tree: Tree, dockerfile: str, files: dict[str, str], pattern: str) -> None:
    assert pattern in patterns(tree({"Dockerfile": dockerfile, **files}))


STAYS = {
    "packages that are carried along": (
        "FROM node:18\nCOPY . .\nCMD node server.js\n",
        {"node_modules/a/index.js": "x"},
    ),
    "packages that a COPY names": (
        "FROM node:18\nRUN npm ci\nCOPY node_modules node_modules\n",
        {"node_modules/a.js": "x"},
    ),
    "packages of another folder than the installed": (
        "FROM node:18\nCOPY . .\nWORKDIR /web\nRUN npm ci\n",
        {"server/package.json": "{}", "server/node_modules/a.js": "x"},
    ),
    "packages that a page names": (
        "FROM nginx\nCOPY . /usr/share/nginx/html\n",
        {"node_modules/b/b.css": "x", "index.html": '<link href="/node_modules/b/b.css">'},
    ),
    "an environment that the app starts from": (
        "FROM python:3.11\nCOPY . /app\nCMD /app/venv/bin/python main.py\n",
        {"venv/pyvenv.cfg": "", "venv/bin/python": "x"},
    ),
    "history that gives the version": (PYTHON, {".git/HEAD": "x", "pyproject.toml": 'requires = ["setuptools-scm"]'}),
    "history that a RUN asks": ("FROM python:3\nCOPY . .\nRUN git describe > version\n", {".git/HEAD": "x"}),
    "a module without its source": (PYTHON, {"closed.pyc": "x"}),
    "a model that code names": (PYTHON, {"w/big.gguf": MODEL, "main.py": "load('w/big.gguf')"}),
    "a model whose folder is named": (PYTHON, {"w/minilm/model.safetensors": MODEL, "a.py": 'load("w/minilm")'}),
    "a model that a COPY names": ("FROM python:3\nCOPY big.gguf /\nCOPY . .\n", {"big.gguf": MODEL}),
    "a log that code reads": (PYTHON, {"sample.log": "x", "main.py": "open('sample.log')"}),
    "a front end's public settings": (NODE, {".env.production": "VITE_API_URL=https://api.example\n"}),
    "an example of settings": (PYTHON, {".env.example": "DB_PASSWORD=hunter22\n"}),
    "settings that the app is started with": (
        'FROM node:18\nCOPY . .\nRUN npm ci\nCMD ["node", "--env-file=.env", "a.js"]\n',
        {".env": "API_KEY=abcd1234\n"},
    ),
    "an output that Git keeps": (
        "FROM node:18\nCOPY . .\nRUN npm run build\n",
        {"package.json": "{}", "dist/kept.js": "x"},
    ),
}


@pytest.mark.parametrize(("dockerfile", "files"), STAYS.values(), ids=STAYS)
def test_what_the_app_may_need_stays(tree: Tree, dockerfile: str, files: dict[str, str]) -> None:
    assert patterns(tree({"Dockerfile": dockerfile, **files})) == set()


def test_what_no_copy_takes_in_is_suggested_by_its_highest_folder(tree: Tree) -> None:
    root = tree(
        {
            "Dockerfile": "FROM busybox\nCOPY src/app /app\n",
            "src/app/main.sh": "x",
            "src/other/deep/a": "x" * 30_000,
            "src/other/b": "x",
            "notes.bin": "x" * 20_000,
            "small.txt": "x",
        }
    )
    found = look(root)
    assert [(one["pattern"], one["bytes"]) for one in found["suggestions"]] == [
        ("src/other", 30_001),
        ("notes.bin", 20_000),
    ]
    assert found["used_bytes"] == 1 and found["files"] == 6
    assert found["largest"][0] == {"path": "src", "bytes": 30_002}


def test_what_another_target_or_dockerfile_or_mount_uses_stays(tree: Tree) -> None:
    root = tree(
        {
            "Dockerfile": "FROM busybox AS tests\nCOPY tests /t\nFROM busybox\n"
            "RUN --mount=type=bind,source=tools,target=/t sh /t/x\nCOPY app /app\n",
            "Dockerfile.web": "FROM busybox\nCOPY web /web\n",
            "compose.yaml": "services:\n  jobs:\n    build: {context: ., dockerfile: deploy/jobs.df}\n",
            "deploy/jobs.df": "FROM busybox\nCOPY jobs /jobs\n",
            **{f"{folder}/x": "x" * 20_000 for folder in ("tests", "tools", "app", "web", "jobs", "unused")},
        }
    )
    found = look(root)
    assert [one["pattern"] for one in found["suggestions"]] == ["unused"]
    assert found["used_bytes"] == 40_000, "of the final target and what it rests on"


def test_a_second_dockerfile_that_cannot_be_read_may_use_anything(tree: Tree) -> None:
    files = {"Dockerfile": "FROM busybox\nCOPY a /\n", "a": "x", "b/c": "x" * 20_000, "Dockerfile.bad": "COPPY x\n"}
    assert patterns(tree(files)) == set()


def test_the_users_lines_stay_and_the_second_time_changes_nothing(tree: Tree) -> None:
    root = tree({"Dockerfile": PYTHON, "requirements.txt": "x", ".git/HEAD": "x" * 99, "a/__pycache__/m.pyc": "x"})
    (root / ".dockerignore").write_text("# mine\n*.md\n\n!keep.md")
    saved = look(root, write_file=True)
    text = (root / ".dockerignore").read_text()
    assert text.startswith("# mine\n*.md\n\n!keep.md\n\n# What the image does not need")
    assert {"**/.git", "**/__pycache__"} <= set(text.splitlines())
    assert {one["pattern"] for one in saved["suggestions"]} == {"**/.git", "**/__pycache__"}
    assert saved["ignored_bytes"] == 100
    again = look(root, write_file=True)
    assert again["suggestions"] == [] and (root / ".dockerignore").read_text() == text
    (root / "old.log").write_text("x")
    look(root, write_file=True)
    assert (root / ".dockerignore").read_text() == f"{text}**/*.log\n", "below our own comment"


def test_what_the_user_takes_in_again_is_not_dropped(tree: Tree) -> None:
    root = tree({"Dockerfile": PYTHON, "logs/keep.log": "x", "logs/old.log": "x", "app/__pycache__/m.pyc": "x"})
    (root / ".dockerignore").write_text("logs/*\n!logs/keep.log\n!app\n")
    assert patterns(root) == {"**/__pycache__"}


def test_the_dockerfiles_own_ignore_file_is_the_one_that_is_extended(tree: Tree) -> None:
    root = tree({"Dockerfile": PYTHON, "Dockerfile.dockerignore": "*.md\n", ".git/HEAD": "x"})
    look(root, write_file=True)
    assert "**/.git" in (root / "Dockerfile.dockerignore").read_text()
    assert not (root / ".dockerignore").exists()


def test_odd_names_are_left_out_alone(tree: Tree) -> None:
    names = ("#hash", "!bang", "a b", "back\\slash", "caret^", "star*")
    root = tree({"Dockerfile": "FROM busybox\nCOPY used /\n", "used": "x", "starry/x": "x"})
    for name in names:
        (root / name).mkdir()
        (root / name / "x").write_text("x" * 20_000)
    (root / "line\nbreak").write_text("x" * 20_000)
    found = look(root, write_file=True)
    assert len(found["suggestions"]) == len(names), "no line can hold the name with a line break"
    assert found["ignored_bytes"] == 20_000 * len(names)
    assert look(root)["suggestions"] == []


@pytest.mark.parametrize("instruction", ["COPY * /app/", "ADD . /app", "COPY ./ /app/", 'COPY [".", "/app"]'])
def test_every_form_of_copying_everything_knows_ballast(tree: Tree, instruction: str) -> None:
    root = tree({"Dockerfile": f"FROM python:3\n{instruction}\n", ".git/HEAD": "x", "other/data.csv": "x" * 50_000})
    assert patterns(root) == {"**/.git"}
