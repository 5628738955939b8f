"""Root causes from two manifests, without an engine; what BuildKit really does is told by the acceptance tests."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

import pytest

from dockwright.domain.explanation import Circumstances, Explanation, Forgotten, Previous
from dockwright.domain.image import Step
from dockwright.domain.plan import InputManifest
from dockwright.insight import index, inputs
from dockwright.insight.context import walk
from dockwright.insight.dockerfile import parse
from dockwright.insight.explain import because, explain, sentence

HERE = Circumstances(builder="shared", engine="e1", version="26.1", front_end=None, args={})
SHOP = """\
FROM node AS web
COPY web /web
RUN npm run build
FROM python
ARG GIT_COMMIT=none
ENV MODE=prod
COPY requirements.txt .
RUN pip install -r requirements.txt
COPY --from=web /web/dist static
COPY src src
RUN compile
"""
FILES = {"web/index.html": "1", "requirements.txt": "flask", "src/a.py": "a", "src/b.py": "b"}
BASES = {"node": "sha256:" + "a" * 64, "python": "sha256:" + "b" * 64}


class Project:
    """A folder that is planned again and again."""

    def __init__(self, root: Path) -> None:
        self.root, self.text, self.args, self.bases = root, SHOP, dict[str, str](), dict(BASES)
        self.write(FILES)

    def write(self, files: dict[str, str]) -> None:
        for path, content in files.items():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_text(content)

    def plan(self) -> InputManifest:
        return inputs.manifest(
            parse(self.text),
            target=None,
            args=self.args,
            platform="linux/amd64",
            bases=self.bases,
            index=index.update(self.root, walk(self.root)),
        )

    def circumstances(self) -> Circumstances:
        return replace(HERE, args=dict(self.args))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def ran(manifest: InputManifest, cached: Collection[str] = ()) -> list[Step]:
    """All steps as BuildKit reports them, each of a second; those that begin with a name in `cached` did not run."""
    names = [step.vertex for step in manifest.steps if step.vertex]
    is_cached = {name: any(name.partition("] ")[2].startswith(start) for start in cached) for name in names}
    return [Step(name=name, cached=is_cached[name], seconds=0.0 if is_cached[name] else 1.0) for name in names]


def again(project: Project, change: Callable[[], object], cached: Collection[str] = (), **now: object) -> Explanation:
    """Planned before and after the change; the manifest before as it comes back from where it is kept."""
    before = inputs.from_json(inputs.as_json(project.plan()))
    previous = Previous(build_id=7, manifest=before, circumstances=project.circumstances())
    change()
    manifest = project.plan()
    return explain(manifest, ran(manifest, cached), replace(project.circumstances(), **now), previous)  # type: ignore[arg-type]


def causes(told: Explanation) -> list[tuple[str, object, list[str]]]:
    """Cause, detail, and what its steps do, in the order of the Dockerfile."""
    found = sorted(told.causes, key=lambda cause: cause.line or 0)
    return [(one.cause, one.detail, [name.partition("] ")[2].split()[1] for name in one.steps]) for one in found]


# --- what holds for a whole build -----------------------------------------------------------------------------------


def test_a_first_build(project: Project) -> None:
    manifest = project.plan()
    told = explain(manifest, ran(manifest, cached=["COPY web"]), HERE, None)
    assert {step.cause for step in told.steps if not step.cached} == {"first_build"}
    assert [(cause.cause, cause.seconds) for cause in told.causes] == [("first_build", 6.0)]
    assert told.previous_build_id is None
    # A first build without cache is a first build; what was forgotten is neither.
    without = explain(manifest, ran(manifest), replace(HERE, no_cache="--no-cache"), None)
    assert [cause.cause for cause in without.causes] == ["first_build"]
    forgotten = explain(manifest, ran(manifest), HERE, Forgotten(build_id=3))
    assert [(cause.cause, cause.detail) for cause in forgotten.causes] == [
        ("unknown", "what build 3 was made of is not kept any more")
    ]


def test_without_cache_is_told_before_what_changed(project: Project) -> None:
    told = again(project, lambda: project.write({"src/a.py": "new"}), no_cache="the profile dev")
    assert [(cause.cause, cause.detail, len(cause.steps)) for cause in told.causes] == [
        ("no_cache", "the profile dev", 7)
    ]


def test_a_from_never_runs_and_cached_steps_have_no_cause(project: Project) -> None:
    told = again(project, lambda: None, cached=["COPY", "RUN"])
    assert all(step.cached and step.cause is None for step in told.steps)
    assert told.causes == ()
    assert len(told.steps) == 9


# --- one change, one cause ------------------------------------------------------------------------------------------


def test_files(project: Project) -> None:
    told = again(
        project,
        lambda: project.write({"src/a.py": "A", "src/c.py": "c"}),
        cached=["COPY web", "RUN npm", "COPY req", "RUN pip", "COPY --from"],
    )
    assert causes(told) == [("files_changed", ["src/a.py", "src/c.py"], ["src", "compile"])]
    steps = {step.name.partition("] ")[2]: step for step in told.steps}
    assert steps["COPY src src"].cause == "files_changed"
    assert (steps["RUN compile"].cause, steps["RUN compile"].detail) == ("earlier_step", "[stage-1 5/6] COPY src src")
    assert sentence(told.causes[0]) == "2 steps ran because src/a.py, src/c.py changed: 2.0 s"


def test_a_change_in_one_target_is_the_root_in_another(project: Project) -> None:
    told = again(project, lambda: project.write({"web/index.html": "2"}), cached=["COPY req", "RUN pip"])
    assert causes(told) == [("files_changed", ["web/index.html"], ["web", "npm", "--from=web", "src", "compile"])]
    assert {step.detail for step in told.steps if step.cause == "earlier_step"} == {"[web 2/3] COPY web /web"}


def test_a_base_that_moved(project: Project) -> None:
    told = again(project, lambda: project.bases.update(python="sha256:" + "c" * 64), cached=["COPY web", "RUN npm"])
    moved = f"python: sha256:{'b' * 12} → sha256:{'c' * 12}"
    assert causes(told) == [("base_moved", moved, ["requirements.txt", "pip", "--from=web", "src", "compile"])]


def test_another_base_has_not_moved(project: Project) -> None:
    def change() -> None:
        project.text = SHOP.replace("FROM python\n", "FROM pypy\n")
        project.bases["pypy"] = "sha256:" + "d" * 64

    assert causes(again(project, change, cached=["COPY web", "RUN npm"]))[0][:2] == (
        "instruction_changed",
        "FROM python → FROM pypy",
    )


def test_an_argument_passed(project: Project) -> None:
    told = again(project, lambda: project.args.update(GIT_COMMIT="abc"), cached=["COPY web", "RUN npm", "COPY req"])
    assert causes(told) == [("arg_changed", "GIT_COMMIT: none → abc", ["pip", "--from=web", "src", "compile"])]


@pytest.mark.parametrize(
    ("old", "new", "detail", "first"),
    [
        ("ARG GIT_COMMIT=none", "ARG GIT_COMMIT=x", "ARG GIT_COMMIT=none → ARG GIT_COMMIT=x", "pip"),
        ("ENV MODE=prod", "ENV MODE=dev", "ENV MODE=prod → ENV MODE=dev", "pip"),
        ("ENV MODE=prod\n", "", "ENV MODE=prod (removed)", "pip"),
        ("ENV MODE=prod", "ENV MODE=prod\nENV X=1", "ENV X=1 (new)", "pip"),
        ("RUN pip install -r requirements.txt\n", "", "RUN pip install -r requirements.txt (removed)", "--from=web"),
        ("COPY src src", "USER me\nCOPY src src", "USER me (new)", "compile"),
        ("COPY src src", 'SHELL ["sh"]\nCOPY src src', 'SHELL ["sh"] (new)', "compile"),
        ("COPY src src", "COPY src app", "COPY src src → COPY src app", "src"),
        ("RUN compile", "RUN compile --fast", "RUN compile → RUN compile --fast", "compile"),
    ],
)  # fmt: skip
def test_an_instruction(project: Project, old: str, new: str, detail: str, first: str) -> None:
    order = ["COPY web", "RUN npm", "COPY req", "RUN pip", "COPY --from=web", "COPY src", "RUN compile"]
    place = order.index(next(start for start in order if start.endswith(first)))
    told = again(project, lambda: setattr(project, "text", SHOP.replace(old, new)), cached=order[:place])
    ((cause, told_detail, steps),) = causes(told)
    assert (cause, told_detail, steps[0]) == ("instruction_changed", detail, first)


def test_one_of_two_equal_steps_is_removed_and_one_that_is_there_still_has_moved(project: Project) -> None:
    twice = SHOP.replace("COPY --from", "RUN audit\nCOPY --from").replace("RUN compile", "RUN audit\nRUN compile")
    project.text = twice
    change = lambda: setattr(project, "text", twice.replace("RUN audit\nCOPY", "COPY"))  # noqa: E731
    told = again(project, change, cached=["COPY web", "RUN npm", "COPY req", "RUN pip"])
    assert causes(told)[0][:2] == ("instruction_changed", "RUN audit (removed)")
    project.text = SHOP.replace("COPY --from", "RUN audit\nCOPY --from")
    change = lambda: setattr(project, "text", SHOP.replace("RUN compile", "RUN audit\nRUN compile"))  # noqa: E731
    told = again(project, change, cached=["COPY web", "RUN npm", "COPY req", "RUN pip"])
    assert causes(told)[0][:2] == ("instruction_changed", "RUN audit (moved)")


def test_a_step_between_makes_those_behind_it_run(project: Project) -> None:
    change = lambda: setattr(project, "text", SHOP.replace("COPY src", "RUN audit\nCOPY src"))  # noqa: E731
    told = again(project, change, cached=["COPY web", "RUN npm", "COPY req", "RUN pip", "COPY --from"])
    assert causes(told) == [("instruction_changed", "RUN audit (new)", ["audit", "src", "compile"])]


def test_what_a_here_document_says(project: Project) -> None:
    project.text = "FROM python\nRUN <<EOF\nset -e\necho one\nEOF\n"
    told = again(project, lambda: setattr(project, "text", project.text.replace("one", "two")))
    assert causes(told)[0][:2] == ("instruction_changed", "RUN … echo one → RUN … echo two")


def test_each_of_two_changes_has_its_own_steps(project: Project) -> None:
    def change() -> None:
        project.args["GIT_COMMIT"] = "abc"
        project.write({"src/a.py": "A"})

    told = again(project, change, cached=["COPY web", "RUN npm", "COPY req"])
    assert causes(told) == [
        ("arg_changed", "GIT_COMMIT: none → abc", ["pip", "--from=web", "compile"]),
        ("files_changed", ["src/a.py"], ["src"]),
    ]


# --- nothing changed, and yet it ran --------------------------------------------------------------------------------


def test_results_that_are_gone(project: Project) -> None:
    told = again(project, lambda: None, cached=["COPY web"])
    assert [(cause.cause, cause.detail, len(cause.steps)) for cause in told.causes] == [("evicted", None, 6)]
    assert {step.cause for step in told.steps if not step.cached} == {"evicted"}


def test_evicted_is_told_of_equal_inputs_only(project: Project) -> None:
    told = again(project, lambda: project.write({"src/a.py": "A"}))
    assert causes(told) == [
        ("evicted", None, ["web", "npm", "requirements.txt", "pip", "--from=web"]),
        ("files_changed", ["src/a.py"], ["src", "compile"]),
    ]


def test_on_another_builder(project: Project) -> None:
    (cause,) = again(project, lambda: None, builder="acme", engine="e2").causes
    assert (cause.cause, cause.detail) == ("other_builder", "shared → acme")
    (cause,) = again(project, lambda: None, engine="e2").causes
    assert (cause.cause, cause.detail) == ("other_builder", "shared: new engine")


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        ({"version": "27.0"}, "the engine was 26.1 and is 27.0"),
        ({"front_end": "docker/dockerfile:1"}, "the front end was None and is docker/dockerfile:1"),
    ],
)
def test_what_may_have_many_reasons_is_unknown(project: Project, now: dict[str, str], reason: str) -> None:
    (cause,) = again(project, lambda: None, **now).causes
    assert (cause.cause, cause.detail) == ("unknown", reason)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ADD http://127.0.0.1/x /x", "has no checksum"),
        ("RUN --mount=type=bind,source=src,target=/s,rw true", "a mount of the context"),
    ],
)
def test_what_no_manifest_shows_is_unknown(project: Project, line: str, words: str) -> None:
    project.text = f"FROM python\nRUN before\n{line}\nRUN behind\n"
    told = again(project, lambda: None)
    assert [step.cause for step in told.steps] == [None, "evicted", "unknown", "unknown"]
    assert words in str(told.steps[2].detail)


def test_a_step_that_is_none_of_the_plan_is_unknown(project: Project) -> None:
    manifest = project.plan()
    previous = Previous(build_id=1, manifest=manifest, circumstances=HERE)
    told = explain(manifest, [Step(name="[other 9/9] RUN x", cached=False, seconds=1.0)], HERE, previous)
    assert [(cause.cause, cause.detail) for cause in told.causes] == [("unknown", "it is no step of the plan")]


def test_what_a_cached_step_copies_is_not_guessed(project: Project) -> None:
    """The front end's output may be what it was: then something else made the last step run."""
    told = again(
        project,
        lambda: project.write({"web/index.html": "2"}),
        cached=["COPY req", "RUN pip", "COPY --from", "COPY src"],
    )
    assert causes(told)[-1][0] == "unknown"


# --- how BuildKit sees it ---------------------------------------------------------------------------------------------


def test_where_a_local_image_stands_for_a_base_steps_are_counted_otherwise(project: Project) -> None:
    project.text = "FROM python\nCOPY requirements.txt .\nRUN pip\n"
    manifest = project.plan()
    names = ["[1/3] COPY requirements.txt .", "[2/3] RUN pip"]
    steps = [Step(name=name, cached=False, seconds=1.0) for name in names]
    told = explain(manifest, steps, HERE, Previous(build_id=1, manifest=manifest, circumstances=HERE), ["python"])
    assert [(step.cause, step.line) for step in told.steps] == [("evicted", 2), ("evicted", 3)]


def test_a_step_of_two_targets_is_reported_under_one_name(project: Project) -> None:
    project.text = """\
FROM python AS one
COPY requirements.txt .
RUN first
FROM python AS two
COPY requirements.txt .
COPY --from=one /x /x
"""

    def change() -> None:
        project.write({"requirements.txt": "django"})

    before = project.plan()
    change()
    manifest = project.plan()
    names = ["[two 2/3] COPY requirements.txt .", "[one 3/3] RUN first", "[two 3/3] COPY --from=one /x /x"]
    steps = [Step(name=name, cached=False, seconds=1.0) for name in names]
    told = explain(manifest, steps, HERE, Previous(build_id=1, manifest=before, circumstances=HERE))
    assert [step.cause for step in told.steps] == ["files_changed", "earlier_step", "earlier_step"]
    assert {step.detail for step in told.steps[1:]} == {names[0]}


@pytest.mark.parametrize(
    "text",
    [
        SHOP.replace("AS web", "AS front").replace("=web", "=front"),
        SHOP.replace("ARG GIT", "# a comment\nLABEL a=b\nARG GIT"),
        SHOP.replace("ENV MODE=prod", "ENV MODE prod"),
        SHOP.replace("COPY src src", "COPY ./src/ /src"),
        SHOP.replace("RUN compile", 'RUN ["/bin/sh", "-c", "compile"]'),
        SHOP.replace("RUN compile", "RUN compile\nCMD x\nEXPOSE 80\nHEALTHCHECK CMD true\nVOLUME /v"),
    ],
)
def test_what_makes_no_difference_to_the_cache_is_no_cause(project: Project, text: str) -> None:
    """Whatever ran then was not in the cache any more."""
    told = again(project, lambda: setattr(project, "text", text))
    assert {step.cause for step in told.steps if not step.cached} == {"evicted"}


def test_the_mode_of_a_folder_is_no_cause_and_that_of_a_file_is(project: Project) -> None:
    told = again(project, lambda: (project.root / "src").chmod(0o700))
    assert {cause.cause for cause in told.causes} == {"evicted"}
    told = again(project, lambda: (project.root / "src/a.py").chmod(0o700))
    assert causes(told)[-1][:2] == ("files_changed", ["src/a.py"])


def test_any_two_dockerfiles_can_be_held_against_each_other(project: Project) -> None:
    """Each step that ran has one cause, each follower points at a step that ran, and the sums are right."""
    lines = [line for line in SHOP.splitlines() if not line.startswith("FROM")]
    rng = random.Random(4)
    for _ in range(300):
        texts = []
        for _ in range(2):
            chosen = rng.sample(lines, rng.randint(1, len(lines)))
            middle = rng.randint(0, len(chosen))
            texts.append("\n".join(["FROM node AS web", *chosen[:middle], "FROM python", *chosen[middle:]]))
        if "--from=web" in texts[0].partition("FROM python")[0] or "--from=web" in texts[1].partition("FROM python")[0]:
            continue
        project.text = texts[0]
        told = again(project, lambda: setattr(project, "text", texts[1]), cached=rng.sample(["COPY", "RUN"], 1))  # noqa: B023
        heads = {step.name for step in told.steps if step.cause not in {None, "earlier_step"}}
        for step in told.steps:
            assert step.cached == (step.cause is None)
            assert step.cause != "earlier_step" or step.detail in heads
        assert sum(len(cause.steps) for cause in told.causes) == sum(not step.cached for step in told.steps)
        assert all(because(cause) for cause in told.causes)
