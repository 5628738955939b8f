"""A build and an app that are given secrets and tell them, in every way they know: no place keeps a value."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from commandline import Home, get
from servers import free_port
from serving import Serving

from dockwright import settings
from dockwright.services import audit, product_settings, projects, secrets
from dockwright.services.state import State
from dockwright.sources.detect import detect, name_of, source_key

BUILD_VALUE = "bu1ld+s3cr3t/Zq9-TgWx7Lm2Kp5Rv8Yc4Hn6Jd1Fs3Ab0QeUiOzXw" + "TrEwQ" * 10
RUN_VALUE = "run s3cr3t & 'Vb7Nm1Qw4Er8Ty2Ui6Op3As9Df5Gh0'"

DOCKERFILE = """\
FROM busybox
RUN --mount=type=secret,id=BUILD_KEY key=$(cat /run/secrets/BUILD_KEY) \\
 && echo "plain $key" && echo "$key" | base64 && echo "key=$key" | base64 -w0 && echo \\
 && echo "$key" | hexdump -v -e '1/1 "%02x"' && echo && echo "{\\"key\\": \\"$key\\"}" >&2 && sleep 2 \\
 && printf %3985s x | tr ' ' . && echo "$key" && printf %s "$key" | sha256sum | cut -c 1-64 > /known
COPY say.sh /say.sh
EXPOSE 8000
CMD ["sh", "/say.sh"]
"""
APP = """\
echo "the password is $RUN_KEY"
printf %s "$RUN_KEY" | base64 -w0; echo
[ -z "$CRASH" ] || exit 3
mkdir -p /www && printf %s "$RUN_KEY" | sha256sum | cut -c 1-64 > /www/index.html
cp /known /www/known
exec httpd -f -p 8000 -h /www
"""


@pytest.fixture
def state(home: Home) -> Iterator[State]:
    made = State(settings.load(home.env, Path("no such file")))
    yield made
    made.close()


def _fresh(dockerfile: str) -> str:
    """Of which BuildKit has no step in its cache: a step is known by its text, whatever its secrets were."""
    return dockerfile.replace("FROM busybox\n", f"FROM busybox\nENV NONCE={token_hex(8)}\n")


def _project(state: State, root: Path, *, build: list[str], run: list[str]) -> int:
    source = detect(str(root))
    project_id = projects.create_from_source(state, source, source_key(source), name_of(source))
    state.connection.execute(
        "UPDATE projects SET build = ?, deploy = ? WHERE id = ?",
        (json.dumps({"secrets": build}), json.dumps({"secrets": run}), project_id),
    )
    return project_id


def _traces(value: str) -> dict[str, bytes]:
    """What of a value must be nowhere: parts of it, so that one that was broken up is found as well."""
    content = value.encode()
    traces = {"itself": content[:14], "its middle": content[20:34], "its end": content[-14:]}
    for offset in range(3):
        inner = content[3 - offset :]
        traces[f"base64, {offset}"] = base64.b64encode(inner[: len(inner) // 3 * 3])[8:20]
    return {**traces, "hex": content.hex().encode()[4:20], "JSON": json.dumps(value)[1:-1].encode()[-14:]}


def _found(where: str, content: bytes) -> list[str]:
    return [
        f"{name} of {value[:5]} in {where}"
        for value in (BUILD_VALUE, RUN_VALUE)
        for name, trace in _traces(value).items()
        if trace in content
    ]


def _found_below(folder: Path) -> list[str]:
    """Events, rows and artifacts in the database and its log, workspaces, staged contexts, the edge's files."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.name.startswith("dockwright.db") for path in files)
    return [trace for path in files for trace in _found(str(path), path.read_bytes())]


@contextlib.contextmanager
def _watched_arguments() -> Iterator[list[str]]:
    """Every command line of the machine, looked at again and again."""
    found: list[str] = []
    seen_buildx = threading.Event()
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.02):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    content = path.read_bytes()
                    found.extend(_found(str(path), content))
                    if b"id=BUILD_KEY" in content:
                        seen_buildx.set()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()
    assert seen_buildx.is_set(), "buildx was never looked at"


def _docker(*arguments: str) -> bytes:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True).stdout


def _sha(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


def test_no_place_keeps_a_secret_that_a_build_and_an_app_were_given(
    home: Home, state: State, folder: Callable[..., Path]
) -> None:
    root = folder("secret", {"Dockerfile": _fresh(DOCKERFILE), "say.sh": APP})
    project_id = _project(state, root, build=["BUILD_KEY"], run=["RUN_KEY"])
    secrets.put(state, audit.SYSTEM, "BUILD_KEY", BUILD_VALUE, project_id)
    secrets.put(state, audit.SYSTEM, "RUN_KEY", RUN_VALUE)
    with _watched_arguments() as in_arguments:
        done = home.run("build", root, "--json")
    document = done.json
    # They came where they were to come.
    url = document["deployment_url"]
    assert get(url, "/known")[1].strip() == _sha(BUILD_VALUE)
    assert get(url)[1].strip() == _sha(RUN_VALUE)
    events = home.rows("SELECT text FROM build_events WHERE kind = 'log'")
    assert sum("***BUILD_KEY***" in row["text"] for row in events) >= 6, events
    # And nowhere else.
    assert in_arguments == []
    assert _found("the output", (done.stdout + done.stderr).encode()) == []
    assert _found_below(home.path) == []
    image = document["services"][0]["digest"]
    for look in (("history", "--no-trunc", image), ("image", "inspect", image), ("save", image)):
        assert _found(look[0], _docker(*look)) == []
    told = [home.run(*command, "--json") for command in (("logs", "1"), ("products",), ("releases", "1"), ("builds",))]
    assert [trace for answer in told for trace in _found("an answer", answer.stdout.encode())] == []
    assert [row["secrets"] for row in home.rows("SELECT secrets FROM releases")] == ['["RUN_KEY"]']
    # The app's own lines, too, when the value is another by now than the one that it was started with.
    secrets.put(state, audit.SYSTEM, "RUN_KEY", "another value")
    (shown,) = product_settings.logs(state, 1, 100)
    assert shown["lines"] == ["the password is ***RUN_KEY***", "***RUN_KEY***"]


def test_what_an_app_tells_as_it_dies_is_told_without_its_secrets(
    home: Home, state: State, folder: Callable[..., Path]
) -> None:
    root = folder("secret", {"Dockerfile": _fresh(DOCKERFILE).replace("CMD", "ENV CRASH=1\nCMD"), "say.sh": APP})
    project_id = _project(state, root, build=["BUILD_KEY"], run=["RUN_KEY"])
    for name, value in (("BUILD_KEY", BUILD_VALUE), ("RUN_KEY", RUN_VALUE)):
        secrets.put(state, audit.SYSTEM, name, value, project_id)
    done = home.run("build", root, "--json", code=1)
    error = done.json["error"]
    assert error["code"] == "unhealthy"
    assert error["last_lines"] == ["the password is ***RUN_KEY***", "***RUN_KEY***"]
    assert _found("the output", (done.stdout + done.stderr).encode()) == []
    assert _found_below(home.path) == []


def test_a_step_that_fails_with_a_secret_in_its_last_line(
    home: Home, state: State, folder: Callable[..., Path]
) -> None:
    failing = "FROM busybox\nRUN --mount=type=secret,id=BUILD_KEY cat /run/secrets/BUILD_KEY; exit 7\n"
    root = folder("secret", {"Dockerfile": _fresh(failing)})
    project_id = _project(state, root, build=["BUILD_KEY"], run=[])
    secrets.put(state, audit.SYSTEM, "BUILD_KEY", BUILD_VALUE, project_id)
    done = home.run("build", root, "--json", code=1)
    assert done.json["error"]["last_lines"] == ["***BUILD_KEY***"]
    assert _found("the output", (done.stdout + done.stderr).encode()) == []
    assert _found_below(home.path) == []


def test_a_file_given_to_the_command_is_kept_out_as_well(home: Home, folder: Callable[..., Path]) -> None:
    text = "FROM busybox\nRUN --mount=type=secret,id=token cat /run/secrets/token && base64 /run/secrets/token\n"
    root, other = folder("secret", {"Dockerfile": _fresh(text)}), folder("keys", {"token": f"{BUILD_VALUE}\n"})
    done = home.run("build", root, "--secret", f"id=token,src={other / 'token'}", "--json")
    assert "***token***" in done.stderr
    assert _found("the output", (done.stdout + done.stderr).encode()) == []
    assert _found_below(home.path) == []


def test_a_value_that_was_replaced_is_the_one_that_the_next_start_has(
    home: Home, state: State, folder: Callable[..., Path]
) -> None:
    root = folder("secret", {"Dockerfile": _fresh(DOCKERFILE), "say.sh": APP})
    project_id = _project(state, root, build=["BUILD_KEY"], run=["RUN_KEY"])
    for name, value in (("BUILD_KEY", BUILD_VALUE), ("RUN_KEY", RUN_VALUE)):
        secrets.put(state, audit.SYSTEM, name, value, project_id)
    url = home.build(root, "--port", str(free_port()))["deployment_url"]
    secrets.put(state, audit.SYSTEM, "RUN_KEY", "another value", project_id)
    home.run("stop", "1")
    home.run("start", "1")
    assert get(url)[1].strip() == _sha("another value")
    secrets.delete(state, audit.SYSTEM, "RUN_KEY", project_id)
    home.run("stop", "1")
    error = home.fail("start", "1", code=2)
    assert error["code"] == "not_found" and "RUN_KEY" in error["message"]
    assert _found_below(home.path) == []


def test_builds_of_the_queue_have_secrets_and_the_api_never_tells_one(home: Home, folder: Callable[..., Path]) -> None:
    root = folder("secret", {"Dockerfile": _fresh(DOCKERFILE), "say.sh": APP})
    with Serving(home) as server:
        project_id = _project(server.state, root, build=["BUILD_KEY"], run=["RUN_KEY"])
        api = Api(server.url, "a password for tests")
        assert api("PUT", f"projects/{project_id}/secrets/RUN_KEY", {"value": RUN_VALUE}) == b""
        missing = server.queue(root)
        assert server.wait(missing)["status"] == "failed"
        assert "BUILD_KEY" in server.build(missing)["error_message"]
        api("PUT", "clients/1/secrets/BUILD_KEY", {"value": BUILD_VALUE})
        build_id = server.queue(root)
        assert server.wait(build_id)["status"] == "deployed", server.build(build_id)
        status = json.loads(api("GET", f"builds/{build_id}/status"))
        assert get(status["deployment_url"])[1].strip() == _sha(RUN_VALUE)
        below = ("", "/status", "/logs", "/artifacts", "/artifacts/Dockerfile", "/deployment")
        paths = [f"builds/{build_id}{path}" for path in below]
        paths += [f"products/1{path}" for path in ("", "/releases", "/deployments", "/logs", "/verify")]
        paths += [f"projects/{project_id}", f"projects/{project_id}/secrets", "clients/1/secrets", "audit"]
        answers = {path: api("GET", path) for path in paths}
    assert b"***BUILD_KEY***" in answers[f"builds/{build_id}/logs"]
    assert b"***RUN_KEY***" in answers["products/1/logs"]
    assert [trace for path, answer in answers.items() for trace in _found(path, answer)] == []
    assert _found("the server's log", server.log().encode()) == []
    assert _found_below(home.path) == []


class Api:
    def __init__(self, url: str, password: str) -> None:
        self._url, self._headers = f"{url}/api/v1", {"Content-Type": "application/json"}
        begun = json.loads(self("POST", "auth/login", {"email": "admin@localhost", "password": password}))
        self._headers["Authorization"] = f"Bearer {begun['access_token']}"

    def __call__(self, method: str, path: str, body: object = None) -> bytes:
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._url}/{path}", content, self._headers, method=method)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            return bytes(answer.read())


def test_a_build_whose_secret_is_not_stored_is_not_begun(home: Home, state: State, folder: Callable[..., Path]) -> None:
    root = folder("secret", {"Dockerfile": _fresh(DOCKERFILE), "say.sh": APP})
    _project(state, root, build=["BUILD_KEY"], run=[])
    error: dict[str, Any] = home.fail("build", root, code=2)
    assert error["code"] == "not_found" and "BUILD_KEY" in error["message"]
    assert home.rows("SELECT id FROM builds") == []
