"""The substitutes of official images, looked at as a Dockerfile that nobody here wrote sees them."""

from __future__ import annotations

import io
import json
import secrets
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from commandline import Home
from own_engine import OwnEngine

from dockwright import settings
from dockwright.docker import host
from dockwright.docker.bases import substitute_for
from dockwright.docker.engine import Engine
from dockwright.docker.recipes import RECIPES

PYTHON = "localhost/base/python:3.11-slim"
NODE = "localhost/base/node:18"
NGINX = "localhost/base/nginx:latest"
BUSYBOX = "localhost/base/busybox:latest"
DEBIAN = "localhost/base/debian:bookworm-slim"

pytestmark = pytest.mark.usefixtures("bases", "debian_base")


@pytest.fixture(scope="module")
def debian_base(tmp_path_factory: pytest.TempPathFactory) -> None:
    Home(tmp_path_factory.mktemp("debian")).run("base", "debian")


def run(image: str, *command: str, options: tuple[str, ...] = ()) -> str:
    done = subprocess.run(
        ["docker", "run", "--rm", *options, image, *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture
def build(tmp_path: Path) -> Iterator[object]:
    """`build(dockerfile, {path: text})`: builds with plain buildx, and returns the image's name."""
    tag = f"dockwright-test-base:{secrets.token_hex(4)}"

    def make(dockerfile: str, files: dict[str, str] | None = None) -> str:
        context = tmp_path / f"context-{secrets.token_hex(3)}"
        context.mkdir()
        for path, text in {"Dockerfile": dockerfile, **(files or {})}.items():
            (context / path).write_text(text)
        command = ["docker", "buildx", "build", "--no-cache", "--progress=plain", "--tag", tag, str(context)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return tag

    yield make
    subprocess.run(["docker", "image", "rm", "--force", tag], capture_output=True, check=False)


def test_every_base_is_listed_with_what_it_stands_for(home: Home) -> None:
    listed = {base["name"]: base for base in home.run("base", "--list", "--json").json}
    assert set(listed) == set(RECIPES)
    for base in listed.values():
        assert base["state"] == "ready"
        assert base["size"] > 1_000_000


def test_one_that_is_ready_is_not_made_again(home: Home) -> None:
    before = home.engine.image(PYTHON)
    answer = home.run("base", "python", "--json")
    assert answer.stderr == ""
    after = home.engine.image(PYTHON)
    assert before is not None and after is not None
    assert before["Id"] == after["Id"]


def test_the_labels_name_the_images_that_it_stands_for(home: Home) -> None:
    patterns = {
        pattern: image["RepoTags"][0]
        for image in home.engine.images({"dev.dockwright.base": ""})
        for pattern in image["Labels"]["dev.dockwright.substitutes"].split(",")
        if image["RepoTags"]
    }
    assert substitute_for("python:3.12-slim", patterns) == PYTHON
    assert substitute_for("node", patterns) == NODE


def test_an_unknown_base_is_named_with_those_there_are(home: Home) -> None:
    answer = home.run("base", "cobol", code=2)
    assert "cobol" in answer.stderr
    assert "python" in answer.stderr


def test_making_one_again_leaves_nothing_behind(home: Home) -> None:
    """On an engine of its own: on the machine's, the tests beside this one build on it."""
    with OwnEngine() as own:
        own.copy(BUSYBOX)
        engine = Engine(own.host)
        before = engine.image(BUSYBOX)
        home.run("base", "busybox", "--force", env={"DOCKER_HOST": own.host})
        after = engine.image(BUSYBOX)
        assert before is not None and after is not None
        assert before["Id"] != after["Id"]
        assert [image["Id"] for image in engine.images()] == [after["Id"]]
    assert list((home.path / "generated-bots").iterdir()) == []


# --- python -----------------------------------------------------------------------------------------------------


def test_python_is_where_dockerfiles_look_for_it() -> None:
    found = run(
        PYTHON, "sh", "-c", "which python python3 pip pip3; python -c 'import sys; print(sys.version_info[:2])'"
    )
    assert found.splitlines() == [
        "/usr/local/bin/python",
        "/usr/local/bin/python3",
        "/usr/local/bin/pip",
        "/usr/local/bin/pip3",
        "(3, 11)",
    ]


def test_pip_installs_and_the_packages_can_be_copied_to_another_target(build) -> None:
    image = build(
        f"""FROM {PYTHON} AS packages
RUN pip install --no-cache-dir six idna && python -m venv /opt/venv && /opt/venv/bin/pip install six
FROM {PYTHON}
COPY --from=packages /usr/local/lib/python3.11/site-packages /usr/local/lib/python3.11/site-packages
COPY --from=packages /usr/local/bin /usr/local/bin
COPY --from=packages /opt/venv /opt/venv
RUN useradd --create-home app
USER app
RUN pip install --user --no-cache-dir packaging
"""
    )
    assert "idna" in run(image, "pip", "list", "--format=freeze")
    run(image, "python", "-c", "import six, idna, packaging")
    run(image, "/opt/venv/bin/python", "-c", "import six")


def test_a_package_with_c_code_can_be_compiled_once_gcc_is_there(build) -> None:
    module = '#include <Python.h>\nstatic struct PyModuleDef d = {PyModuleDef_HEAD_INIT, "tiny"};\n'
    module += "PyMODINIT_FUNC PyInit_tiny(void) { return PyModule_Create(&d); }\n"
    setup = "from setuptools import Extension, setup\nsetup(name='tiny', ext_modules=[Extension('tiny', ['tiny.c'])])\n"
    image = build(
        f"FROM {PYTHON}\nRUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev\n"
        "WORKDIR /src\nCOPY tiny.c setup.py ./\nRUN pip install --no-build-isolation .\n",
        {"tiny.c": module, "setup.py": setup},
    )
    run(image, "python", "-c", "import tiny")


# --- node -------------------------------------------------------------------------------------------------------


def test_npm_installs_for_the_project_globally_and_as_the_user_node(build) -> None:
    image = build(
        f"""FROM {NODE}
WORKDIR /app
RUN npm init -y && npm install is-number && npm install --global is-odd && chown -R node:node /app
USER node
RUN npm install is-even
""",
    )
    assert run(
        image, "node", "-p", "[process.version.split('.')[0], require('is-number')(5), require('is-even')(4)]"
    ) == ("[ 'v18', true, true ]")
    assert run(image, "id", "-u") == "1000"
    assert "is-odd" in run(image, "npm", "ls", "--global")


def test_node_runs_a_script_named_alone_and_any_other_command() -> None:
    assert run(NODE, "-p", "1 + 1") == "2"
    assert run(NODE, "sh", "-c", "echo hello") == "hello"
    config = json.loads(subprocess.run(["docker", "inspect", NODE], capture_output=True, check=True).stdout)[0][
        "Config"
    ]
    assert (config["Entrypoint"], config["Cmd"]) == (["docker-entrypoint.sh"], ["node"])


# --- nginx ------------------------------------------------------------------------------------------------------

# The access log goes to the same stream as the page, in either order: it is left out.
FETCH = "nginx >/dev/null & sleep 1; curl -fsS http://127.0.0.1"


def test_nginx_serves_its_folder_and_what_conf_d_adds(build) -> None:
    image = build(
        f"FROM {NGINX}\nCOPY index.html /usr/share/nginx/html/\nCOPY extra.conf /etc/nginx/conf.d/\n",
        {"index.html": "my page", "extra.conf": "server { listen 81; return 200 'extra'; }"},
    )
    assert run(image, "sh", "-c", f"{FETCH}/").startswith("my page")
    assert run(image, "sh", "-c", f"{FETCH}:81/").startswith("extra")


def test_nginx_fills_templates_from_the_environment_and_runs_added_scripts(build) -> None:
    image = build(
        f"FROM {NGINX}\nCOPY --chmod=755 note.sh /docker-entrypoint.d/\nCOPY site.conf.template /etc/nginx/templates/",
        {"site.conf.template": "server { listen ${PORT}; set $x 1; }", "note.sh": "#!/bin/sh\necho noted\n"},
    )
    shown = run(image, "nginx", "-T", "-q", options=("-e", "PORT=8080"))
    assert shown.startswith("noted\n")
    assert "server { listen 8080; set $x 1; }" in shown


def test_nginx_runs_as_another_user_that_owns_its_cache(build) -> None:
    image = build(
        f"FROM {NGINX}\nRUN sed -i 's/listen 80;/listen 8080;/' /etc/nginx/conf.d/default.conf"
        " && touch /run/nginx.pid && chown -R nginx:nginx /var/cache/nginx /run/nginx.pid\nUSER nginx\n"
    )
    assert "Welcome to nginx" in run(image, "sh", "-c", f"{FETCH}:8080/")


# --- debian and busybox -----------------------------------------------------------------------------------------


def test_debian_reaches_its_mirror_and_keeps_the_host_s_authorities(build, tmp_path: Path) -> None:
    image = build(
        f"FROM {DEBIAN}\nRUN apt-get update && apt-get install -y --no-install-recommends netbase"
        " && update-ca-certificates --fresh\n"
    )
    run(image, "test", "-s", "/etc/services")
    trusted = run(image, "cat", "/etc/ssl/certs/ca-certificates.crt")
    assert trusted.count("BEGIN CERTIFICATE") > 100
    of_the_host = host.ca_bundle(settings.load({"DOCKWRIGHT_HOME": str(tmp_path)}, tmp_path / "none"))
    assert of_the_host is not None
    known = list(host.distribution_authorities())
    for authority in host.own_authorities(of_the_host.read_text(encoding="ascii", errors="replace"), known):
        assert authority in trusted


@pytest.mark.parametrize("image", [PYTHON, NODE, NGINX, BUSYBOX, DEBIAN])
def test_nothing_of_the_host_and_nothing_useless_is_in_the_image(image: str) -> None:
    names, resolver = [], None
    saved = subprocess.run(["docker", "image", "save", image], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(saved)) as archive:
        [layer] = json.load(archive.extractfile("manifest.json"))[0]["Layers"]
        with tarfile.open(fileobj=archive.extractfile(layer)) as files:
            for member in files:
                names.append(member.name.removeprefix("./"))
                if names[-1] == "etc/resolv.conf":
                    resolver = member.size
    assert "etc/ssl/certs/ca-certificates.crt" in names
    assert "etc/hostname" not in names
    assert not resolver
    assert [
        name for name in names if (name.startswith("var/lib/apt/lists/") and "_" in name) or name.endswith(".deb")
    ] == []


def test_busybox_has_its_shell_and_tools() -> None:
    assert run(BUSYBOX, "sh", "-c", "echo a b | awk '{print $2}' | tr b c; id -u") == "c\n0"
