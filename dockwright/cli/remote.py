"""The use cases at a server: a request each, and the answer in the form that this machine's own services give it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from dockwright.cli.connection import Connection
from dockwright.cli.follow import Following, events
from dockwright.cli.remote_source import Sources
from dockwright.cli.session import cancel_on_signal
from dockwright.domain.build import STAGE_NAMES
from dockwright.errors import Interrupted, NotAllowedError, NotFound, UsageError
from dockwright.settings import Settings

if TYPE_CHECKING:
    from dockwright.cli.use_cases import Document, Run, Say
    from dockwright.domain.events import Sink
    from dockwright.services.build import BuildOptions
    from dockwright.sources.template import Template

CUT_OVER_SECONDS = 1800.0
"""How long a change of what runs, a proof or a clean-up may take to be answered."""


class Remote:
    def __init__(self, settings: Settings) -> None:
        self._connection = Connection(settings)
        self._sources = Sources(self._connection)

    # --- projects and builds -----------------------------------------------------------------------------------------

    def template(self, name: str) -> Template:
        from dockwright.sources.template import Template

        shown = self._ask("GET", f"/templates/{quote(name, safe='')}")
        return Template(
            name=shown["name"],
            title=shown["title"],
            description=shown["description"],
            schema=shown["variables"],
            root=Path(),
        )

    def create_project(self, template: str, name: str, variables: Document) -> Document:
        source = {"kind": "template", "template": template, "variables": variables}
        made = self._ask("POST", "/projects", {"name": name, "source": source})
        return {key: value for key, value in made.items() if key != "message"}

    def begin_build(self, source: str, options: BuildOptions) -> Run:
        from dockwright.services.build import check

        if options.secrets:
            raise UsageError(
                "A build at a server takes no secrets from this machine",
                remedy="Store it there with PUT /api/v1/projects/ID/secrets/NAME, and name it in the project's build",
            )
        check(options)
        project, ref = self._sources.project_to_build(source, options.service)
        asked = {
            "project_id": project["id"],
            "profile": options.profile,
            "ref": options.ref or ref,
            "no_cache": options.no_cache,
            "deploy": options.deploy,
            "until": options.until,
            "service": options.service,
            "tag": options.tag,
            "args": dict(options.args),
            "env": dict(options.env),
            "port": options.port,
        }
        return self._run("/builds/queue", asked)

    def begin_retry(self, build_id: int) -> Run:
        return self._run(f"/builds/{build_id}/retry", None)

    def _run(self, path: str, asked: Document | None) -> Run:
        cancel = cancel_on_signal()
        queued = self._ask("POST", path, asked)
        build_id = queued["build_id"]
        place = f", {queued['position'] - 1} before it" if (queued["position"] or 0) > 1 else ""
        _tell(f"Build {build_id} is queued at {self._connection.url}{place}")

        def run(watch: Sink) -> Document:
            Following(self._connection, build_id, cancel, _tell).show(watch)
            return self._result(build_id)

        return run

    def _result(self, build_id: int) -> Document:
        """As `build --json` has it."""
        detail = self._ask("GET", f"/builds/{build_id}")
        project = self._ask("GET", f"/projects/{detail['project_id']}")
        ran = {one["stage"]: _without_none(one, "reason") for one in detail["stages"]}
        pending = {"status": "pending", "seconds": 0.0}
        return {
            "build_id": build_id,
            "project": project["slug"],
            "status": detail["status"],
            "revision": detail["revision"],
            "build_date": detail["build_date"],
            "services": detail["services"],
            "seconds": round(detail["seconds"] or 0.0, 3),
            "stages": [ran.get(name, {"stage": name, **pending}) for name in STAGE_NAMES],
            **{name: detail[name] for name in ("deployment_url", "test", "proof", "error")},
        }

    def builds(self, limit: int) -> list[Document]:
        return list(self._connection.pages("/builds", limit))

    def events(self, build_id: int, *, follow: bool) -> Iterator[Document]:
        return events(self._connection, build_id, follow=follow, told=_tell)

    def cancel(self, build_id: int) -> str:
        return str(self._ask("DELETE", f"/builds/{build_id}")["status"])

    def explain(self, build_id: int | None) -> Document:
        if build_id is None:
            newest = self.builds(1)
            if not newest:
                raise NotFound("There are no builds yet", remedy="Start one with: dockwright build PATH")
            build_id = newest[0]["id"]
        return dict(self._ask("GET", f"/builds/{build_id}/explain"))

    # --- images and products -----------------------------------------------------------------------------------------

    def images(self) -> list[Document]:
        return list(self._ask("GET", "/images"))

    def image(self, name: str) -> Document:
        return self._sources.named("images", name)

    def remove_image(self, name: str) -> Document:
        return dict(self._ask("DELETE", f"/images/{self.image(name)['id']}"))

    def products(self) -> list[Document]:
        return list(self._ask("GET", "/products"))

    def deploy(self, product: str, say: Say, *, image: str | None, env: Mapping[str, str]) -> Document:
        return self._change(product, "deploy", say, {"image": image, "env_vars": dict(env)})

    def start(self, product: str, say: Say) -> Document:
        return self._change(product, "start", say)

    def stop(self, product: str, say: Say) -> Document:
        return self._change(product, "stop", say)

    def scale(self, product: str, replicas: int, say: Say) -> Document:
        return self._change(product, "scale", say, {"replicas": replicas})

    def rollback(self, product: str, say: Say, *, to: int | None) -> Document:
        return self._change(product, "rollback", say, {"release": to})

    def _change(self, name: str, action: str, say: Say, asked: Document | None = None) -> Document:
        product_id = self._sources.named("products", name)["id"]
        try:
            changed: Document = self._ask("POST", f"/products/{product_id}/{action}", asked, seconds=CUT_OVER_SECONDS)
        except KeyboardInterrupt as error:
            raise Interrupted(
                "Interrupted; the server goes on with what it has begun", remedy="See: dockwright products"
            ) from error
        for line in changed.pop("log"):
            say(line)
        return changed

    def releases(self, product: str) -> list[Document]:
        product_id = self._sources.named("products", product)["id"]
        return list(self._ask("GET", f"/products/{product_id}/releases")["items"])

    def verify(self, what: str) -> Document:
        product = self._sources.product_to_verify(what)
        return dict(self._ask("GET", f"/products/{product['id']}/verify", seconds=CUT_OVER_SECONDS))

    # --- the server, and who may use it ------------------------------------------------------------------------------

    def cleanup(self, **asked: Any) -> Document:
        return dict(self._ask("POST", "/builds/cleanup", asked, seconds=CUT_OVER_SECONDS))

    def disk(self) -> Document:
        """Its room, and what a clean-up would free, where the caller may clean up; what else is there is its own."""
        room = {"disk": self._ask("GET", "/system")["disk"]}
        try:
            freed = self.cleanup(dry_run=True)
        except NotAllowedError:
            return room
        return {"cleanup": {name: freed[name] for name in ("builds", "images", "containers", "bytes")}, **room}

    def add_user(self, email: str, password: str, role: str, client: str | None) -> Document:
        from dockwright.services import passwords

        passwords.check(password)
        asked = {"email": email, "password": password, "role": role}
        if client is not None:
            asked["client_id"] = self._client_id(client)
        return dict(self._ask("POST", "/users", asked))

    def _client_id(self, slug: str) -> Any:
        for one in self._connection.pages("/clients"):
            if one["slug"] == slug:
                return one["id"]
        raise NotFound(f'There is no client "{slug}"', remedy="Make it with: POST /api/v1/clients")

    def create_token(self, name: str, email: str | None, password: Callable[[], str]) -> Document:
        """For whom DOCKWRIGHT_TOKEN is, or for a user who signs in for it."""
        if email is None and self._connection.has_token:
            me = self._ask("GET", "/auth/me")
            return self._new_token(name, me["email"], None)
        if email is None:
            raise UsageError("Whose is the token to be?", remedy="Name the user with --user, or set DOCKWRIGHT_TOKEN")
        session = self._ask("POST", "/auth/login", {"email": email, "password": password()})["access_token"]
        try:
            return self._new_token(name, email, session)
        finally:
            self._connection.ask("POST", "/auth/logout", token=session)

    def _new_token(self, name: str, email: str, session: str | None) -> Document:
        made = self._connection.ask("POST", "/auth/tokens", {"name": name}, token=session)
        value = made.pop("token")
        return {**made, "user": email, "token": value}

    def _ask(self, method: str, path: str, body: Any = None, *, seconds: float = 60.0) -> Any:
        return self._connection.ask(method, path, body, seconds=seconds)


def _without_none(document: Document, name: str) -> Document:
    return {key: value for key, value in document.items() if key != name or value is not None}


def _tell(text: str) -> None:
    """Beside what the command prints."""
    sys.stderr.write(text + "\n")
