"""Builders: the host's engine, or an engine of each client's own, started when it is needed and stopped when idle.

An isolated builder is a Docker-in-Docker container with a network, limits and a cache volume of its own, behind a
firewall in its own network namespace (`deploy/builder/firewall.nft`). It is reached over a Unix socket in a folder
that only this user may enter. What is known of it beside the engine lies in `DOCKWRIGHT_HOME/builders`: the folder of
its socket, a lock that whoever starts or removes it holds, and one that each build holds while it uses it. The kernel
lets go of both when a process dies.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dockwright.docker.engine import Engine
from dockwright.domain.builder import SHARED, Builder, Limits
from dockwright.errors import BuilderUnavailable, Conflict, DockwrightError, EngineError, InvalidSetting, UsageError
from dockwright.process import Cancel

if TYPE_CHECKING:
    from dockwright.settings import Settings

START_SECONDS = 60.0
STOP_SECONDS = 20
PRUNE_SECONDS = 300.0
POLL_SECONDS = 0.05
MAX_SOCKET_PATH = 107
"""Bytes: Linux takes no longer path for a Unix socket."""
Log = Callable[[str], None]
_CLIENT = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def builder_for(settings: Settings, client: str, limits: Limits | None = None) -> Builder:
    """Which builder this client's builds use, by BUILD_ISOLATION. Nothing is started yet: `in_use` does.

    Raises `UsageError` for what is no client's slug, `InvalidSetting` where the socket's path would be too long.
    """
    if settings.isolation == "shared":
        return Builder(name=SHARED.name, capacity=settings.builder_max_workers)
    from dockwright.docker.builder_container import name_of

    if not _CLIENT.fullmatch(client):
        raise UsageError(f"{client!r} is no client's name", remedy="Names hold small letters, digits and - _ .")
    folder = settings.home / "builders" / client
    if len(os.fsencode(folder / "docker.sock")) > MAX_SOCKET_PATH:
        raise InvalidSetting(
            f"{folder}/docker.sock is longer than the path of a socket may be ({MAX_SOCKET_PATH} bytes)",
            remedy="Set DOCKWRIGHT_HOME to a shorter path",
        )
    return Builder(
        name=name_of(str(settings.home), client),
        kind="isolated",
        capacity=settings.builder_max_workers,
        client=client,
        folder=folder,
        limits=limits or Limits(),
    )


@contextmanager
def in_use(settings: Settings, builder: Builder, log: Log, cancel: Cancel) -> Iterator[Engine]:
    """The builder's engine, which answers and is not stopped until the end of the block.

    Raises `BuilderUnavailable`, and what making its image raises; as `Cancel.check` does.
    """
    if builder.folder is None:
        yield Engine()
        return
    with _held(_use_lock(builder), fcntl.LOCK_SH, cancel) as lock:
        try:
            yield _ensure(settings, builder, log, cancel)
        finally:
            os.utime(lock)


def stop_idle(settings: Settings, idle_seconds: float) -> list[str]:
    """Stops this installation's builders that no build has used for so long; returns their clients.

    The cache stays. One that a build uses, in whichever process, is left alone. One that cannot be stopped keeps no
    other running: its error is raised in the end.
    """
    stopped: list[str] = []
    failed: DockwrightError | None = None
    for builder in _known(settings):
        try:
            if _stop_if_idle(builder, idle_seconds):
                stopped.append(builder.client)
        except DockwrightError as error:
            failed = error
    if failed is not None:
        raise failed
    return stopped


def _stop_if_idle(builder: Builder, idle_seconds: float) -> bool:
    with suppress(_InUse), _held_now(builder) as lock:
        is_idle = time.time() - os.stat(lock).st_mtime >= idle_seconds
        if is_idle and Engine().container(builder.name) is not None:
            _stop(builder)
            return True
    return False


def prune(settings: Settings, builder: Builder, budget_bytes: int) -> int:
    """Makes the builder's cache and images take no more than the budget, and returns what they still take, in bytes.

    While a build uses the builder only its cache is pruned, and of that what nobody uses. It is no use of its own: an
    idle builder stays idle, and one that is stopped is started for it.
    """
    cancel = Cancel(time.monotonic() + PRUNE_SECONDS)
    with suppress(_InUse), _held_now(builder):
        inner = _ensure(settings, builder, lambda _: None, cancel)
        if _image_bytes(inner) >= budget_bytes:
            # Bases come back from the host's engine with the next build.
            for image in inner.images():
                inner.remove_image(image["Id"], force=True)
        return _prune_cache(inner, budget_bytes)
    with _held(_use_lock(builder), fcntl.LOCK_SH, cancel):
        return _prune_cache(_ensure(settings, builder, lambda _: None, cancel), budget_bytes)


def remove(settings: Settings, client: str) -> None:
    """The client's builder with its cache. Raises `Conflict` while a build uses it."""
    builder = next((one for one in _known(settings) if one.client == client), None)
    if builder is None:
        return
    assert builder.folder is not None
    try:
        with _held_now(builder) as lock:
            _stop(builder, seconds=0)  # nothing of it is kept
            Engine().remove_volume(builder.name)
            with suppress(FileNotFoundError):
                builder.folder.rmdir()
            lock.unlink()
            _start_lock(builder).unlink(missing_ok=True)
    except _InUse as error:
        raise Conflict(
            f"A build of {client} uses its builder", remedy="Cancel it or wait for its end, and try again"
        ) from error


# --- starting and stopping ----------------------------------------------------------------------------------------


def _ensure(settings: Settings, builder: Builder, log: Log, cancel: Cancel) -> Engine:
    """Starts the isolated builder unless it runs, whoever else asks at the same moment."""
    assert builder.docker_host is not None, "the shared builder runs already"
    inner = Engine(builder.docker_host)
    if _answers(inner):
        return inner
    with _held(_start_lock(builder), fcntl.LOCK_EX, cancel):
        # One that runs and is slow to answer may be building for others: it gets its time.
        if not _runs(builder):
            _start(settings, builder, log, cancel)
        _wait(builder, inner, cancel)
    return inner


def _answers(inner: Engine) -> bool:
    try:
        inner.ping()
    except DockwrightError:
        return False
    return True


def _runs(builder: Builder) -> bool:
    found = Engine().container(builder.name)
    return found is not None and bool(found["State"]["Running"])


def _start(settings: Settings, builder: Builder, log: Log, cancel: Cancel) -> None:
    from dockwright.docker.builder_recipe import ensure_image

    engine = Engine()
    _require_local(engine)
    image = ensure_image(settings, engine, log, cancel)
    log(f"Starting the builder {builder.name}")
    _stop(builder)  # what a machine that went down has left
    try:
        _create(builder, engine, image)
        engine.start_container(builder.name)
    except BaseException as error:
        _stop(builder)
        if isinstance(error, EngineError):
            raise _refused(error) from error
        raise


def _create(builder: Builder, engine: Engine, image: str) -> None:
    from dockwright.docker import builder_container as container

    assert builder.folder is not None
    builder.folder.mkdir(parents=True, exist_ok=True)
    builder.folder.chmod(0o700)
    labels = container.labels(builder)
    engine.create_volume(builder.name, labels)
    engine.create_network(builder.name, labels=labels)
    # After the network was made: its gateway is an address of the machine as well.
    addresses = container.host_addresses(engine, image, labels)
    config = container.configuration(builder, image, addresses, container.mirrors(), engine.info())
    engine.create_container(builder.name, config)


def _refused(error: EngineError) -> BuilderUnavailable:
    from dockwright.docker.builder_container import is_refusal_of_privilege

    remedy = "See the engine's own log, and: dockwright doctor"
    if is_refusal_of_privilege(error.message):
        remedy = "An isolated builder is a privileged container: allow those, or set BUILD_ISOLATION=shared"
    return BuilderUnavailable(f"The isolated builder could not be started: {error.message}", remedy=remedy)


def _require_local(engine: Engine) -> None:
    if not engine.host.startswith("unix://"):
        raise BuilderUnavailable(
            f"An isolated builder is reached over a socket in a folder, and the engine at {engine.host} is far away",
            remedy="Run Dockwright beside that engine, or set BUILD_ISOLATION=shared",
        )


def _wait(builder: Builder, inner: Engine, cancel: Cancel) -> None:
    """Until it answers. One that has ended says why in its log."""
    outer, deadline = Engine(), time.monotonic() + START_SECONDS
    while not _answers(inner):
        if not _runs(builder) or time.monotonic() > deadline:
            lines = outer.logs(builder.name, tail=15) if outer.container(builder.name) else []
            _stop(builder)
            raise BuilderUnavailable(
                "The isolated builder's engine did not start",
                remedy="Its last lines stand above; set BUILD_ISOLATION=shared to build on the host's engine",
                last_lines=lines,
            )
        cancel.sleep(POLL_SECONDS)


def _stop(builder: Builder, seconds: int = STOP_SECONDS) -> None:
    """Its container and its network go; its cache stays."""
    engine = Engine()
    if engine.container(builder.name) is not None:
        engine.stop_container(builder.name, seconds)
        engine.remove_container(builder.name)
    engine.remove_network(builder.name)
    assert builder.folder is not None
    with suppress(FileNotFoundError):
        (builder.folder / "docker.sock").unlink()


def _prune_cache(inner: Engine, budget_bytes: int) -> int:
    """What is taken afterwards."""
    images = _image_bytes(inner)
    query = {"all": "true", "keep-storage": str(max(1, budget_bytes - images))}
    inner.request("POST", "/build/prune", query, timeout=PRUNE_SECONDS)
    cache = inner.df().get("BuildCache") or []
    # What an image has as well is counted with the images.
    return images + sum(int(one["Size"]) for one in cache if not one["Shared"])


def _image_bytes(inner: Engine) -> int:
    return int(inner.df().get("LayersSize") or 0)


# --- locks --------------------------------------------------------------------------------------------------------


class _InUse(Exception):
    """Somebody holds the lock."""


def _use_lock(builder: Builder) -> Path:
    assert builder.folder is not None
    return builder.folder.with_name(f"{builder.client}.use")


def _start_lock(builder: Builder) -> Path:
    return _use_lock(builder).with_suffix(".start")


def _known(settings: Settings) -> Iterator[Builder]:
    """Those that were ever used from this home, but for the removed ones."""
    from dockwright.docker.builder_container import name_of

    folder = settings.home / "builders"
    for path in sorted(folder.glob("*.use")):
        client = path.name.removesuffix(".use")
        yield Builder(name=name_of(str(settings.home), client), kind="isolated", client=client, folder=folder / client)


@contextmanager
def _held(path: Path, kind: int, cancel: Cancel) -> Iterator[Path]:
    while True:
        with suppress(_InUse), _locked(path, kind):
            yield path
            return
        cancel.sleep(POLL_SECONDS)


@contextmanager
def _held_now(builder: Builder) -> Iterator[Path]:
    """Raises `_InUse` where a build uses the builder."""
    path = _use_lock(builder)
    with _locked(path, fcntl.LOCK_EX):
        yield path


@contextmanager
def _locked(path: Path, kind: int) -> Iterator[None]:
    """Raises `_InUse` where somebody holds it already in a way that does not allow this one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _InUse from error
        if not path.exists() or os.stat(path).st_ino != os.fstat(file).st_ino:
            raise _InUse  # it was removed by whoever held it before: another file has its name now
        yield
    finally:
        os.close(file)
