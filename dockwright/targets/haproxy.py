"""HAProxy's own words: its configuration, and the runtime API on its Unix socket.

The process changes into the product's folder, so the configuration names the socket without a path: Unix socket paths
end at 108 bytes, and a home folder may be deeper than that.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dockwright.errors import EdgeError, UsageError

SLOTS = 64
"""Servers that the configuration holds in advance: during a switch the old instances and the new ones, side by side."""
SOCKET_NAME = "admin.sock"
BACKEND = "app"

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Not available</title>
<style>body{font:1.1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:20vh auto;padding:0 1rem;color:#223}</style>
<h1>Not available at the moment</h1>
<p>The application behind this address does not answer. Please try again in a moment.</p>
</html>
"""

_CONFIG = """\
# Made by Dockwright; written again whenever it starts this edge.
global
    # Two edges that share a port by accident would each get half of the requests.
    noreuseport
    maxconn 4096
    stats socket unix@{socket} mode 600 level admin
    hard-stop-after 10s

defaults
    mode http
    balance leastconn
    timeout connect 3s
    timeout http-request 15s
    timeout http-keep-alive 60s
    timeout queue 30s
    # A stream may be silent for long: the app ends it, not the edge.
    timeout client 1h
    timeout server 1h
    timeout tunnel 24h
    timeout client-fin 15s
    # A crashed instance is started again within a second: try another one, else wait for it. Only where no connection
    # came about: what an app may have seen is never sent twice.
    retries 5
    option redispatch 1
    retry-on conn-failure
    http-error status 502 content-type "text/html; charset=utf-8" file {page}
    http-error status 503 content-type "text/html; charset=utf-8" file {page}
    http-error status 504 content-type "text/html; charset=utf-8" file {page}

frontend edge
    bind {bind}:{port}
    # The edge is the first to see a request: what a client claims here is not passed on.
    http-request set-header X-Forwarded-For %[src]
    http-request set-header X-Forwarded-Proto http
    http-request set-header X-Forwarded-Port %[dst_port]
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request del-header Forwarded
    # Browsers send cookies to every port of a host: that of a sign-in to Dockwright is none of the app's, and the app
    # gives none of that name.
    acl signed-in req.fhdr(Cookie) -m sub dockwright_
    http-request set-header Cookie "%[req.fhdr(Cookie),regsub('dockwright_[a-z]+=[^;]*(; *)?','',g)]" if signed-in
    http-request del-header Cookie if {{ req.fhdr(Cookie) -m len 0 }}
    http-response del-header Set-Cookie if {{ res.fhdr(Set-Cookie) -m beg dockwright_ }}
    default_backend {backend}

backend {backend}
    # Apps close idle connections after some seconds (5 is usual): the edge must do so first, or a request meets a
    # connection that is just being closed.
    default-server pool-purge-delay 500ms
    server-template s 1-{slots} 127.0.0.1:1 disabled
"""
PAGE_NAME = "unavailable.html"


def config(bind: str, port: int) -> str:
    """`bind` is an IP address or a host name of this machine. Raises `UsageError`."""
    if not bind or not all(char.isalnum() or char in ".:-" for char in bind) or not bind.isascii():
        raise UsageError(
            f"EDGE_BIND={bind!r} is no address", remedy="Set it to an address such as 127.0.0.1 or 0.0.0.0"
        )
    return _CONFIG.format(socket=SOCKET_NAME, page=PAGE_NAME, bind=bind, port=port, backend=BACKEND, slots=SLOTS)


class Slot(NamedTuple):
    """A server of the backend, as `show servers state` tells."""

    name: str
    address: str
    port: int
    state: str
    """`ready`, `drain` (ends what it has, gets nothing new) or `maint` (unused)."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Since the edge started."""

    requests: int
    failed_requests: int
    """Answered with an error by the edge itself, or cut off because the instance went away."""

    def since(self, earlier: Counters) -> Counters:
        """An edge that was started meanwhile counts from zero."""
        if self.requests < earlier.requests:
            return self
        return Counters(self.requests - earlier.requests, max(0, self.failed_requests - earlier.failed_requests))


def ask(folder: Path, commands: str) -> str:
    """The answer of the HAProxy whose socket lies in the folder. Raises `EdgeError` where none answers."""
    try:
        handle = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # By way of the folder's handle the path is short, however deep the folder lies.
            return _exchange(f"/proc/self/fd/{handle}/{SOCKET_NAME}", commands)
        finally:
            os.close(handle)
    except OSError as error:
        raise EdgeError(
            f"The edge in {folder} does not answer: {error.strerror or error}",
            remedy='Deploy again, or start the product with "dockwright start"; both start its edge',
        ) from error


def _exchange(path: str, commands: str) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(10)
        connection.connect(path)
        connection.sendall(commands.encode("ascii") + b"\n")
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts).decode("utf-8", "replace")


def process_id(folder: Path) -> int:
    """Of the process that answers on the socket: so it is that HAProxy and no other."""
    for line in ask(folder, "show info").splitlines():
        name, _, value = line.partition(": ")
        if name == "Pid":
            return int(value)
    raise EdgeError(f"The edge in {folder} does not tell its process", remedy="See what listens on its socket")


def slots(folder: Path) -> list[Slot]:
    lines = ask(folder, f"show servers state {BACKEND}").splitlines()
    header = next((line for line in lines if line.startswith("# be_id")), "#")
    names = header.removeprefix("# ").split()
    rows = [dict(zip(names, line.split(), strict=False)) for line in lines if line and line[0].isdigit()]
    return [_slot(row) for row in rows if "srv_name" in row]


def _slot(row: dict[str, str]) -> Slot:
    maintenance, drain = 0x01, 0x08  # SRV_ADMF_FMAINT, SRV_ADMF_FDRAIN in HAProxy's management guide
    flags = int(row["srv_admin_state"])
    state = "maint" if flags & maintenance else "drain" if flags & drain else "ready"
    return Slot(row["srv_name"], row["srv_addr"], int(row["srv_port"]), state)


def statistics(folder: Path) -> dict[str, dict[str, int]]:
    """The numbers of `show stat` by proxy and server name: `s1`, `BACKEND`, `FRONTEND`."""
    lines = ask(folder, "show stat").splitlines()
    names = lines[0].removeprefix("# ").split(",") if lines else []
    rows = [dict(zip(names, line.split(","), strict=False)) for line in lines[1:] if line]
    return {row["svname"]: {name: int(value) for name, value in row.items() if value.isdigit()} for row in rows}


def counters(folder: Path) -> Counters:
    """An answer of status 5xx that an app gave is the app's own; only the edge's count as failed."""
    found = statistics(folder)
    edge = found.get("FRONTEND", {})
    servers = [numbers for name, numbers in found.items() if name not in ("FRONTEND", "BACKEND")]
    own_errors = edge.get("hrsp_5xx", 0) - sum(server.get("hrsp_5xx", 0) for server in servers)
    cut_off = sum(server.get("srv_abrt", 0) for server in servers)
    return Counters(edge.get("req_tot", 0), max(0, own_errors) + cut_off)
