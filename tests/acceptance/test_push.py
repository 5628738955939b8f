"""Images in a real registry: pushed, pushed once, refused, unreachable; and brought back to the engine by digest."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commandline import COMMAND, Home, get
from pages import PAGES
from servers import Registry, free_port
from sleeper import PATIENCE, command_lines, wait_until

from dockwright.docker.engine import Engine

Folder = Callable[..., Path]


def settings(registry: Registry, *, password: str | None = None) -> dict[str, str]:
    found = {"DOCKER_REGISTRY_URL": f"http://{registry.address}"}
    if password is not None:
        found |= {"DOCKER_REGISTRY_USERNAME": registry.username, "DOCKER_REGISTRY_PASSWORD": password}
    return found


def states(document: dict[str, Any]) -> dict[str, str]:
    return {stage["stage"]: stage["status"] for stage in document["stages"]}


def names_on_engine(home: Home) -> list[str]:
    return sorted(name for image in home.engine.images(home.labels()) for name in image.get("RepoTags") or ())


def logged(home: Home) -> str:
    return "\n".join(row["text"] for row in home.rows("SELECT text FROM build_events WHERE stage = 'push'"))


def test_image_is_in_the_registry_under_its_digest(home: Home, folder: Folder, registry: Registry) -> None:
    document = home.build(folder("pushed", PAGES), env=settings(registry))
    (service,) = document["services"]
    name, pushed = service["image"], service["pushed"]
    repository, tag = name.split(":")
    assert (document["status"], states(document)["push"]) == ("deployed", "done")
    assert pushed["tag"] == f"{registry.address}/{name}" and pushed["bytes"] > 0 and pushed["seconds"] > 0
    assert pushed["ref"] == f"{registry.address}/{repository}@{pushed['digest']}"
    status, manifest = registry.get(f"/v2/{repository}/manifests/{pushed['digest']}")
    assert status == 200 and json.loads(manifest)["schemaVersion"]
    assert json.loads(registry.get(f"/v2/{repository}/tags/list")[1])["tags"] == [tag]
    assert names_on_engine(home) == [name], "the name that tells where to is taken away again"
    assert home.run("image", "show", name, "--json").json["registry_ref"] == pushed["ref"]
    assert home.rows("SELECT registry_ref FROM releases") == [{"registry_ref": pushed["ref"]}]
    assert f"Pushed {pushed['tag']} as {pushed['digest']}" in logged(home)


def test_what_the_registry_has_is_not_sent_again(home: Home, folder: Folder, registry: Registry) -> None:
    root = folder("again", PAGES)
    first = home.build(root, "--no-deploy", env=settings(registry))["services"][0]["pushed"]
    second = home.build(root, "--no-deploy", env=settings(registry))["services"][0]
    assert second["reused"] and second["pushed"]["ref"] == first["ref"] and second["pushed"]["bytes"] == 0
    assert f"The registry has {first['tag']} already" in logged(home)


def test_an_image_built_before_there_was_a_registry(home: Home, folder: Folder, registry: Registry) -> None:
    root = folder("before", PAGES)
    stayed = home.build(root)
    assert stayed["services"][0]["pushed"] is None and states(stayed)["push"] == "skipped"
    first, second = (home.build(root, env=settings(registry))["services"][0] for _ in range(2))
    assert first["reused"] and first["pushed"]["bytes"] > 0
    assert second["pushed"]["bytes"] == 0, "the row says now where it is"
    known = home.rows("SELECT number, registry_ref FROM releases")
    assert known == [{"number": 1, "registry_ref": first["pushed"]["ref"]}], "what is live is not started anew for it"


def test_an_image_that_the_registry_has_lost(home: Home, folder: Folder, registry: Registry) -> None:
    root = folder("lost", PAGES)
    first = home.build(root, "--no-deploy", env=settings(registry))["services"][0]["pushed"]
    registry.stop()
    shutil.rmtree(registry.folder / "images")
    registry.start()
    second = home.build(root, "--no-deploy", env=settings(registry))["services"][0]["pushed"]
    assert second["ref"] == first["ref"] and second["bytes"] > 0


def test_password_is_found_nowhere(home: Home, folder: Folder, locked_registry: Registry) -> None:
    password = locked_registry.password
    assert password is not None
    config = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    before = config.read_bytes() if config.exists() else None
    seen: list[str] = []
    env, pipe = settings(locked_registry, password=password), subprocess.PIPE
    root = folder("secret", PAGES)
    with home.start(COMMAND, "build", str(root), "--json", env=env, stdout=pipe, stderr=pipe) as child:
        watcher = threading.Thread(target=_collect, args=(child, seen))
        watcher.start()
        stdout, stderr = child.communicate(timeout=PATIENCE)
        watcher.join()
    document = json.loads(stdout)
    assert states(document)["push"] == "done", stderr
    assert any("buildx" in line for line in seen), "the arguments of what it started were seen"
    shown = (stdout, stderr, *seen, json.dumps(home.engine.image(document["services"][0]["digest"])))
    assert not any(password in text for text in shown)
    files = [path for path in home.path.rglob("*") if path.is_file()]
    assert any(path.name == "dockwright.db" for path in files)
    assert [path for path in files if password.encode() in path.read_bytes()] == []
    assert (config.read_bytes() if config.exists() else None) == before


def _collect(child: subprocess.Popen[str], seen: list[str]) -> None:
    while child.poll() is None:
        seen += command_lines()


@pytest.mark.parametrize("password", [None, "wrong"])
def test_who_is_not_known_is_refused(
    password: str | None, home: Home, folder: Folder, locked_registry: Registry
) -> None:
    env = settings(locked_registry, password=password)
    error = home.fail("build", folder("refused", PAGES), code=4, env=env)
    assert (error["code"], error["stage"]) == ("registry_refused", "push")
    assert "DOCKER_REGISTRY_PASSWORD" in error["remedy"] and locked_registry.address in error["message"]
    assert names_on_engine(home) == [], "a build that failed leaves no image"
    home.assert_nothing_left()


def test_registry_that_is_not_there(home: Home, folder: Folder) -> None:
    address = f"127.0.0.1:{free_port()}"
    error = home.fail("build", folder("nobody", PAGES), code=3, env={"DOCKER_REGISTRY_URL": f"http://{address}"})
    assert (error["code"], error["stage"]) == ("registry_unreachable", "push")
    assert address in error["message"] and "DOCKER_REGISTRY_URL" in error["remedy"]
    assert names_on_engine(home) == []


class Elsewhere(Registry):
    """At an address at which the engine asks for TLS."""

    def prepare(self) -> None:
        super().prepare()
        file = self.folder / "registry.yml"
        file.write_text(file.read_text().replace(f'"{self.address}"', f'"0.0.0.0:{self.port}"'))


def test_without_tls_at_another_address_the_engine_must_be_told(home: Home, folder: Folder) -> None:
    bridge = home.engine.network("bridge")
    assert bridge is not None
    with Elsewhere() as server:
        address = f"{bridge['IPAM']['Config'][0]['Gateway']}:{server.port}"
        env = {"DOCKER_REGISTRY_URL": f"http://{address}"}
        error = home.fail("build", folder("plain", PAGES), code=3, env=env)
    assert error["code"] == "registry_unreachable"
    assert f'Add "{address}" to "insecure-registries"' in error["remedy"]


class ReadOnly(Registry):
    def prepare(self) -> None:
        super().prepare()
        file = self.folder / "registry.yml"
        maintenance = "storage: {maintenance: {readonly: {enabled: true}}, "
        file.write_text(file.read_text().replace("storage: {", maintenance))


def test_registry_that_takes_nothing(home: Home, folder: Folder) -> None:
    with ReadOnly() as server:
        error = home.fail("build", folder("readonly", PAGES), code=1, env=settings(server))
    assert (error["code"], error["stage"]) == ("push_failed", "push")
    assert server.address in error["message"]


@pytest.fixture
def deaf() -> Iterator[str]:
    """The address of somebody who takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", free_port())) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_cancel_while_pushing(home: Home, folder: Folder, deaf: str) -> None:
    env, pipe = {"DOCKER_REGISTRY_URL": f"http://{deaf}"}, subprocess.PIPE
    root = folder("hangs", PAGES)
    with home.start(COMMAND, "build", str(root), "--json", env=env, stdout=pipe, stderr=pipe) as child:
        wait_until(lambda: (home.path / "dockwright.db").exists() and "Pushing " in _log_so_far(home), "the push")
        child.send_signal(signal.SIGINT)
        stdout, stderr = child.communicate(timeout=PATIENCE)
    assert child.returncode == 130 and "Traceback" not in stderr, stderr
    assert json.loads(stdout)["error"]["stage"] == "push"
    assert names_on_engine(home) == []
    home.assert_nothing_left()


def _log_so_far(home: Home) -> str:
    has_table = home.rows("SELECT name FROM sqlite_master WHERE name = 'build_events'")
    return logged(home) if has_table else ""


def test_what_was_pushed_stays_when_its_deployment_fails(home: Home, folder: Folder, registry: Registry) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as holder:
        port = str(holder.getsockname()[1])
        answer = home.run("build", folder("held", PAGES), "--port", port, "--json", code=1, env=settings(registry))
    document = answer.json
    assert document["error"]["code"] == "port_taken"
    pushed = document["services"][0]["pushed"]
    repository = document["services"][0]["image"].partition(":")[0]
    assert registry.get(f"/v2/{repository}/manifests/{pushed['digest']}")[0] == 200
    assert names_on_engine(home) == []


def forget(image: str) -> None:
    """As somebody who needs room on the engine does it."""
    subprocess.run(["docker", "rmi", "--force", image], check=True, stdout=subprocess.DEVNULL)


def test_rollback_to_an_image_that_only_the_registry_has(home: Home, folder: Folder, locked_registry: Registry) -> None:
    root, env = folder("back", PAGES), settings(locked_registry, password=locked_registry.password)
    first = home.build(root, env=env)
    (root / "index.html").write_text("second")
    assert get(home.build(root, env=env)["deployment_url"])[1] == "second"
    image = first["services"][0]
    forget(image["image"])
    assert home.engine.image(image["digest"]) is None

    error = home.fail("rollback", first["project"], code=4)
    assert error["code"] == "registry_refused" and get(first["deployment_url"])[1] == "second"
    assert home.run("rollback", first["project"], "--json", env=env).json["release"] == 1
    assert get(first["deployment_url"])[1] == "first"
    assert home.engine.image(image["image"])["Id"] == image["digest"]  # type: ignore[index]


def test_rollback_when_neither_has_the_image(home: Home, folder: Folder, registry: Registry) -> None:
    root, env = folder("nowhere", PAGES), settings(registry)
    first = home.build(root, env=env)
    (root / "index.html").write_text("second")
    home.build(root, env=env)
    forget(first["services"][0]["image"])
    registry.stop()
    assert home.fail("rollback", first["project"], code=3, env=env)["code"] == "registry_unreachable"
    assert get(first["deployment_url"])[1] == "second", "what runs has not noticed"


def test_two_builds_with_one_tag_push_each_its_own(home: Home, folder: Folder, registry: Registry) -> None:
    """The engine pushes by name, and here the name is the same: each must send the image that it has built."""
    root = folder("twice", {"Dockerfile": "FROM busybox\nARG WORD\nRUN echo $WORD > /word\n"})
    home.build(root, "--until", "plan")
    pipe = subprocess.PIPE
    children = []
    for word in ("one", "two"):
        arguments = (COMMAND, "build", str(root), "--tag", "v1", "--build-arg", f"WORD={word}", "--json")
        children.append(home.start(*arguments, env=settings(registry), stdout=pipe, stderr=pipe))
    services = [json.loads(child.communicate(timeout=PATIENCE)[0])["services"][0] for child in children]
    assert services[0]["digest"] != services[1]["digest"] and services[0]["image"] == services[1]["image"]
    assert [config_of(registry, one) for one in services] == [one["digest"] for one in services]


def config_of(registry: Registry, service: dict[str, Any]) -> str:
    """Which image the registry's manifest is of."""
    path = f"/v2/{service['image'].partition(':')[0]}/manifests/{service['pushed']['digest']}"
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    request = urllib.request.Request(f"http://{registry.address}{path}", headers={"Accept": kind})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(json.load(answer)["config"]["digest"])


def test_names_of_a_registry_with_a_path(home: Home, folder: Folder, registry: Registry) -> None:
    env = {"DOCKER_REGISTRY_URL": f"http://{registry.address}/team/"}
    service = home.build(folder("path", PAGES), "--no-deploy", env=env)["services"][0]
    assert service["pushed"]["tag"] == f"{registry.address}/team/{service['image']}"
    assert Engine().image(service["pushed"]["tag"]) is None


def test_doctor_asks_the_registry(home: Home, locked_registry: Registry) -> None:
    answers = {}
    for password in (locked_registry.password, "wrong", None):
        env = settings(locked_registry, password=password)
        findings = home.run("doctor", "--json", code=None, env=env).json["findings"]
        (answers[password],) = [one for one in findings if one["place"] == "registry"]
    assert [one["severity"] for one in answers.values()] == ["ok", "error", "error"]
    assert answers[locked_registry.password]["message"] == f"{locked_registry.address} answers, and knows builder"
    assert all("DOCKER_REGISTRY_PASSWORD" in answers[password]["remedy"] for password in ("wrong", None))
