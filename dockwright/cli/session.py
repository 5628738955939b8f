"""Where a command does its work: on the state folder, or at the server that DOCKWRIGHT_URL names."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockwright.process import Cancel

if TYPE_CHECKING:
    from dockwright.cli.use_cases import Document, Run, Say, UseCases
    from dockwright.domain.events import Sink
    from dockwright.services.build import BuildOptions
    from dockwright.services.state import State
    from dockwright.sources.template import Template

LOOK_SECONDS = 0.3
"""How often the log of a build that another process runs is looked at."""


def use_cases() -> UseCases:
    """Raises `InvalidSetting`."""
    from dockwright import settings

    loaded = settings.load()
    if loaded.server_url is not None:
        from dockwright.cli.remote import Remote

        return Remote(loaded)
    from dockwright.services.state import State

    return Local(State(loaded))


def open_state() -> State:
    """The state folder that the settings name, for commands that work on no server. Raises `InvalidSetting`."""
    from dockwright import settings
    from dockwright.services.state import State

    return State(settings.load())


def cancel_on_signal(deadline: float | None = None) -> Cancel:
    """Ctrl-C and a request to end only set the cancel: every wait looks at it, so nothing is torn while it is made."""
    cancel = Cancel(deadline)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: cancel.set())
    return cancel


def _begin_compose(source: str, cancel: Cancel) -> None:
    """Of a folder that is built by its compose file: another program reads that while we are still loading."""
    if not os.path.isdir(source) or os.path.isfile(os.path.join(source, "Dockerfile")):
        return
    from dockwright.docker import compose

    files = compose.find_files(Path(source).resolve())
    if files:
        compose.begin_config(files, cancel)


class Local:
    """On the state folder, in this process."""

    def __init__(self, state: State) -> None:
        self._state = state

    # --- projects and builds -----------------------------------------------------------------------------------------

    def template(self, name: str) -> Template:
        from dockwright.sources.template import load_template

        return load_template(name, self._state.settings)

    def create_project(self, template: str, name: str, variables: Document) -> Document:
        from dockwright.services import projects

        return projects.create_from_template(self._state, template, name, variables)

    def begin_build(self, source: str, options: BuildOptions) -> Run:
        cancel = cancel_on_signal(deadline=time.monotonic() + self._state.settings.timeout_seconds)
        _begin_compose(source, cancel)
        from dockwright.queue.runner import run_claimed
        from dockwright.services.build import claim_build, forget_if_never_begun

        request = claim_build(self._state, source, options)

        def run(watch: Sink) -> Document:
            document = run_claimed(self._state, request, cancel, watch)
            forget_if_never_begun(self._state, request, document)
            return document

        return run

    def begin_retry(self, build_id: int) -> Run:
        from dockwright.services.build import asked_of

        project, options = asked_of(self._state, build_id)
        return self.begin_build(project, options)

    def builds(self, limit: int) -> list[Document]:
        from dockwright.services import builds

        return builds.listing(self._state, limit)

    def events(self, build_id: int, *, follow: bool) -> Iterator[Document]:
        from dockwright.services import builds

        seen = 0
        while True:
            is_finished = builds.is_finished(self._state, build_id)
            for event in builds.events(self._state, build_id, after=seen):
                seen = event["seq"]
                yield event
            if is_finished or not follow:
                return
            time.sleep(LOOK_SECONDS)

    def cancel(self, build_id: int) -> str:
        from dockwright.services import queueing

        return queueing.cancel(self._state, build_id)

    def explain(self, build_id: int | None) -> Document:
        from dockwright.services import explain

        return explain.explain(self._state, build_id)

    # --- images and products -----------------------------------------------------------------------------------------

    def images(self) -> list[Document]:
        from dockwright.services import images

        return images.listing(self._state)

    def image(self, name: str) -> Document:
        from dockwright.services import images

        return images.show(self._state, name)

    def remove_image(self, name: str) -> Document:
        from dockwright.services import images

        return images.remove(self._state, name)

    def products(self) -> list[Document]:
        from dockwright.services import products

        return products.listing(self._state)

    def deploy(self, product: str, say: Say, *, image: str | None, env: Mapping[str, str]) -> Document:
        from dockwright.services import products

        return products.deploy(self._state, product, cancel_on_signal(), say, image=image, env=env)

    def start(self, product: str, say: Say) -> Document:
        from dockwright.services import products

        return products.start(self._state, product, cancel_on_signal(), say)

    def stop(self, product: str, say: Say) -> Document:
        from dockwright.services import products

        return products.stop(self._state, product, say)

    def scale(self, product: str, replicas: int, say: Say) -> Document:
        from dockwright.services import products

        return products.scale(self._state, product, replicas, cancel_on_signal(), say)

    def rollback(self, product: str, say: Say, *, to: int | None) -> Document:
        from dockwright.services import products

        return products.rollback(self._state, product, cancel_on_signal(), say, to=to)

    def releases(self, product: str) -> list[Document]:
        from dockwright.services import products

        return products.release_listing(self._state, product)

    def verify(self, what: str) -> Document:
        from dockwright.services.verify import verify

        return verify(self._state, what, cancel_on_signal())

    # --- the machine, and who may use its server ---------------------------------------------------------------------

    def cleanup(self, **asked: Any) -> Document:
        from dockwright.services.cleanup import cleanup

        return cleanup(self._state, **asked)

    def disk(self) -> Document:
        from dockwright.services.disk import disk

        return disk(self._state)

    def add_user(self, email: str, password: str, role: str, client: str | None) -> Document:
        from dockwright.services import accounts, audit

        state = self._state
        if client is not None:
            state = state.of_client(accounts.client_id_of(state, client))
        return accounts.create_user(state, audit.COMMAND_LINE, email, password, role)

    def create_token(self, name: str, email: str | None, password: Callable[[], str]) -> Document:
        """Whoever may write to the state folder needs no password."""
        from dockwright.services import accounts, audit, tokens

        owner = email or self._state.settings.admin_email
        value, made = tokens.create(self._state, audit.COMMAND_LINE, accounts.user_id_of(self._state, owner), name)
        return {**made, "user": owner, "token": value}
