"""verify: Instances → proof. What runs is what was written: the digest, the files by content, the app's own word.

It needs nothing inside the container, not even a shell (`container_files`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockwright.docker.engine import Document, Engine
from dockwright.domain.plan import Plan, ServicePlan
from dockwright.domain.source import Tree
from dockwright.errors import EngineError, NotFound, VerificationFailed
from dockwright.stages import build_info, container_files, proof
from dockwright.stages.context import StageContext
from dockwright.stages.proof import Proof, Seen, Wanted

if TYPE_CHECKING:
    from dockwright.targets.cutover import Deployed

LABEL = "dev.dockwright."
OCI = "org.opencontainers.image."
LOG_LINES = 10


def verify(ctx: StageContext, deployed: Deployed, tree: Tree, plan: Plan) -> Proof:
    """The new instances against the source. Raises `VerificationFailed`, and then the traffic goes back."""
    (service,) = plan.services
    wanted = Wanted(
        copies=service.copies(),
        revision=tree.revision,
        digest=deployed.release.digest,
        manifest_digest=service.manifest_digest,
        build_args=declared_args(service),
        is_fresh=True,
    )
    engine = Engine()
    for instance in deployed.instances:
        found = prove(
            engine, instance.container_id, [f"http://{instance.address}:{instance.port}"], wanted, ctx.workspace
        )
        ctx.log(f"{instance.name}: {found.summary}")
        for finding in found.findings:
            if finding.severity != "error":
                ctx.log(f"{instance.name}: {finding.message}. {finding.remedy}")
        if not found.ok:
            raise VerificationFailed(
                f"What runs is not what was written: {found.summary}",
                remedy="See which step changes the files after they are copied, or build again with --no-cache",
                last_lines=[ctx.redact(line) for line in found.last_lines],
            )
    return found


def prove(engine: Engine, container: str, addresses: Collection[str], wanted: Wanted, scratch: Path) -> Proof:
    """One container against one source. `scratch` is a folder for the image's layers, where they must be looked into.

    Raises `NotFound` for a container that is not there.
    """
    details = engine.container(container)
    if details is None:
        raise NotFound(f"The container {container} is gone", remedy="Start its product again: dockwright start PRODUCT")
    image = engine.image(details["Image"]) or {}
    labels = {**(details["Config"].get("Labels") or {}), **((image.get("Config") or {}).get("Labels") or {})}
    comparison = container_files.compare(
        engine, details["Id"], details["Image"], wanted.copies, details["Mounts"], scratch
    )
    is_running = bool(details["State"]["Running"])
    seen = Seen(
        name=details["Name"].removeprefix("/"),
        status=_status(details, labels),
        digest=details["Image"],
        tag_digest=(engine.image(wanted.image_name) or {}).get("Id") if wanted.image_name else None,
        manifest_digest=labels.get(f"{LABEL}manifest"),
        comparison=comparison,
        word=build_info.ask(addresses if is_running else (), _right_words(image, labels, wanted)),
        files_checked=len(wanted.copies.mappings) - len(comparison.unverifiable),
    )
    return _proof(seen, wanted, labels, _last_lines(engine, details))


def _proof(seen: Seen, wanted: Wanted, labels: Mapping[str, str], last_lines: list[str]) -> Proof:
    findings = proof.judge(seen, wanted)
    unverifiable = [*wanted.copies.unverifiable, *seen.comparison.unverifiable]
    differ = [one.path for one in seen.comparison.differences]
    if not wanted.is_fresh:
        differ = sorted([*differ, *seen.comparison.changed_elsewhere])
    return Proof(
        ok=not any(finding.severity == "error" for finding in findings),
        revision=wanted.revision,
        built_revision=labels.get(f"{OCI}revision"),
        digest_ok=wanted.digest is None or seen.digest == wanted.digest,
        files_checked=seen.files_checked,
        files_differ=differ,
        files_unverifiable=[{"path": path, "reason": reason} for path, reason in unverifiable],
        build_info_ok=seen.word.is_ok,
        manifest_ok=proof.is_of_source(seen, wanted),
        tag_ok=proof.is_tag_right(seen, wanted),
        findings=findings,
        status=seen.status,
        last_lines=last_lines,
    )


def declared_args(service: ServicePlan) -> dict[str, str]:
    """Of the build arguments that are passed, those that the Dockerfile declares: the others reach no app."""
    from dockwright.insight import dockerfile

    declared = dockerfile.declared_args(dockerfile.parse(service.dockerfile_text, service.dockerfile.name))
    return {name: value for name, value in service.args.items() if name in declared}


def _right_words(image: Document, labels: Mapping[str, str], wanted: Wanted) -> dict[str, list[str]]:
    """Fact of a build → what an app may rightly say of it.

    What the image's own environment says is its own; a value that a Dockerfile does not declare was never passed, and
    what an old image was passed is not known but for its labels.
    """
    pairs = ((image.get("Config") or {}).get("Env")) or ()
    environment = dict(pair.partition("=")[::2] for pair in pairs)
    told = {"git_commit": labels.get(f"{OCI}revision"), "build_date": labels.get(f"{OCI}created"), "cache_bust": None}
    is_of_source = wanted.manifest_digest is not None and labels.get(f"{LABEL}manifest") == wanted.manifest_digest
    right = {}
    for fact, argument in build_info.FACTS.items():
        passed = wanted.build_args.get(argument) if is_of_source else None
        is_comparable = fact == "git_commit" or argument in wanted.build_args
        values = [passed, environment.get(argument), told[fact]] if is_comparable else []
        right[fact] = list(dict.fromkeys(value for value in values if value))
    return right


def _status(details: Document, labels: Mapping[str, str]) -> dict[str, Any]:
    state = details["State"]
    return {
        "state": state["Status"],
        "health": (state.get("Health") or {}).get("Status"),
        "exit_code": None if state["Running"] else state["ExitCode"],
        "restarts": details.get("RestartCount", 0),
        "started_at": state["StartedAt"],
        "image": details["Image"],
        "build": labels.get(f"{LABEL}build"),
        "built_at": labels.get(f"{OCI}created"),
    }


def _last_lines(engine: Engine, details: Document) -> list[str]:
    from dockwright.targets.docker import redacted_logs

    try:
        return redacted_logs(engine, details["Id"], LOG_LINES)
    except EngineError as error:  # not every log driver can be read
        return [f"(its log cannot be read: {error.message})"]
