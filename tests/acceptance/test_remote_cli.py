"""The command line against a server: what it says, prints and ends with is what it does on this machine."""

from __future__ import annotations

import json
import os
import pty
import re
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from commandline import COMMAND, Home, get
from pages import DOCKERFILE, PAGES
from servers import free_port
from serving import Serving
from sleeper import PATIENCE, Sleeper, building, wait_until

Folder = Callable[..., Path]


class Desk(Home):
    """Another machine: a home that holds nothing, and the address of a server."""

    def __init__(self, path: Path, served: Serving, token: str) -> None:
        super().__init__(path)
        self.served = served
        self.env |= {"DOCKWRIGHT_URL": served.url, "DOCKWRIGHT_TOKEN": token}

    def assert_untouched(self) -> None:
        assert list(self.path.iterdir()) == []


def desk_of(served: Serving, path: Path) -> Desk:
    made = served.home.run("token", "create", "--name", "tests", "--json").json
    return Desk(path, served, made["token"])


@contextmanager
def served_in(folder: Path) -> Iterator[Serving]:
    home = Home(folder / "server")
    try:
        with Serving(home, env={"GIT_PRIVATE_HOSTS": "127.0.0.1"}) as served:
            yield served
    finally:
        home.clean()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, bases: None) -> Iterator[Serving]:
    with served_in(tmp_path_factory.mktemp("served")) as found:
        yield found


@pytest.fixture
def desk(served: Serving, tmp_path: Path) -> Iterator[Desk]:
    made = desk_of(served, tmp_path / "desk")
    yield made
    made.assert_untouched()


# --- builds ---------------------------------------------------------------------------------------------------------


def test_folder_from_another_machine(desk: Desk, folder: Folder) -> None:
    root = folder("shop", {**PAGES, ".dockerignore": "notes\n", "notes": "not for others"})
    first = desk.run("build", root, "--json")
    assert first.json["status"] == "deployed" and first.json["error"] is None
    assert get(first.json["deployment_url"]) == (200, "first")
    assert get(first.json["deployment_url"], "/index.html")[0] == 200
    assert get(first.json["deployment_url"], "/notes")[0] == 404
    assert f"sent to {desk.served.url}" in first.stderr
    again = desk.run("build", root, "--json")
    assert again.json["services"][0]["reused"] and f"{desk.served.url} has them already" in again.stderr
    (root / "index.html").write_text("second")
    third = desk.build(root)
    assert third["project"] == first.json["project"] == root.name
    assert get(third["deployment_url"]) == (200, "second")
    assert desk.run("verify", root, "--json").json["ok"]
    (root / "index.html").write_text("third")
    error = desk.fail("verify", root, code=1)
    assert error["code"] == "verification_failed" and "has changed since" in error["message"]


def test_what_a_build_is_asked_reaches_it(desk: Desk, folder: Folder) -> None:
    dockerfile = DOCKERFILE.replace("COPY . .", "ARG WHO\nRUN echo $WHO > who\nCOPY . .")
    root = folder("asked", {**PAGES, "Dockerfile": dockerfile})
    port = free_port()
    options = ("--tag", "t1", "--build-arg", "WHO=ada", "--env", "MODE=a secret mode", "--port", str(port))
    built = desk.build(root, *options)
    assert built["services"][0]["image"].endswith(":t1") and built["deployment_url"].endswith(f":{port}")
    assert get(built["deployment_url"], "/who") == (200, "ada\n")
    (container,) = desk.served.home.containers(build=str(built["build_id"]))
    details = desk.served.home.engine.container(container["Id"])
    assert details is not None and "MODE=a secret mode" in details["Config"]["Env"]
    shown = curl(desk, f"/builds/{built['build_id']}")
    assert shown["options"]["env"] == ["MODE"] and "a secret mode" not in json.dumps(shown)
    again = desk.run("retry", str(built["build_id"]), "--json").json
    assert again["status"] == "deployed" and again["services"][0]["image"].endswith(":t1")


def curl(desk: Desk, path: str) -> Any:
    import httpx

    headers = {"Authorization": f"Bearer {desk.env['DOCKWRIGHT_TOKEN']}"}
    return httpx.get(f"{desk.served.url}/api/v1{path}", headers=headers, trust_env=False).json()


COMPOSED = """\
services:
  web:
    build: web
    ports: ["8080"]
    depends_on: [jobs]
  jobs:
    build:
      context: jobs
"""


def test_folder_with_a_compose_file(desk: Desk, folder: Folder) -> None:
    files = {f"{name}/{path}": text for name in ("web", "jobs") for path, text in PAGES.items()}
    root = folder("composed", {**files, "compose.yaml": COMPOSED, ".dockerignore": "jobs\n"})
    both = desk.build(root)
    assert sorted(one["service"] for one in both["services"]) == ["jobs", "web"]
    one = desk.build(root, "--service", "jobs")
    assert [(each["service"], each["reused"]) for each in one["services"]] == [("jobs", True)]


@pytest.mark.parametrize("until", ["plan", "test"])
def test_until(until: str, desk: Desk, folder: Folder) -> None:
    built = desk.build(folder("until", PAGES), "--until", until)
    reached = {one["stage"]: one["status"] for one in built["stages"]}
    assert built["status"] == "succeeded" and reached[until] == "done"
    assert {reached["deploy"], reached["verify"]} == {"skipped"}


def test_failed_step_and_its_retry(desk: Desk, folder: Folder) -> None:
    root = folder("broken", {"Dockerfile": "FROM busybox\nRUN echo so it goes && exit 7\n"})
    answer = desk.run("build", root, "--json", code=1)
    assert (answer.json["error"]["code"], answer.json["error"]["exit_code"]) == ("step_failed", 7)
    assert "  │ so it goes" in answer.stderr and "Error: " in answer.stderr
    retried = desk.run("retry", str(answer.json["build_id"]), "--json", code=1).json
    assert retried["build_id"] > answer.json["build_id"] and retried["error"]["code"] == "step_failed"


def test_repository(desk: Desk, folder: Folder, tmp_path: Path) -> None:
    root = folder("cloned", PAGES)
    steps = (
        ["init", "-q", "-b", "main", "."],
        ["add", "."],
        ["-c", "user.email=a@example.com", "-c", "user.name=A", "commit", "-q", "-m", "first"],
        ["tag", "v1"],
        ["clone", "-q", "--bare", ".", str(tmp_path / "git" / root.name)],
    )
    for step in steps:
        subprocess.run(["git", *step], cwd=root, check=True)
    port = free_port()
    options = ["--export-all", f"--base-path={tmp_path / 'git'}", "--listen=127.0.0.1", f"--port={port}"]
    with subprocess.Popen(["git", "daemon", *options]) as daemon:
        url = f"git://127.0.0.1:{port}/{root.name}"
        wait_until(
            lambda: subprocess.run(["git", "ls-remote", url], check=False, capture_output=True).returncode == 0,
            "the daemon",
        )
        try:
            first, second = (desk.build(one, "--no-deploy") for one in (f"{url}#v1", url))
        finally:
            daemon.terminate()
    assert first["project"] == second["project"] == root.name
    shown = {one["id"]: one for one in desk.run("builds", "--json").json}
    assert shown[first["build_id"]]["ref"] == "v1" and len(shown[first["build_id"]]["revision"]) == 40


def test_commit_of_a_folder(desk: Desk, folder: Folder) -> None:
    dockerfile = DOCKERFILE.replace("COPY . .", "ARG GIT_COMMIT\nRUN echo $GIT_COMMIT > commit\nCOPY . .")
    root = folder("tree", {**PAGES, "Dockerfile": dockerfile, ".dockerignore": ".git\n"})
    for step in (["init", "-q"], ["add", "."], ["-c", "user.email=a@b.c", "-c", "user.name=A", "commit", "-qm", "1"]):
        subprocess.run(["git", *step], cwd=root, check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, check=True, capture_output=True, text=True).stdout
    built = desk.build(root)
    assert get(built["deployment_url"], "/commit") == (200, f"{head[:12]}\n")
    assert desk.run("builds", "--limit", "1", "--json").json[0]["revision"] == head.strip()
    assert desk.run("verify", root.name, "--json").json["built_revision"] == head.strip()
    assert "has them already" in desk.run("build", root, "--no-deploy").stderr
    (root / "index.html").write_text("not committed")
    desk.build(root)
    assert get(built["deployment_url"], "/commit") == (200, f"{head[:12]}-dirty\n")


def test_assistant(desk: Desk) -> None:
    made = desk.run("new", "chatbot", "Help Desk", "--set", "personality.tone=warm", "--json").json
    assert (made["slug"], made["source"]["variables"]["personality"]["tone"]) == ("help-desk", "warm")
    planned = desk.build("Help Desk", "--until", "plan")
    assert (planned["project"], planned["status"]) == ("help-desk", "succeeded")


# --- live -----------------------------------------------------------------------------------------------------------


def test_ctrl_c_cancels_the_build_there(desk: Desk, folder: Folder) -> None:
    sleeper = Sleeper()
    with building(desk, folder("long", {"Dockerfile": sleeper.dockerfile})) as child:
        wait_until(lambda: sleeper.is_running, "the long RUN")
        child.send_signal(2)
        stdout, stderr = child.communicate(timeout=PATIENCE)
    assert child.returncode == 130 and "Traceback" not in stderr, stderr
    assert (json.loads(stdout)["status"], json.loads(stdout)["error"]["code"]) == ("canceled", "canceled")
    wait_until(lambda: not sleeper.is_running, "the end of the RUN's process")
    desk.served.assert_clean(json.loads(stdout)["build_id"])


def test_logs_of_a_build_that_somebody_cancels(desk: Desk, folder: Folder) -> None:
    sleeper = Sleeper()
    with building(desk, folder("long", {"Dockerfile": sleeper.dockerfile})) as child:
        wait_until(lambda: sleeper.is_running, "the long RUN")
        number = str(desk.run("builds", "--limit", "1", "--json").json[0]["id"])
        follow = desk.start(COMMAND, "logs", number, "-f", stdout=subprocess.PIPE)
        so_far = desk.run("logs", number)
        assert desk.run("cancel", number, "--json").json["build_id"] == int(number)
        said, _ = follow.communicate(timeout=PATIENCE)
        stdout, _ = child.communicate(timeout=PATIENCE)
    assert (follow.returncode, child.returncode) == (0, 130)
    assert "it begins" in so_far.stdout and said.startswith(so_far.stdout)
    assert json.loads(stdout)["error"]["code"] == "canceled"
    assert desk.fail("cancel", number, code=2)["code"] == "conflict"
    assert desk.run("logs", number).stdout == said


def test_server_that_is_started_again_meanwhile(tmp_path: Path, folder: Folder, bases: None) -> None:
    sleeper = Sleeper(seconds=4)
    pipe = subprocess.PIPE
    with served_in(tmp_path) as served:
        desk = desk_of(served, tmp_path / "desk")
        with building(desk, folder("again", {"Dockerfile": sleeper.dockerfile})) as child:
            wait_until(lambda: sleeper.is_running, "the long RUN")
            with desk.start(COMMAND, "logs", "1", "-f", "--json", stdout=pipe, stderr=pipe) as follow:
                wait_until(lambda: follow.stdout is not None and "it begins" in follow.stdout.readline(), "its line")
                served.stop()
                served.start()
                stdout, stderr = child.communicate(timeout=2 * PATIENCE)
                rest, told = follow.communicate(timeout=PATIENCE)
        assert child.returncode == 0, stderr
        assert json.loads(stdout)["status"] == "succeeded"
        for text in (stderr, told):
            assert "The connection to the server was lost" in text and "The server is there again" in text
        all_events = desk.run("logs", "1", "--json").lines
        numbers = [event["seq"] for event in all_events]
        assert numbers == list(range(1, len(numbers) + 1))
        lines = [json.loads(line)["seq"] for line in rest.splitlines()]
        assert lines == numbers[-len(lines) :] and 2 * len(lines) > len(numbers)
        desk.assert_untouched()


def test_on_a_terminal(desk: Desk, folder: Folder) -> None:
    master, slave = pty.openpty()
    env = {"TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    root = folder("seen", PAGES)
    child = desk.start(COMMAND, "build", str(root), env=env, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    said = b""
    try:
        while part := os.read(master, 65536):
            said += part
    except OSError:  # how a terminal ends whose last writer is gone
        pass
    assert child.wait(timeout=PATIENCE) == 0
    assert b"\x1b[" in said, "it is drawn, and drawn again"
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.decode())
    assert "✔ verify" in text and "2 of 2 files match" in text and "Address   http://" in text
    assert f"is queued at {desk.served.url}" in text


# --- the same documents as here -------------------------------------------------------------------------------------

COMMANDS = (
    "builds",
    "images",
    "image show 1",
    "image show SLUG",
    "products",
    "releases SLUG",
    "verify SLUG",
    "scale SLUG 2",
    "deploy SLUG --env A=b",
    "releases SLUG",
    "rollback SLUG",
    "stop SLUG",
    "start SLUG",
    "cleanup --dry-run --keep-builds 3",
    "logs 1",
    "new chatbot SLUG-bot",
    "user add ada@example.com --password-file PASSWORD",
    "token create --user ada@example.com --password-file PASSWORD",
    "retry 1",
    "cancel 1",
    "cancel 99",
    "logs 99",
    "image rm 1",
    "image show nothing",
    "products --nonsense",
    "rollback SLUG --to 77",
    "scale nothing 2",
    "deploy SLUG --image nothing",
    "verify nothing",
    "build nothing",
    "build SLUG --tag -",
    "new nothing NAME",
    "new chatbot SLUG-bot",
    "new chatbot NAME --set nothing=1",
    "user add ada@example.com --password-file PASSWORD",
    "user add bob@example.com --password-file SHORT",
)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, bases: None) -> Iterator[dict[str, list[tuple[int, list[Any]]]]]:
    """What each command answers here and at a server of its own, after the same build."""
    folder = tmp_path_factory.mktemp("both")
    root = folder / "shapes"
    root.mkdir()
    for name, text in PAGES.items():
        (root / name).write_text(text)
    (folder / "password").write_text("long enough for all\n")
    (folder / "short").write_text("short\n")
    here = Home(folder / "here")
    try:
        with served_in(folder) as served:
            there = desk_of(served, folder / "there")
            found: dict[str, list[tuple[int, list[Any]]]] = {}
            for number, command in enumerate((f"build {root}", *COMMANDS)):
                words = command.replace("SLUG", "shapes").replace("PASSWORD", str(folder / "password"))
                argv = words.replace("SHORT", str(folder / "short")).split()
                key = "build PATH" if number == 0 else f"{number} {command}"
                answers = [home.run(*argv, "--json", code=None) for home in (here, there)]
                found[key] = [(one.code, one.lines) for one in answers]
            there.assert_untouched()
            yield found
    finally:
        here.clean()


CASES = ("build PATH", *(f"{number} {command}" for number, command in enumerate(COMMANDS, 1)))


@pytest.mark.parametrize("command", CASES)
def test_same_document_and_exit_code(command: str, both: dict[str, list[tuple[int, list[Any]]]]) -> None:
    here, there = both[command]
    assert there[0] == here[0], (here, there)
    assert distinct(there[1]) == distinct(here[1])
    if here[0] != 0 and here[1] and isinstance(here[1][0], dict) and here[1][0].get("error"):
        assert there[1][0]["error"]["code"] == here[1][0]["error"]["code"]


DIFFERENT = ("dev.dockwright.", "org.", "created_by")
"""Labels, which differ from one image to the next; and a state folder of one's own knows no users."""
SERVERS_OWN = ("build", "deploy")
"""Settings of a project, which a server shows with their defaults."""


def shape(value: Any) -> Any:
    """Names and kinds."""
    if isinstance(value, dict):
        named = {name: one for name, one in value.items() if not name.startswith(DIFFERENT)}
        return {name: {} if name in SERVERS_OWN else shape(one) for name, one in named.items()}
    if isinstance(value, list):
        return distinct(value)
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def distinct(values: list[Any]) -> list[Any]:
    """The shapes that there are; a server's log begins with one more event, of a build that waits."""
    kinds = {json.dumps(shape(one), sort_keys=True): shape(one) for one in values if not _is_of_waiting(one)}
    return [kinds[key] for key in sorted(kinds)]


def _is_of_waiting(value: Any) -> bool:
    return isinstance(value, dict) and value.get("kind") == "status"


# --- what goes wrong ------------------------------------------------------------------------------------------------


def test_who_is_not_known_there(desk: Desk) -> None:
    error = desk.fail("builds", code=4, env={"DOCKWRIGHT_TOKEN": "dwt_wrong"})
    assert error["code"] == "sign_in_needed" and "dockwright token create" in error["remedy"]
    del desk.env["DOCKWRIGHT_TOKEN"]
    error = desk.fail("build", "anything", code=4)
    assert error["code"] == "sign_in_needed" and "Set DOCKWRIGHT_TOKEN" in error["remedy"]


def test_role_that_is_not_enough(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("a long password\n")
    password = ("--password-file", str(tmp_path / "password"))
    desk.run("user", "add", "vera@example.com", "--role", "viewer", *password)
    token = desk.run("token", "create", "--user", "vera@example.com", *password, env={"DOCKWRIGHT_TOKEN": ""}).stdout
    as_viewer = {"DOCKWRIGHT_TOKEN": token.strip()}
    assert desk.run("builds", "--json", env=as_viewer).code == 0
    assert set(desk.run("disk", "--json", env=as_viewer).json) == {"disk"}
    error = desk.fail("cleanup", code=4, env=as_viewer)
    assert error["code"] == "not_allowed" and "viewer" in error["message"]
    (tmp_path / "password").write_text("another password\n")
    assert desk.fail("token", "create", "--user", "vera@example.com", *password, code=4)["remedy"] != error["remedy"]


def test_room_of_the_server(desk: Desk) -> None:
    found = desk.run("disk", "--json").json
    assert set(found) == {"cleanup", "disk"} and found["disk"] == curl(desk, "/system")["disk"] | {
        "free_bytes": found["disk"]["free_bytes"]
    }
    assert set(found["cleanup"]) == {"builds", "images", "containers", "bytes"}
    said = desk.run("disk").stdout
    assert "A clean-up would free at least" in said and " are free; builds need " in said and "cache" not in said


def test_server_that_is_not_there(desk: Desk) -> None:
    error = desk.fail("builds", code=3, env={"DOCKWRIGHT_URL": f"http://127.0.0.1:{free_port()}"})
    assert error["code"] == "server_unreachable" and "DOCKWRIGHT_URL" in error["remedy"]
    assert desk.fail("logs", "1", "-f", code=3, env={"DOCKWRIGHT_URL": f"http://127.0.0.1:{free_port()}"})


def test_server_of_another_kind(desk: Desk, tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as other:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: _answers(url), "the other server")
        try:
            error = desk.fail("products", code=3, env={"DOCKWRIGHT_URL": url})
        finally:
            other.terminate()
    assert error["code"] == "server_unreachable" and "not as Dockwright does" in error["message"]


def test_certificate_of_an_authority_of_ones_own(desk: Desk, tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*made, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = {"DOCKWRIGHT_URL": f"https://127.0.0.1:{server.server_port}"}
        untrusted = desk.fail("builds", code=3, env=url)
        trusted = desk.fail("builds", code=3, env={**url, "CA_BUNDLE": str(certificate)})
        server.shutdown()
    assert "CA_BUNDLE" in untrusted["remedy"]
    assert "not as Dockwright does" in trusted["message"]


def _answers(url: str) -> bool:
    try:
        return get(url)[0] == 200
    except OSError:
        return False


@pytest.mark.parametrize("name", ["DOCKWRIGHT_URL", "DOCKWRIGHT_TOKEN"])
def test_setting_that_cannot_be(name: str, desk: Desk) -> None:
    error = desk.fail("builds", code=2, env={name: "not a\tvalue"})
    assert error["code"] == "invalid_setting" and name in error["message"] + error["remedy"]


def test_proxy_of_this_machine_is_no_way_to_itself(desk: Desk) -> None:
    proxy = f"http://127.0.0.1:{free_port()}"
    assert desk.run("builds", env={"http_proxy": proxy, "HTTP_PROXY": proxy, "ALL_PROXY": proxy}).code == 0


def test_secret_of_this_machine_is_not_sent(desk: Desk, folder: Folder) -> None:
    root = folder("secretive", {**PAGES, "secret": "any"})
    error = desk.fail("build", root, "--secret", f"id=a,src={root / 'secret'}", code=2)
    assert "PUT /api/v1/projects" in error["remedy"]


def test_folder_that_cannot_be_sent(desk: Desk, folder: Folder) -> None:
    empty, linked = folder("empty"), folder("linked", PAGES)
    (linked / "out").symlink_to("/etc/passwd")
    assert desk.fail("build", empty, code=2)["code"] == "no_dockerfile"
    assert desk.fail("build", linked, code=2)["code"] == "unsafe_source"
    projects = [one["name"] for one in curl(desk, "/projects?limit=200")["items"]]
    assert not {empty.name, linked.name} & set(projects), "nothing is made for what is not sent"


def test_folder_with_the_name_of_another_project(desk: Desk, tmp_path: Path) -> None:
    desk.run("new", "chatbot", "taken")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "Dockerfile").write_text(DOCKERFILE)
    error = desk.fail("build", tmp_path / "taken", code=2)
    assert error["code"] == "conflict" and "made from a template, not" in error["message"]


def test_commands_of_this_machine_stay_here(desk: Desk, folder: Folder, tmp_path: Path) -> None:
    nowhere = {"DOCKWRIGHT_URL": "http://127.0.0.1:1", "DOCKWRIGHT_HOME": str(tmp_path / "own")}
    assert desk.run("check", folder("here", PAGES), "--json", env=nowhere).json["ok"]
    assert desk.run("db", "upgrade", "--json", env=nowhere).json["revision"]
    assert (tmp_path / "own" / "dockwright.db").exists()
