"""Advice that is right for the Dockerfile at hand, and none where nothing better is certain."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from dockwright.domain.explanation import Circumstances, Previous
from dockwright.domain.image import Step
from dockwright.insight import index, inputs
from dockwright.insight.advice import advice, is_plain
from dockwright.insight.context import walk
from dockwright.insight.dockerfile import parse
from dockwright.insight.evidence import reader
from dockwright.insight.explain import explain

FILES = {
    "requirements.txt": "flask==3.0\nfoo @ https://f.example/foo.whl\n",
    "package.json": '{"scripts": {"build": "vite"}, "repository": {"type": "git"}, "dependencies": {"a": "^1"}}',
    "go.mod": "module a\nrequire b v1\n",
    **dict.fromkeys(("package-lock.json", "go.sum", "pyproject.toml", "Dockerfile", "app/main.py"), "old"),
    **dict.fromkeys(("app/requirements.txt", ".git/HEAD", ".github/ci.yml", "x/__pycache__/a.pyc"), "old"),
    "README.md": "git clone it",
}


def advised(
    root: Path,
    text: str,
    *,
    args: dict[str, str] | None = None,
    edited: tuple[str, ...] = (),
    no_cache: str | None = None,
    files: Mapping[str, str] = MappingProxyType({}),
) -> list[str | None]:
    """What is said of a build before which `args` were passed or `edited` changed; each step took 10 s."""
    for path, text_of in {**FILES, **files}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text_of)

    def plan(passed: dict[str, str]) -> inputs.InputManifest:
        known = index.update(root, walk(root))
        bases = {"python": "sha256:" + "b" * 64}
        return inputs.manifest(parse(text), target=None, args=passed, platform="linux/amd64", bases=bases, index=known)

    def circumstances(passed: dict[str, str], no_cache: str | None = None) -> Circumstances:
        return Circumstances(builder="b", engine="e", version="1", front_end=None, args=passed, no_cache=no_cache)

    before = plan({"GIT_COMMIT": "a"})
    for path in edited:
        (root / path).write_text("new")
    now = {"GIT_COMMIT": "a", **(args or {})}
    manifest = plan(now)
    changed = _first_changed(before, manifest)
    steps = [
        Step(name=step.vertex, cached=step.index < changed, seconds=0.0 if step.index < changed else 10.0)
        for step in manifest.steps
        if step.vertex
    ]
    previous = Previous(build_id=1, manifest=before, circumstances=circumstances({"GIT_COMMIT": "a"}))
    told = explain(manifest, steps, circumstances(now, no_cache), previous)
    return [advice(cause, told, manifest, reader(root)) for cause in told.causes]


def _first_changed(before: inputs.InputManifest, now: inputs.InputManifest) -> int:
    differing = (new.index for old, new in zip(before.steps, now.steps, strict=True) if old != new and new.vertex)
    return next(differing, len(now.steps))


# --- arguments ------------------------------------------------------------------------------------------------------


def test_an_argument_above_steps_that_do_not_use_it(tmp_path: Path) -> None:
    text = """\
FROM python
ARG GIT_COMMIT
WORKDIR /app
COPY requirements.txt .
RUN apt-get update && apt-get install -y curl
RUN pip install -r requirements.txt
RUN python build.py
"""
    assert advised(tmp_path, text, args={"GIT_COMMIT": "b"}) == [
        "Move `ARG GIT_COMMIT` (line 2) below line 6: lines 5 to 6 do not use it, and that saves 20 s a build"
    ]


def test_an_env_that_uses_it_goes_with_it(tmp_path: Path) -> None:
    text = "FROM python\nARG GIT_COMMIT\nENV COMMIT=$GIT_COMMIT\nRUN pip install flask\nRUN echo $GIT_COMMIT\n"
    assert advised(tmp_path, text, args={"GIT_COMMIT": "b"}) == [
        "Move `ARG GIT_COMMIT` (line 2) and the ENV that uses it (line 3) below line 4: line 4 does not use it,"
        " and that saves 10 s a build"
    ]


@pytest.mark.parametrize(
    "run",
    [
        "RUN echo $GIT_COMMIT",
        "RUN make",
        "RUN ./build.sh",
        "RUN pip install .",
        "RUN <<EOF\necho\nEOF",
        'RUN ["pip", "install", "x"]',
    ],
)
def test_what_may_use_an_argument_stays_below_it(tmp_path: Path, run: str) -> None:
    text = f"FROM python\nARG GIT_COMMIT\n{run}\nRUN pip install flask\n"
    assert advised(tmp_path, text, args={"GIT_COMMIT": "b"}) == [None]


def test_variables_that_tools_look_at_by_themselves_stay(tmp_path: Path) -> None:
    text = "FROM python\nARG PIP_INDEX\nARG MY_PROXY=0\nRUN pip install flask\n"
    assert advised(tmp_path, text, args={"PIP_INDEX": "b"}) == [None]
    assert advised(tmp_path, text, args={"MY_PROXY": "b"}) == [None]


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("install", "wanted"),
    [
        ("pip install --no-cache-dir -r requirements.txt", "`requirements.txt` by itself"),
        ("pip install -q -r requirements.txt && rm -rf /tmp/x", "`requirements.txt` by itself"),
        ("npm ci", "`package-lock.json` and `package.json` by themselves"),
        ("go mod download", "`go.mod` and `go.sum` by themselves"),
    ],
)
def test_a_copy_of_all_above_an_install(tmp_path: Path, install: str, wanted: str) -> None:
    text = f"FROM python\nWORKDIR /app\nCOPY . .\nRUN {install}\nRUN compile\n"
    assert advised(tmp_path, text, edited=("app/main.py",)) == [
        f"Copy {wanted} above `RUN {install}` (line 4), and the rest (line 3) below it:"
        " that saves 10 s whenever other files change"
    ]


@pytest.mark.parametrize(
    "behind",
    [
        "RUN pip install .",
        "RUN pip install -e .",
        "RUN generate > requirements.txt\nRUN pip install -r requirements.txt",
        "COPY app/requirements.txt .\nRUN pip install -r requirements.txt",
        "RUN pip install -r missing.txt",
        "RUN compile",
    ],
)
def test_an_install_that_needs_the_rest_as_well(tmp_path: Path, behind: str) -> None:
    assert advised(tmp_path, f"FROM python\nCOPY . .\n{behind}\n", edited=("app/main.py",)) == [None]


@pytest.mark.parametrize(
    ("install", "path", "text"),
    [
        ("pip install -r requirements.txt", "requirements.txt", "flask\n-r base.txt\n"),
        ("pip install -r requirements.txt", "requirements.txt", "-e ./lib\n"),
        ("pip install -r requirements.txt", "requirements.txt", "lib @ file:///app/lib\n"),
        ("pip install -r requirements.txt", "requirements.txt", "wheels/a-1-py3-none-any.whl\n"),
        ("npm ci", "package.json", '{"workspaces": ["packages/*"]}'),
        ("npm ci", "package.json", '{"scripts": {"postinstall": "patch-package"}}'),
        ("npm ci", "package.json", '{"dependencies": {"a": "file:./a"}}'),
        ("npm ci", "prisma/schema.prisma", "generator client {}"),
        ("go mod download", "go.mod", "module a\nreplace b => ./b\n"),
    ],
)
def test_an_install_whose_file_refers_to_others(tmp_path: Path, install: str, path: str, text: str) -> None:
    dockerfile = f"FROM python\nWORKDIR /app\nCOPY . .\nRUN {install}\n"
    assert advised(tmp_path, dockerfile, edited=("app/main.py",), files={path: text}) == [None]


def test_requirements_that_refer_to_each_other(tmp_path: Path) -> None:
    text = "FROM python\nCOPY . .\nRUN pip install -r requirements.txt -c limits.txt\n"
    files = {"requirements.txt": "-c limits.txt\nflask\n", "limits.txt": "flask<4\n"}
    (told,) = advised(tmp_path, text, edited=("app/main.py",), files=files)
    assert told is not None and told.startswith("Copy `limits.txt` and `requirements.txt` by themselves")


def test_an_install_whose_own_file_changed(tmp_path: Path) -> None:
    text = "FROM python\nCOPY . .\nRUN pip install -r requirements.txt\n"
    assert advised(tmp_path, text, edited=("app/main.py", "requirements.txt")) == [None]
    assert advised(tmp_path, text.replace("COPY . .", "COPY requirements.txt ."), edited=("requirements.txt",)) == [
        None
    ]


def test_system_packages_behind_the_app(tmp_path: Path) -> None:
    text = "FROM python\nCOPY app /app\nRUN apt-get update && apt-get install -y curl\nRUN compile\n"
    assert advised(tmp_path, text, edited=("app/main.py",)) == [
        "Move `RUN apt-get update && apt-get install -y curl` (line 3) above line 2: it reads none of those files,"
        " and that saves 10 s whenever they change"
    ]
    with_file = text.replace("-y curl", "-y ./curl.deb")
    assert advised(tmp_path, with_file, edited=("app/main.py",)) == [None]


@pytest.mark.parametrize(
    ("edited", "patterns"),
    [
        ((".git/HEAD",), "`.git` to .dockerignore: the image does not need it"),
        (("Dockerfile",), "`Dockerfile` to .dockerignore: the image does not need it"),
        (
            (".git/HEAD", "x/__pycache__/a.pyc"),
            "`.git` and `**/__pycache__` to .dockerignore: the image does not need them",
        ),
    ],
)
def test_files_that_no_image_needs(tmp_path: Path, edited: tuple[str, ...], patterns: str) -> None:
    text = "FROM python\nCOPY . .\nRUN compile\n"
    assert advised(tmp_path, text, edited=edited) == [f"Write {patterns}"]


@pytest.mark.parametrize(
    "copied",
    [
        "WORKDIR /etc/apt\nCOPY app/ .",
        "COPY app /usr/local/share/ca-certificates/",
        "COPY rootfs/ /",
        "COPY app /app\nUSER root",
        "COPY app /app\nARG VERSION",
    ],
)
def test_what_system_packages_may_read_or_need(tmp_path: Path, copied: str) -> None:
    text = f"FROM python\n{copied}\nRUN apt-get update && apt-get install -y curl\n"
    changed = "rootfs/etc/apt/a.list" if "rootfs" in copied else "app/main.py"
    assert advised(tmp_path, text, edited=(changed,), files={"rootfs/etc/apt/a.list": "deb x\n"}) == [None]


def test_packages_from_the_folder_itself(tmp_path: Path) -> None:
    text = "FROM python\nCOPY app /app\nRUN apt-get install -y {} && rm -rf /var/lib/apt/lists/*\n"
    assert advised(tmp_path, text.format("/app/*.deb"), edited=("app/main.py",)) == [None]
    assert advised(tmp_path, text.format("*.deb"), edited=("app/main.py",)) == [None]
    assert advised(tmp_path, text.format("curl"), edited=("app/main.py",)) != [None]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("vite.config.ts", "execSync('git rev-parse HEAD')"),
        ("app/version.py", "open('.git/HEAD')"),
        ("setup.cfg", "setuptools_scm"),
        ("package.json", '{"scripts": {"build": "sh -c \'git describe > v\'"}}'),
        ("bin/tool", "\0binary"),
    ],
)
def test_history_that_the_app_asks_for(tmp_path: Path, path: str, text: str) -> None:
    dockerfile = "FROM python\nCOPY . .\nRUN compile\n"
    assert advised(tmp_path, dockerfile, edited=(".git/HEAD",), files={path: text}) == [None]


def test_files_that_may_be_needed(tmp_path: Path) -> None:
    text = "FROM python\nCOPY . .\nRUN compile\n"
    assert advised(tmp_path, text, edited=(".git/HEAD", "app/main.py")) == [None]
    assert advised(tmp_path, text, edited=("README.md",)) == [None]
    assert advised(tmp_path, "FROM python\nCOPY . .\nRUN git describe > v\n", edited=(".git/HEAD",)) == [None]
    assert advised(tmp_path, "FROM python\nCOPY .git /git\nRUN compile\n", edited=(".git/HEAD",)) == [None]


# --- the rest -------------------------------------------------------------------------------------------------------


def test_without_cache(tmp_path: Path) -> None:
    text = "FROM python\nCOPY app /app\nRUN compile\n"
    (told,) = advised(tmp_path, text, edited=("app/main.py",), no_cache="--no-cache")
    assert told == "Without --no-cache only what changed is run again"
    (told,) = advised(tmp_path, text, edited=("app/main.py",), no_cache="the profile dev")
    assert told is not None and "prod" in told


def test_an_instruction_that_changed_needs_no_advice(tmp_path: Path) -> None:
    assert advised(tmp_path, "FROM python\nENV A=$GIT_COMMIT\nRUN compile\n", args={"GIT_COMMIT": "b"}) == []


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("RUN apt-get update && apt-get install -y x", True),
        ("RUN --mount=type=cache,target=/c pip install x", True),
        ("RUN set -e; mkdir -p /a && chown -R 1 /a", True),
        ("RUN apt-get update && make", False),
        ("RUN bash -c 'apt-get update'", False),
        ("RUN FOO=1 pip install x", False),
    ],
)
def test_plain_commands(text: str, is_one: bool) -> None:
    assert is_plain(text) is is_one
