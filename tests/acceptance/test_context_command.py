"""`dockwright context --write`: 388 MB come down to 14, and the image holds the same as before."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

from commandline import Home

Files = dict[str, str]
DOCKERFILE = """\
FROM python:3.11-slim
WORKDIR /app
COPY requirements.txt ./
RUN pip install --no-cache-dir -r requirements.txt
COPY . .
EXPOSE 8000
CMD ["python3", "-m", "http.server", "8000"]
"""
CODE = {
    "Dockerfile": DOCKERFILE,
    "requirements.txt": "itsdangerous==2.2.0\n",
    "backend/__init__.py": "",
    "backend/main.py": "print('here')\n",
    "backend/old.log.py": "x = 1\n",
    "web/src/app.js": "document.title = 'here'\n",
    "web/package.json": "{}\n",
    ".env.example": "API_KEY=\n",
    "docs/node_modules.md": "# not a folder\n",
    "data/weights.csv": "1,2\n",
    "models/tiny.bin": "small, and kept",
}
BALLAST = {
    "web/node_modules/react/index.js": 110_000_000,
    "web/node_modules/.bin/tool": 1_000,
    ".git/objects/pack/pack-1.pack": 70_000_000,
    ".git/HEAD": 30,
    ".venv/pyvenv.cfg": 60,
    ".venv/lib/python3.11/site-packages/big.so": 95_000_000,
    "models/encoder.safetensors": 90_000_000,
    "backend/__pycache__/main.cpython-311.pyc": 2_000_000,
    ".pytest_cache/v/cache/lastfailed": 1_000_000,
    ".mypy_cache/3.11/cache.json": 6_000_000,
    "web/server.log": 2_000_000,
    "web/.DS_Store": 6_148,
}
ASSETS = 12_000_000


def write_tree(root: Path) -> None:
    for path, size in {**BALLAST, "assets/film.mp4": ASSETS}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        with (root / path).open("wb") as file:
            file.write(path.encode())
            file.truncate(size)


def content(home: Home, image: str) -> dict[str, str]:
    """Path below /app → digest, of all files that the image holds there."""
    name = home.engine.create_container(None, {"Image": image, "Labels": home.labels()})
    try:
        with home.engine.archive(name, "/app") as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            return {
                member.name.removeprefix("app/"): hashlib.file_digest(file, "sha256").hexdigest()
                for member in archive
                if (file := archive.extractfile(member)) is not None
            }
    finally:
        home.engine.remove_container(name)


def build(home: Home, root: Path) -> dict[str, str]:
    service = home.run("build", root, "--until", "build", "--json").json["services"][0]
    return content(home, service["image"])


def test_a_tree_of_388_mb_comes_down_to_14_and_keeps_what_is_used(home: Home, folder: Callable[..., Path]) -> None:
    root = folder("ballast", CODE)
    write_tree(root)
    seen = home.run("context", root, "--json").json
    assert set(seen) == {"files", "bytes", "used_bytes", "ignored_bytes", "largest", "suggestions"}
    assert seen["bytes"] > 388_000_000 and seen["ignored_bytes"] == 0 and seen["files"] == len({**CODE, **BALLAST}) + 1
    assert seen["largest"][0]["path"] == "web" and seen["largest"][1]["path"] == "web/node_modules"
    before = build(home, root)

    written = home.run("context", root, "--write", "--json").json
    assert written["bytes"] <= 14_000_000 and written["ignored_bytes"] == sum(BALLAST.values())
    assert written["suggestions"] == seen["suggestions"]
    assert sum(one["bytes"] for one in written["suggestions"]) == sum(BALLAST.values())
    after = build(home, root)

    assert {**CODE, "assets/film.mp4": ""}.keys() <= after.keys()
    assert set(before) - set(after) == BALLAST.keys(), "nothing else is gone"
    assert {path: digest for path, digest in after.items() if path != ".dockerignore"} == {
        path: digest for path, digest in before.items() if path not in BALLAST
    }
    again = home.run("context", root, "--write", "--json").json
    assert again["suggestions"] == [] and build(home, root) == after


def test_what_a_base_image_takes_in_by_itself_is_used(home: Home, folder: Callable[..., Path]) -> None:
    base = home.run(
        "build",
        folder("onbuild", {"Dockerfile": "FROM busybox\nONBUILD COPY plugins /plugins\n"}),
        *("--until", "build", "--json"),
    ).json["services"][0]["image"]
    files = {"Dockerfile": f"FROM {base}\nCOPY a /\n", "a": "x"}
    root = folder("child", {**files, "plugins/one": "x" * 50_000, "unused/two": "x" * 50_000})
    found = home.run("context", root, "--json").json
    assert [one["pattern"] for one in found["suggestions"]] == ["unused"] and found["used_bytes"] == 50_001


def test_people_are_told_what_is_sent_and_why_it_need_not_be(home: Home, folder: Callable[..., Path]) -> None:
    root = folder("told", {"Dockerfile": "FROM busybox\nCOPY . /app\n", ".git/x": "x" * 5_000_000})
    said = home.run("context", root).stdout
    assert "Sent to the builder   5.0 MB in 2 files" in said and "Git's history" in said
    assert f"dockwright context {root} --write" in said
    assert "Written: 1 line. 5.0 MB stay out" in home.run("context", root, "--write").stdout
    assert "Nothing to ignore" in home.run("context", root).stdout


def test_a_folder_without_a_dockerfile_and_one_that_is_no_folder(home: Home, folder: Callable[..., Path]) -> None:
    assert home.fail("context", folder("empty"), code=2)["code"] == "no_dockerfile"
    assert home.fail("context", home.path / "nowhere", code=2)["code"] == "path_not_found"
    compose = folder(
        "services", {"compose.yaml": "services:\n  a:\n    build: web\n", "web/Dockerfile": "FROM busybox\n"}
    )
    error = home.fail("context", compose, code=2)
    assert error["code"] == "no_dockerfile" and os.path.join(compose, "web") in error["remedy"]


def test_a_file_that_may_not_be_written_is_told(home: Home, folder: Callable[..., Path]) -> None:
    root = folder("held", {"Dockerfile": "FROM busybox\nCOPY . /app\n", ".git/x": "x"})
    (root / ".dockerignore").mkdir()
    assert home.fail("context", root, "--write", code=2)["code"] == "wrong_usage"
