"""The edge with the real HAProxy; the instances are small HTTP servers of this process."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from load import Load

from dockwright.domain.product import Instance, Product
from dockwright.errors import Conflict, PortTaken, UsageError
from dockwright.process import Cancel
from dockwright.settings import Settings, load
from dockwright.targets import haproxy
from dockwright.targets.edge import Edge
from dockwright.targets.ports import EDGE_PORTS, is_free


class App(ThreadingHTTPServer):
    """Answers with its name; `/stream` ends when the test says so."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, name: str) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.name = name
        self.end_of_stream = threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def instance(self, release: int = 1) -> Instance:
        port = self.server_address[1]
        return Instance(container_id=self.name, name=self.name, address="127.0.0.1", port=port, release=release)

    def place(self) -> tuple[str, int]:
        return ("127.0.0.1", self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # connections that a test cuts


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: App

    def do_GET(self) -> None:
        routes: dict[str, Callable[[], None]] = {
            "/stream": self._stream,
            "/upgrade": self._upgrade,
            "/headers": lambda: self._answer(200, str(self.headers)),
            "/cookies": self._cookies,
            "/broken": lambda: self._answer(500, "the app's own error"),
            "/cut": self._cut,
        }
        routes.get(self.path, lambda: self._answer(200, self.server.name))()

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def _cookies(self) -> None:
        self.send_response(200)
        for name in ("other", "dockwright_session"):
            self.send_header("Set-Cookie", f"{name}=1")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"5\r\nbegin\r\n")
        self.server.end_of_stream.wait(30)
        self.wfile.write(b"3\r\nend\r\n0\r\n\r\n")

    def _upgrade(self) -> None:
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "echo")
        self.end_headers()
        while received := self.connection.recv(1024):
            self.connection.sendall(received)

    def _cut(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"only so much")
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


def a_port() -> int:
    """Far from each other, so that tests which run at once do not meet."""
    return next(port for port in range(EDGE_PORTS.start + os.getpid() % 700, EDGE_PORTS.stop) if is_free("", port))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """With a home that is deeper than a Unix socket's path may be long."""
    home = tmp_path / ("a-deep-folder/" * 12)
    return load({"DOCKWRIGHT_HOME": str(home)}, env_file=tmp_path / "none")


@pytest.fixture
def edge(settings: Settings) -> Iterator[Edge]:
    edge = Edge(settings)
    yield edge
    for folder in (settings.home / "edge").glob("*/*"):
        with contextlib.suppress(Exception):
            os.kill(haproxy.process_id(folder), signal.SIGKILL)


@pytest.fixture
def product() -> Product:
    return make_product("shop")


def make_product(slug: str, port: int | None = None) -> Product:
    return Product(id=1, client="acme", project=None, slug=slug, port=port or a_port())


@pytest.fixture
def apps() -> Iterator[list[App]]:
    apps = [App("blue"), App("green")]
    yield apps
    for app in apps:
        app.end_of_stream.set()
        app.shutdown()
        app.server_close()


def get(product: Product, path: str = "/", headers: dict[str, str] | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", product.port, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def test_switches_under_load_lose_no_request(edge: Edge, product: Product, apps: list[App]) -> None:
    blue, _ = apps
    edge.ensure(product, [blue.instance()])
    with Load(product.port) as load:
        for number in range(20):
            seen = len(load.answers)
            edge.switch(product, [apps[(number + 1) % 2].instance()])
            wait_for(lambda seen=seen: len(load.answers) > seen + 50)
    assert load.failures == []
    assert {"blue", "green"} == set(load.answers)
    counters = edge.counters(product)
    assert counters.failed_requests == 0
    assert counters.requests == len(load.answers)


def test_after_a_switch_only_the_new_instance_is_asked(edge: Edge, product: Product, apps: list[App]) -> None:
    blue, green = apps
    edge.ensure(product, [blue.instance()])
    edge.switch(product, [green.instance()])
    assert {get(product)[1] for _ in range(20)} == {"green"}
    assert edge.live(product) == [green.place()]


def test_two_instances_share_the_traffic(edge: Edge, product: Product, apps: list[App]) -> None:
    edge.ensure(product, [app.instance() for app in apps])
    assert {get(product)[1] for _ in range(20)} == {"blue", "green"}


def test_a_stream_lives_until_its_end_after_a_switch(edge: Edge, product: Product, apps: list[App]) -> None:
    blue, green = apps
    edge.ensure(product, [blue.instance()])
    connection = http.client.HTTPConnection("127.0.0.1", product.port, timeout=30)
    connection.request("GET", "/stream")
    answer = connection.getresponse()
    assert answer.read(5) == b"begin"
    edge.switch(product, [green.instance()])
    assert not edge.drained(product, blue.instance())
    assert not edge.drain(product, blue.instance(), seconds=0.2)
    assert get(product) == (200, "green")
    blue.end_of_stream.set()
    assert answer.read() == b"end"
    connection.close()
    assert edge.drain(product, blue.instance(), seconds=10)


def test_an_upgraded_connection_outlives_a_switch(edge: Edge, product: Product, apps: list[App]) -> None:
    blue, green = apps
    edge.ensure(product, [blue.instance()])
    with socket.create_connection(("127.0.0.1", product.port), timeout=10) as connection:
        connection.sendall(b"GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        assert b"101" in connection.recv(1024)
        edge.switch(product, [green.instance()])
        connection.sendall(b"still there?")
        assert connection.recv(1024) == b"still there?"
        assert not edge.drained(product, blue.instance())
    assert edge.drain(product, blue.instance(), seconds=10)


def test_an_instance_that_is_gone_is_passed_over(edge: Edge, product: Product, apps: list[App]) -> None:
    blue, green = apps
    edge.ensure(product, [blue.instance(), green.instance()])
    blue.shutdown()
    blue.server_close()
    assert {get(product) for _ in range(6)} == {(200, "green")}
    assert edge.counters(product).failed_requests == 0


def test_without_an_instance_the_edge_says_so(edge: Edge, product: Product) -> None:
    edge.ensure(product)
    status, page = get(product)
    assert status == 503
    assert "Not available at the moment" in page
    assert edge.counters(product).failed_requests == 1


def test_only_failures_of_the_edge_count_as_failed(edge: Edge, product: Product, apps: list[App]) -> None:
    edge.ensure(product, [apps[0].instance()])
    assert get(product, "/broken")[0] == 500
    assert edge.counters(product).failed_requests == 0
    with pytest.raises(http.client.IncompleteRead):
        get(product, "/cut")
    assert edge.counters(product).failed_requests == 1


def test_forwarded_headers_are_the_edges_own(edge: Edge, product: Product, apps: list[App]) -> None:
    edge.ensure(product, [apps[0].instance()])
    claimed = {
        "X-Forwarded-For": "6.6.6.6",
        "X-Forwarded-Proto": "https",
        "Forwarded": "for=6.6.6.6",
        "Host": "shop.test",
    }
    _, seen = get(product, "/headers", claimed)
    assert "6.6.6.6" not in seen
    lines = {line.lower() for line in seen.splitlines()}
    assert {"x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http", "x-forwarded-host: shop.test"} <= lines


@pytest.mark.parametrize(
    ("sent", "passed_on"),
    [
        ("a=b; c=d", "a=b; c=d"),
        ("dockwright_session=dwt_X; a=b", "a=b"),
        ("a=b; dockwright_session=dwt_X; c=d", "a=b; c=d"),
        ("a=b; dockwright_session=dwt_X", "a=b;"),
        ("dockwright_session=dwt_X; dockwright_csrf=1; dockwright_session=dwt_Y", None),
    ],
)
def test_a_sign_in_of_ours_is_none_of_the_apps_business(
    edge: Edge, product: Product, apps: list[App], sent: str, passed_on: str | None
) -> None:
    """Browsers send a host's cookies to all of its ports."""
    edge.ensure(product, [apps[0].instance()])
    _, seen = get(product, "/headers", {"Cookie": sent})
    cookies = [line.partition(": ")[2].strip() for line in seen.splitlines() if line.lower().startswith("cookie")]
    assert cookies == ([] if passed_on is None else [passed_on])


def test_an_app_gives_no_cookie_of_our_names(edge: Edge, product: Product, apps: list[App]) -> None:
    edge.ensure(product, [apps[0].instance()])
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", product.port, timeout=10)) as connection:
        connection.request("GET", "/cookies")
        given = connection.getresponse().headers.get_all("Set-Cookie")
    assert given is None or not [one for one in given if "dockwright_" in one]


def test_it_outlives_the_process_that_started_it(settings: Settings, edge: Edge, product: Product) -> None:
    script = (
        "import sys; from pathlib import Path; from dockwright.settings import load;"
        "from dockwright.targets.edge import Edge; from dockwright.domain.product import Product;"
        "settings = load({'DOCKWRIGHT_HOME': sys.argv[1]}, env_file=Path('none'));"
        "print(Edge(settings).ensure(Product(id=1, client='acme', project=None, slug='shop', port=int(sys.argv[2]))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(settings.home), str(product.port)],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stdout == "True\n", done.stderr
    assert edge.is_running(product)
    assert get(product)[0] == 503
    assert edge.ensure(product) is False


def test_ensure_leaves_a_running_edge_as_it_is(edge: Edge, product: Product, apps: list[App]) -> None:
    blue, green = apps
    assert edge.ensure(product, [blue.instance()])
    assert not edge.ensure(product, [green.instance()])
    assert edge.live(product) == [blue.place()]


def test_an_edge_that_was_killed_comes_back_with_its_traffic(edge: Edge, product: Product, apps: list[App]) -> None:
    blue, _ = apps
    edge.ensure(product, [blue.instance()])
    number = haproxy.process_id(edge.settings.home / "edge" / "acme" / "shop")
    os.kill(number, signal.SIGKILL)
    wait_for(lambda: not edge.is_running(product) and is_free("127.0.0.1", product.port))
    assert edge.live(product) == []
    assert edge.ensure(product, [blue.instance()])
    assert get(product) == (200, "blue")


def test_a_product_moves_to_another_port(edge: Edge, product: Product, apps: list[App]) -> None:
    edge.ensure(product, [apps[0].instance()])
    other = make_product("shop", port=next(p for p in range(product.port + 1, 9999) if is_free("", p)))
    assert edge.ensure(other)
    assert get(other) == (200, "blue")
    assert is_free("127.0.0.1", product.port)


def test_a_port_of_another_product_is_refused_by_name(edge: Edge, product: Product, apps: list[App]) -> None:
    edge.ensure(product, [apps[0].instance()])
    rival = make_product("rival", port=product.port)
    with pytest.raises(PortTaken, match=f'Port {product.port} is held by product "shop"') as caught:
        edge.ensure(rival)
    assert "dockwright stop shop" in caught.value.remedy
    assert not edge.is_running(rival)
    assert get(product) == (200, "blue")


def test_a_port_that_a_process_holds_is_refused_with_its_name(edge: Edge, product: Product) -> None:
    with socket.create_server(("127.0.0.1", product.port)), pytest.raises(PortTaken) as caught:
        edge.ensure(product)
    assert f"(process {os.getpid()})" in caught.value.message
    assert "--port" in caught.value.remedy


def test_a_port_that_a_stopped_product_holds_is_refused(edge: Edge, product: Product) -> None:
    with pytest.raises(PortTaken, match="held by another product"):
        edge.ensure(product, taken_ports={product.port})


def test_a_move_to_a_port_that_is_taken_changes_nothing(edge: Edge, product: Product, apps: list[App]) -> None:
    edge.ensure(product, [apps[0].instance()])
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken = make_product("shop", port=holder.getsockname()[1])
        with pytest.raises(PortTaken):
            edge.ensure(taken)
    assert get(product) == (200, "blue")


def test_stop_frees_the_port_and_may_be_called_again(edge: Edge, product: Product, apps: list[App]) -> None:
    edge.ensure(product, [apps[0].instance()])
    edge.stop(product)
    assert not edge.is_running(product)
    assert is_free("127.0.0.1", product.port)
    edge.stop(product)
    edge.remove(product)
    assert not (edge.settings.home / "edge" / "acme" / "shop").exists()


def test_more_instances_than_there_is_room_for_are_refused(edge: Edge, product: Product, apps: list[App]) -> None:
    edge.ensure(product, [apps[0].instance()])
    many = [
        Instance(container_id=str(port), name="x", address="127.0.0.1", port=port, release=1)
        for port in range(1000, 1000 + haproxy.SLOTS + 1)
    ]
    with pytest.raises(UsageError, match="room for 64"):
        edge.switch(product, many)
    assert get(product) == (200, "blue")


def test_a_hundred_switches_use_up_no_slots(edge: Edge, product: Product, apps: list[App]) -> None:
    edge.ensure(product, [apps[0].instance()])
    for number in range(100):
        gone = Instance(container_id="x", name="x", address="127.0.0.1", port=1000 + number, release=1)
        edge.switch(product, [apps[0].instance(), gone])
        edge.switch(product, [apps[0].instance()])
        edge.drain(product, gone, seconds=0)
    assert get(product) == (200, "blue")


def test_two_deployments_of_a_product_never_run_at_once(edge: Edge, product: Product) -> None:
    with edge.deployment(product), pytest.raises(Conflict), edge.deployment(product):
        raise AssertionError("the second one got in")
    with edge.deployment(product):
        pass


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    cancel = Cancel(deadline=time.monotonic() + seconds)
    while not condition():
        cancel.sleep(0.01)
