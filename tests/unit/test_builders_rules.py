"""What isolated builders are made of and may reach, without an engine."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from dockwright import settings
from dockwright.docker import builders
from dockwright.docker.builder_container import PRIVATE, Mirrors, configuration, mirrors, mirrors_in, name_of
from dockwright.docker.builder_recipe import BASE, PACKAGES, build_command, builder_recipe, folder
from dockwright.docker.recipes import RECIPES, bootstrap_command, digest_of
from dockwright.domain.builder import SHARED, Builder, Limits
from dockwright.errors import InvalidSetting, UsageError

MACHINE = {"NCPU": 2, "MemTotal": 2**33}


def read(home: Path, isolation: str = "isolated") -> settings.Settings:
    environ = {"DOCKWRIGHT_HOME": str(home), "BUILD_ISOLATION": isolation, "BUILD_BUILDER_MAX_WORKERS": "5"}
    return settings.load(environ, env_file=home / "none")


def isolated(home: Path = Path("/h"), **limits: float) -> Builder:
    return builders.builder_for(read(home), "acme", Limits(**limits))  # type: ignore[arg-type]


def test_a_shared_builder_is_the_host_s_engine(tmp_path: Path) -> None:
    found = builders.builder_for(read(tmp_path, "shared"), "acme")
    assert (found.name, found.kind, found.docker_host, found.capacity) == (SHARED.name, "shared", None, 5)
    assert list(tmp_path.iterdir()) == []


def test_an_isolated_builder_is_its_client_s_alone(tmp_path: Path) -> None:
    one, other = (builders.builder_for(read(tmp_path), client) for client in ("acme", "bolt"))
    assert one.docker_host == f"unix://{tmp_path}/builders/acme/docker.sock"
    assert one.name != other.name and one.folder != other.folder
    assert one.name != name_of("/elsewhere", "acme"), "another installation has other builders"
    assert (one.kind, one.capacity) == ("isolated", 5)


@pytest.mark.parametrize("client", ["", "..", "../other", "a/b", "A", "a b", "-x", "a\n", "x" * 64])
def test_what_is_no_client_s_name_becomes_no_path(client: str) -> None:
    with pytest.raises(UsageError):
        builders.builder_for(read(Path("/h")), client)


def test_a_path_too_long_for_a_socket_is_told_before_anything_is_started() -> None:
    with pytest.raises(InvalidSetting, match="107 bytes") as error:
        builders.builder_for(read(Path("/" + "h" * 90)), "acme")
    assert "DOCKWRIGHT_HOME" in error.value.remedy


def test_the_container_s_limits_are_the_machine_s_at_most() -> None:
    asked = isolated(cpus=16.0, memory_bytes=2**40)
    given = configuration(asked, "sha256:1", ["192.0.2.2"], Mirrors((), (), ()), MACHINE)["HostConfig"]
    assert (given["NanoCpus"], given["Memory"], given["MemorySwap"]) == (2_000_000_000, 2**33, 2**33)
    asked = isolated(cpus=0.5, memory_bytes=2**30, pids=100)
    given = configuration(asked, "sha256:1", ["192.0.2.2"], Mirrors((), (), ()), MACHINE)["HostConfig"]
    assert (given["NanoCpus"], given["Memory"], given["PidsLimit"]) == (500_000_000, 2**30, 100)


def test_the_container_has_a_network_and_a_cache_of_its_own_and_no_port() -> None:
    builder = isolated()
    config = configuration(builder, "sha256:1", ["192.0.2.2"], Mirrors((), (), ()), MACHINE)
    assert config["HostConfig"]["NetworkMode"] == builder.name
    assert [(mount["Type"], mount["Source"], mount["Target"]) for mount in config["HostConfig"]["Mounts"]] == [
        ("volume", builder.name, "/var/lib/docker"),
        ("bind", "/h/builders/acme", "/run/d"),
    ]
    assert "PortBindings" not in config["HostConfig"] and "ExposedPorts" not in config
    assert config["Labels"] == {
        "dev.dockwright.managed": "true",
        "dev.dockwright.client": "acme",
        "dev.dockwright.builder": builder.name,
    }


def test_the_machine_s_addresses_are_forbidden_beside_all_private_ones() -> None:
    config = configuration(isolated(), "sha256:1", ["203.0.113.7", "172.17.0.1"], Mirrors((), (), ()), MACHINE)
    env = dict(variable.split("=", 1) for variable in config["Env"])
    forbidden = [ipaddress.ip_network(one) for one in env["DOCKWRIGHT_FORBIDDEN"].split(",")]
    for address in (
        "203.0.113.7",
        "10.1.2.3",
        "172.31.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "127.0.0.1",
        "100.64.0.1",
    ):
        assert any(ipaddress.ip_address(address) in network for network in forbidden), address
    for address in ("1.1.1.1", "151.101.0.1", "203.0.113.8", "172.32.0.1"):
        assert not any(ipaddress.ip_address(address) in network for network in forbidden), address
    assert len(PRIVATE) == len(set(PRIVATE))


def test_mirrors_are_found_in_what_apt_pip_and_npm_read() -> None:
    texts = [
        "Types: deb\nURIs: http://mirror.example:3142/debian\n",
        'Acquire::http::Proxy "http://10.0.0.8:8080";',
        "[global]\nindex-url = https://me:secret@pypi.example/simple\ntrusted-host = pypi.example\n",
        "registry=https://npm.example/\n",
    ]
    assert mirrors_in(texts) == Mirrors(
        ("mirror.example", "npm.example", "pypi.example"), ("10.0.0.8",), (443, 3142, 8080)
    )


@pytest.mark.parametrize("text", ["http://localhost:3142/", "http://[::1]:80/", "http://a_b/x", "http://x:port/", ""])
def test_what_a_builder_could_not_reach_anyway_is_no_mirror(text: str) -> None:
    assert mirrors_in([text]) == Mirrors((), (), ())


def test_apt_s_sources_are_read_in_both_formats_and_without_comments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = tmp_path / "sources.list.d"
    more.mkdir()
    (tmp_path / "sources.list").write_text(
        "deb [arch=amd64] http://one.example/debian bookworm main\n# http://no.example\n"
    )
    (more / "two.sources").write_text("Types: deb\n# was: http://old.example\nURIs: https://two.example:8443/debian\n")
    monkeypatch.setattr("dockwright.docker.builder_container.APT", tmp_path)
    found = mirrors({"HOME": str(tmp_path)})
    assert {"one.example", "two.example"} <= set(found.names)
    assert not {"no.example", "old.example"} & set(found.names)
    assert {80, 8443} <= set(found.ports)


def test_a_proxy_is_let_through() -> None:
    found = mirrors({"https_proxy": "http://proxy.example:3128", "HOME": "/nonexistent"})
    assert "proxy.example" in found.names and 3128 in found.ports


def test_both_ways_to_make_the_image_install_the_same_packages() -> None:
    text = (folder() / "Dockerfile").read_text()
    assert f"FROM {BASE}\n" in text
    for package in PACKAGES:
        assert package in text.replace("/trixie", "").split(), package
    for change in builder_recipe().changes:
        assert f"{change}\n" in text
    for place in builder_recipe().files:
        assert place in text


def test_the_image_is_debian_13_s_and_the_bases_are_not() -> None:
    command = bootstrap_command(builder_recipe(), tar=Path("/t"), sources=Path("/s"), apt_options=[])
    assert command[-3:] == ["trixie", "/t", "/s"]
    assert {recipe.suite for recipe in RECIPES.values()} == {"bookworm"}


def test_a_changed_firewall_is_another_image(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = digest_of(builder_recipe(), {})
    for file in folder().iterdir():
        (tmp_path / file.name).write_text(file.read_text() + "\n")
    monkeypatch.setattr("dockwright.docker.builder_recipe.folder", lambda: tmp_path)
    after = digest_of(builder_recipe(), {})
    assert before != after
    assert f"--label=dev.dockwright.recipe={after}" in build_command(after)
