"""plan: Tree → Plan. What will be built and from what; here it is decided that nothing changed."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockwright.docker.bases import parse_substitutes, substitute_for
from dockwright.docker.engine import Engine
from dockwright.domain.build import BuiltImage
from dockwright.domain.plan import InputManifest, Plan, ServicePlan
from dockwright.domain.source import Tree
from dockwright.errors import NoDockerfile
from dockwright.insight import context as contexts
from dockwright.insight import ignore
from dockwright.sources import bounds
from dockwright.stages.context import StageContext
from dockwright.stages.staging import Staging

if TYPE_CHECKING:
    from dockwright.insight.copies import Copies
    from dockwright.insight.dockerfile import Dockerfile

SERVICE = "app"
BASE_NAMES = "localhost/base/"
COMPOSE_FILES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_LABEL = "dev.dockwright."


def plan(ctx: StageContext, tree: Tree) -> Plan:
    return Plan(services=(Planner(ctx, tree).plan(),))


def find_dockerfile(root: Path, name: str | None) -> Path:
    path = root / (name or "Dockerfile")
    if path.is_file():
        return path
    if name is None and any((root / compose).is_file() for compose in COMPOSE_FILES):
        raise NoDockerfile(
            f"{root} has a compose file but no Dockerfile", remedy="Build the folder of one of its services"
        )
    raise NoDockerfile(f"{root} has no {path.name}", remedy="Write a Dockerfile there, or give the folder that has one")


@dataclass(frozen=True, slots=True)
class _Facts:
    """What must be known before the question can be asked; remembered while the walk finds nothing changed."""

    content: str
    """Digest of all that is sent."""
    declared: frozenset[str]
    """Build arguments that the Dockerfile declares."""
    refs: tuple[str, ...]
    """Images that it is built on."""
    committed_at: float | None
    is_dirty: bool


class Planner:
    """Plans one service. Also `verify` without a build uses it, to learn what the source is made of."""

    def __init__(self, ctx: StageContext, tree: Tree) -> None:
        self.ctx, self.tree, self.request = ctx, tree, ctx.request
        self.engine = Engine()
        self.dockerfile_path = find_dockerfile(tree.root, self.request.dockerfile)
        self.text = self.dockerfile_path.read_text(encoding="utf-8", errors="surrogateescape")
        self.rules = ignore.load_rules(tree.root, self.dockerfile_path)
        self.staging = Staging(ctx.settings.home, self.request.client, self.request.project, SERVICE)
        self.platform = f"linux/{ {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(platform.machine(), platform.machine()) }"
        self.notes: list[str] = []

    def plan(self) -> ServicePlan:
        walk = contexts.walk(self.tree.root, self.rules)
        bounds.check_size(walk.files, walk.bytes, "The context")
        bounds.check_links(self.tree.root, (entry[0] for entry in walk.entries if stat.S_ISLNK(entry[1])))
        setting = {
            "fingerprint": walk.fingerprint,
            "dockerfile": _digest(self.text),
            "asked": _digest([self.request.target, dict(self.request.args)]),
            "head": self.tree.revision,
        }
        is_same = all(self.staging.memory.get(name) == value for name, value in setting.items())
        facts = self._remembered_facts() if is_same else self._new_facts(walk)
        args = self.args(facts)
        bases, substitutes = self._bases(facts.refs)
        digests = {ref: image["Id"] for ref, image in bases.items()}
        question = _digest([facts.content, setting["dockerfile"], args, digests, self.request.target, self.platform])
        manifest = None
        if not (is_same and self.staging.memory.get("question") == question):
            manifest = self.manifest(args, bases)
            self.staging.remember(
                **(setting if not walk.is_racy else {**setting, "fingerprint": None}),
                question=question,
                manifest=manifest.digest,
                content=facts.content,
                declared=sorted(facts.declared),
                refs=facts.refs,
                committed_at=facts.committed_at,
                is_dirty=facts.is_dirty,
            )
        digest: str = manifest.digest if manifest else self.staging.memory["manifest"]
        found = self._reusable(digest)
        if found is None and manifest is None:
            manifest = self.manifest(args, bases)
        return self._service_plan(walk, facts, args, bases, substitutes, digest, manifest, found)

    # --- what the source is made of --------------------------------------------------------------------------------

    def _remembered_facts(self) -> _Facts:
        memory = self.staging.memory
        return _Facts(
            content=memory["content"],
            declared=frozenset(memory["declared"]),
            refs=tuple(memory["refs"]),
            committed_at=memory["committed_at"],
            is_dirty=memory["is_dirty"],
        )

    def _new_facts(self, walk: contexts.Walk) -> _Facts:
        from dockwright.insight import dockerfile, index, inputs

        previous = index.load(self.staging.index_file)
        current = index.update(self.tree.root, walk, previous)
        if self._is_dockerfile_suspicious() or (previous is not None and index.suspicious(previous, current)):
            self.staging.renew_name()
        index.save(current, self.staging.index_file)
        parsed = dockerfile.parse(self.text, self.dockerfile_path.name)
        committed_at, is_dirty = self.tree.committed_at, self.tree.is_dirty
        if self.tree.is_in_place and self.tree.revision:
            from dockwright.sources import git

            committed_at, is_dirty = git.describe(self.tree.root, self.ctx.cancel)
        return _Facts(
            content=_digest([(path, facts[4], facts[5]) for path, facts in current.files.items()]),
            declared=dockerfile.declared_args(parsed),
            refs=inputs.image_refs(parsed, target=self.request.target, args=self.request.args),
            committed_at=committed_at,
            is_dirty=is_dirty,
        )

    def _is_dockerfile_suspicious(self) -> bool:
        """Whether the Dockerfile, which is sent by itself, changed without its size and mtime."""
        stat = self.dockerfile_path.stat()
        facts, memory = [stat.st_size, stat.st_mtime_ns], self.staging.memory
        is_suspicious = memory.get("dockerfile_stat") == facts and memory.get("dockerfile") != _digest(self.text)
        self.staging.remember(dockerfile_stat=facts)
        return is_suspicious

    def manifest(self, args: Mapping[str, str], bases: Mapping[str, dict[str, Any]]) -> InputManifest:
        from dockwright.insight import dockerfile, index, inputs

        current = index.load(self.staging.index_file)
        assert current is not None
        return inputs.manifest(
            dockerfile.parse(self.text, self.dockerfile_path.name),
            target=self.request.target,
            args=args,
            platform=self.platform,
            bases={ref: image["Id"] for ref, image in bases.items()},
            index=current,
            base_env={ref: _env(image) for ref, image in bases.items()},
            onbuild={ref: image["Config"].get("OnBuild") or () for ref, image in bases.items()},
        )

    def copies(self, args: Mapping[str, str], bases: Mapping[str, dict[str, Any]]) -> Copies:
        """Where each file of the context lands in the image."""
        from dockwright.insight import copies, dockerfile, index

        current = index.load(self.staging.index_file)
        assert current is not None
        parsed = dockerfile.parse(self.text, self.dockerfile_path.name)
        return copies.copies(
            parsed,
            target=self.request.target,
            args=args,
            index=current,
            workdir=self._workdir(parsed, args, bases),
            base_env={ref: _env(image) for ref, image in bases.items()},
            onbuild={ref: image["Config"].get("OnBuild") or () for ref, image in bases.items()},
            platform=self.platform,
        )

    def _workdir(self, parsed: Dockerfile, args: Mapping[str, str], bases: Mapping[str, dict[str, Any]]) -> str:
        """Where the image begins that the final target comes from in the end."""
        from dockwright.insight.replay import Recipe

        recipe = Recipe(parsed, args, self.platform)
        origin = recipe.bases[recipe.final(self.request.target).index]
        while origin.target is not None:
            origin = recipe.bases[origin.target.index]
        return (bases[origin.image]["Config"].get("WorkingDir") if origin.image else None) or "/"

    def args(self, facts: _Facts) -> dict[str, str]:
        """Build arguments: the user's, and the three facts of the build where the Dockerfile declares them."""
        now = time.time()
        if self.request.profile == "dev":
            build_date, cache_bust = _rfc3339(now), str(int(now))
        else:
            # A date and a value that stay while the source stays spoil neither the cache nor the reuse.
            seen = _rfc3339(facts.committed_at) if facts.committed_at and not facts.is_dirty else None
            build_date = seen or self.staging.first_seen(facts.content, _rfc3339(now))
            cache_bust = facts.content[:12]
        self.build_date = build_date
        given = {"BUILD_DATE": build_date, "CACHE_BUST": cache_bust}
        if self.tree.revision:
            given["GIT_COMMIT"] = self.tree.revision[:12] + ("-dirty" if facts.is_dirty else "")
        return {**{name: value for name, value in given.items() if name in facts.declared}, **self.request.args}

    # --- images ------------------------------------------------------------------------------------------------------

    def _bases(self, refs: tuple[str, ...]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
        """Each base image as the engine describes it, and which image stands for which; a missing one is pulled."""
        bases, substitutes = {}, {}
        for ref in refs:
            found = self._fresh(ref) if self.request.profile == "dev" else self.engine.image(ref)
            if found is None and (local := substitute_for(ref, self._substitutes())) is not None:
                found = self.engine.image(local)
                if found is not None:
                    substitutes[ref] = local
                    self.notes.append(f"{local} stands for {ref}")
            if found is None:
                found = self._pull(ref)
            bases[ref] = found
        return bases, substitutes

    def _substitutes(self) -> dict[str, str]:
        if self.ctx.settings.image_substitutes is not None:
            return parse_substitutes(self.ctx.settings.image_substitutes)
        return {
            pattern: name
            for image in self.engine.images({f"{_LABEL}managed": "true"})
            # Whatever is built on a base inherits its labels: only the name tells the base itself.
            for name in image.get("RepoTags") or ()
            if name.startswith(BASE_NAMES)
            for pattern in filter(None, (image.get("Labels") or {}).get(f"{_LABEL}substitutes", "").split(","))
        }

    def _pull(self, ref: str) -> dict[str, Any]:
        from dockwright.docker import registry

        self.ctx.log(f"Pulling {ref}")
        registry.pull(ref, self.ctx.cancel)
        found = self.engine.image(ref)
        assert found is not None
        return found

    def _fresh(self, ref: str) -> dict[str, Any] | None:
        """dev builds on the newest base, where its registry answers; else on the one that is there."""
        from dockwright.docker import registry
        from dockwright.errors import BaseImageMissing, RegistryUnreachable

        try:
            return self._pull(ref)
        except (RegistryUnreachable, BaseImageMissing):
            self.ctx.log(f"{ref} cannot be pulled from {registry.host_of(ref)}: the one that is here is used")
            return self.engine.image(ref)

    def _reusable(self, manifest_digest: str) -> BuiltImage | None:
        if self.request.profile == "dev" or self.request.no_cache:
            return None
        for image in self.ctx.history.images:
            if image.manifest_digest == manifest_digest and self.engine.image(image.digest) is not None:
                return image
        return None

    # --- the plan ----------------------------------------------------------------------------------------------------

    def _service_plan(
        self,
        walk: contexts.Walk,
        facts: _Facts,
        args: dict[str, str],
        bases: dict[str, dict[str, Any]],
        substitutes: dict[str, str],
        digest: str,
        manifest: InputManifest | None,
        found: BuiltImage | None,
    ) -> ServicePlan:
        tag = self.request.tag or (self.tree.version if _TAG.fullmatch(self.tree.version or "") else None)
        name = f"{self.request.client}/{self.request.project}"
        is_named = found is not None and tag is None
        return ServicePlan(
            service=SERVICE,
            context=self.staging.link(self.tree.root),
            dockerfile=self.dockerfile_path,
            target=self.request.target,
            args=args,
            secrets=self.request.secrets,
            tags=(found.name,) if is_named and found else (f"{name}:{tag or f'b{self.request.build_id}'}",),
            labels=self._labels(facts, digest),
            substitutes=substitutes,
            manifest_digest=digest,
            manifest=manifest,
            context_files=walk.files,
            context_bytes=walk.bytes,
            reuse=found.digest if found else None,
            no_cache=self.request.no_cache or self.request.profile == "dev",
            build_date=found.build_date if found else self.build_date,
            dockerfile_text=self.text,
            copies=lambda: self.copies(args, bases),
            is_unchanged=lambda: contexts.walk(self.tree.root, self.rules).fingerprint == walk.fingerprint,
            notes=tuple(self.notes),
        )

    def _labels(self, facts: _Facts, digest: str) -> dict[str, str]:
        labels = {
            f"{_LABEL}managed": "true",
            f"{_LABEL}client": self.request.client,
            f"{_LABEL}project": self.request.project,
            f"{_LABEL}build": str(self.request.build_id),
            f"{_LABEL}manifest": digest,
            "org.opencontainers.image.created": self.build_date,
            "org.opencontainers.image.source": _shown_source(self.tree),
        }
        if self.tree.revision:
            labels["org.opencontainers.image.revision"] = self.tree.revision + ("-dirty" if facts.is_dirty else "")
        if self.tree.version:
            labels["org.opencontainers.image.version"] = self.tree.version
        return labels


def _shown_source(tree: Tree) -> str:
    source = tree.source
    text = (
        getattr(source, "url", None) or getattr(source, "path", None) or f"template:{getattr(source, 'template', '')}"
    )
    return re.sub(r"://[^/@\s]+@", "://", text)


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _env(image: Mapping[str, Any]) -> dict[str, str]:
    return dict(variable.partition("=")[::2] for variable in image["Config"].get("Env") or ())


def _rfc3339(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
