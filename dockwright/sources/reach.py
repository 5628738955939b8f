"""Where a repository of somebody else's choice may lie: at no address of this machine or of the private network.

A server fetches what its users name, with its own way through the network. So each name is looked up here, all of its
addresses are judged, and Git is told to go to the very same ones: what the name leads to a moment later is of no use.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from pathlib import Path

from dockwright.errors import GitUnreachable, NotAllowedError

MAX_REDIRECTS = 5
REFS = "/info/refs?service=git-upload-pack"
"""What Git asks for first, and what a server that sends it elsewhere must send it elsewhere for."""

_PORTS = {"http": 80, "https": 443, "git": 9418, "ssh": 22}
# No more of what a URL may be than every reader of URLs reads alike.
_NAME = r"(?P<host>[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\])"
_URL = re.compile(rf"(?P<scheme>https?|git|ssh)://(?:[\w.~%+-]+@)?(?P<place>{_NAME}(?::(?P<port>\d{{1,5}}))?)/.*", re.A)
_SHORT = re.compile(rf"[\w.-]+@(?P<place>{_NAME}):(?!//).*", re.A)
_LOCAL = re.compile(r"(?:file://)?/")

_CARRIERS = (IPv6Network("64:ff9b::/96"), IPv6Network("::/96"))
"""Addresses of IPv6 whose last four bytes are one of IPv4."""
_LOCAL_TRANSLATION = IPv6Network("64:ff9b:1::/48")


@dataclass(frozen=True, slots=True)
class Reach:
    """Git's way to a URL: configuration, and variables of its environment."""

    config: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)


def reach(url: str, private_hosts: frozenset[str], trace: Path) -> Reach:
    """Local repositories are judged by SOURCE_FOLDERS instead. `trace`: a file that `redirect` can be read from.

    Raises `NotAllowedError` for what may not be reached, and `GitUnreachable` for a name that nobody knows.
    """
    if _LOCAL.match(url):
        return Reach()
    found = _URL.fullmatch(url) or _SHORT.fullmatch(url)
    if found is None:
        raise NotAllowedError(
            f"It cannot be told which host {url} means", remedy="Give https://HOST/PATH, without what it does not need"
        )
    parts = found.groupdict()
    scheme, host = parts.get("scheme") or "ssh", parts["host"].strip("[]").lower()
    port = int(parts.get("port") or _PORTS[scheme])
    addresses = [] if host in private_hosts else _addresses(url, scheme, host, port)
    if scheme == "git" and addresses:
        pinned = f"git://{_in_url(addresses[0])}:{port}/"
        return Reach({f"url.{pinned}.insteadOf": f"git://{parts['place']}/"}, {"GIT_OVERRIDE_VIRTUAL_HOST": host})
    if scheme in {"http", "https"}:
        config = {f"http.{url}.followRedirects": "false"}
        if addresses:
            config[f"http.{url}.curloptResolve"] = f"{host}:{port}:{','.join(map(_in_url, addresses))}"
        return Reach(config, {"GIT_TRACE_CURL": str(trace), "GIT_TRACE_CURL_NO_DATA": "1"})
    return Reach()


def _addresses(url: str, scheme: str, host: str, port: int) -> list[str]:
    """All of them are allowed; none where a proxy looks the name up instead."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        if _is_proxied(scheme, host):
            return []
        raise GitUnreachable(
            f"The repository {url} cannot be read: its host is not known: {error}", remedy="Check the URL"
        ) from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not all(is_public(address) and not _is_own(address) for address in addresses):
        raise NotAllowedError(
            f"The repository {url} is at an address of the private network, which builds of the API do not reach",
            remedy=f"Upload the source instead, or have the server's operator name {host} in GIT_PRIVATE_HOSTS",
        )
    return addresses


def is_public(address: str) -> bool:
    """Whether it is one of the internet's, an address of IPv4 that one of IPv6 carries included."""
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address):
        carried = _carried(parsed)
        if carried is not None:
            return is_public(str(carried))
        if parsed in _LOCAL_TRANSLATION:
            return False
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


def _carried(address: IPv6Address) -> IPv4Address | None:
    if any(address in network for network in _CARRIERS):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]


def _is_own(address: str) -> bool:
    """Whether it is this machine's: only such a one can be bound."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def _is_proxied(scheme: str, host: str) -> bool:
    from urllib.request import getproxies, proxy_bypass

    proxies = getproxies()
    return bool(proxies.get(scheme) or proxies.get("all")) and not proxy_bypass(host)


def _in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def redirect(url: str, trace: Path) -> str | None:
    """The repository that the last answer in Git's trace leads to; none where it leads nowhere else.

    Raises `GitUnreachable` where it leads to what is no repository.
    """
    from urllib.parse import urljoin

    text = trace.read_text("utf-8", "replace") if trace.exists() else ""
    headers: list[str] = re.findall(r"<= Recv header: (.*)", text)
    status, location = "", None
    for header in headers:
        name, _, value = header.partition(":")
        if header.startswith("HTTP/"):
            status, location = header.partition(" ")[2], None
        elif name.lower() == "location":
            location = value.strip()
    if not status.startswith("3") or location is None:
        return None
    target: str = urljoin(url.rstrip("/") + REFS, location)
    if not target.endswith(REFS) or not target.startswith(("http://", "https://")):
        raise GitUnreachable(
            f"The repository {url} leads to {target.partition('?')[0]}, which is none", remedy="Check the URL"
        )
    return target.removesuffix(REFS)
