"""What `context --write` may not drop though the Dockerfile at hand does not say so: other builds, the app itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dockwright import settings
from dockwright.errors import DockwrightError
from dockwright.insight import evidence
from dockwright.insight.ignore import load_rules
from dockwright.services.context import context

LARGE = "x" * 20_000
MODEL = "\0" * 1_500_000
PYTHON = "FROM python:3.11-slim\nCOPY . .\nRUN pip install -r requirements.txt\n"
NODE = "FROM node:18\nCOPY . .\nRUN npm ci\n"
ARGS = "FROM busybox\nARG S=a\nCOPY services/${S} /s\n"
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


def written(root: Path) -> dict[str, Any]:
    return context(settings.load(), root, write_file=True)


def is_sent(root: Path, path: str) -> bool:
    return not load_rules(root, root / "Dockerfile").is_excluded(path)


def compose(*services: str) -> str:
    return "services:\n" + "".join(f"  {service}\n" for service in services)


TWO = {"services/a/x": LARGE, "services/b/x": LARGE}
BUILDS = {
    "one Dockerfile for two services with other arguments": (
        {
            "Dockerfile": ARGS,
            "compose.yaml": compose("a: {build: {context: ., args: {S: a}}}", "b: {build: {context: ., args: {S: b}}}"),
            **TWO,
        },
        "services/b/x",
    ),
    "a default that somebody overrides": ({"Dockerfile": ARGS, **TWO}, "services/b/x"),
    "an argument with slashes": (
        {"Dockerfile": "FROM busybox\nARG APP=one\nCOPY ${APP}/main /m\n", "one/main": LARGE, "apps/two/main": LARGE},
        "apps/two/main",
    ),
    "a part of a name": (
        {"Dockerfile": "FROM busybox\nARG C=dev\nCOPY conf/app-${C:-dev}.d /c\n", "conf/app-prod.d/x": LARGE},
        "conf/app-prod.d/x",
    ),
    "a variable that switches": (
        {"Dockerfile": "FROM busybox\nARG P\nCOPY conf${P:+/prod} /c\n", "conf/x": "x", "conf/prod/x": LARGE},
        "conf/prod/x",
    ),
    "a mount": (
        {"Dockerfile": "FROM busybox\nARG S=a\nRUN --mount=type=bind,source=services/$S,target=/s sh /s/x\n", **TWO},
        "services/b/x",
    ),
    "a link that an argument leads through": (
        {"Dockerfile": "FROM busybox\nARG S=a\nCOPY services/${S}/x /s\n", "releases/2/x": LARGE, **TWO},
        "releases/2/x",
    ),
    "what is kept for other Dockerfiles": (
        {"Dockerfile": "FROM busybox\nONBUILD COPY plugins /p\n", "plugins/x": LARGE},
        "plugins/x",
    ),
    "a model that an argument names": (
        {"Dockerfile": "FROM busybox\nARG M=s\nCOPY models/$M /m\n", "models/s/x": "x", "models/l/w.gguf": MODEL},
        "models/l/w.gguf",
    ),
    "an environment whose content is named": (
        {"Dockerfile": "FROM busybox\nCOPY tools/* /t/\n", "tools/pyvenv.cfg": "x", "tools/x": "x"},
        "tools/x",
    ),
    "an override file": (
        {
            "Dockerfile": "FROM busybox\nCOPY a /a\n",
            "a": "x",
            "compose.yaml": compose("a: {build: .}"),
            "compose.override.yaml": compose("b: {build: {context: ., dockerfile: build/odd.df}}"),
            "build/odd.df": "FROM busybox\nCOPY only /o\n",
            "only/x": LARGE,
        },
        "only/x",
    ),
    "a Dockerfile in the compose file": (
        {
            "Dockerfile": "FROM busybox\nCOPY a /a\n",
            "a": "x",
            "compose.yaml": compose(
                'b: {build: {context: ., dockerfile_inline: "FROM busybox\\nCOPY only /o\\n"}, profiles: [x]}'
            ),
            "only/x": LARGE,
        },
        "only/x",
    ),
    "a file that is included": (
        {
            "Dockerfile": "FROM busybox\nCOPY a /a\n",
            "a": "x",
            "compose.yaml": "include: [more/other.yaml]\n",
            "more/other.yaml": compose("b: {build: {context: .., dockerfile: more/odd.df}}"),
            "more/odd.df": "FROM busybox\nCOPY only /o\n",
            "only/x": LARGE,
        },
        "only/x",
    ),
    "a file for production, laid over": (
        {
            "Dockerfile": "FROM busybox\nCOPY a /a\n",
            "a": "x",
            "compose.yaml": compose("a: {build: .}"),
            "compose.prod.yaml": compose("a: {build: {dockerfile: deploy/odd.df}}"),
            "deploy/odd.df": "FROM busybox\nCOPY only /o\n",
            "only/x": LARGE,
        },
        "only/x",
    ),
    "what compose keeps the same while it runs": (
        {
            "Dockerfile": "FROM busybox\nCOPY a /a\n",
            "a": "x",
            "compose.yaml": compose(
                "a: {build: ., develop: {watch: [{action: sync, path: ./only, target: /only}]}}",
            ),
            "only/x": LARGE,
        },
        "only/x",
    ),
    **{
        f"a file named {name}": (
            {
                "Dockerfile": "FROM busybox\nCOPY a /a\n",
                "a": "x",
                name: "FROM busybox\nCOPY only /o\n",
                "only/x": LARGE,
            },
            "only/x",
        )
        for name in ("docker/b/Dockerfile", "worker.dockerfile", "Dockerfile-gpu", "build/Containerfile")
    },
}


@pytest.mark.parametrize(("files", "path"), BUILDS.values(), ids=BUILDS)
def test_what_another_build_takes_in_is_still_sent(tree: Tree, files: dict[str, str], path: str) -> None:
    root = tree({**files, "unused/x": LARGE})
    if "releases/2/x" in files:
        (root / "services/c").symlink_to("../releases/2")
    written(root)
    assert is_sent(root, path)
    assert not is_sent(root, "unused/x")


APPS = {
    "packages that yarn starts": (
        'FROM node:18\nCOPY . .\nCMD ["yarn", "start"]\n',
        {"package.json": "{}", "node_modules/a.js": "x"},
        "node_modules/a.js",
    ),
    "packages beside a tool that is installed": (
        "FROM node:18\nCOPY . .\nRUN npm install -g pm2\nCMD pm2 start a.js\n",
        {"package.json": "{}", "node_modules/a.js": "x"},
        "node_modules/a.js",
    ),
    "packages that another build target installs": (
        "FROM node:18 AS t\nCOPY . .\nRUN npm ci && npm test\nFROM node:18\nCOPY . .\nCMD node a.js\n",
        {"package.json": "{}", "node_modules/a.js": "x"},
        "node_modules/a.js",
    ),
    "packages that are installed where a condition says": (
        'FROM node:18\nCOPY . .\nARG P\nRUN if [ -n "$P" ]; then npm ci; fi\n',
        {"package.json": "{}", "node_modules/a.js": "x"},
        "node_modules/a.js",
    ),
    "packages above those that are installed": (
        "FROM node:18\nWORKDIR /app\nCOPY . .\nRUN (cd web && npm ci)\n",
        {"package.json": "{}", "web/package.json": "{}", "node_modules/a.js": "x"},
        "node_modules/a.js",
    ),
    "packages that a server of another language hands out": (
        "FROM python:3.11\nCOPY . .\nCMD python manage.py\n",
        {"settings.py": 'STATICFILES_DIRS = [BASE / "node_modules"]', "node_modules/a.js": "x"},
        "node_modules/a.js",
    ),
    "packages in an image of which nothing is known": (
        "FROM registry.example/team/runtime-base\nCOPY . .\n",
        {"package.json": "{}", "node_modules/a.js": "x"},
        "node_modules/a.js",
    ),
    "history that a front end's settings ask": (
        "FROM node:18\nCOPY . .\nRUN npm ci && npm run build\n",
        {"vite.config.ts": "const v = execSync('git rev-parse HEAD')", ".git/HEAD": "x"},
        ".git/HEAD",
    ),
    "history that code asks by a list": (
        PYTHON,
        {"main.py": 'run(["git", "-C", ".", "describe"])', ".git/HEAD": "x"},
        ".git/HEAD",
    ),
    "history that code reads": (PYTHON, {"main.py": "open('.git/HEAD')", ".git/HEAD": "x"}, ".git/HEAD"),
    "history that a package of a folder below asks": (
        PYTHON,
        {"backend/pyproject.toml": 'requires = ["setuptools-scm"]', ".git/HEAD": "x"},
        ".git/HEAD",
    ),
    "history that a script of a script asks": (
        "FROM python:3\nCOPY . .\nRUN sh build.sh\n",
        {"build.sh": "sh version.sh", "version.sh": "git describe", ".git/HEAD": "x"},
        ".git/HEAD",
    ),
    "logs that are searched for": (
        PYTHON,
        {"main.py": "glob('samples/*.log')", "samples/one.log": "x"},
        "samples/one.log",
    ),
    "logs whose names are made": (PYTHON, {"main.py": 'open(f"{day}.log")', "one.log": "x"}, "one.log"),
    "models whose names are made": (PYTHON, {"main.py": 'load(f"{size}.gguf")', "w/big.gguf": MODEL}, "w/big.gguf"),
    "models by their names without an ending": (
        PYTHON,
        {"main.py": 'load("big")', "w/big.gguf": MODEL},
        "w/big.gguf",
    ),
    "a script that looks like a dump": (
        PYTHON,
        {"js/core.3f2a91c0.js": "x", "index.html": '<script src="js/core.3f2a91c0.js">'},
        "js/core.3f2a91c0.js",
    ),
    "a text that looks like a dump": (PYTHON, {"man/core.5": "a page of a manual"}, "man/core.5"),
    "a model in a large text": (
        PYTHON,
        {"names.json": " " * 300_000 + '"w/big.gguf"', "w/big.gguf": MODEL},
        "w/big.gguf",
    ),
    "a log beside a text that is too large to be read": (
        PYTHON,
        {"names.json": " " * 9_000_000 + '"one.log"', "one.log": "x"},
        "one.log",
    ),
    "an environment that a variable names": (
        "FROM python:3.11\nENV VIRTUAL_ENV=/app/venv\nCOPY . /app\nCMD run\n",
        {"venv/pyvenv.cfg": "x"},
        "venv/pyvenv.cfg",
    ),
    "an environment beside one that is made": (
        "FROM python:3.11\nRUN python -m venv /opt/tools\nCOPY . /app\nCMD /app/venv/bin/python a.py\n",
        {"venv/pyvenv.cfg": "x"},
        "venv/pyvenv.cfg",
    ),
    "an environment that a supervisor starts": (
        PYTHON,
        {"supervisord.conf": "command=/app/venv/bin/gunicorn", "venv/pyvenv.cfg": "x"},
        "venv/pyvenv.cfg",
    ),
    "settings that code loads": (
        PYTHON,
        {"main.py": "load_dotenv()", ".env": "API_KEY=abcd1234efgh\n"},
        ".env",
    ),
    "settings that code names": (
        PYTHON,
        {"main.py": "open('.env.production')", ".env.production": "API_KEY=abcd1234efgh\n"},
        ".env.production",
    ),
    "settings that a front end's tool reads": (
        "FROM node:18\nCOPY . .\nRUN npm ci && npm run build\n",
        {"package.json": '{"devDependencies": {"vite": "5"}}', ".env.production": "API_KEY=abcd1234efgh\n"},
        ".env.production",
    ),
}


@pytest.mark.parametrize(("dockerfile", "files", "path"), APPS.values(), ids=APPS)
def test_what_the_app_reads_is_still_sent(tree: Tree, dockerfile: str, files: dict[str, str], path: str) -> None:
    root = tree({"Dockerfile": dockerfile, **files, "a/__pycache__/m.pyc": "x"})
    written(root)
    assert is_sent(root, path)
    assert not is_sent(root, "a/__pycache__/m.pyc")


BALLAST = {
    "packages that a build target of its own installs": (
        "FROM node:18 AS web\nWORKDIR /web\nCOPY web/ ./\nRUN npm ci && npm run build\n"
        "FROM python:3.11-slim\nWORKDIR /app\nCOPY . .\nCOPY --from=web /web/dist static\n",
        {"web/package.json": "{}", "web/tsconfig.json": '{"exclude": ["node_modules"]}', "web/node_modules/a.js": "x"},
        "web/node_modules/a.js",
    ),
    "packages that are brought from where they are installed": (
        "FROM node:18 AS deps\nWORKDIR /app\nCOPY package.json ./\nRUN npm ci --omit=dev\n"
        "FROM node:18\nWORKDIR /app\nCOPY . .\nCOPY --from=deps /app/node_modules ./node_modules\n",
        {"package.json": "{}", "node_modules/a.js": "x"},
        "node_modules/a.js",
    ),
    "packages of a workspace": (
        "FROM node:18\nWORKDIR /app\nCOPY . .\nRUN pnpm install --frozen-lockfile\n",
        {"package.json": "{}", "pnpm-workspace.yaml": "", "apps/a/package.json": "{}", "apps/a/node_modules/a.js": "x"},
        "apps/a/node_modules/a.js",
    ),
    "packages of a folder that is gone into": (
        "FROM node:18\nCOPY . /app\nRUN cd /app/web && npm ci\n",
        {"web/package.json": "{}", "web/node_modules/a.js": "x"},
        "web/node_modules/a.js",
    ),
    "history that only people and their tools name": (
        PYTHON,
        {
            "README.md": "git clone https://example.org/x.git\ngit status\n",
            "pyproject.toml": '[tool.ruff]\nexclude = [".git", ".venv"]\n',
            "package.json": '{"repository": {"type": "git", "url": "https://example.org/x.git"}}',
            "release.sh": "git tag v1",
            ".github/workflows/ci.yml": "run: git describe",
            ".git/HEAD": "x",
        },
        ".git/HEAD",
    ),
    "an environment that people use": (
        PYTHON,
        {
            "README.md": "source .venv/bin/activate",
            "Makefile": ".venv/bin/pytest",
            "pyproject.toml": 'exclude = [".venv"]',
            ".venv/pyvenv.cfg": "x",
        },
        ".venv/pyvenv.cfg",
    ),
    "an environment that a RUN makes": (
        "FROM python:3.11\nWORKDIR /app\nCOPY . .\nRUN python -m venv venv\nCMD venv/bin/python a.py\n",
        {"venv/pyvenv.cfg": "x"},
        "venv/pyvenv.cfg",
    ),
    "logs beside code that writes to a console": (
        PYTHON,
        {"a.js": "console.log(1); x.log (2)", "one.log": "x"},
        "one.log",
    ),
    "logs whose folder people are told of": (
        PYTHON,
        {"README.md": "See `logs/`.", "logs/one.log": "x"},
        "logs/one.log",
    ),
    "settings that only compose reads": (
        PYTHON,
        {"compose.yaml": compose("a: {build: ., env_file: .env}"), ".env": "API_KEY=abcd1234efgh\n"},
        ".env",
    ),
    "a dump": (PYTHON, {"core.1234": "\0\0"}, "core.1234"),
}


@pytest.mark.parametrize(("dockerfile", "files", "path"), BALLAST.values(), ids=BALLAST)
def test_what_is_surely_of_no_use_goes(tree: Tree, dockerfile: str, files: dict[str, str], path: str) -> None:
    root = tree({"Dockerfile": dockerfile, **files})
    written(root)
    assert not is_sent(root, path)


def test_what_a_link_leads_to_is_named_by_it(tree: Tree) -> None:
    root = tree({"Dockerfile": PYTHON, "main.py": 'load("model")', "w/v2/big.gguf": MODEL, "w/v1/big2.gguf": MODEL})
    (root / "model").symlink_to("w/v2")
    written(root)
    assert is_sent(root, "w/v2/big.gguf")


def test_what_is_not_read_for_its_bulk_may_name_anything(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "MOST", 1000)
    files = {"a.py": " " * 600, "b.py": " " * 600 + "'one.log'", "one.log": "x", "w/big.gguf": MODEL, ".git/HEAD": "x"}
    root = tree({"Dockerfile": PYTHON, **files, "__pycache__/a.pyc": "x"})
    assert [one["pattern"] for one in written(root)["suggestions"]] == ["**/__pycache__"]


def test_what_tools_have_written_names_nothing(tree: Tree) -> None:
    root = tree({"Dockerfile": PYTHON, "w/big.gguf": MODEL, ".mypy_cache/3/a.json": " " * 9_000_000 + "w/big.gguf"})
    written(root)
    assert not is_sent(root, "w/big.gguf")


def test_a_compose_file_of_a_folder_above_counts_as_far_as_the_checkout_goes(tree: Tree) -> None:
    root = tree(
        {
            ".git/HEAD": "x",
            "compose.yaml": compose("a: {build: {context: web, dockerfile: ../deploy/odd.df}}"),
            "deploy/odd.df": "FROM busybox\nCOPY only /o\n",
            "web/Dockerfile": "FROM busybox\nCOPY a /a\n",
            "web/a": "x",
            "web/only/x": LARGE,
            "web/unused/x": LARGE,
        }
    )
    assert [one["pattern"] for one in written(root / "web")["suggestions"]] == ["unused"]


def test_a_dockerfile_that_another_context_has_does_not_count_here(tree: Tree) -> None:
    root = tree(
        {
            "Dockerfile": "FROM busybox\nCOPY a /a\n",
            "a": "x",
            "compose.yaml": compose("a: {build: .}", "b: {build: b}"),
            "b/Dockerfile": "FROM busybox\nCOPY . /b\n",
            "unused/x": LARGE,
        }
    )
    assert [one["pattern"] for one in written(root)["suggestions"]] == ["unused"]


DOUBTS = {
    "a compose file that cannot be read": {"compose.yaml": compose('a: {build: {context: ., args: {A: "${NONE:?}"}}}')},
    "a context under a name of its own": {
        "compose.yaml": compose("a: {build: {context: b, additional_contexts: {all: .}}}"),
        "b/Dockerfile": "FROM busybox\n",
    },
    "a Dockerfile that cannot be read": {"deploy/Dockerfile": "FROM busybox\nCOPPY x /x\n"},
}


@pytest.mark.parametrize("files", DOUBTS.values(), ids=DOUBTS)
def test_where_it_cannot_be_told_nothing_is_suggested_and_people_are_told_why(
    tree: Tree, files: dict[str, str]
) -> None:
    root = tree({"Dockerfile": "FROM busybox\nCOPY a /a\n", "a": "x", "unused/x": LARGE, **files})
    told: list[str] = []
    assert context(settings.load(), root, warn=told.append)["suggestions"] == []
    assert len(told) == 1 and told[0].startswith("Nothing can be suggested: ")
    with pytest.raises(DockwrightError):
        written(root)
    assert not (root / ".dockerignore").exists()


def test_what_only_an_override_file_builds_is_looked_at(tree: Tree) -> None:
    root = tree(
        {
            "compose.yaml": compose("a: {image: a}"),
            "compose.override.yaml": compose("a: {build: {context: ., dockerfile: odd.df}}"),
            "odd.df": "FROM busybox\nCOPY only /o\n",
            "only/x": LARGE,
            "unused/x": LARGE,
        }
    )
    found = written(root)
    assert [one["pattern"] for one in found["suggestions"]] == ["unused"] and found["used_bytes"] == len(LARGE)
