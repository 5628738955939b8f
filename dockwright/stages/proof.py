"""What verifying a container comes to: its verdict, in numbers for programs and in words for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from dockwright.insight.findings import Finding
from dockwright.insight.input_changes import InputChanges

if TYPE_CHECKING:
    from dockwright.insight.bundle import OlderBundle
    from dockwright.insight.copies import Copies
    from dockwright.stages.build_info import Word
    from dockwright.stages.container_files import Comparison

SHOWN = 5
MAX_FILE_FINDINGS = 20
_UNCOVER = (
    "No build changes what a volume or a folder of the host holds: mount it elsewhere, or remove it (docker volume rm) "
    "once nothing in it is needed, and start anew"
)
_NAMES = {"git_commit": "commit", "build_date": "build date", "cache_bust": "cache bust"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a container should be, by its release and its source."""

    copies: Copies
    revision: str | None
    digest: str | None = None
    """None: whichever image it runs, its content counts."""
    image_name: str | None = None
    """The tag that the release's image was given."""
    manifest_digest: str | None = None
    build_args: Mapping[str, str] = field(default_factory=dict)
    """What the build was passed, by the arguments' names."""
    newer: str | None = None
    """A later build of the same service whose image does not run here, in words."""
    moved_by: str | None = None
    """A later build that was given the same tag, in words."""
    changes: Callable[[], InputChanges] = InputChanges
    """What changed in the source since the image was built, as far as it is known; asked only where something did."""
    older_bundle: OlderBundle | None = None
    gone: str | None = None
    """The service that its image was built for, where the source has none of that name any more."""
    is_foreign: bool = False
    """Its image is not built from the source, such as a database's: there is nothing to compare but how it is."""
    may_end: bool = False
    """Ending with exit code 0 is fine: a service among others may have done its work."""
    is_fresh: bool = False
    """It was started a moment ago: what it changed since, it did by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """CONTRACT, `verify --json`, for one container."""

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
    """None where the app has no `/build/info` and no `/build-info.js`."""
    manifest_ok: bool = True
    """The image was built from inputs equal to the source's."""
    tag_ok: bool = True
    """The image's tag still names it."""
    findings: list[Finding] = field(default_factory=list)
    """Each thing that is not as it should be; nothing is proved while one is an error."""
    status: Mapping[str, Any] = field(default_factory=dict)
    """What the engine says of the container: `state, health, exit_code, restarts, started_at, image, build`."""
    last_lines: list[str] = field(default_factory=list)
    """Of its log."""

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "summary": self.summary}

    @property
    def errors(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.severity == "error"]

    @property
    def summary(self) -> str:
        matching = self.files_checked - len(self.files_differ)
        text = f"{max(0, matching)} of {self.files_checked} files match"
        if not self.files_checked:
            text = "there is no file to compare"
        elif self.revision:
            text += f" commit {self.revision[:12]}"
            if self.built_revision == f"{self.revision}-dirty":
                text += " with changes that were not committed"
        if self.files_unverifiable:
            text += f", {len(self.files_unverifiable)} cannot be compared"
        problems = [finding.message for finding in self.errors[:SHOWN]]
        if len(self.errors) > SHOWN:
            problems.append(f"and {len(self.errors) - SHOWN} more")
        return "; ".join([text, *problems])


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was seen of one container."""

    name: str
    status: Mapping[str, Any]
    digest: str
    """Of the image that it runs."""
    tag_digest: str | None
    """What the wanted tag names now; none where it names nothing."""
    manifest_digest: str | None
    """Of the image that it runs, by its label."""
    comparison: Comparison
    word: Word
    files_checked: int


def judge(seen: Seen, wanted: Wanted) -> list[Finding]:
    """All that is not as it should be, the container itself first."""
    return [
        *_state(seen, wanted),
        *_service(seen, wanted),
        *_image(seen, wanted),
        *_age(seen, wanted),
        *_files(seen, wanted),
        *_bundle(seen, wanted),
        *_word(seen),
        *_nothing_proved(seen, wanted),
    ]


def missing(service: str, there: int, wanted: int, revision: str | None) -> Proof:
    """Of a service that has too few containers: there is none to look at."""
    finding = _error(
        "service_missing",
        service,
        f"{wanted - there} of {wanted} containers of the service {service} are missing",
        "Somebody removed what was started; start it again with: dockwright up",
    )
    status = dict.fromkeys(("state", "health", "exit_code", "restarts", "started_at", "image", "build", "built_at"))
    return Proof(
        ok=False,
        revision=revision,
        built_revision=None,
        digest_ok=False,
        files_checked=0,
        files_differ=[],
        files_unverifiable=[],
        build_info_ok=None,
        findings=[finding],
        status={**status, "state": "missing", "restarts": 0},
    )


def is_of_source(seen: Seen, wanted: Wanted) -> bool:
    """The image's inputs are the source's, as far as that is known."""
    return wanted.manifest_digest is None or seen.manifest_digest == wanted.manifest_digest


def is_tag_right(seen: Seen, wanted: Wanted) -> bool:
    return wanted.digest is None or seen.tag_digest in {None, wanted.digest}


def _error(code: str, place: str, message: str, remedy: str) -> Finding:
    return Finding(severity="error", code=code, place=place, message=message, remedy=remedy)


def _warning(code: str, place: str, message: str, remedy: str) -> Finding:
    return Finding(severity="warning", code=code, place=place, message=message, remedy=remedy)


def _state(seen: Seen, wanted: Wanted) -> Iterator[Finding]:
    state, health = seen.status["state"], seen.status["health"]
    if state == "exited" and seen.status["exit_code"] == 0 and wanted.may_end:
        return
    if state != "running":
        ended = f" (exit code {seen.status['exit_code']})" if state == "exited" else ""
        yield _error("not_running", seen.name, f"it is {state}{ended}", "See the last lines of its log, and start it")
    elif health == "unhealthy":
        yield _warning("unhealthy", seen.name, "its health check fails", "See the last lines of its log")


def _service(seen: Seen, wanted: Wanted) -> Iterator[Finding]:
    if wanted.gone is not None:
        yield _error(
            "service_gone",
            seen.name,
            f'it runs the service "{wanted.gone}", which the source has no more: there is nothing to compare it with',
            "Stop it, or give the service its name back; one of a profile is there where COMPOSE_PROFILES names it",
        )


def _image(seen: Seen, wanted: Wanted) -> Iterator[Finding]:
    if wanted.digest is None:
        return
    if seen.digest != wanted.digest:
        yield _error(
            "image_differs",
            seen.name,
            f"it runs the image {_short(seen.digest)}, and the release is {_short(wanted.digest)}",
            "Start the release anew, or build again",
        )
    if not is_tag_right(seen, wanted) and wanted.moved_by is None:
        yield _error(
            "tag_differs",
            wanted.image_name or seen.name,
            f"the tag {wanted.image_name} names the image {_short(seen.tag_digest or '')} now, "
            f"not {_short(wanted.digest)} that was built under it",
            f"Give it back with: docker tag {wanted.digest} {wanted.image_name}; or build again",
        )


def _age(seen: Seen, wanted: Wanted) -> Iterator[Finding]:
    """An old container: the source went on, or a later build was never started."""
    build, built_at = seen.status["build"], seen.status["built_at"]
    runs = f"it still runs {f'build {build}' if build else 'an image'}{f' of {built_at}' if built_at else ''}"
    later = wanted.newer or wanted.moved_by
    if is_of_source(seen, wanted):
        if later:
            again = f"{runs}; the same source was built again since ({later})"
            yield _warning("container_old", seen.name, again, "Deploy the newer image, if it is the one you want")
        return
    changed = wanted.changes().told
    since = f", and since then the source has changed: {_some(changed)}" if changed else ", built from other inputs"
    newer = f" ({later} is newer and does not run here)" if later else ""
    yield _error("container_old", seen.name, f"{runs}{since}{newer}", "Build and deploy the source as it is now")


def _files(seen: Seen, wanted: Wanted) -> Iterator[Finding]:
    found = [*_compared_files(seen, wanted), *_other_files(seen, wanted)]
    yield from found[:MAX_FILE_FINDINGS]
    if len(found) > MAX_FILE_FINDINGS:
        more = f"and {len(found) - MAX_FILE_FINDINGS} more files"
        yield _error("file_changed", seen.name, more, "The answer's files_differ names all of them")


def _compared_files(seen: Seen, wanted: Wanted) -> Iterator[Finding]:
    for one in seen.comparison.differences:
        place = f"{seen.name}:{one.path}"
        code = {"missing": "file_missing", "content": "file_changed"}.get(one.what, "mode_differs")
        if one.hidden_by:
            text = f"{one.path} is not seen as the image has it, {one.hidden_by} lies over it: {one.text}"
            yield _error("file_hidden", place, text, _UNCOVER)
        elif one.is_own:
            text = f"{one.path} was changed inside the container: {one.text}"
            yield _error(code, place, text, "Start the release anew; what the app writes itself belongs on a volume")
        elif wanted.manifest_digest and is_of_source(seen, wanted):
            text = f"{one.path} is wrong in the image itself: {one.text}"
            yield _error(code, place, text, "Build again with --no-cache")
        else:
            text = f"{one.path} is another in the image than in the source now: {one.text}"
            yield _error(code, place, text, "Build and deploy the source as it is now")


def _other_files(seen: Seen, wanted: Wanted) -> Iterator[Finding]:
    make = _warning if wanted.is_fresh else _error
    for path in seen.comparison.changed_elsewhere:
        text = f"{path} was changed inside the container; it is no longer what its image holds"
        remedy = "Start the release anew; what the app writes itself belongs on a volume"
        yield make("file_changed", f"{seen.name}:{path}", text, remedy)


def _bundle(seen: Seen, wanted: Wanted) -> Iterator[Finding]:
    """Built files that the container serves, and that were made from older sources."""
    if not is_of_source(seen, wanted):
        changes = wanted.changes()
        for path, reason in wanted.copies.unverifiable:
            if any(reason == f'comes from build target "{target}"' for target in changes.targets):
                text = f"the bundle {path} was built before the source changed: {_some(list(changes.files))}"
                yield _error("bundle_stale", f"{seen.name}:{path}", text, "Build and deploy the source as it is now")
    if older := wanted.older_bundle:
        text = f"the bundle {older.folder} seems older than {older.source}, by {_span(older.seconds)}"
        remedy = "Build it anew (npm run build) before the image, or build it inside the image"
        yield _warning("bundle_older", older.folder, text, remedy)


def _word(seen: Seen) -> Iterator[Finding]:
    for one in seen.word.disagreements:
        is_bundle = one.page.endswith(".js")
        what = "the bundle is stale" if is_bundle else "the app was built from something else"
        yield _error(
            "bundle_stale" if is_bundle else "build_info_differs",
            f"{seen.name}:{one.page}",
            f"{one.page} names the {_NAMES[one.fact]} {one.said}, not {one.wanted}: {what}",
            "Declare the build argument above the step that writes the page, and build again",
        )


def _nothing_proved(seen: Seen, wanted: Wanted) -> Iterator[Finding]:
    if not seen.files_checked and wanted.manifest_digest is None and not wanted.is_foreign:
        yield _error(
            "nothing_proved", seen.name, "there is nothing to compare it with", "Build and deploy it with dockwright"
        )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]


def _span(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
