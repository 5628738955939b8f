"""The edge's pure parts: its configuration, the commands of a switch, ports and counters."""

from __future__ import annotations

import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwright.domain.product import Product
from dockwright.errors import PortTaken, UsageError
from dockwright.targets import ports
from dockwright.targets.docker import volume_name
from dockwright.targets.edge import switch_commands
from dockwright.targets.haproxy import Counters, Slot, config
from dockwright.targets.readiness import READY_SECONDS, quick_health_check, start_window

FREE = Slot("s9", "127.0.0.1", 1, "maint")


def test_a_switch_takes_the_new_before_it_lets_the_old_go() -> None:
    slots = [Slot("s1", "127.0.0.1", 20001, "ready"), FREE]
    assert switch_commands(slots, [("127.0.0.1", 20002)]) == [
        "set server app/s9 addr 127.0.0.1 port 20002",
        "set server app/s9 state ready",
        "set server app/s1 state drain",
    ]


def test_a_switch_to_what_is_live_does_nothing() -> None:
    slots = [Slot("s1", "127.0.0.1", 20001, "ready"), FREE]
    assert switch_commands(slots, [("127.0.0.1", 20001)]) == []


def test_a_switch_back_takes_the_slot_that_still_drains() -> None:
    slots = [Slot("s1", "127.0.0.1", 20001, "drain"), Slot("s2", "127.0.0.1", 20002, "ready"), FREE]
    assert switch_commands(slots, [("127.0.0.1", 20001)]) == [
        "set server app/s1 state ready",
        "set server app/s2 state drain",
    ]


@given(st.sets(st.integers(1000, 1020), max_size=10), st.sets(st.integers(1000, 1020), max_size=10))
def test_any_switch_ends_with_exactly_what_was_asked(before: set[int], after: set[int]) -> None:
    slots = [Slot(f"s{number}", "127.0.0.1", port, "ready") for number, port in enumerate(sorted(before))]
    slots += [Slot(f"f{number}", "127.0.0.1", 1, "maint") for number in range(20)]
    servers = {slot.name: [slot.port, slot.state] for slot in slots}
    for command in switch_commands(slots, [("127.0.0.1", port) for port in sorted(after)]):
        words = command.split()
        name = words[2].removeprefix("app/")
        servers[name][0 if words[3] == "addr" else 1] = int(words[-1]) if words[3] == "addr" else words[-1]
    assert sorted(port for port, state in servers.values() if state == "ready") == sorted(after)


def test_without_room_a_switch_is_refused() -> None:
    with pytest.raises(UsageError, match="room for 1 instances"):
        switch_commands([FREE], [("127.0.0.1", 1001), ("127.0.0.1", 1002)])


@pytest.mark.parametrize("bind", ["", "0.0.0.0\n  user root", "a b", "127.0.0.1,::", "é"])
def test_an_address_never_becomes_configuration(bind: str) -> None:
    with pytest.raises(UsageError, match="EDGE_BIND"):
        config(bind, 8000)


def test_the_configuration_binds_the_product_s_port() -> None:
    assert "    bind 0.0.0.0:8123\n" in config("0.0.0.0", 8123)


def test_counters_of_an_edge_that_started_again_count_from_zero() -> None:
    assert Counters(10, 2).since(Counters(4, 1)) == Counters(6, 1)
    assert Counters(3, 0).since(Counters(4, 1)) == Counters(3, 0)


def test_a_free_port_is_stable_and_passes_over_what_is_taken() -> None:
    first = ports.free_port()
    assert ports.free_port({first}) > first
    with socket.create_server(("127.0.0.1", first)):
        assert ports.free_port() != first
        assert ports.listener(first) is not None
        assert str(os.getpid()) in (ports.listener(first) or "")
    with pytest.raises(PortTaken, match="8000 to 8999"):
        ports.free_port(range(8000, 9000))


def test_a_port_that_nobody_holds_has_no_listener() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
    assert ports.listener(port) is None
    assert ports.is_free("127.0.0.1", port)


def test_a_health_check_keeps_its_own_and_starts_quickly() -> None:
    check = {"Test": ["CMD", "true"], "Interval": 10 * 10**9, "Retries": 4, "StartPeriod": 5 * 10**9}
    image = {"Config": {"Healthcheck": check}}
    assert start_window(image) == 45
    quick = quick_health_check(image)["Healthcheck"]
    assert quick == {**check, "StartPeriod": 45 * 10**9, "StartInterval": 200_000_000}


@pytest.mark.parametrize("config", [{}, {"Healthcheck": None}, {"Healthcheck": {"Test": ["NONE"]}}])
def test_without_a_health_check_none_is_made(config: dict[str, object]) -> None:
    assert quick_health_check({"Config": config}) == {}
    assert start_window({"Config": config}) == READY_SECONDS


def test_the_usual_health_check_may_take_ninety_seconds() -> None:
    assert start_window({"Config": {"Healthcheck": {"Test": ["CMD", "true"]}}}) == 90


def test_volumes_of_two_paths_never_meet() -> None:
    product = Product(id=1, client="acme", project=None, slug="shop", port=8000)
    names = [volume_name(product, path) for path in ("/data", "/var/data", "/Data", "/data/", "/dätä; rm -rf")]
    assert len(set(names)) == len(names)
    assert all(name.startswith("dockwright-acme-shop-") and name.isascii() and " " not in name for name in names)
