"""Contexts beside the main one, which a Dockerfile copies from by a name: folders, images, other services' images.

A folder is known by the digest of all that is in it. BuildKit knows it by the main context's name and its own, so that
name changes whenever the folder's content does: what it was sent of the folder before never counts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dockwright.domain.plan import ServicePlan
from dockwright.errors import ComposeFileWrong
from dockwright.insight import context as contexts
from dockwright.insight import ignore
from dockwright.sources import bounds
from dockwright.stages.context import StageContext
from dockwright.stages.staging import Staging

if TYPE_CHECKING:
    from dockwright.insight.context import Walk

_IMAGE, _SERVICE = "docker-image://", "service:"


@dataclass(slots=True)
class NamedContexts:
    passed: dict[str, str] = field(default_factory=dict)
    """As a plan holds them: a folder, an address, `service:NAME`."""
    digests: dict[str, str] = field(default_factory=dict)
    """By name, of all but images: what its content is known by."""
    images: dict[str, str] = field(default_factory=dict)
    """Name → the image that it stands for."""
    is_repeatable: bool = True
    """Nothing comes from an address, whose content nobody knows before."""
    _walks: dict[str, tuple[Path, Walk]] = field(default_factory=dict)

    def changed_since(self) -> list[str]:
        """Names of the folders that are not as they were."""
        return [name for name, (root, walk) in self._walks.items() if _walk(root).fingerprint != walk.fingerprint]


def named_contexts(
    ctx: StageContext, service: str, given: Mapping[str, str], planned: Mapping[str, ServicePlan], staging: Staging
) -> NamedContexts:
    """`planned`: the services that come before, by name. Raises `ComposeFileWrong` for a folder that is not there."""
    named = NamedContexts()
    for name, place in given.items():
        if place.startswith(_IMAGE):
            named.images[name] = place.removeprefix(_IMAGE)
        elif place.startswith(_SERVICE):
            other = planned[place.removeprefix(_SERVICE)]
            named.passed[name] = f"{_SERVICE}{other.service}"
            named.digests[name] = f"manifest:{other.manifest_digest}"
        elif place.startswith("/"):
            _add_folder(named, service, name, Path(place))
        else:
            named.passed[name] = place
            named.digests[name] = place
            named.is_repeatable = False
    if named._walks:
        _add_digests(ctx, named, staging)
    return named


def _add_folder(named: NamedContexts, service: str, name: str, root: Path) -> None:
    if not root.is_dir():
        raise ComposeFileWrong(
            f"The service {service} is built with {name} from {root}, which is no folder",
            remedy="Correct its additional_contexts in the compose file",
        )
    walk = _walk(root)
    bounds.check_size(walk.files, walk.bytes, f"The context {name}")
    bounds.check_links(root, walk.links)
    named.passed[name] = str(root)
    named._walks[name] = (root, walk)


def _walk(root: Path) -> Walk:
    return contexts.walk(root, ignore.load_rules(root, root / "Dockerfile"))


def _add_digests(ctx: StageContext, named: NamedContexts, staging: Staging) -> None:
    remembered: dict[str, list[str | None]] = staging.memory.get("named", {})
    known: dict[str, list[str | None]] = {}
    for name, (root, walk) in named._walks.items():
        fingerprint, digest = remembered.get(name) or (None, None)
        if digest is None or fingerprint != walk.fingerprint:
            digest = _digest(ctx, root, walk)
        named.digests[name] = f"context:{digest}"
        # What was touched a moment ago could change again without its times telling.
        known[name] = [None if walk.is_racy else walk.fingerprint, digest]
    if {name: one[1] for name, one in known.items()} != {name: one[1] for name, one in remembered.items()}:
        staging.renew_name()
    if known != remembered:
        staging.remember(named=known)


def _digest(ctx: StageContext, root: Path, walk: Walk) -> str:
    from dockwright.insight import index

    files = index.update(root, walk, None, ctx.cancel.check).files
    return hashlib.sha256(json.dumps([[path, one[4], one[5]] for path, one in files.items()]).encode()).hexdigest()
