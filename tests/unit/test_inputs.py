from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import pytest

from dockwright.domain.plan import InputManifest, InputStep
from dockwright.errors import DockerfileSyntax, UsageError
from dockwright.insight import index
from dockwright.insight.context import walk
from dockwright.insight.dockerfile import parse
from dockwright.insight.inputs import image_refs, is_vertex_of, manifest, remote_sources, vertex_name

SHOP = """\
ARG TAG=3.11
FROM node:20 AS web
COPY web/ /web
RUN npm ci
FROM scratch AS unused
COPY notes.txt /
FROM python:$TAG AS base
ARG GIT_COMMIT=none
WORKDIR /app
COPY requirements.txt .
RUN --mount=type=bind,source=tools,target=/t --mount=type=secret,id=token pip install -r requirements.txt
FROM base
COPY --from=web /web/dist /app/static
COPY --from=busybox:1 /bin/sh /bin/bsh
ENV MODE=prod
COPY src/*.py src/
COPY <<EOF /app/about
$MODE $GIT_COMMIT
EOF
LABEL commit=$GIT_COMMIT
CMD ["python"]
"""
FILES = {
    "web/index.html": "<p>",
    "notes.txt": "n",
    "requirements.txt": "flask",
    "tools/setup.sh": "#!",
    "src/main.py": "1",
    "src/helper.py": "2",
    "src/notes.md": "3",
    "README.md": "r",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path, content in FILES.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content)
    return tmp_path


def made(root: Path, text: str = SHOP, *, target: str | None = None, **more: Mapping[str, object]) -> InputManifest:
    given = {"args": {}, "bases": {"python:3.11": "sha256:py", "busybox:1": "sha256:bb"}, **more}
    indexed = index.update(root, walk(root))
    return manifest(parse(text), target=target, platform="linux/amd64", index=indexed, **given)  # type: ignore[arg-type]


def step(told: InputManifest, start: str) -> InputStep:
    (found,) = [step for step in told.steps if step.text.startswith(start)]
    return found


def test_only_needed_targets_are_told_in_order(root: Path) -> None:
    told = made(root)
    assert [(step.target, step.instruction) for step in told.steps if step.instruction == "FROM"] == [
        ("web", "FROM"),
        ("base", "FROM"),
        ("3", "FROM"),
    ]
    assert [step.index for step in told.steps] == list(range(len(told.steps)))
    assert {step.target for step in made(root, target="unused").steps} == {"unused"}


def test_each_step_has_all_that_decides_it(root: Path) -> None:
    told = made(root, args={"GIT_COMMIT": "abc", "UNDECLARED": "x"})
    base = step(told, "FROM python")
    assert (base.resolved, base.base, base.args) == ("FROM docker.io/library/python:3.11", "sha256:py", {"TAG": "3.11"})
    run = step(told, "RUN --mount=type=bind")
    assert run.args == {"GIT_COMMIT": "abc"}
    assert [file.path for file in run.files] == ["tools", "tools/setup.sh"]
    assert [file.path for file in step(told, "COPY src").files] == ["src/helper.py", "src/main.py"]
    assert step(told, "COPY --from=web").depends_on == ("web",)
    from_image = step(told, "COPY --from=busybox")
    assert (from_image.depends_on, from_image.base) == (("busybox:1",), "sha256:bb")
    about = step(told, "COPY <<EOF")
    assert about.resolved == "COPY <<EOF /app/about\nprod abc\n"
    assert about.args == {"GIT_COMMIT": "abc"}
    assert step(told, "LABEL").resolved == "LABEL commit=abc"
    assert step(told, "COPY requirements").files[0].digest == index.digest_text("flask")


def test_steps_are_numbered_and_named(root: Path) -> None:
    told = made(root)
    names = [vertex_name(step, told) for step in told.steps if step.vertex]
    assert names == [
        "[web 1/3] FROM docker.io/library/node:20",
        "[web 2/3] COPY web/ /web",
        "[web 3/3] RUN npm ci",
        "[base 1/4] FROM docker.io/library/python:3.11",
        "[base 2/4] WORKDIR /app",
        "[base 3/4] COPY requirements.txt .",
        "[base 4/4] RUN --mount=type=bind,source=tools,target=/t --mount=type=secret,id=token "
        "pip install -r requirements.txt",
        "[stage-3 1/4] COPY --from=web /web/dist /app/static",
        "[stage-3 2/4] COPY --from=busybox:1 /bin/sh /bin/bsh",
        "[stage-3 3/4] COPY src/*.py src/",
        "[stage-3 4/4] COPY <<EOF /app/about",
    ]
    assert step(told, "ENV").number == ""
    assert step(told, "WORKDIR").number == "2/4"


def test_a_vertex_is_a_steps_though_its_image_has_a_digest_or_its_path_is_not_known(root: Path) -> None:
    told = made(root)
    base = step(told, "FROM python")
    assert is_vertex_of("[base 1/4] FROM docker.io/library/python:3.11@sha256:0", base)
    assert not is_vertex_of("[base 1/4] RUN x", base)
    assert not is_vertex_of("[web 1/3] FROM docker.io/library/node:20", base)
    assert is_vertex_of("[stage-3 3/4] LINK COPY src/*.py src/", step(told, "COPY src"))
    assert not is_vertex_of("[stage-3 3/4] COPY src/*.py src/", step(told, "ENV"))


UNUSED_CHANGES = {
    "a file that is not copied": lambda root: (root / "README.md").write_text("new"),
    "a file that the wildcard leaves out": lambda root: (root / "src/notes.md").write_text("new"),
    "a file of a target that is not needed": lambda root: (root / "notes.txt").write_text("new"),
    "a new time": lambda root: (root / "src/main.py").touch(),
}
USED_CHANGES = {
    "content": lambda root: (root / "src/main.py").write_text("9"),
    "mode": lambda root: (root / "src/main.py").chmod(0o755),
    "a new file": lambda root: (root / "src/new.py").write_text(""),
    "a file gone": lambda root: (root / "web/index.html").unlink(),
    "an empty folder": lambda root: (root / "web/empty").mkdir(),
    "a mounted file": lambda root: (root / "tools/setup.sh").write_text("#"),
}


@pytest.mark.parametrize("name", UNUSED_CHANGES)
def test_what_is_not_used_does_not_change_the_digest(name: str, root: Path) -> None:
    before = made(root).digest
    UNUSED_CHANGES[name](root)
    assert made(root).digest == before


@pytest.mark.parametrize("name", USED_CHANGES)
def test_what_is_used_changes_the_digest(name: str, root: Path) -> None:
    before = made(root).digest
    USED_CHANGES[name](root)
    assert made(root).digest != before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("FROM node", "# a comment\n\nFROM node"),
        ("COPY notes.txt /", "COPY notes.txt /elsewhere"),
        ("FROM scratch AS unused", "FROM nothing AS unused"),
    ],
)
def test_text_that_decides_nothing_does_not_change_the_digest(old: str, new: str, root: Path) -> None:
    assert made(root, SHOP.replace(old, new)).digest == made(root).digest


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("npm ci", "npm install"),
        ("MODE=prod", "MODE=dev"),
        ('CMD ["python"]', 'CMD ["python3"]'),
        ("COPY src/*.py src/", "COPY --chown=1 src/*.py src/"),
        ("GIT_COMMIT=none", "GIT_COMMIT=some"),
        ("TAG=3.11", "TAG=3.12"),
        ("$MODE $GIT_COMMIT\nEOF", "$MODE\nEOF"),
        ("id=token", "id=other"),
        ("COPY --from=web", "COPY --from=node:20"),
    ],
)
def test_text_that_decides_something_changes_the_digest(old: str, new: str, root: Path) -> None:
    assert SHOP.replace(old, new) != SHOP
    assert made(root, SHOP.replace(old, new)).digest != made(root).digest


def test_arguments_bases_and_platform_change_the_digest_where_they_count(root: Path) -> None:
    before = made(root).digest
    assert made(root, args={"UNDECLARED": "x"}).digest == before
    assert made(root, bases={"python:3.11": "sha256:py", "busybox:1": "sha256:bb", "other": "x"}).digest == before
    assert made(root, args={"GIT_COMMIT": "x"}).digest != before
    assert made(root, bases={"python:3.11": "sha256:new", "busybox:1": "sha256:bb"}).digest != before
    assert made(root, bases={"python:3.11": "sha256:py", "busybox:1": "sha256:new"}).digest != before


def test_images_that_are_named(root: Path) -> None:
    parsed = parse(SHOP)
    assert image_refs(parsed, target=None, args={}) == ("node:20", "python:3.11", "busybox:1")
    assert image_refs(parsed, target="base", args={"TAG": "3.12"}) == ("python:3.12",)
    assert image_refs(parsed, target="unused", args={}) == ()


def test_a_link_brings_what_it_leads_to(root: Path) -> None:
    (root / "current").symlink_to("src")
    (root / "src" / "up").symlink_to("../README.md")
    told = made(root, "FROM scratch\nCOPY current/main.py /\nCOPY src/up /\n")
    assert [[file.path for file in step.files] for step in told.steps[1:]] == [
        ["current", "src/main.py"],
        ["README.md", "src/up"],
    ]


def test_a_link_to_itself_and_back_is_shortened_and_a_ring_leads_nowhere(root: Path) -> None:
    (root / "loop").symlink_to("loop/../README.md")
    (root / "ring").symlink_to("ring2")
    (root / "ring2").symlink_to("ring")
    told = made(root, "FROM scratch\nCOPY loop ring /\n")
    assert [file.path for file in told.steps[1].files] == ["README.md", "loop"]


def test_triggers_of_a_base_image_and_of_a_target_take_their_files_in(root: Path) -> None:
    text = "FROM scratch AS parent\nONBUILD COPY src /s\nFROM parent AS child\nFROM child\nRUN x\n"
    told = made(root, text)
    assert [(step.target, step.instruction, step.number) for step in told.steps if step.number] == [
        ("child", "COPY", "1/0"),
        ("2", "RUN", "1/1"),
    ]
    told = made(root, "FROM eager\nRUN x\n", onbuild={"eager": ["COPY README.md /"]})
    assert [(step.vertex, [file.path for file in step.files]) for step in told.steps] == [
        ("[1/2] FROM docker.io/library/eager:latest", []),
        ("[2/2] COPY README.md /", ["README.md"]),
        ("[3/2] RUN x", []),
    ]


def test_parents_and_excludes(root: Path) -> None:
    told = made(root, "FROM scratch\nCOPY --parents src/*.md web /x\nCOPY --exclude=*.md --exclude=h* src /y\n")
    assert [[file.path for file in step.files] for step in told.steps[1:]] == [
        ["src/notes.md", "web", "web/index.html"],
        ["src", "src/main.py"],
    ]


def test_what_add_gets_from_elsewhere_is_told(root: Path) -> None:
    text = (
        "FROM scratch\nADD https://example.com/a.tar src/main.py /\n"
        "ADD --checksum=sha256:1 https://example.com/b /\nADD git@example.com:a/b.git#main /g\n"
    )
    told = made(root, text)
    assert remote_sources(told) == ("https://example.com/a.tar", "git@example.com:a/b.git#main")
    assert [file.path for file in told.steps[1].files] == ["src/main.py"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM ${NOTHING}\n", "line 1: the image of FROM"),
        ("FROM a\nENV A=${B:?needed}\n", "line 2: B: needed"),
        ("FROM a\nCOPY --from=2 a b\n", "line 2: there is no build target 2"),
        ("FROM a AS x\nCOPY --from=x a b\n", "line 2: cannot copy from"),
        ("FROM a\nARG X=1\nRUN echo ${X#}\n", "line 3: ${X#} has no pattern"),
    ],
)
def test_what_only_the_arguments_show_to_be_wrong_is_refused_with_its_line(text: str, message: str, root: Path) -> None:
    with pytest.raises(DockerfileSyntax) as caught:
        made(root, text)
    assert message in caught.value.message


def test_an_unknown_target_names_the_known_ones(root: Path) -> None:
    with pytest.raises(UsageError) as caught:
        made(root, target="final")
    assert "web, unused, base, 3" in caught.value.remedy


def test_a_manifest_is_json(root: Path) -> None:
    (root / "src" / "caf\u00e9.py").write_text("")
    told = made(root)
    assert json.loads(json.dumps(asdict(told)))["digest"] == told.digest
