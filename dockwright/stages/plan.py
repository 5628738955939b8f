"""plan: Tree → Plan. What will be built and from what; here it is decided that nothing changed."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dockwright.docker.engine import Engine
from dockwright.domain.build import BuiltImage
from dockwright.domain.builder import SHARED
from dockwright.domain.plan import InputManifest, Plan, ServicePlan
from dockwright.domain.source import Tree, url_without_credentials
from dockwright.errors import ComposeFileWrong, NotFound
from dockwright.insight import ahead, ignore
from dockwright.insight import context as contexts
from dockwright.sources import bounds
from dockwright.stages.asked import SERVICE, asked_of, composition, host_platform, image_part
from dockwright.stages.base_images import BaseImages, base_images
from dockwright.stages.context import StageContext
from dockwright.stages.named_contexts import named_contexts
from dockwright.stages.sending import Sending
from dockwright.stages.staging import Staging

if TYPE_CHECKING:
    from dockwright.insight.compose import Composition, Recipe
    from dockwright.insight.copies import Copies
    from dockwright.insight.dockerfile import Dockerfile
    from dockwright.insight.index import Index

COMMIT_LENGTH = 12
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_LABEL = "dev.dockwright."


def plan(ctx: StageContext, tree: Tree) -> Plan:
    """Raises `NotFound` for a service that is not there, and what reading the source may raise."""
    composed = composition(ctx, tree)
    if composed is None:
        if ctx.request.service not in {None, SERVICE}:
            raise NotFound(f'The source has no service "{ctx.request.service}"', remedy=f"It has one, called {SERVICE}")
        return Plan(services=(Planner(ctx, tree).plan(),))
    return _plan_composed(ctx, tree, composed)


def _plan_composed(ctx: StageContext, tree: Tree, composed: Composition) -> Plan:
    request = ctx.request
    services = frozenset(composed.services)
    if request.service is not None:
        composed.check(request.service)
        services = composed.with_needs(request.service) if request.is_for_up else frozenset({request.service})
    recipes = composed.recipes_of(services)
    if not recipes and not request.is_for_up:
        raise ComposeFileWrong(
            f"Nothing is built for {request.service or 'its services'}: the compose file only names images",
            remedy="Start them with: dockwright up",
        )
    is_plain = composed.is_plain and not request.is_for_up
    planned: dict[str, ServicePlan] = {}
    for recipe in recipes:
        one = Planner(ctx, tree, recipe, planned, is_alone=is_plain).plan()
        planned |= dict.fromkeys(recipe.services, one)
    return Plan(
        services=tuple(planned[recipe.service] for recipe in recipes),
        standing=composed.standing,
        together=None if is_plain else "the folder's services are started together: dockwright up",
    )


@dataclass(frozen=True, slots=True)
class _Facts:
    """What must be known before the question can be asked; remembered while the walk finds nothing changed."""

    content: str
    """Digest of all that is sent."""
    declared: list[str]
    """Build arguments that the Dockerfile declares."""
    refs: list[str]
    """Images that it is built on."""
    committed_at: float | None
    is_dirty: bool


class Planner:
    """Plans one service. `verify` without a build uses it too, to learn what the source is made of.

    Without a `recipe` it is the folder's Dockerfile. `planned` are the services that come before it, by name: it may be
    built on their images. `is_alone` where its image is the project's.
    """

    def __init__(
        self,
        ctx: StageContext,
        tree: Tree,
        recipe: Recipe | None = None,
        planned: Mapping[str, ServicePlan] | None = None,
        *,
        is_alone: bool = True,
    ) -> None:
        self.ctx, self.tree, self.request, self.is_alone = ctx, tree, ctx.request, is_alone
        self.asked = asked_of(ctx, tree, recipe)
        self.service, self.root = self.asked.service, self.asked.root
        self.engine = Engine()
        self.dockerfile_path = self.asked.dockerfile
        if recipe is None:
            own_ignore = self.dockerfile_path.with_name(f"{self.dockerfile_path.name}.dockerignore")
            for file in (self.dockerfile_path, own_ignore, tree.root / ".dockerignore"):
                bounds.check_own(tree.root, file)
        self.text = self.dockerfile_path.read_text(encoding="utf-8", errors="surrogateescape")
        self.rules = ignore.load_rules(self.root, self.dockerfile_path)
        self.staging = Staging(ctx.settings.home, self.request.client, self.request.project, self.service)
        self.named = named_contexts(ctx, self.service, self.asked.contexts, planned or {}, self.staging)
        self.platform = self.asked.platform or host_platform()
        self.walk = ahead.walk(self.root, self.rules, meanwhile=self._read_what_was_sent)
        bounds.check_size(self.walk.files, self.walk.bytes, "The context")
        bounds.check_links(self.root, self.walk.links)

    def plan(self) -> ServicePlan:
        setting = {
            "fingerprint": self.walk.fingerprint,
            "dockerfile": _digest(self.text),
            "asked": _digest([self.asked.target, dict(self.asked.args), self.asked.platform, dict(self.asked.labels)]),
            "head": self.tree.revision,
        }
        memory = self.staging.memory
        if memory.get("builder", SHARED.name) != self.ctx.builder.name:
            # What is remembered is what another builder was sent: this one may have seen something older.
            self.staging.renew_name()
            self.staging.remember(builder=self.ctx.builder.name)
            memory = self.staging.memory
        is_same = all(memory.get(name) == value for name, value in setting.items())
        facts = _Facts(**memory["facts"]) if is_same else self._new_facts()
        build_date, args = self._args(facts)
        bases = self._bases(facts.refs)
        known = {**bases.digests, **self.named.digests}
        question = _digest([facts.content, setting["dockerfile"], args, known, setting["asked"], self.platform])
        manifest = None
        if is_same and memory.get("question") == question:
            digest, is_repeatable = memory["manifest"], memory["is_repeatable"]
        else:
            manifest = self._manifest(args, bases)
            digest, is_repeatable = manifest.digest, _is_repeatable(manifest) and self.named.is_repeatable
            # What was touched a moment ago could change again without its times telling: then nothing is remembered.
            seen = {**setting, "fingerprint": None} if self.walk.is_racy else setting
            facts_known = {name: getattr(facts, name) for name in _Facts.__slots__}
            answer = {"question": question, "manifest": digest, "is_repeatable": is_repeatable}
            self.staging.remember(**seen, **answer, facts=facts_known)
        found = self._reusable(digest) if is_repeatable else None
        if found is None and manifest is None:
            manifest = self._manifest(args, bases)
        return self._service_plan(facts, build_date, args, bases, digest, manifest, found)

    # --- what the source is made of --------------------------------------------------------------------------------

    @cached_property
    def index(self) -> Index:
        """Digests of all files; only those are read that changed since the builder was last sent them."""
        from dockwright.insight import index

        previous = self._sent_before
        current = index.update(self.root, self.walk, previous, self.ctx.cancel.check)
        # Without a word of what the builder was sent under this name, all is sent anew, under another.
        if index.suspicious(previous, current) if previous else "salt" in self.staging.memory:
            self.staging.renew_name()
        return previous if previous == current else current

    @cached_property
    def _sent_before(self) -> Index | None:
        from dockwright.insight import index

        return index.load(self.staging.index_file)

    def _read_what_was_sent(self) -> None:
        """A context whose walk takes is a large one, of which a part has changed more often than not."""
        from dockwright.insight import inputs  # noqa: F401 - loading it takes as long as reading the index

        _ = self._sent_before

    @cached_property
    def parsed(self) -> Dockerfile:
        from dockwright.insight import dockerfile

        return dockerfile.parse(self.text, self.dockerfile_path.name)

    def _new_facts(self) -> _Facts:
        from dockwright.insight import dockerfile, inputs
        from dockwright.insight.index import digest_text

        self._watch_dockerfile()
        committed_at, is_dirty = self.tree.committed_at, self.tree.is_dirty
        if self.tree.is_in_place and self.tree.revision:
            from dockwright.sources import git

            committed_at, is_dirty = git.describe(self.tree.root, self.ctx.cancel)
        return _Facts(
            content=digest_text(
                "\n".join(f"{path}\0{facts[4]}\0{facts[5]}" for path, facts in self.index.files.items())
            ),
            declared=sorted(dockerfile.declared_args(self.parsed)),
            refs=list(inputs.image_refs(self.parsed, target=self.asked.target, args=self.asked.args)),
            committed_at=committed_at,
            is_dirty=is_dirty,
        )

    def _watch_dockerfile(self) -> None:
        """The Dockerfile is sent by itself, ignored or not: if it changed without its size and mtime, all is sent."""
        facts = self.dockerfile_path.stat()
        seen, memory = [facts.st_size, facts.st_mtime_ns], self.staging.memory
        if memory.get("dockerfile_stat") == seen and memory.get("dockerfile") != _digest(self.text):
            self.staging.renew_name()
        self.staging.remember(dockerfile_stat=seen)

    def _manifest(self, args: dict[str, str], bases: BaseImages) -> InputManifest:
        from dockwright.insight import inputs

        manifest = inputs.manifest(
            self.parsed,
            target=self.asked.target,
            args=args,
            platform=self.platform,
            bases={**bases.digests, **self.named.digests},
            index=self.index,
            base_env=bases.env,
            onbuild=bases.triggers,
        )
        if not self.asked.labels:
            return manifest
        # No step takes them in, and the image is another with them all the same.
        return replace(manifest, digest=_digest([manifest.digest, dict(self.asked.labels)]))

    def _manifest_json(self, manifest: InputManifest | None) -> str:
        from dockwright.insight import inputs

        assert manifest is not None, "only what is built has one"
        return inputs.as_json(manifest)

    def _copies(self, args: dict[str, str], bases: BaseImages) -> Copies:
        """Where each file of the context lands in the image."""
        from dockwright.insight import copies
        from dockwright.insight.replay import Recipe

        recipe = Recipe(self.parsed, args, self.platform)
        origin = recipe.bases[recipe.final(self.asked.target).index]
        while origin.target is not None:
            origin = recipe.bases[origin.target.index]
        return copies.copies(
            self.parsed,
            target=self.asked.target,
            args=args,
            index=self.index,
            workdir=bases.workdir(origin.image if origin.image in bases.found else None),
            base_env=bases.env,
            onbuild=bases.triggers,
            platform=self.platform,
        )

    def _changed_since(self) -> list[str]:
        """Paths that are not any more what they were when the build was planned."""
        from dockwright.insight import index

        now = contexts.walk(self.root, self.rules)
        others = self.named.changed_since()
        if now.fingerprint == self.walk.fingerprint:
            return others
        old, new = self.index.files, index.update(self.root, now, self.index).files
        return others + [
            path for path in sorted(old.keys() | new.keys()) if _content(old.get(path)) != _content(new.get(path))
        ]

    def _args(self, facts: _Facts) -> tuple[str, dict[str, str]]:
        """BUILD_DATE, and the build arguments: the user's, and the build's own where the Dockerfile declares them."""
        now = time.time()
        if self.request.profile == "dev":
            build_date, cache_bust = _rfc3339(now), str(int(now))
        else:
            # A date and a value that stay while the source stays spoil neither the cache nor the reuse.
            committed = _rfc3339(facts.committed_at) if facts.committed_at and not facts.is_dirty else None
            build_date = committed or self.request.build_date or self.staging.first_seen(facts.content, _rfc3339(now))
            cache_bust = facts.content[:COMMIT_LENGTH]
        own = {"BUILD_DATE": build_date, "CACHE_BUST": cache_bust}
        if self.tree.revision:
            own["GIT_COMMIT"] = self.tree.revision[:COMMIT_LENGTH] + ("-dirty" if facts.is_dirty else "")
        declared = {name: value for name, value in own.items() if name in facts.declared}
        return build_date, {**declared, **self.asked.args}

    @property
    def _is_without_cache(self) -> bool:
        return self.request.no_cache or self.asked.no_cache or self.request.profile == "dev"

    def _bases(self, refs: list[str]) -> BaseImages:
        """The images that the Dockerfile names, whatever the compose file has in their place."""
        named = {ref: self.named.images[ref] for ref in refs if ref in self.named.images}
        wanted = dict.fromkeys(named.get(ref, ref) for ref in refs if ref not in self.named.digests)
        bases = base_images(self.ctx, self.engine, tuple(wanted))
        for ref, image in named.items():
            bases.found[ref] = bases.found[image]
            bases.substitutes[ref] = bases.substitutes.get(image, image)
        return bases

    def _reusable(self, manifest_digest: str) -> BuiltImage | None:
        if self._is_without_cache:
            return None
        for image in self.ctx.history.of(self.service):
            if image.manifest_digest == manifest_digest and self.engine.image(image.digest) is not None:
                return image
        return None

    # --- the plan ----------------------------------------------------------------------------------------------------

    def _service_plan(
        self,
        facts: _Facts,
        build_date: str,
        args: dict[str, str],
        bases: BaseImages,
        digest: str,
        manifest: InputManifest | None,
        found: BuiltImage | None,
    ) -> ServicePlan:
        return ServicePlan(
            service=self.service,
            shared_with=self.asked.shared_with,
            context=self._context(facts),
            dockerfile=self.dockerfile_path,
            dockerfile_text=self.text,
            target=self.asked.target,
            args=args,
            secrets=self.asked.secrets,
            contexts=self.named.passed,
            platform=self.asked.platform,
            tags=(self._image_name(found),),
            labels=self._labels(facts, build_date, digest),
            substitutes=bases.substitutes,
            bases=bases.digests,
            base_ports=bases.ports,
            manifest_digest=digest,
            manifest=manifest,
            context_files=self.walk.files,
            context_bytes=self.walk.bytes,
            reuse=found.digest if found else None,
            no_cache=self._is_without_cache,
            build_date=found.build_date if found else build_date,
            manifest_json=cache(lambda: self._manifest_json(manifest)),
            sending=lambda: Sending(self.staging.index_file, self._sent_before, self.index),
            copies=lambda: self._copies(args, bases),
            changed_since=self._changed_since,
        )

    def _context(self, facts: _Facts) -> Path:
        if self.tree.is_in_place:
            return self.staging.link(self.root)
        # The Dockerfile is sent too, ignored or not.
        content = _digest([facts.content, self.text])
        return self.staging.link_own(self.root, content, self.ctx.make_workspace(f"context-{self.service}"))

    def _image_name(self, found: BuiltImage | None) -> str:
        tag = self.request.tag or (self.tree.version if _TAG.fullmatch(self.tree.version or "") else None)
        if found is not None and tag is None:
            return found.name
        part = "" if self.is_alone else f"/{image_part(self.service)}"
        return f"{self.request.client}/{self.request.project}{part}:{tag or f'b{self.request.build_id}'}"

    def _labels(self, facts: _Facts, build_date: str, digest: str) -> dict[str, str]:
        labels = {
            **self.asked.labels,
            f"{_LABEL}managed": "true",
            f"{_LABEL}client": self.request.client,
            f"{_LABEL}project": self.request.project,
            f"{_LABEL}build": str(self.request.build_id),
            f"{_LABEL}manifest": digest,
            "org.opencontainers.image.created": build_date,
            "org.opencontainers.image.source": _shown_source(self.tree),
        }
        if self.tree.revision:
            labels["org.opencontainers.image.revision"] = self.tree.revision + ("-dirty" if facts.is_dirty else "")
        if self.tree.version:
            labels["org.opencontainers.image.version"] = self.tree.version
        return labels


def _content(facts: tuple[int, int, int, int, int, str] | None) -> tuple[int, str] | None:
    """Mode and digest."""
    return None if facts is None else (facts[4], facts[5])


def _is_repeatable(manifest: InputManifest) -> bool:
    """Not where a step takes in what nobody knows the content of before: an address without a checksum."""
    from dockwright.insight import inputs

    return not inputs.remote_sources(manifest)


def _shown_source(tree: Tree) -> str:
    source = tree.source
    names = ("url", "path", "template", "digest")
    text = next(str(getattr(source, name)) for name in names if hasattr(source, name))
    return url_without_credentials(text)


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _rfc3339(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
