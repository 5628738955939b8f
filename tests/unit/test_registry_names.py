"""Names and credentials for a registry: what goes where, and to nobody else."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from dockwright import settings as settings_module
from dockwright.docker.registry import Registry, from_settings, holder_of
from dockwright.errors import InvalidSetting
from dockwright.settings import Settings


def load(tmp_path: Path, **environ: str) -> Settings:
    return settings_module.load({"DOCKWRIGHT_HOME": str(tmp_path), **environ}, tmp_path / "none")


def sent(registry: Registry) -> object:
    return json.loads(base64.urlsafe_b64decode(registry.headers()["X-Registry-Auth"]))


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://127.0.0.1:5000", "127.0.0.1:5000/acme/pay:v1"),
        ("https://registry.example", "registry.example/acme/pay:v1"),
        ("http://localhost", "localhost/acme/pay:v1"),
        ("http://registry", "registry:80/acme/pay:v1"),
        ("https://registry", "registry:443/acme/pay:v1"),
        ("https://ghcr.io/team/", "ghcr.io/team/acme/pay:v1"),
    ],
)
def test_name_in_the_registry(url: str, name: str) -> None:
    assert Registry(url=url).name_of("acme/pay:v1") == name


def test_no_registry_unless_set(tmp_path: Path) -> None:
    assert from_settings(load(tmp_path)) is None


def test_credentials_are_for_their_registry_alone(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        DOCKER_REGISTRY_URL="https://registry.example:5000/team",
        DOCKER_REGISTRY_USERNAME="builder",
        DOCKER_REGISTRY_PASSWORD="pässword",
    )
    ours = holder_of("registry.example:5000/team/acme/pay@sha256:1", settings)
    expected = {"username": "builder", "password": "pässword", "serveraddress": "registry.example:5000"}
    assert sent(ours) == expected
    assert "pässword" not in repr(ours)
    for ref in ("elsewhere.example/acme/pay@sha256:1", "registry.example/acme/pay@sha256:1", "acme/pay@sha256:1"):
        assert sent(holder_of(ref, settings)) == {}, ref


def test_registry_of_this_machine_is_asked_without_tls(tmp_path: Path) -> None:
    assert holder_of("127.0.0.1:5000/acme/pay@sha256:1", load(tmp_path)).url == "http://127.0.0.1:5000"
    assert holder_of("registry.example/acme/pay@sha256:1", load(tmp_path)).url == "https://registry.example"


@pytest.mark.parametrize(
    "url",
    [
        "registry.example",
        "ftp://registry.example",
        "https://",
        "https://registry.example?x=1",
        "https://registry.example:port",
        "https://registry.example/Team",
        "https://registry.example/a//b",
        "https://registry.example/a b",
    ],
)
def test_what_cannot_begin_an_image_s_name(url: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="DOCKER_REGISTRY_URL"):
        load(tmp_path, DOCKER_REGISTRY_URL=url)


def test_a_password_in_the_url_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting) as caught:
        load(tmp_path, DOCKER_REGISTRY_URL="https://builder:hunter2@registry.example")
    assert "hunter2" not in caught.value.message + caught.value.remedy
    assert "DOCKER_REGISTRY_PASSWORD" in caught.value.remedy
