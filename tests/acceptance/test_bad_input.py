"""What cannot be built ends with a cause, a remedy and its exit code; nothing is left, what ran before runs on."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from commandline import Home, get
from pages import DOCKERFILE, PAGES
from servers import free_port
from small_disk import fill, home_on_small_disk

Folder = Callable[..., Path]
NOWHERE = "127.0.0.1:9"
"""The port of the discard service, which nobody runs: connections are refused at once."""


@dataclass(frozen=True)
class Case:
    dockerfile: str
    code: str
    exit_code: int
    message: str
    stage: str
    step: str | None = None
    step_exit_code: int | None = None
    last_line: str | None = None


CASES = {
    "syntax error": Case("FROM busybox\n\nRUNN make\n", "dockerfile_syntax", 1, "line 3", "plan"),
    "flag that is not there": Case("FROM busybox\nCOPY --nope . /\n", "dockerfile_syntax", 1, "line 2", "plan"),
    # BuildKit itself, at this floor, ends the whole engine over a Dockerfile without a FROM.
    "no FROM": Case("ARG A=1\n# nothing more\n", "dockerfile_syntax", 1, "no FROM", "plan"),
    "empty Dockerfile": Case("", "dockerfile_syntax", 1, "no instruction", "plan"),
    "failing RUN": Case(
        "FROM busybox\nRUN echo fine\nRUN echo one && echo 'two words' >&2 && exit 42\nRUN echo never\n",
        "step_failed",
        1,
        "exit code 42",
        "build",
        step="RUN echo one",
        step_exit_code=42,
        last_line="two words",
    ),
    "command that is not there": Case(
        "FROM busybox\nRUN no-such-command --now\n",
        "step_failed",
        1,
        "exit code 127",
        "build",
        step="RUN no-such-command",
        step_exit_code=127,
        last_line="not found",
    ),
    "base image out of reach": Case(
        f"FROM {NOWHERE}/nothing:1\n", "registry_unreachable", 3, f"{NOWHERE}/nothing:1", "plan"
    ),
    "name that no image can have": Case("FROM BusyBox\n", "dockerfile_syntax", 1, "'BusyBox'", "plan"),
    "base image of another kind of machine": Case(
        "FROM --platform=linux/s390x busybox\nRUN true\n", "base_image_missing", 1, "busybox", "build"
    ),
    "zero byte": Case("FROM busybox\nRUN true \0\n", "dockerfile_syntax", 1, "line 2", "plan"),
    "base image of no target": Case("FROM busybox\nCOPY --from=9 /a /b\n", "dockerfile_syntax", 1, "9", "plan"),
    "file that is not there": Case("FROM busybox\nCOPY missing.txt /\n", "step_failed", 1, "missing.txt", "build"),
    "app that ends": Case(
        'FROM busybox\nEXPOSE 8080\nCMD ["sh", "-c", "echo the well is dry; exit 3"]\n',
        "unhealthy",
        1,
        "exit code 3",
        "test",
        step_exit_code=3,
        last_line="the well is dry",
    ),
    "command that cannot start": Case(
        'FROM busybox\nEXPOSE 8080\nCMD ["/no/such/program"]\n',
        "unhealthy",
        1,
        "exit code 127",
        "test",
        step_exit_code=127,
        last_line="/no/such/program",
    ),
}


@dataclass(frozen=True)
class Running:
    """A product that answers "first", whatever is tried with its folder."""

    home: Home
    root: Path
    url: str

    def fail(self, code: int, *, env: dict[str, str] | None = None) -> dict[str, Any]:
        """A build of the folder that must fail: the error, after a look at what is left and what still runs."""
        before = self.home.containers()
        error = self.home.fail("build", self.root, code=code, env=env)
        assert get(self.url) == (200, "first")
        assert [one["Id"] for one in self.home.containers()] == [one["Id"] for one in before]
        row = self.home.rows("SELECT * FROM builds ORDER BY id DESC")[0]
        self.home.assert_nothing_left(build_id=row["id"])
        told = (row["status"], row["error_code"], row["error_message"])
        assert told == ("failed", error["code"], error["message"])
        return error


@pytest.fixture(scope="module")
def running_product(tmp_path_factory: pytest.TempPathFactory, bases: None) -> Iterator[Running]:
    home = Home(tmp_path_factory.mktemp("running"))
    root = tmp_path_factory.mktemp(f"app-{secrets.token_hex(3)}-")
    write(root, PAGES)
    yield Running(home, root, home.build(root)["deployment_url"])
    home.clean()


@pytest.fixture
def running(running_product: Running) -> Running:
    shutil.rmtree(running_product.root)
    write(running_product.root, PAGES)
    return running_product


def write(root: Path, files: dict[str, str]) -> None:
    root.mkdir(exist_ok=True)
    for path, text in files.items():
        (root / path).write_text(text)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_bad_dockerfile_is_told_and_leaves_the_running_version(case: Case, running: Running) -> None:
    (running.root / "Dockerfile").write_text(case.dockerfile)
    error = running.fail(case.exit_code)
    assert (error["code"], error["stage"]) == (case.code, case.stage)
    assert case.message in error["message"], error
    assert case.step is None or case.step in error["step"]
    assert error["exit_code"] == case.step_exit_code
    assert case.last_line is None or case.last_line in "\n".join(error["last_lines"])


def test_base_image_that_its_registry_does_not_have(home: Home, folder: Folder) -> None:
    with empty_registry() as place:
        error = home.fail("build", folder("bad", {"Dockerfile": f"FROM {place}/not/there:7\n"}), code=1)
    assert error["code"] == "base_image_missing" and f"{place}/not/there:7" in error["message"]
    home.assert_nothing_left()


class _Nothing(BaseHTTPRequestHandler):
    """A registry in which there is nothing."""

    def do_GET(self) -> None:
        status, body = (200, b"{}") if self.path == "/v2/" else (404, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}')
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """The test's own output is enough."""


@contextlib.contextmanager
def empty_registry() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Nothing) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


# --- what was asked ------------------------------------------------------------------------------------------------

USAGE = {
    "folder that is not there": (("build", "./nothing/here"), "path_not_found", "./nothing/here"),
    "project that is not there": (("build", "nobody"), "not_found", "nobody"),
    "unknown template": (("new", "nosuch", "Bot"), "unknown_template", "nosuch"),
    "variable of the wrong type": (
        ("new", "chatbot", "Bot", "--set", "business_rules=7"),
        "invalid_variable",
        "business_rules",
    ),
    "variable within another": (
        ("new", "chatbot", "Bot", "--set", "personality=7"),
        "invalid_variable",
        "personality",
    ),
    "unknown variable": (("new", "chatbot", "Bot", "--set", "colour=red"), "invalid_variable", "colour"),
    "values that are not there": (("new", "chatbot", "Bot", "--values", "none.yaml"), "path_not_found", "none.yaml"),
    "product that is not there": (("rollback", "nobody"), "not_found", "nobody"),
    "build that is not there": (("logs", "7"), "not_found", "7"),
    "image that is not there": (("image", "show", "7"), "not_found", "7"),
    "port that is none": (("build", ".", "--port", "99999"), "wrong_usage", "--port"),
    "option that is none": (("build", ".", "--fast"), "wrong_usage", "--fast"),
    "tag that none can have": (("build", ".", "--tag", "no tag"), "wrong_usage", "'no tag'"),
    "secret of no file": (("build", ".", "--secret", "id=key,src=none"), "wrong_usage", "none"),
    "secret without a name": (("build", ".", "--secret", "src=/etc/hostname"), "wrong_usage", "id="),
    "build argument without a name": (("build", ".", "--build-arg", "=A"), "wrong_usage", "--build-arg"),
    "command that is none": (("biuld", "."), "wrong_usage", "biuld"),
}


@pytest.mark.parametrize(("arguments", "code", "named"), USAGE.values(), ids=USAGE.keys())
def test_wrong_usage(arguments: tuple[str, ...], code: str, named: str, home: Home) -> None:
    error = home.fail(*arguments, code=2)
    assert error["code"] == code and named in error["message"], error
    assert home.client is None or home.rows("SELECT * FROM builds") == []
    home.assert_nothing_left()


def test_folder_without_a_dockerfile(home: Home, folder: Folder) -> None:
    root = folder("bad", {"readme.md": "nothing to build"})
    error = home.fail("build", root, code=2)
    assert error["code"] == "no_dockerfile" and str(root) in error["message"]
    home.assert_nothing_left()


def test_file_in_place_of_a_folder(home: Home, folder: Folder) -> None:
    root = folder("bad", PAGES)
    assert home.fail("build", root / "Dockerfile", code=2)["code"] == "no_dockerfile"


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../../etc/passwd", "sub/../../outside"])
def test_link_that_leads_out_of_the_folder(target: str, running: Running) -> None:
    (running.root / "way-out").symlink_to(target)
    error = running.fail(2)
    assert error["code"] == "unsafe_source" and "way-out" in error["message"] and target in error["message"]
    assert get(running.url, "/way-out")[0] == 404
    (running.root / ".dockerignore").write_text("way-out\n")
    assert running.home.build(running.root, "--until", "build")["status"] == "succeeded"


@pytest.mark.parametrize("name", ["Dockerfile", ".dockerignore", "Dockerfile.dockerignore"])
def test_file_for_the_build_that_is_elsewhere(name: str, running: Running) -> None:
    """Ignored, it would be sent to nobody, but it would be read; and what is read is shown in a syntax error."""
    (running.root / ".dockerignore").write_text("*ocker*\n.*\n")
    (running.root / name).unlink(missing_ok=True)
    (running.root / name).symlink_to("/etc/passwd")
    error = running.fail(2)
    assert error["code"] == "unsafe_source" and name in error["message"] and "root:" not in str(error)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("BUILD_TIMEOUT_SECONDS", "soon"),
        ("BUILD_TIMEOUT_SECONDS", "0"),
        ("BUILD_DISK_MIN_FREE", "much"),
        ("DATABASE_URL", "sqlite:relative"),
        ("CA_BUNDLE", "/no/such/file"),
    ],
)
def test_wrong_setting_is_named(name: str, text: str, home: Home, folder: Folder) -> None:
    error = home.fail("build", folder("bad", PAGES), code=2, env={name: text})
    assert error["code"] == "invalid_setting" and error["message"].startswith(f"{name}={text!r}: ")
    assert home.client is None, "nothing was begun"


def test_wrong_substitutes_are_named(home: Home, folder: Folder) -> None:
    error = home.fail("build", folder("bad", PAGES), code=2, env={"IMAGE_SUBSTITUTES": "python"})
    assert error["code"] == "invalid_setting" and "IMAGE_SUBSTITUTES" in error["message"]
    home.assert_nothing_left()


def test_unknown_setting_in_the_file_is_named(home: Home, folder: Folder) -> None:
    (home.path / ".env.build").write_text("# ours\nBUILD_TIMEOUT_SECOND=5\n")
    error = home.fail("build", folder("bad", PAGES), code=2)
    assert error["code"] == "invalid_setting" and "line 2" in error["message"]
    assert "BUILD_TIMEOUT_SECOND" in error["message"]


# --- ports ---------------------------------------------------------------------------------------------------------


def test_port_that_a_foreign_process_holds(home: Home, folder: Folder) -> None:
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        port = foreign.getsockname()[1]
        error = home.fail("build", folder("bad", PAGES), "--port", str(port), code=1)
    assert error["code"] == "port_taken" and str(port) in error["message"] and error["stage"] == "deploy"
    assert str(os.getpid()) in error["message"], "it is said who holds it"
    home.assert_nothing_left()


def test_port_of_another_product(home: Home, folder: Folder) -> None:
    first, second = folder("one", PAGES), folder("two", {**PAGES, "index.html": "second"})
    port = str(free_port())
    url = home.build(first, "--port", port)["deployment_url"]
    error = home.fail("build", second, "--port", port, code=1)
    assert error["code"] == "port_taken" and first.name in error["message"] + error["remedy"]
    assert get(url) == (200, "first")
    home.assert_nothing_left(build_id=2)
    elsewhere = home.build(second, "--port", str(free_port()))
    assert get(elsewhere["deployment_url"]) == (200, "second") and get(url) == (200, "first")


def test_port_that_a_product_would_move_to_is_taken(home: Home, folder: Folder) -> None:
    root = folder("move", PAGES)
    url = home.build(root)["deployment_url"]
    (root / "index.html").write_text("second")
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        error = home.fail("build", root, "--port", str(foreign.getsockname()[1]), code=1)
    assert error["code"] == "port_taken"
    assert get(url) == (200, "first"), "it is still where it was"
    moved = home.build(root, "--port", str(free_port()))["deployment_url"]
    assert moved != url and get(moved) == (200, "second")
    with pytest.raises(ConnectionRefusedError):
        get(url)


# --- what is missing on the machine --------------------------------------------------------------------------------


def test_no_engine(running: Running) -> None:
    away = {"DOCKER_HOST": f"unix://{running.home.path}/nobody.sock"}
    error = running.fail(3, env=away)
    assert error["code"] == "engine_unreachable" and "nobody.sock" in error["message"]
    assert running.home.fail("verify", running.root, code=3, env=away)["code"] == "engine_unreachable"


def test_no_engine_at_an_address_either(home: Home, folder: Folder) -> None:
    error = home.fail("build", folder("bad", PAGES), code=3, env={"DOCKER_HOST": f"tcp://{NOWHERE}"})
    assert error["code"] == "engine_unreachable" and NOWHERE in error["message"]


def test_less_free_than_the_setting_asks_for(running: Running) -> None:
    (running.root / "index.html").write_text("second")
    error = running.fail(1, env={"BUILD_DISK_MIN_FREE": "900TB"})
    assert error["code"] == "disk_full" and "BUILD_DISK_MIN_FREE" in error["message"]


@pytest.fixture
def tiny_home(tmp_path: Path, bases: None) -> Iterator[Home]:
    with home_on_small_disk(tmp_path / "tiny", "4m") as home:
        yield home


@pytest.mark.parametrize("free", [1, 50_000, 200_000])
def test_full_disk(free: int, tiny_home: Home, folder: Folder) -> None:
    """Wherever it happens: before the build's row is written, or while it is on its way."""
    root = folder("full", {**PAGES, **{f"many/{number}": str(number) for number in range(600)}})
    settings = {"BUILD_DISK_MIN_FREE": "1"}
    url = tiny_home.build(root, env=settings)["deployment_url"]
    (root / "index.html").write_text("second")
    fill(tiny_home.path, free)
    answer = tiny_home.run("build", root, "--json", code=None, env=settings)
    assert answer.code in {0, 1, 3}
    assert answer.code == 0 or answer.json["error"]["code"] in {"disk_full", "database_error"}
    fill(tiny_home.path, 0)
    # Whatever became of it: the rows and the traffic tell of the same version, and that one answers.
    (product,) = tiny_home.run("products", "--json", env=settings).json
    assert product["status"] == "running"
    assert get(url) == (200, {1: "first", 2: "second"}[product["release"]])
    assert answer.code or product["release"] == 2
    done = tiny_home.build(root, env=settings)
    assert get(done["deployment_url"]) == (200, "second")
    assert home_is_clean(tiny_home)


def home_is_clean(home: Home) -> bool:
    left = home.path / "generated-bots"
    return home.networks() == [] and (not left.exists() or list(left.iterdir()) == [])


def test_home_that_cannot_be_used(home: Home, folder: Folder) -> None:
    (home.path / "file").write_text("no folder")
    error = home.fail("build", folder("bad", PAGES), code=3, env={"DOCKWRIGHT_HOME": str(home.path / "file" / "home")})
    assert error["code"] == "database_error" and str(home.path / "file") in error["message"]


def test_database_that_is_none(home: Home, folder: Folder) -> None:
    (home.path / "dockwright.db").write_bytes(b"this is no database, whatever its name says" * 100)
    error = home.fail("build", folder("bad", PAGES), code=3)
    assert error["code"] == "database_error" and "dockwright.db" in error["message"]
    (home.path / "dockwright.db").unlink()


def test_check_tells_a_syntax_error_with_its_line(home: Home, folder: Folder) -> None:
    root = folder("bad", {"Dockerfile": DOCKERFILE + "\nCOPPY a b\n"})
    answer = home.run("check", root, "--json", code=1)
    assert not answer.json["ok"] and "line 7" in answer.json["findings"][0]["message"]
    (root / "Dockerfile").write_text(DOCKERFILE)
    assert home.run("check", root, "--json").json["ok"]
