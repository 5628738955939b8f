"""The edge: one HAProxy process a product, which holds the product's port and is told at run time whom to ask.

Servers are changed through the runtime API and never by a reload: a switch takes a millisecond and no connection
notices. HAProxy 2.6 cannot open a port at run time, hence a process a product (8 MB): a new one disturbs nobody.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from dockwright import process
from dockwright.domain.product import Instance, Product
from dockwright.errors import Conflict, EdgeError, PortTaken, ToolMissing, UsageError
from dockwright.process import Cancel
from dockwright.settings import Settings
from dockwright.targets import haproxy, ports
from dockwright.targets.haproxy import Counters
from dockwright.targets.ports import free_port

__all__ = ["Counters", "Edge", "free_port", "switch_commands"]

CONFIG_NAME = "haproxy.cfg"
STOP_SECONDS = 12.0
"""HAProxy ends open connections itself after 10 s (`hard-stop-after`)."""

_SLUG = re.compile(r"[a-z0-9][a-z0-9._-]*")


class Edge:
    """Every method takes the product; none keeps state of its own, so any process may call them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def url(self, product: Product) -> str:
        bind = self.settings.edge_bind
        host = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1", "*": "127.0.0.1"}.get(bind, bind)  # noqa: S104
        return f"http://[{host}]:{product.port}" if ":" in host else f"http://{host}:{product.port}"

    def is_running(self, product: Product) -> bool:
        try:
            haproxy.process_id(self._folder(product))
        except EdgeError:
            return False
        return True

    def ensure(
        self, product: Product, instances: Sequence[Instance] = (), taken_ports: Collection[int] = frozenset()
    ) -> bool:
        """Starts the product's edge where it does not run, with the traffic at `instances`; true if it did.

        An edge that runs on another port moves to the product's. Raises `PortTaken`, and then nothing has changed.
        """
        with self._lock(product):
            folder = self._folder(product)
            text = haproxy.config(self.settings.edge_bind, product.port)
            running = self.is_running(product)
            if running and _bind_line(folder) == _bind_of(text):
                return False
            self._check_port(product, taken_ports)
            before = self.live(product)
            if running:
                self._end(folder)
            try:
                self._launch(folder, text)
            except EdgeError:
                self._check_port(product, taken_ports)  # somebody may have taken it since we looked
                raise
            self._point(folder, [_place(instance) for instance in instances] or before)
            return True

    def switch(self, product: Product, instances: Sequence[Instance]) -> None:
        """Gives the traffic to exactly these: the new ones take it before the old ones are let go, in one call."""
        with self._lock(product):
            self._point(self._folder(product), [_place(instance) for instance in instances])

    def live(self, product: Product) -> list[tuple[str, int]]:
        """Addresses that get the traffic now; none while the edge does not run."""
        return [(slot.address, slot.port) for slot in self._slots(product) if slot.state == "ready"]

    def drained(self, product: Product, instance: Instance) -> bool:
        """Nothing is under way at an instance that gets no new requests."""
        folder = self._folder(product)
        names = [slot.name for slot in self._slots(product) if (slot.address, slot.port) == _place(instance)]
        numbers = haproxy.statistics(folder) if names else {}
        return all(numbers[name].get("scur", 0) + numbers[name].get("qcur", 0) == 0 for name in names)

    def drain(self, product: Product, instance: Instance, seconds: float, cancel: Cancel | None = None) -> bool:
        """Waits until it is drained; false when the time was over first. Its slot is free after that.

        What is still under way then goes on until the instance itself ends.
        """
        end = time.monotonic() + seconds
        while not (is_drained := self.drained(product, instance)) and time.monotonic() < end:
            (cancel or Cancel()).sleep(0.05)
        with self._lock(product):
            for slot in self._slots(product):
                if (slot.address, slot.port) == _place(instance) and slot.state == "drain":
                    haproxy.ask(self._folder(product), f"set server {haproxy.BACKEND}/{slot.name} state maint")
        return is_drained

    def counters(self, product: Product) -> Counters:
        return haproxy.counters(self._folder(product)) if self.is_running(product) else Counters(0, 0)

    def stop(self, product: Product) -> None:
        """Ends the process: at once for whoever is new, after 10 s for what is still under way."""
        with self._lock(product):
            if self.is_running(product):
                self._end(self._folder(product))

    def remove(self, product: Product) -> None:
        """Stops it and removes its files: the product exists no more."""
        self.stop(product)
        shutil.rmtree(self._folder(product), ignore_errors=True)

    @contextlib.contextmanager
    def deployment(self, product: Product) -> Iterator[None]:
        """Held for a whole cut-over, by one process at a time. Raises `Conflict`; ends with the process."""
        with self._file_lock(product, "deployment.lock", wait=False):
            yield

    # --- the process -------------------------------------------------------------------------------------------------

    def _launch(self, folder: Path, text: str) -> None:
        (folder / haproxy.PAGE_NAME).write_text(haproxy.PAGE, encoding="utf-8")
        (folder / CONFIG_NAME).write_text(text, encoding="utf-8")
        done = process.run([_program(), "-D", "-C", str(folder), "-f", CONFIG_NAME])
        if done.returncode != 0:
            lines = done.stderr.decode("utf-8", "replace").splitlines()
            reason = next((line for line in lines if "ALERT" in line), f"exit code {done.returncode}")
            raise EdgeError(
                f"The edge could not be started: {reason}",
                remedy='See whether EDGE_BIND and the port fit this machine; "dockwright doctor" checks HAProxy',
                last_lines=lines,
            )

    def _end(self, folder: Path) -> None:
        number = haproxy.process_id(folder)
        os.kill(number, signal.SIGUSR1)  # stop listening, end what is under way
        if not _wait_for_end(number, STOP_SECONDS):
            os.kill(number, signal.SIGKILL)
            _wait_for_end(number, 2.0)

    def _check_port(self, product: Product, taken_ports: Collection[int]) -> None:
        slug = self._product_on(product)
        if slug:
            holder, remedy = f'product "{slug}"', f'stop it with "dockwright stop {slug}"'
        elif product.port in taken_ports:
            holder, remedy = "another product", "leave it to Dockwright to choose"
        elif not ports.is_free(self.settings.edge_bind, product.port):
            holder, remedy = ports.listener(product.port) or "another process", "end that process"
        else:
            return
        raise PortTaken(f"Port {product.port} is held by {holder}", remedy=f"Choose another with --port, or {remedy}")

    def _product_on(self, product: Product) -> str | None:
        """Slug of the client's other product whose edge holds this product's port."""
        for folder in sorted(self._folder(product).parent.iterdir()):
            if folder != self._folder(product) and (_bind_line(folder) or "").endswith(f":{product.port}"):
                with contextlib.suppress(EdgeError):
                    haproxy.process_id(folder)
                    return folder.name
        return None

    # --- the traffic -------------------------------------------------------------------------------------------------

    def _point(self, folder: Path, places: Sequence[tuple[str, int]]) -> None:
        commands = switch_commands(haproxy.slots(folder), places)
        answer = haproxy.ask(folder, ";".join(commands)) if commands else ""
        ready = sorted((slot.address, slot.port) for slot in haproxy.slots(folder) if slot.state == "ready")
        if ready != sorted(set(places)):
            raise EdgeError(
                f"The edge did not take the instances: {' '.join(answer.split()) or 'no reason was given'}",
                remedy='Stop the product with "dockwright stop" and start it again',
            )

    def _slots(self, product: Product) -> list[haproxy.Slot]:
        return haproxy.slots(self._folder(product)) if self.is_running(product) else []

    # --- files -------------------------------------------------------------------------------------------------------

    def _folder(self, product: Product) -> Path:
        for part in (product.client, product.slug):
            assert _SLUG.fullmatch(part), f"{part!r} is no slug"
        return self.settings.home / "edge" / product.client / product.slug

    def _lock(self, product: Product) -> contextlib.AbstractContextManager[None]:
        return self._file_lock(product, "edge.lock", wait=True)

    @contextlib.contextmanager
    def _file_lock(self, product: Product, name: str, *, wait: bool) -> Iterator[None]:
        folder = self._folder(product)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (folder / name).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError as error:
                raise Conflict(
                    f'Another deployment of product "{product.slug}" is under way', remedy="Try again when it has ended"
                ) from error
            yield


def switch_commands(slots: Sequence[haproxy.Slot], places: Sequence[tuple[str, int]]) -> list[str]:
    """The runtime commands that give the traffic to exactly these places, those that are new first."""
    held = {(slot.address, slot.port): slot for slot in slots if slot.state != "maint"}
    # A slot that was never let go (the process that drained it was killed) serves when no other is free.
    free = iter([slot for state in ("maint", "drain") for slot in slots if slot.state == state])
    commands = []
    for address, port in dict.fromkeys(places):
        slot = held.get((address, port))
        if slot is None:
            slot = next(free, None)
            if slot is None:
                raise UsageError(f"The edge has room for {len(slots)} instances", remedy="Ask for fewer replicas")
            commands.append(f"set server {haproxy.BACKEND}/{slot.name} addr {address} port {port}")
        if slot.state != "ready":
            commands.append(f"set server {haproxy.BACKEND}/{slot.name} state ready")
    gone = [slot for place, slot in held.items() if slot.state == "ready" and place not in places]
    return commands + [f"set server {haproxy.BACKEND}/{slot.name} state drain" for slot in gone]


def _place(instance: Instance) -> tuple[str, int]:
    return instance.address, instance.port


def _bind_line(folder: Path) -> str | None:
    """Of the configuration with which the folder's edge was started."""
    try:
        return _bind_of((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    except OSError:
        return None


def _bind_of(text: str) -> str | None:
    return next((line.strip() for line in text.splitlines() if line.split()[:1] == ["bind"]), None)


def _program() -> str:
    found = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/sbin")
    if found is None:
        raise ToolMissing('The program "haproxy" is not installed', remedy='Install the package "haproxy"')
    return found


def _wait_for_end(number: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while _runs(number):
        if time.monotonic() >= end:
            return False
        time.sleep(0.02)
    return True


def _runs(number: int) -> bool:
    """A process that has ended, but that nobody has asked about, runs no more (in a container it may stay so)."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
