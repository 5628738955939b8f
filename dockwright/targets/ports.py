"""TCP ports of this host: which are free, and who holds one that is not."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection
from pathlib import Path

from dockwright.errors import PortTaken

EDGE_PORTS = range(8000, 9000)
INSTANCE_PORTS = range(20000, 30000)
"""Below the range from which Linux takes the ports of outgoing connections (32768 and above)."""

_LISTEN = "0A"
"""The state in /proc/net/tcp."""


def is_free(address: str, port: int) -> bool:
    """Whether a server could bind it now."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # Connections of an earlier server that wait for their time to pass do not hold the port; a listener does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def free_port(taken: Collection[int] = (), address: str = "127.0.0.1") -> int:
    """The lowest free port for the edge, so that a product made again comes back to the same one."""
    for port in EDGE_PORTS:
        if port not in taken and is_free(address, port):
            return port
    raise PortTaken(
        f"Every port from {EDGE_PORTS.start} to {EDGE_PORTS.stop - 1} is taken",
        remedy='Choose another with --port, or stop a product with "dockwright stop"',
    )


def free_instance_port(address: str = "127.0.0.1") -> int:
    """Any free port for an instance: by chance, so that builds that run at once seldom choose the same."""
    for port in random.sample(INSTANCE_PORTS, k=200):
        if is_free(address, port):
            return port
    raise PortTaken(
        f"No port from {INSTANCE_PORTS.start} to {INSTANCE_PORTS.stop - 1} is free for an instance",
        remedy='Stop a product with "dockwright stop"',
    )


def listener(port: int) -> str | None:
    """`nginx (process 812)`; none where this user may not see who listens there."""
    inodes = {inode for table in ("tcp", "tcp6") for inode in _listening(Path("/proc/net", table), port)}
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").iterdir() if wanted else ():
        if process.name.isdigit() and _holds(process, wanted):
            return f"{_command(process)} (process {process.name})"
    return None


def _listening(table: Path, port: int) -> list[str]:
    try:
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:  # no /proc, or no IPv6: then nothing can be told
        return []
    return [row[9] for row in rows if row[3] == _LISTEN and int(row[1].rpartition(":")[2], 16) == port]


def _holds(process: Path, wanted: set[str]) -> bool:
    try:
        return any(str(link.readlink()) in wanted for link in (process / "fd").iterdir())
    except OSError:  # it ended meanwhile, or it is another user's
        return False


def _command(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "a process"
