"""The platform's compose file: nothing is open to the network, no password is written down, every name is explained."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from dockwright import settings

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
TEXT = (DEPLOY / "compose.yaml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
EXAMPLE = (DEPLOY / ".env.example").read_text()


def test_all_parts_are_there() -> None:
    assert {"server", "worker", "redis", "postgres", "registry", "builder"} <= SERVICES.keys()


def test_what_is_published_is_published_on_loopback() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(published) == 3
    for port in published:
        assert port.startswith("127.0.0.1:")


def test_passwords_come_from_outside_and_must_be_given() -> None:
    assert len(re.findall(r"\$\{[A-Z]+_PASSWORD\b", TEXT)) > 5
    for name, rest in re.findall(r"\$\{([A-Z]+_PASSWORD)([^}]*)\}", TEXT):
        assert rest.startswith(":?"), name
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            assert "PASSWORD" not in name or name.endswith("_PATH") or str(value).startswith("${")


def test_each_variable_is_explained_and_no_required_one_has_a_value() -> None:
    required = set(re.findall(r"\$\{([A-Z_]+):\?", TEXT))
    optional = set(re.findall(r"\$\{([A-Z_]+):-", TEXT))
    assert set(re.findall(r"\$\{([A-Z_]+)", TEXT)) == required | optional
    assert set(re.findall(r"(?m)^([A-Z_]+)=$", EXAMPLE)) == required
    assert set(re.findall(r"(?m)^#([A-Z_]+)=", EXAMPLE)) == optional
    assert re.findall(r"(?m)^[A-Z_]+=.+", EXAMPLE) == []


def test_the_defaults_in_the_example_are_the_file_s() -> None:
    defaults = dict(re.findall(r"(?m)^#([A-Z_]+)=(.*)$", EXAMPLE))
    for name, value in re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", TEXT):
        assert defaults[name] == value


def test_the_server_and_the_workers_are_given_settings_that_exist() -> None:
    for name in ("server", "worker", "migrate"):
        assert SERVICES[name]["environment"].keys() <= settings.KNOWN | {"HOME"}
        assert SERVICES[name]["environment"]["BUILD_QUEUE_BACKEND"] == "celery"


def test_whatever_lasts_is_watched_and_started_after_what_it_needs() -> None:
    for name in ("server", "worker", "postgres", "redis", "registry"):
        assert SERVICES[name]["healthcheck"]["test"]
    for name in ("server", "worker"):
        needed = SERVICES[name]["depends_on"]
        assert {"migrate", "postgres", "redis", "registry"} <= needed.keys()
        for part, how in needed.items():
            ends = "service_completed_successfully" if part == "migrate" else "service_healthy"
            assert how == {"condition": ends}
