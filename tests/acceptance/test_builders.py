"""Isolated builders on the real engine: images arrive, nothing else is reached, caches stay, nothing is left."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from servers import Registry

from dockwright import pipeline, settings
from dockwright.docker import builder_container, builders, host, transfer
from dockwright.docker.engine import Engine
from dockwright.domain.build import BuildRequest, History
from dockwright.domain.builder import Builder, Limits
from dockwright.domain.events import Event
from dockwright.domain.source import FolderSource
from dockwright.errors import Conflict
from dockwright.pipeline import Outcome
from dockwright.process import Cancel
from dockwright.stages.context import StageContext

BASE = "localhost/base/python:3.11-slim"
SMALL = "localhost/base/busybox:latest"
"""Whatever needs no Python is built on it: a new builder has it in a moment."""
CLIENT = "dev.dockwright.client"

PROBE = """
import json, socket, sys
for target in sys.argv[1:]:
    address, port = target.split(":")
    try:
        socket.create_connection((address, int(port)), timeout=3).close()
        answer = "reached"
    except OSError as error:
        answer = str(error)
    print(json.dumps({"target": target, "answer": answer}), flush=True)
"""

LISTEN = """
import socket, time
server = socket.create_server(("0.0.0.0", 8099))
print("listening on", socket.gethostbyname(socket.gethostname()), flush=True)
server.settimeout(120)
while True:
    server.accept()[0].close()
"""

pytestmark = pytest.mark.usefixtures("bases")


class Built:
    def __init__(self, outcome: Outcome, events: list[Event]) -> None:
        self.outcome, self.events = outcome, events

    @property
    def lines(self) -> list[str]:
        return [event.text for event in self.events if event.kind == "log" and event.stream is not None]

    @property
    def answers(self) -> dict[str, str]:
        """What the probe of a RUN step found."""
        found = [json.loads(line) for line in self.lines if line.startswith('{"target"')]
        return {one["target"]: one["answer"] for one in found}

    @property
    def cached(self) -> dict[str, bool]:
        """Each step's, but for the base: it is there or not."""
        steps = {step.name.partition("] ")[2]: step.cached for step in self.outcome.images[0].steps}
        return {name: is_cached for name, is_cached in steps.items() if not name.startswith("FROM ")}


class Platform:
    """An installation whose clients have builders of their own. The folder's name is short, for the sockets' sake."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="dw-"))
        environ = {**os.environ, "DOCKWRIGHT_HOME": str(self.home), "BUILD_ISOLATION": "isolated"}
        self.settings = settings.load(environ)
        self.engine = Engine()
        self.clients: list[str] = []
        self.common = self.client()
        """Whose builder serves all tests that need none of their own."""
        self._number = 0

    def client(self) -> str:
        self.clients.append(f"test-{secrets.token_hex(3)}")
        return self.clients[-1]

    def builder(self, client: str, limits: Limits | None = None) -> Builder:
        return builders.builder_for(self.settings, client, limits)

    def in_use(self, builder: Builder) -> contextlib.AbstractContextManager[Engine]:
        return builders.in_use(self.settings, builder, lambda _: None, Cancel())

    def folder(self, files: dict[str, str]) -> Path:
        root = self.home / "sources" / f"app-{secrets.token_hex(4)}"
        root.mkdir(parents=True)
        for name, text in files.items():
            (root / name).write_text(text)
        return root

    def build(
        self,
        client: str,
        files: dict[str, str] | Path,
        *,
        limits: Limits | None = None,
        watch: Callable[[Event], None] = lambda _: None,
        cancel: Cancel | None = None,
    ) -> Built:
        self._number += 1
        root = files if isinstance(files, Path) else self.folder(files)
        request = BuildRequest(
            build_id=self._number,
            client=client,
            project=root.name,
            project_id=1,
            name=root.name,
            description="",
            source=FolderSource(path=root),
            until="build",
        )
        events: list[Event] = []

        def sink(event: Event) -> None:
            events.append(event)
            watch(event)

        ctx = StageContext(
            request=request,
            settings=self.settings,
            history=History(),
            builder=self.builder(client, limits),
            workspace=self.home / f"work-{self._number}",
            sink=sink,
            cancel=cancel or Cancel(),
        )
        return Built(pipeline.run(ctx, _no_live_state, lambda _: None), events)

    def good_build(self, client: str, files: dict[str, str] | Path, **options: Any) -> Built:
        built = self.build(client, files, **options)
        error = built.outcome.error
        assert error is None, (error.as_dict(), [event.text for event in built.events][-20:])
        return built

    def left(self, client: str) -> dict[str, list[str]]:
        """What carries the client's name on the engine."""
        mine = {CLIENT: client}
        return {
            "containers": [one["Names"][0] for one in self.engine.containers(mine)],
            "networks": [one["Name"] for one in self.engine.networks(mine)],
            "volumes": [one["Name"] for one in self.engine.volumes(mine)],
        }

    def clean(self) -> None:
        for client in self.clients:
            builders.remove(self.settings, client)
            for image in self.engine.images({CLIENT: client}):
                self.engine.remove_image(image["Id"], force=True)
            assert self.left(client) == {"containers": [], "networks": [], "volumes": []}
        shutil.rmtree(self.home)


def _no_live_state() -> Any:
    raise AssertionError("no build here is deployed")


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    platform = Platform()
    yield platform
    platform.clean()


@pytest.fixture
def listener() -> Iterator[int]:
    """A port on all addresses of this machine, as a Redis, a PostgreSQL or an API might listen."""
    with socket.create_server(("0.0.0.0", 0), backlog=50) as server:
        yield server.getsockname()[1]


@pytest.fixture
def started(platform: Platform) -> Iterator[Callable[..., str]]:
    """`started(network)`: the address of a container that listens on port 8099 there."""
    names: list[str] = []

    def start(network: str, *options: str) -> str:
        names.append(f"dockwright-test-{secrets.token_hex(4)}")
        command = ["docker", "run", "--detach", "--name", names[-1], "--network", network, *options]
        subprocess.run([*command, BASE, "python3", "-u", "-c", LISTEN], check=True, capture_output=True)
        details = platform.engine.container(names[-1])
        assert details is not None
        return str(details["NetworkSettings"]["Networks"][network]["IPAddress"])

    yield start
    for name in names:
        platform.engine.remove_container(name)


def probing(*targets: str) -> dict[str, str]:
    words = " ".join(targets)
    return {
        "Dockerfile": f"FROM {BASE}\nCOPY probe.py /\nRUN echo {secrets.token_hex(4)}; python3 /probe.py {words}\n",
        "probe.py": PROBE,
    }


def machine_addresses() -> list[str]:
    done = subprocess.run(["hostname", "--all-ip-addresses"], capture_output=True, text=True, check=True)
    return [word for word in done.stdout.split() if ":" not in word]


def accepts(address: str, port: int) -> bool:
    """Whether somebody listens there, or begins to in a moment."""
    for _ in range(100):
        with contextlib.suppress(OSError):
            socket.create_connection((address, port), timeout=3).close()
            return True
        time.sleep(0.1)
    return False


# --- images ---------------------------------------------------------------------------------------------------------


def test_an_image_arrives_under_its_name_and_its_builder_keeps_only_the_base(platform: Platform) -> None:
    client = platform.client()
    files = {"Dockerfile": "FROM busybox:1.36\nCOPY words /words\nRUN cat /words > /copy\n", "words": "per stream\n"}
    built = platform.good_build(client, files)
    (image,) = built.outcome.images
    found = platform.engine.image(image.name)
    assert found is not None and found["Id"] == image.digest
    assert found["Config"]["Labels"]["dev.dockwright.client"] == client
    shown = subprocess.run(["docker", "run", "--rm", image.name, "cat", "/copy"], capture_output=True, check=True)
    assert shown.stdout == b"per stream\n"
    base = platform.engine.image(SMALL)
    with platform.in_use(platform.builder(client)) as inner:
        assert base is not None
        assert [one["Id"] for one in inner.images()] == [base["Id"]]


def test_an_image_has_the_same_id_on_both_engines(platform: Platform, tmp_path: Path) -> None:
    client = platform.common
    context = tmp_path / f"context-{secrets.token_hex(4)}"
    context.mkdir()
    (context / "Dockerfile").write_text(f"FROM scratch\nLABEL {CLIENT}={client}\nCOPY Dockerfile /\n")
    builder = platform.builder(client)
    with platform.in_use(builder) as inner:
        command = ["docker", "buildx", "build", "--builder=default", "--tag=one:1", "--provenance=false", str(context)]
        env = {**os.environ, "DOCKER_HOST": str(builder.docker_host)}
        subprocess.run(command, env=env, check=True, capture_output=True)
        built = inner.image("one:1")
        assert built is not None
        assert transfer.send(inner, platform.engine, built["Id"], Cancel()) == built["Id"]
    arrived = platform.engine.image(built["Id"])
    assert arrived is not None and not arrived["RepoTags"]


def test_several_services_come_from_one_builder(platform: Platform) -> None:
    root = platform.folder({"compose.yaml": "services: {one: {build: one}, two: {build: two}}\n"})
    for name in ("one", "two"):
        (root / name).mkdir()
        (root / name / "Dockerfile").write_text("FROM busybox:1.36\nCOPY word /word\n")
        (root / name / "word").write_text(name)
    images = platform.good_build(platform.common, root).outcome.images
    assert [image.service for image in images] == ["one", "two"]
    for image in images:
        shown = subprocess.run(["docker", "run", "--rm", image.name, "cat", "/word"], capture_output=True, check=True)
        assert shown.stdout.decode() == image.service


def test_a_failing_step_is_told_as_on_the_shared_builder(platform: Platform) -> None:
    built = platform.build(platform.common, {"Dockerfile": f"FROM {SMALL}\nRUN echo no luck; exit 7\n"})
    error = built.outcome.error
    assert error is not None
    assert (error.code, error.step_exit_code, error.last_lines) == ("step_failed", 7, ["no luck"])


def test_a_base_that_is_named_by_its_digest_is_brought_too(platform: Platform, registry: Registry) -> None:
    """The builder cannot reach that registry, and an image that is loaded has no digest of a registry's."""
    name = f"{registry.address}/small:1"
    platform.engine.tag_image(SMALL, name)
    pushed = subprocess.run(["docker", "push", "--quiet", name], capture_output=True, text=True, check=True)
    assert pushed.stdout.strip() == name
    details = platform.engine.image(name)
    assert details is not None
    ref = next(ref for ref in details["RepoDigests"] if ref.startswith(registry.address))
    try:
        built = platform.good_build(platform.common, {"Dockerfile": f"FROM {ref}\nRUN echo pinned\n"})
    finally:
        platform.engine.remove_image(name)
    assert built.lines == ["pinned"]


def test_a_canceled_build_ends_while_an_image_is_on_its_way(platform: Platform) -> None:
    client, cancel = platform.client(), Cancel()

    def watch(event: Event) -> None:
        if event.text.startswith("Bringing"):
            cancel.set()

    error = platform.build(client, {"Dockerfile": f"FROM {BASE}\n"}, watch=watch, cancel=cancel).outcome.error
    assert error is not None and error.code == "interrupted"
    with platform.in_use(platform.builder(client)) as inner:
        assert inner.images() == []
    assert client in builders.stop_idle(platform.settings, 0)


# --- what a build reaches -------------------------------------------------------------------------------------------


def test_a_build_reaches_neither_the_platform_nor_another_client_nor_another_network(
    platform: Platform, listener: int, started: Callable[..., str]
) -> None:
    mine, other = platform.common, platform.client()
    with platform.in_use(platform.builder(other)), platform.in_use(platform.builder(mine)):
        others = platform.builder(other).name
        inside = platform.engine.container(others)
        assert inside is not None
        in_other_network, on_default_bridge = started(others), started("bridge")
        published = started("bridge", "--publish", "0.0.0.0::8099")
        port = free_published_port(platform, published)
        targets = [f"{address}:{listener}" for address in machine_addresses()]
        gateways = [network_gateway(platform, name) for name in ("bridge", platform.builder(mine).name, others)]
        targets += [f"{gateway}:{number}" for gateway in gateways for number in (listener, port)]
        targets += [f"{in_other_network}:8099", f"{on_default_bridge}:8099", f"{published}:8099"]
        for target in targets:
            address, _, number = target.partition(":")
            assert accepts(address, int(number)), f"{target} does not listen, so that it is not reached proves nothing"
        targets.append(f"{inside['NetworkSettings']['Networks'][others]['IPAddress']}:53")
        answers = platform.good_build(mine, probing(*targets)).answers
    assert set(answers) == set(targets)
    assert "reached" not in answers.values(), answers


def network_gateway(platform: Platform, name: str) -> str:
    network = platform.engine.network(name)
    assert network is not None
    return str(network["IPAM"]["Config"][0]["Gateway"])


def free_published_port(platform: Platform, address: str) -> int:
    for container in platform.engine.containers():
        networks = container["NetworkSettings"]["Networks"].values()
        if address in [network["IPAddress"] for network in networks]:
            return int(next(port["PublicPort"] for port in container["Ports"] if "PublicPort" in port))
    raise AssertionError(f"no container has the address {address}")


def test_the_engine_that_builds_is_kept_from_the_platform_as_well(platform: Platform, listener: int) -> None:
    client = platform.common
    with platform.in_use(platform.builder(client)):
        gateway = network_gateway(platform, platform.builder(client).name)
        assert accepts(gateway, listener)
        built = platform.build(client, {"Dockerfile": f"FROM {SMALL}\nADD http://{gateway}:{listener}/x /x\n"})
    assert built.outcome.error is not None
    assert "no route to host" in " ".join([built.outcome.error.message, *built.outcome.error.last_lines])


def test_a_build_cannot_ask_for_the_builder_s_own_network_or_for_privileges(platform: Platform) -> None:
    refused = platform.build(platform.common, {"Dockerfile": f"FROM {SMALL}\nRUN --network=host id\n"}).outcome.error
    assert refused is not None
    assert "network.host is not allowed" in " ".join([refused.message, *refused.last_lines])
    built = platform.good_build(platform.common, {"Dockerfile": f"FROM {SMALL}\nRUN grep CapEff /proc/self/status\n"})
    capabilities = int(built.lines[0].split()[1], 16)
    net_admin, sys_admin = 12, 21
    assert capabilities & (1 << net_admin | 1 << sys_admin) == 0


def test_a_build_reaches_the_package_mirrors(platform: Platform) -> None:
    mirror = next(line for line in host.debian_sources("bookworm").splitlines() if line.startswith("URIs:"))
    address = f"{mirror.split()[1].rstrip('/')}/dists/bookworm/Release"
    text = f"""\
FROM {BASE}
RUN python3 -c "import urllib.request as r; print('mirror', r.urlopen('{address}').status)"
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \\
    pip download --quiet --no-deps --dest /tmp iniconfig && ls /tmp
"""
    built = platform.good_build(platform.common, {"Dockerfile": text})
    assert "mirror 200" in built.lines
    assert any("iniconfig" in line for line in built.lines)


def test_a_mirror_on_a_private_address_is_reached_by_its_name_and_nothing_beside_it(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = next(line for line in host.debian_sources("bookworm").splitlines() if line.startswith("URIs:")).split()[1]
    mirror = urlsplit(uri)
    address, port = socket.gethostbyname(str(mirror.hostname)), mirror.port or (443 if mirror.scheme == "https" else 80)
    monkeypatch.setattr(builder_container, "PRIVATE", (*builder_container.PRIVATE, f"{address}/32"))
    targets = [f"{address}:{port}", f"{mirror.hostname}:{port}", f"{address}:{port + 1}"]
    answers = platform.good_build(platform.client(), probing(*targets)).answers
    assert [answers[target] == "reached" for target in targets] == [False, True, False], answers


def test_builds_of_one_client_at_one_time_do_not_reach_each_other(platform: Platform) -> None:
    client, cancel = platform.common, Cancel()
    address: list[str] = []
    listens = threading.Event()

    def watch(event: Event) -> None:
        if event.text.startswith("listening on "):
            address.append(event.text.rpartition(" ")[2])
            listens.set()

    files = {"Dockerfile": f"FROM {BASE}\nCOPY listen.py /\nRUN python3 -u /listen.py\n", "listen.py": LISTEN}
    outcomes: list[Built] = []
    first = threading.Thread(
        target=lambda: outcomes.append(platform.build(client, files, watch=watch, cancel=cancel)), daemon=True
    )
    first.start()
    try:
        assert listens.wait(120)
        answers = platform.good_build(client, probing(f"{address[0]}:8099")).answers
    finally:
        cancel.set()
        first.join(60)
    assert outcomes[0].outcome.error is not None and outcomes[0].outcome.error.code == "interrupted"
    assert answers and "reached" not in answers.values()


def test_run_steps_share_the_builder_s_memory_limit(platform: Platform) -> None:
    client = platform.client()
    text = f"FROM {SMALL}\nRUN dd if=/dev/zero of=/dev/null bs=700M count=1 && echo enough\n"
    small = platform.build(client, {"Dockerfile": text}, limits=Limits(memory_bytes=512 * 1024**2))
    assert small.outcome.error is not None and small.outcome.error.step_exit_code == 137
    builders.remove(platform.settings, client)
    assert "enough" in platform.good_build(client, {"Dockerfile": text}).lines


# --- caches and lives -----------------------------------------------------------------------------------------------


def test_clients_share_neither_network_nor_cache(platform: Platform) -> None:
    one, other = platform.client(), platform.client()
    files = platform.folder({"Dockerfile": f"FROM {SMALL}\nRUN echo {secrets.token_hex(4)} > /only-once\n"})
    step = files.joinpath("Dockerfile").read_text().splitlines()[1]
    assert platform.good_build(one, files).cached[step] is False
    assert platform.good_build(other, files).cached[step] is False
    assert platform.good_build(one, files).cached[step] is True
    names = [platform.builder(client).name for client in (one, other)]
    assert names[0] != names[1]
    for client, name in zip((one, other), names, strict=True):
        assert platform.left(client) == {"containers": [f"/{name}"], "networks": [name], "volumes": [name]}


def test_an_idle_builder_is_stopped_and_its_cache_stays(platform: Platform) -> None:
    client = platform.client()
    builder = platform.builder(client)
    files = platform.folder({"Dockerfile": f"FROM {SMALL}\nRUN echo {secrets.token_hex(4)} > /only-once\n"})
    step = files.joinpath("Dockerfile").read_text().splitlines()[1]
    assert platform.good_build(client, files).cached[step] is False
    assert client not in builders.stop_idle(platform.settings, 3600)
    with platform.in_use(builder) as inner:
        assert client not in builders.stop_idle(platform.settings, 0)
        with pytest.raises(Conflict):
            builders.remove(platform.settings, client)
        inner.ping()
    assert client in builders.stop_idle(platform.settings, 0)
    assert platform.left(client) == {"containers": [], "networks": [], "volumes": [builder.name]}
    assert client not in builders.stop_idle(platform.settings, 0)
    assert platform.good_build(client, files).cached[step] is True


def test_a_builder_that_was_killed_is_started_again(platform: Platform) -> None:
    client = platform.client()
    with platform.in_use(platform.builder(client)):
        pass
    platform.engine.kill(platform.builder(client).name)
    platform.good_build(client, {"Dockerfile": f"FROM {SMALL}\nRUN true\n"})


USE = """
import sys
from pathlib import Path
from dockwright import settings
from dockwright.docker import builders
from dockwright.process import Cancel
read = settings.load(env_file=Path("/nonexistent"))
with builders.in_use(read, builders.builder_for(read, sys.argv[1]), print, Cancel()) as inner:
    print(inner.info()["ID"])
"""


def test_whoever_asks_at_once_gets_one_builder(platform: Platform) -> None:
    client = platform.client()
    ids: list[str] = []

    def use() -> None:
        with platform.in_use(platform.builder(client)) as inner:
            ids.append(inner.info()["ID"])

    env = {**os.environ, "DOCKWRIGHT_HOME": str(platform.home), "BUILD_ISOLATION": "isolated"}
    command = [sys.executable, "-c", USE, client]
    processes = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    for child in processes:
        ids.append(child.communicate(timeout=120)[0].splitlines()[-1])
        assert child.returncode == 0
    assert len(ids) == 6
    assert len(set(ids)) == 1


def test_the_cache_is_kept_under_a_budget(platform: Platform) -> None:
    client = platform.client()
    base = platform.engine.image(SMALL)
    assert base is not None
    text = f"FROM {SMALL}\nRUN head -c 50000000 /dev/urandom > /blob && echo {secrets.token_hex(4)}\nRUN rm /blob\n"
    files = platform.folder({"Dockerfile": text})
    platform.good_build(client, files)
    builder = platform.builder(client)
    roomy = base["Size"] + 200_000_000
    assert builders.prune(platform.settings, builder, roomy) > base["Size"] + 50_000_000
    assert all(platform.good_build(client, files).cached.values())
    assert builders.prune(platform.settings, builder, base["Size"] + 10_000_000) <= base["Size"] + 10_000_000
    with platform.in_use(builder) as inner:
        assert inner.image(SMALL) is not None
    with platform.in_use(builder) as inner:
        assert builders.prune(platform.settings, builder, 1_000_000) <= base["Size"] + 1_000_000
        assert inner.image(SMALL) is not None, "a build may need it at any moment"
    assert builders.prune(platform.settings, builder, 1_000_000) <= 1_000_000
    assert not any(platform.good_build(client, files).cached.values())


def test_a_builder_is_removed_with_all_that_is_its_own(platform: Platform) -> None:
    client = platform.client()
    with platform.in_use(platform.builder(client)):
        assert platform.left(client)["containers"]
    builders.remove(platform.settings, client)
    assert platform.left(client) == {"containers": [], "networks": [], "volumes": []}
    assert not [path for path in (platform.home / "builders").iterdir() if path.name.startswith(client)]
    builders.remove(platform.settings, client)


def test_a_step_s_log_is_kept_whole(platform: Platform) -> None:
    count = 30_000
    text = f"FROM {BASE}\nRUN python3 -c \"[print('x' * 70, n) for n in range({count})]\"\n"
    lines = platform.good_build(platform.common, {"Dockerfile": text}).lines
    assert lines == [f"{'x' * 70} {number}" for number in range(count)]
