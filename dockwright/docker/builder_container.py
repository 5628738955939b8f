"""The container of an isolated builder: what it may reach, and how it is made. Pure, but for what the host is asked."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.parse import urlsplit

from dockwright.docker import host
from dockwright.docker.engine import Engine
from dockwright.domain.builder import Builder
from dockwright.errors import BuilderUnavailable

LABEL = "dev.dockwright."
APT = Path("/etc/apt")
PRIVATE = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/3",
)
"""Whatever is no address of the internet: other containers, the machine's neighbours, a cloud's metadata."""
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_PORTS = {"http": 80, "https": 443}
_ADDRESS = re.compile(r"https?://[^\s\"';]+")
_PROXY_VARIABLES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy")


@dataclass(frozen=True, slots=True)
class Mirrors:
    """Where this machine gets packages from: a builder may reach that though it lies on a private address."""

    names: tuple[str, ...]
    addresses: tuple[str, ...]
    ports: tuple[int, ...]


def mirrors_in(texts: Iterable[str]) -> Mirrors:
    """Of all http and https addresses in configuration files' texts.

    >>> mirrors_in(["deb http://mirror.example:3142/debian x", "index-url = https://10.1.2.3/simple"])
    Mirrors(names=('mirror.example',), addresses=('10.1.2.3',), ports=(443, 3142))
    """
    names: set[str] = set()
    addresses: set[str] = set()
    ports: set[int] = set()
    for address in (found for text in texts for found in _ADDRESS.findall(text)):
        try:
            parts = urlsplit(address)
            name, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        except ValueError:
            continue  # no address after all
        if not _NAME.fullmatch(name) or name == "localhost":
            continue
        ports.add(port)
        (addresses if _is_address(name) else names).add(name)
    return Mirrors(tuple(sorted(names)), tuple(sorted(addresses)), tuple(sorted(ports)))


def _is_address(name: str) -> bool:
    try:
        IPv4Address(name)
    except AddressValueError:
        return False
    return True


def mirrors(environ: Mapping[str, str] = os.environ) -> Mirrors:
    """Those of apt, pip and npm, and the proxies on the way to them."""
    apt = [*_apt_sources(APT), *host.apt_options()] if APT.is_dir() else []
    pip, npm = host.pip_config(environ, with_credentials=True), host.npm_config(environ)
    proxies = [environ.get(name, "") for name in _PROXY_VARIABLES]
    return mirrors_in([*apt, pip or "", npm or "", *proxies])


def _apt_sources(folder: Path) -> Iterator[str]:
    """Line by line, without comments. apt itself would take over a second to list them."""
    for file in (folder / "sources.list", *sorted(folder.glob("sources.list.d/*"))):
        if file.is_file():
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            yield from (line for line in lines if not line.lstrip().startswith("#"))


def host_addresses(engine: Engine, image: str, labels: Mapping[str, str]) -> list[str]:
    """The IPv4 addresses of the machine that the engine runs on, which need not be this one, nor our network its own.

    A builder must reach none of them: whatever listens on all addresses, listens on these.
    """
    config = {
        "Image": image,
        "Entrypoint": ["hostname", "--all-ip-addresses"],
        "Labels": dict(labels),
        "HostConfig": {"NetworkMode": "host"},
    }
    name = engine.create_container(f"dockwright-look-{token_hex(6)}", config)
    try:
        engine.start_container(name)
        status = engine.request("POST", f"/containers/{name}/wait", timeout=60.0)["StatusCode"]
        lines = engine.logs(name)
    finally:
        engine.remove_container(name, volumes=True)
    found = [word for line in lines for word in line.split() if _is_address(word)]
    if status != 0 or not found:
        raise BuilderUnavailable(
            "It could not be found out which addresses the machine has that a builder must be kept from",
            remedy="See the engine's own log, and: dockwright doctor",
            last_lines=lines[-5:],
        )
    return found


def labels(builder: Builder) -> dict[str, str]:
    return {f"{LABEL}managed": "true", f"{LABEL}client": builder.client, f"{LABEL}builder": builder.name}


def configuration(
    builder: Builder, image: str, addresses: Sequence[str], packages: Mirrors, machine: Mapping[str, Any]
) -> dict[str, Any]:
    """As the engine's API takes it. `addresses` are the host's; `machine` is what the engine's `info` tells of it."""
    assert builder.folder is not None, "a shared builder has no container"
    limits = builder.limits
    env = {
        "DOCKWRIGHT_FORBIDDEN": ",".join([*PRIVATE, *addresses]),
        "DOCKWRIGHT_MIRRORS": ",".join(packages.addresses),
        "DOCKWRIGHT_MIRROR_NAMES": "/".join(packages.names),
        "DOCKWRIGHT_MIRROR_PORTS": ",".join(map(str, packages.ports)),
        "DOCKWRIGHT_CACHE_BYTES": str(limits.cache_bytes),
        "DOCKWRIGHT_SOCKET_GROUP": str(os.getgid()),
    }
    memory = min(limits.memory_bytes, int(machine.get("MemTotal") or limits.memory_bytes))
    return {
        "Image": image,
        "Hostname": "builder",
        "Labels": labels(builder),
        "Env": [f"{name}={value}" for name, value in env.items()],
        "HostConfig": {
            "Privileged": True,
            # Its own view of the groups, so that those of RUN steps lie below its own and share its limits.
            "CgroupnsMode": "private",
            "NanoCpus": int(min(limits.cpus, float(machine.get("NCPU") or limits.cpus)) * 1e9),
            "Memory": memory,
            "MemorySwap": memory,
            "PidsLimit": limits.pids,
            "NetworkMode": builder.name,
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "5m", "max-file": "2"}},
            "Mounts": [
                {"Type": "volume", "Source": builder.name, "Target": "/var/lib/docker"},
                {"Type": "bind", "Source": str(builder.folder), "Target": "/run/d"},
            ],
        },
    }


def name_of(home: str, client: str) -> str:
    """Two installations on one engine may both have a client of that name.

    >>> name_of("/srv/dockwright", "acme")
    'dockwright-builder-acme-e1b9cc'
    """
    return f"dockwright-builder-{client}-{hashlib.sha256(home.encode()).hexdigest()[:6]}"


def is_refusal_of_privilege(message: str) -> bool:
    """Engines and their plug-ins word it in their own ways; only the advice follows from it."""
    return "privileged" in json.dumps(message).lower()
