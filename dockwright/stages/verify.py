"""verify: Instances → proof. What runs is what was written: the digest, the files by content, the app's own word.

It needs nothing inside the container, not even a shell: the engine hands out the files as a tar stream.
"""

from __future__ import annotations

import hashlib
import tarfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from dockwright.docker.engine import Engine
from dockwright.docker.layers import last_writers
from dockwright.domain.plan import Plan
from dockwright.domain.source import Tree
from dockwright.errors import NotFound, VerificationFailed
from dockwright.stages.context import StageContext

if TYPE_CHECKING:
    from dockwright.insight.copies import Copies
    from dockwright.targets.cutover import Deployed

SHOWN_FILES = 5
ANSWER_SECONDS = 5.0
MAX_INFO_BYTES = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """CONTRACT, `verify --json`."""

    ok: bool
    revision: str | None
    """The source's commit."""
    built_revision: str | None
    """The commit that the running image was built from."""
    digest_ok: bool
    files_checked: int
    files_differ: list[str]
    files_unverifiable: list[dict[str, str]]
    build_info_ok: bool | None
    """None where the app has no `/build/info`."""
    manifest_ok: bool = True
    """The image was built from inputs equal to the source's."""

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "summary": self.summary}

    @property
    def summary(self) -> str:
        matching = self.files_checked - len(self.files_differ)
        text = f"{matching} of {self.files_checked} files match"
        if not self.files_checked:
            text = "there is no file to compare"
        elif self.revision:
            text += f" commit {self.revision[:12]}"
            if self.built_revision == f"{self.revision}-dirty":
                text += " with changes that were not committed"
        problems = [f"differs: {path}" for path in self.files_differ[:SHOWN_FILES]]
        if len(self.files_differ) > SHOWN_FILES:
            problems.append(f"and {len(self.files_differ) - SHOWN_FILES} more")
        if not self.digest_ok:
            problems.append("the running image is not the wanted one")
        if not self.manifest_ok:
            problems.append("the running image was built from other inputs")
        if self.build_info_ok is False:
            problems.append("the app's /build/info names another build")
        if self.files_unverifiable:
            text += f", {len(self.files_unverifiable)} cannot be compared"
        return "; ".join([text, *problems])


def verify(ctx: StageContext, deployed: Deployed, tree: Tree, plan: Plan) -> Proof:
    """The new instances against the source. Raises `VerificationFailed`, and then the traffic goes back."""
    (service,) = plan.services
    copies = service.copies()
    engine = Engine()
    for instance in deployed.instances:
        proof = prove(
            engine,
            instance.container_id,
            f"http://{instance.address}:{instance.port}",
            copies=copies,
            wanted_digest=deployed.release.digest,
            wanted_manifest=service.manifest_digest,
            revision=tree.revision,
            scratch=ctx.workspace,
        )
        ctx.log(f"{instance.name}: {proof.summary}")
        if not proof.ok:
            raise VerificationFailed(
                f"What runs is not what was written: {proof.summary}",
                remedy="See which step changes the files after they are copied, or build again with --no-cache",
            )
    return proof


def prove(
    engine: Engine,
    container: str,
    address: str | None,
    *,
    copies: Copies,
    wanted_digest: str | None,
    wanted_manifest: str | None,
    revision: str | None,
    scratch: Path,
) -> Proof:
    """One running container against one source. `wanted_digest` none: whichever image it runs, its content counts."""
    details = engine.container(container)
    if details is None:
        raise NotFound(f"The container {container} is gone", remedy="Start its product again: dockwright start PRODUCT")
    labels = details["Config"].get("Labels") or {}
    differ, unverifiable = compare_files(engine, container, copies, scratch)
    is_digest_ok = wanted_digest is None or details["Image"] == wanted_digest
    build_info_ok = _build_info_ok(address, labels.get("org.opencontainers.image.revision")) if address else None
    manifest_ok = wanted_manifest is None or labels.get("dev.dockwright.manifest") == wanted_manifest
    files_checked = len(copies.mappings) - len(unverifiable)
    is_proved = files_checked > 0 or (wanted_manifest is not None and manifest_ok)
    return Proof(
        ok=bool(is_digest_ok and manifest_ok and not differ and build_info_ok is not False and is_proved),
        revision=revision,
        built_revision=labels.get("org.opencontainers.image.revision"),
        digest_ok=is_digest_ok,
        files_checked=files_checked,
        files_differ=differ,
        files_unverifiable=[
            *({"path": path, "reason": reason} for path, reason in copies.unverifiable),
            *({"path": path, "reason": reason} for path, reason in unverifiable),
        ],
        build_info_ok=build_info_ok,
        manifest_ok=manifest_ok,
    )


# --- files ---------------------------------------------------------------------------------------------------------


def compare_files(
    engine: Engine, container: str, copies: Copies, scratch: Path
) -> tuple[list[str], list[tuple[str, str]]]:
    """Paths in the image whose content differs from the source's, and those that cannot be compared, with the reason.

    A file that differs although the container has not changed it was written again while the image was built. If that
    was a `RUN`, there is nothing to compare it with; if it was the `COPY` itself, the image holds the wrong bytes.
    `scratch` is a folder for the image's layers, which are looked into only then.
    """
    wanted = {mapping.destination: mapping for mapping in copies.mappings}
    found = _digests_in(engine, container, {*wanted, *copies.either.values()})
    suspects = {}
    for path, mapping in wanted.items():
        place = path if path in found else copies.either.get(path, path)
        if found.get(place) != mapping.digest:
            suspects[place] = path
    unchanged = suspects.keys() - engine.changes(container).keys() if suspects else set()
    if not unchanged:
        return sorted(suspects), []
    doubted = {place: copies.doubts[suspects[place]] for place in unchanged if suspects[place] in copies.doubts}
    rewritten = _rewritten(engine, container, unchanged - doubted.keys(), scratch)
    unverifiable = {**doubted, **rewritten}
    return sorted(suspects.keys() - unverifiable.keys()), sorted(unverifiable.items())


def _rewritten(engine: Engine, container: str, places: set[str], scratch: Path) -> dict[str, str]:
    """Those that a step of the build other than a COPY wrote last, with the reason that names it."""
    if not places:
        return {}
    details = engine.container(container)
    assert details is not None
    writers = last_writers(engine, details["Image"], places, scratch)
    return {
        place: f"written again by {writer}"
        for place, writer in writers.items()
        if not writer.startswith(("COPY ", "ADD "))
    }


def _digests_in(engine: Engine, container: str, wanted: set[str]) -> dict[str, str]:
    """Digests of the wanted files as the container has them; one that is not there is not in the answer."""
    digests: dict[str, str] = {}
    for folder in _folders(wanted):
        links: dict[str, str] = {}
        try:
            with engine.archive(container, folder) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
                parent = PurePosixPath(folder).parent
                for member in archive:
                    path = str(parent / member.name)
                    if path in wanted and member.islnk():
                        links[path] = str(parent / member.linkname)
                    elif path in wanted:
                        digests[path] = _digest_of(archive, member)
        except NotFound:
            continue
        # A hard link has no content of its own in a tar stream: it names the file that came before it.
        for path, first in links.items():
            if first not in digests and first not in wanted:
                digests |= _digests_in(engine, container, {first})
            digests |= {path: digests[first]} if first in digests else {}
    return {path: digest for path, digest in digests.items() if path in wanted}


def _folders(wanted: set[str]) -> Iterator[str]:
    """The fewest paths to ask for: the files' folders, without those below another; never the whole root."""
    by_folder: dict[str, list[str]] = defaultdict(list)
    for path in wanted:
        by_folder[str(PurePosixPath(path).parent)].append(path)
    taken: list[str] = []
    for folder in sorted(by_folder):
        if folder == "/":
            yield from by_folder[folder]
        elif not any(folder.startswith(f"{above}/") for above in taken):
            taken.append(folder)
            yield folder


def _digest_of(archive: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    if member.issym():
        return hashlib.sha256(member.linkname.encode(errors="surrogateescape")).hexdigest()
    content = archive.extractfile(member)
    if content is None:
        return ""
    digest = hashlib.sha256()
    while block := content.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


# --- the app's own word -------------------------------------------------------------------------------------------


def _build_info_ok(address: str, built_revision: str | None) -> bool | None:
    """Whether `/build/info` agrees with the image's label; none where there is no such page or no commit to compare."""
    commit = _told_commit(address)
    if not commit or commit == "unknown" or built_revision is None:
        return None
    return built_revision.startswith(commit.removesuffix("-dirty"))


def _told_commit(address: str) -> str | None:
    """The app may answer whatever it likes, and for as long as it likes."""
    import json

    import httpx

    deadline, content = time.monotonic() + ANSWER_SECONDS, bytearray()
    try:
        # Without `trust_env`, which would send the call to the machine's own proxy.
        with (
            httpx.Client(trust_env=False, timeout=ANSWER_SECONDS) as client,
            client.stream("GET", f"{address}/build/info") as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                return None
            for chunk in answer.iter_bytes():
                content += chunk
                if len(content) > MAX_INFO_BYTES or time.monotonic() > deadline:
                    return None
        commit = json.loads(content)["git_commit"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return commit if isinstance(commit, str) else None
