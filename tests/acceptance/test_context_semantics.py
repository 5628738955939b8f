"""What the real builder takes in, where it puts it and how it names its steps: the truth that `insight` must tell.

Trees, patterns and COPYs are random, from fixed seeds, so a failure can be seen again.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import secrets
import socket
import stat
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from dockwright.errors import DockwrightError, UsageError
from dockwright.insight import context, dockerfile, ignore, index
from dockwright.insight.copies import copies
from dockwright.insight.inputs import is_vertex_of, manifest, vertex_name

BASE = "localhost/base/python:3.11-slim"
NAMES = ("a", "b", "ab", "foo", "bar", "foo.txt", "a.md", "x.log", ".env", "b b", "é", "[x]", "foo-bar")

Found = dict[str, tuple[int, str]]
"""Path → type and permission bits, and the content's or the link target's digest."""


def build(root: Path, text: str, *options: str) -> subprocess.CompletedProcess[str]:
    """The context's folder has a base name of its own: the builder remembers files by it."""
    recipe = root.parent / f"{root.name}.Dockerfile"
    recipe.write_text(text)
    done = subprocess.run(
        ["docker", "buildx", "build", "--file", str(recipe), *options, str(root)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert "Cannot connect to the Docker daemon" not in done.stderr
    return done


def built(root: Path, text: str, *options: str) -> Found | None:
    """What a build from scratch holds; None where the builder refuses."""
    out = root.parent / f"{root.name}.tar"
    done = build(root, text, "--output", f"type=tar,dest={out}", *options)
    if done.returncode:
        return None
    with tarfile.open(out) as archive:
        return {member.name.rstrip("/"): described(archive, member) for member in archive}


def described(archive: tarfile.TarFile, member: tarfile.TarInfo) -> tuple[int, str]:
    if member.isdir():
        return stat.S_IFDIR | member.mode, ""
    if member.issym():
        return stat.S_IFLNK | 0o777, index.digest_text(member.linkname)
    if member.isfifo():
        return stat.S_IFIFO | member.mode, ""
    content = archive.extractfile(member)
    assert content is not None
    return stat.S_IFREG | member.mode, hashlib.sha256(content.read()).hexdigest()


def new_root(tmp_path: Path) -> Path:
    root = tmp_path / f"semantics-{secrets.token_hex(6)}"
    root.mkdir()
    return root


def plant(root: Path, chance: random.Random, *, with_links: bool = True) -> None:
    """A small tree whose names come back at every depth."""
    folders = [root]
    for _ in range(chance.randint(4, 28)):
        path = chance.choice(folders) / chance.choice(NAMES)
        if path.exists() or path.is_symlink():
            continue
        kind = chance.random()
        if kind < 0.4:
            path.mkdir(mode=chance.choice((0o755, 0o700)))
            folders.append(path)
        elif kind < 0.5 and with_links:
            path.symlink_to(chance.choice(("a", "../foo", "/foo/bar", "missing", "../../..", "foo/../a")))
        else:
            path.write_text(str(chance.random()))
            path.chmod(chance.choice((0o644, 0o755, 0o600)))


def seen(root: Path, rules: ignore.Rules) -> Found:
    indexed = index.update(root, context.walk(root, rules))
    return {path: (facts[4], facts[5]) for path, facts in indexed.files.items()}


def below(found: Mapping[str, tuple[int, str]], folder: str) -> Found:
    return {path[len(folder) + 1 :]: facts for path, facts in found.items() if path.startswith(f"{folder}/")}


# --- the context --------------------------------------------------------------------------------------------------


def some_pattern(chance: random.Random) -> str:
    parts = [
        chance.choice(
            (*NAMES, *NAMES, "*", "**", "f*", "*.txt", "?", "**foo", "a**", "[ab]*", "[^a]", "..", ".", "\\a")
        )
        for _ in range(chance.choice((1, 1, 1, 2, 2, 3)))
    ]
    pattern = "/".join(parts)
    pattern = chance.choice(("", "", "", "/", "./", "**/")) + pattern + chance.choice(("", "", "", "/", "/**", "/*"))
    return chance.choice(("", "", "", "!", "!", " ", "! ")) + pattern + chance.choice(("", "", "", " ", "\r"))


@pytest.mark.parametrize("seed", range(40))
def test_ignore_rules_leave_out_what_the_builder_leaves_out(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    root = new_root(tmp_path)
    plant(root, chance)
    lines = [some_pattern(chance) for _ in range(chance.randint(1, 6))]
    text = chance.choice(("", "\ufeff", "# comment\n\n")) + "\n".join(lines) + "\n"
    (root / ".dockerignore").write_text(text)

    truth = built(root, "FROM scratch\nCOPY . /ctx\n")

    try:
        told = seen(root, ignore.load_rules(root))
    except UsageError:
        assert truth is None, text
    else:
        assert truth is not None, text
        assert told == below(truth, "ctx"), text


@pytest.mark.parametrize("text", ["!", "!/./", "a[", "[]", "[a-]", "a\\", "[z-a]x", "![", "a]", "^a", "a^b", "*^b"])
def test_patterns_that_the_builder_refuses_are_refused(text: str, tmp_path: Path) -> None:
    root = new_root(tmp_path)
    for name in ("a", "b", "^a", "a^b", "a]"):
        (root / name).write_text("")
    (root / ".dockerignore").write_text(text)
    truth = built(root, "FROM scratch\nCOPY . /ctx\n")
    try:
        rules = ignore.load_rules(root)
    except UsageError as error:
        assert "line 1" in error.message
        assert truth is None
    else:
        assert truth is not None
        assert seen(root, rules) == below(truth, "ctx")


@pytest.mark.parametrize("own", [None, "", "a\n", "Dockerfile\n.dockerignore\nprod.Dockerfile*\n"])
def test_the_ignore_file_beside_the_dockerfile_wins(own: str | None, tmp_path: Path) -> None:
    root = new_root(tmp_path)
    for name in ("a", "b"):
        (root / name).write_text(name)
    (root / ".dockerignore").write_text("b\n")
    recipe = root / "prod.Dockerfile"
    recipe.write_text("FROM scratch\nCOPY . /ctx\n")
    if own is not None:
        (root / "prod.Dockerfile.dockerignore").write_text(own)
    out = tmp_path / "out.tar"
    command = ["docker", "buildx", "build", "-f", str(recipe), "--output", f"type=tar,dest={out}", str(root)]
    subprocess.run(command, check=True, capture_output=True)
    with tarfile.open(out) as archive:
        truth = {member.name.rstrip("/"): described(archive, member) for member in archive}
    assert seen(root, ignore.load_rules(root, recipe)) == below(truth, "ctx")


def test_pipes_sockets_and_empty_folders_are_told_as_the_builder_takes_them(tmp_path: Path) -> None:
    root = new_root(tmp_path)
    (root / "empty").mkdir()
    os.mkfifo(root / "pipe", 0o640)
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(root)  # the name of a socket may be about a hundred bytes long
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("socket")
    finally:
        os.fchdir(here)
        os.close(here)
    (root / "socket").chmod(0o600)
    truth = built(root, "FROM scratch\nCOPY . /ctx\n")
    assert truth is not None
    assert seen(root, ignore.Rules()) == below(truth, "ctx")


# --- where a COPY puts what it takes -------------------------------------------------------------------------------


def some_source(root: Path, chance: random.Random) -> str:
    paths = [str(path.relative_to(root)) for path in sorted(root.rglob("*"))]
    source = chance.choice(
        (".", "*", "f*", "a/*", "foo/*", "*/a", "?", "[ab]", "[^f]*", "./foo/", *paths, *paths, *paths)
    )
    source = source.replace("[x]", "[[]x]")
    return chance.choice(("", "", "", "/", "./", "../")) + source + chance.choice(("", "", "", "/"))


def some_copy(root: Path, chance: random.Random) -> str:
    destination = chance.choice(("/dst", "/dst/", "dst", "./", ".", "/", "/deep/er/", "/deep/er/f", "$WHERE/", "../up"))
    words = [some_source(root, chance) for _ in range(chance.choice((1, 1, 1, 2)))]
    flags = chance.choice(("", "", "", "--chmod=751 ", "--link ", "--chown=1:2 "))
    return f"{chance.choice(('COPY', 'COPY', 'ADD'))} {flags}{json.dumps([*words, destination])}"


@pytest.mark.parametrize("seed", range(40))
def test_files_land_where_copies_says(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    root = new_root(tmp_path)
    plant(root, chance)
    workdir = chance.choice(("", "WORKDIR /work\n", "WORKDIR /work\nWORKDIR in/side/\n"))
    lines = [some_copy(root, chance) for _ in range(chance.randint(1, 3))]
    text = f"FROM scratch\nARG WHERE=/var/$NOTHING\nENV WHERE=${{WHERE}}x\n{workdir}" + "\n".join(lines) + "\n"
    told = copies(
        dockerfile.parse(text), target=None, args={}, index=index.update(root, context.walk(root, ignore.Rules()))
    )

    truth = built(root, text)

    if truth is None:  # a file in the place of a folder, or a source that is not there: no image, nothing to tell
        return
    files = {f"/{path}": facts for path, facts in truth.items() if facts[1]}
    assert {mapping.destination: (mapping.mode, mapping.digest) for mapping in told.mappings} == files, text
    assert told.unverifiable == ()
    assert told.either == {}


def test_the_random_copies_are_mostly_built(tmp_path: Path) -> None:
    """Guards the test above against proving nothing."""
    refused = 0
    for seed in range(8):
        chance = random.Random(seed)
        root = new_root(tmp_path)
        plant(root, chance)
        refused += built(root, "FROM scratch\n" + some_copy(root, chance).replace("$WHERE", "/x") + "\n") is None
    assert refused <= 5


CHAIN = """\
FROM scratch AS assets
COPY site /site
FROM scratch AS base
WORKDIR /srv
COPY conf/ ./conf
FROM base AS final
ARG NAME=world
COPY --from=assets /site/ /www/
COPY --from=assets /site/index.html /start.html
COPY --chmod=700 <<EOF <<'AS-IS' /etc/app/
hello $NAME "quoted" \\$NAME
EOF
hello $NAME
AS-IS
COPY <<-TABS conf/tabs
\t\tone
\ttwo
TABS
ADD conf/app.ini conf/app.ini
COPY --exclude=nothing --from=base /srv/conf/app.ini /again
"""


def test_chains_of_targets_and_heredocs_are_traced(tmp_path: Path) -> None:
    root = new_root(tmp_path)
    for path, content in {"site/index.html": "<p>", "site/js/a.js": "1", "conf/app.ini": "[a]"}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)
    text = CHAIN.replace("--exclude=nothing ", "")
    truth = built(root, text, "--build-arg", "NAME=all")
    assert truth is not None
    told = copies(
        dockerfile.parse(text),
        target=None,
        args={"NAME": "all"},
        index=index.update(root, context.walk(root, ignore.Rules())),
    )
    files = {f"/{path}": facts for path, facts in truth.items() if facts[1]}
    assert {mapping.destination: (mapping.mode, mapping.digest) for mapping in told.mappings} == files
    assert told.unverifiable == ()


# --- variables -----------------------------------------------------------------------------------------------------

WORDS = (
    *("$X-${X}$XX", "${NO:-w}${NO-w}${EMPTY:-w}${EMPTY-w}", "${NO:+w}${NO+w}${EMPTY:+w}${EMPTY+w}${X:+w}"),
    *("${X:?no}${X?no}", "${NO:-$X${X:+2}}", "${P#*/}|${P##*/}", "${P%.*}|${P%%.*}", "${P/a/z}|${P//a/z}"),
    *(
        "${P/\\/a/}|${P//?\\//-}",
        "${P#/?}|${P%%[.]*}",
        "\\$X",
        '"$X"',
        "'$X'",
        '"\\$X \\n"',
        "a\\ b",
        "$",
        "$1${X}",
        '"it\'s"',
    ),
    *("$GLOBAL$SHADOW$PASSED$LATE$DERIVED", "${TARGETARCH}$TARGETOS", "${P#\\*}", "x${X:-a b}y", "${NO:-'$X'}", "é$X"),
)


def test_variables_are_put_in_as_the_builder_puts_them_in(tmp_path: Path) -> None:
    """Each word becomes an ENV, whose value a here-document then shows; the same word stands in the document too."""
    root = new_root(tmp_path)
    shown = "".join(f"{number}: $W{number} {word}\n" for number, word in enumerate(WORDS))
    text = (
        "ARG GLOBAL=g$TARGETARCH\nARG SHADOW=outer\n"
        "FROM scratch AS base\nARG GLOBAL\nARG PASSED=default\nENV LATE=env\nARG LATE=arg DERIVED=<$LATE>\n"
        "ENV X=1 EMPTY= P=/a/b/c.tar.gz\n"
        "FROM base\nARG TARGETARCH\nENV DERIVED=$DERIVED$X\n"
        + "".join(f"ENV W{number}={word}\n" for number, word in enumerate(WORDS) if "a b" not in word)
        + f"COPY <<END /shown\n{shown}END\n"
    )
    out = tmp_path / "out"
    done = build(
        root, text, "--build-arg", "PASSED=passed", "--build-arg", "OTHER=x", "--output", f"type=local,dest={out}"
    )
    assert done.returncode == 0, done.stderr
    told = manifest(
        dockerfile.parse(text),
        target=None,
        args={"PASSED": "passed", "OTHER": "x"},
        platform="linux/amd64",
        bases={},
        index=index.EMPTY,
    )
    assert told.steps[-1].resolved.splitlines()[1:] == (out / "shown").read_text().splitlines()


# --- the names and numbers of steps --------------------------------------------------------------------------------

STEPS = {
    "single target": """\
FROM {base}
ENV X=env Y="a b"
ARG X=arg
WORKDIR /
workdir "/q w"
RUN echo "$X" '$X' \\$X $NO ${{X:-a}} ${{X##a}} ${{NO:-none}} $$ $(pwd)
COPY "a.txt" $X/
LABEL one=two
RUN true  \\
  # a comment within
  &&   true
CMD ["x"]
""",
    "a mount makes the name appear": """\
FROM {base}
RUN --mount=type=cache,target=/c true
""",
    "several targets": """\
ARG TAG=3.11-slim
ARG REPOSITORY={repository}
FROM {base} AS unused
RUN false
FROM $REPOSITORY:${{TAG}} AS Build
COPY a.txt .
FROM build
RUN --mount=type=bind,source=a.txt,target=/m cat /m
COPY --from=build /a.txt /b.txt
RUN <<EOF
echo one
echo two
EOF
RUN <<EOF cat
hi
EOF
RUN <<-'EOF'
\tset -e
EOF
COPY <<EOF /h
hello
EOF
RUN ["echo", "json $X"]
USER 1000
ENTRYPOINT ["x"]
""",
    "numbers are padded": "FROM {base} AS many\n" + "".join(f"RUN true {number}\n" for number in range(10)),
    "from scratch": "FROM scratch\nCOPY a.txt /\nWORKDIR /w\nCOPY . .\n",
}


@pytest.mark.parametrize("name", STEPS)
def test_steps_are_numbered_and_named_as_the_builder_reports_them(name: str, tmp_path: Path, bases: None) -> None:
    root = new_root(tmp_path)
    (root / "a.txt").write_text(secrets.token_hex(4))
    text = STEPS[name].format(base=BASE, repository=BASE.rpartition(":")[0])
    done = build(root, text, "--progress=rawjson", "--output", "type=cacheonly")
    assert done.returncode == 0, done.stderr[-2000:]
    reported = vertices(done.stderr)

    told = manifest(
        dockerfile.parse(text),
        target=None,
        args={},
        platform="linux/amd64",
        bases={},
        index=index.update(root, context.walk(root, ignore.Rules())),
        base_env={BASE: image_env(BASE)},
    )

    assert {vertex_name(step, told) for step in told.steps if step.vertex} == reported
    for step in told.steps:
        assert [vertex for vertex in reported if is_vertex_of(vertex, step)] == ([step.vertex] if step.vertex else [])


def image_env(image: str) -> dict[str, str]:
    shown = subprocess.run(
        ["docker", "image", "inspect", "--format", "{{json .Config.Env}}", image], check=True, capture_output=True
    )
    return dict(setting.split("=", 1) for setting in json.loads(shown.stdout) or [])


def vertices(text: str) -> set[str]:
    """Names of all that ran, internal things left out."""
    decoder = json.JSONDecoder()
    names, at = set(), text.find("{")
    while at >= 0:
        document, end = decoder.raw_decode(text, at)
        names.update(vertex["name"] for vertex in document.get("vertexes", []))
        at = text.find("{", end)
    return {name for name in names if not name.startswith("[internal]")}


# Never add a Dockerfile of nothing but ARG here, nor `${X#}`: they end the engine itself (26.1), not only the build.
@pytest.mark.parametrize(
    "text",
    [
        "FROM scratch\nFOO x\n",
        "RUN x\n",
        "FROM\n",
        "FROM a b\n",
        "FROM scratch AS 1b\n",
        "FROM scratch\nCOPY x\n",
        "FROM scratch\nCOPY --fron=y a b\n",
        "FROM scratch\nCOPY --from=7 a b\n",
        "FROM scratch\nCOPY --from=later a b\nFROM scratch AS later\nCOPY a.txt /\n",
        "FROM scratch AS mine\nCOPY --from=later a b\nFROM scratch AS later\nCOPY a.txt /\nFROM mine\n",
        "FROM scratch AS mine\nCOPY --from=mine a b\n",
        "FROM scratch\nUSER ${A\n",
        "FROM scratch\nCOPY a.txt '/b\n",
        "FROM scratch\nCOPY a.txt <<EOF\nx\nEOF\n",
        "FROM scratch\nENV x\n",
        "FROM scratch\nENV a=b \\\n  c\n",
        "FROM scratch\nONBUILD ONBUILD RUN x\n",
        "FROM scratch\nONBUILD FROM x\n",
        "FROM scratch\nHEALTHCHECK --x CMD y\n",
        "FROM scratch\nHEALTHCHECK CMD\n",
        "FROM scratch\nHEALTHCHECK NOPE\n",
        "FROM scratch\nSHELL x\n",
        "FROM scratch\nWORKDIR\n",
        "FROM scratch\nEXPOSE\n",
        "FROM scratch\nRUN <<EOF\nabc\n",
        'FROM scratch\nCMD ["a", 1]\n',
        "FROM scratch\nRUN --mount=type=foo x\n",
        "FROM scratch\nRUN --mount=nope x\n",
        "FROM scratch\nRUN --network=moon x\n",
        "FROM ${NOTHING}\n",
        "FROM scratch\nENV A=${B:?needed}\n",
        "FROM scratch\nWORKDIR ${A\n",
        'FROM scratch\nLABEL a="b\n',
        "# escape=`\nFROM scratch\nENV A=b `\n  C=d\nLABEL x=y\nCOPY a.txt /\n",
        "FROM scratch\nCOPY a.txt /\nSTOPSIGNAL SIGTERM\nVOLUME /x /y\nMAINTAINER me\n",
        "FROM scratch\nCOPY a.txt /\nONBUILD FOO x\nCMD\n",
        "FROM scratch AS A\nCOPY a.txt /\nFROM a\nCOPY --from=0 a.txt /b\n",
    ],
)
def test_dockerfiles_are_refused_where_the_builder_refuses_them(text: str, tmp_path: Path) -> None:
    root = new_root(tmp_path)
    (root / "a.txt").write_text("a")
    accepted = build(root, text, "--output", "type=cacheonly").returncode == 0
    indexed = index.update(root, context.walk(root, ignore.Rules()))
    try:
        parsed = dockerfile.parse(text)
        manifest(parsed, target=None, args={}, platform="linux/amd64", bases={}, index=indexed)
    except DockwrightError:
        assert not accepted
    else:
        assert accepted
