"""Made-up trees full of ballast, wildcards in names and exceptions: what instructions name is never dropped."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from unittest import mock

from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

from dockwright import settings
from dockwright.insight import usage
from dockwright.insight.context import walk
from dockwright.insight.dockerfile import parse
from dockwright.insight.ignore import load_rules
from dockwright.insight.selection import Context
from dockwright.services.context import survey_of, write
from dockwright.services.survey import Survey, look

PLAIN = st.sampled_from(["a", "b", "src", "a b", "#h", "!b", "[q]", "*", "k.py", "data.csv"])
BALLAST = st.sampled_from(
    ["node_modules", ".git", "venv", "__pycache__", ".cache", "x.log", "m.bin", "pyvenv.cfg", "k.pyc"]
)
SOURCES = st.sampled_from([".", "*", "a", "a/", "src", "src/*", "a/b", "*.bin", "b*", "node_modules", "venv"])
LINES = st.sampled_from(["a/*", "!a/b", "**/x.log", "!**/x.log", "*", "!src", "!node_modules", "src"])
INSTALLS = st.sampled_from(["", "RUN npm ci\n", "RUN pip install x\n"])


def trees(names: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, object]]:
    leaf = st.sampled_from(["", "x", "y" * 20_000])
    return st.dictionaries(
        names, st.recursive(leaf, lambda below: st.dictionaries(names, below, max_size=4)), max_size=6
    )


def plant(folder: Path, tree: dict[str, object]) -> None:
    for name, content in tree.items():
        if isinstance(content, dict):
            (folder / name).mkdir()
            plant(folder / name, content)
        else:
            (folder / name).write_text(str(content))


def surveyed(root: Path, sources: list[str], install: str, lines: list[str]) -> Survey:
    copies = "".join(f"COPY {source} /d/\n" for source in sources)
    (root / "Dockerfile").write_text(f"FROM node:18\n{copies}{install}")
    if lines:
        (root / ".dockerignore").write_text("\n".join(lines))
    return survey_of(settings.load(), look(root))


@mock.patch.dict("os.environ", {"DOCKER_HOST": "unix:///nowhere/no-engine.sock"})
@given_settings(max_examples=60, deadline=None)
@given(trees(PLAIN | BALLAST), st.lists(SOURCES, min_size=1, max_size=3), INSTALLS, st.lists(LINES, max_size=3))
def test_what_an_instruction_names_is_still_sent(
    tree: dict[str, object], sources: list[str], install: str, lines: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        plant(root, tree)
        survey = surveyed(root, sources, install, lines)
        before = {entry[0] for entry in survey.walk.entries}
        named = survey.named
        written = write(survey)
        sent = {entry[0] for entry in walk(root, load_rules(root, root / "Dockerfile")).entries}
        assert named <= sent <= before | {".dockerignore"}
        assert bool(written["suggestions"]) or sent == before
        assert write(surveyed(root, sources, install, []))["suggestions"] == []


@mock.patch.dict("os.environ", {"DOCKER_HOST": "unix:///nowhere/no-engine.sock"})
@given_settings(max_examples=60, deadline=None)
@given(trees(PLAIN), st.lists(SOURCES, min_size=1, max_size=3))
def test_where_there_is_no_ballast_all_that_is_used_is_still_sent(tree: dict[str, object], sources: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        plant(root, tree)
        survey = surveyed(root, sources, "", [])
        used = survey.used_by_any
        write(survey)
        assert used <= {entry[0] for entry in walk(root, load_rules(root, root / "Dockerfile")).entries}


VALUES = st.sampled_from(["a", "b", "src", "k.py", "a/b", "data", "", ".", "./src/", "m.bin"])
OPEN = st.sampled_from(
    ["${S}", "a/${S}", "$S/b", "${S}.bin", "src/${S:-a}/k.py", "a${S:+/b}", "src", "a/*", "${S%/b}/${T}", "./${T}/"]
)
PLACES = st.sampled_from(
    ["Dockerfile", "docker/b/Dockerfile", "worker.dockerfile", "Dockerfile-gpu", "compose", "odd.df"]
)
"""`compose`: in the compose file itself; `odd.df` is what only the compose file names."""


@mock.patch.dict("os.environ", {"DOCKER_HOST": "unix:///nowhere/no-engine.sock"})
@given_settings(max_examples=30, deadline=None)
@given(
    trees(PLAIN | BALLAST), st.dictionaries(PLACES, st.lists(OPEN, min_size=1, max_size=2), max_size=3), VALUES, VALUES
)
def test_what_any_build_names_with_any_arguments_is_still_sent(
    tree: dict[str, object], builds: dict[str, list[str]], first: str, second: str
) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        plant(root, tree)
        texts = {place: plan_text(sources) for place, sources in {"Dockerfile": ["k.py"], **builds}.items()}
        plant_builds(root, texts)
        before = surveyed_before(root)
        wanted = {path for text in texts.values() for path in taken(before, text, {"S": first, "T": second})}
        write(survey_of(settings.load(), look(root)))
        assert wanted <= {entry[0] for entry in walk(root, load_rules(root, root / "Dockerfile")).entries}


def plan_text(sources: list[str]) -> str:
    return "FROM busybox\nARG S=none\nARG T\n" + "".join(f"COPY {source} /d/\n" for source in sources)


def plant_builds(root: Path, texts: dict[str, str]) -> None:
    """Dockerfiles in their places; a compose file where one of them needs it, with other arguments than the build's."""
    services = []
    for place, text in texts.items():
        if place == "compose":
            services.append({"context": ".", "dockerfile_inline": text.replace("$", "$$")})
            continue
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(text)
        if place == "odd.df":
            services.append({"context": ".", "dockerfile": place, "args": {"S": "c"}})
    if services:
        document = {"services": {f"s{number}": {"build": build} for number, build in enumerate(services)}}
        (root / "compose.yaml").write_text(json.dumps(document))


def surveyed_before(root: Path) -> Context:
    return Context(usage.without_digests(root, walk(root)))


def taken(context: Context, text: str, args: dict[str, str]) -> frozenset[str]:
    """All that the build takes in, but what only lies in a folder that it does not name and looks like ballast."""
    found = usage.uses(parse(text), context, args=args)
    named = frozenset().union(*(use.names for use in found if use.source and not use.source.endswith("*")))
    chosen = {use.source.removesuffix("/*") for use in found}
    environments = {path.rpartition("/")[0] for path in context.index.files if path.endswith("/pyvenv.cfg")} - chosen
    return named | frozenset(path for path in usage.used_paths(found) if not looks_like_ballast(path, environments))


def looks_like_ballast(path: str, environments: set[str]) -> bool:
    parts = path.split("/")
    above = {"/".join(parts[:count]) for count in range(1, len(parts) + 1)}
    return bool(KNOWN & set(parts) or environments & above) or parts[-1].endswith((".log", ".bin", ".pyc"))


KNOWN = {"node_modules", ".git", "__pycache__", ".cache"}
SIMPLE = st.sampled_from(["a", "b", "src", "k.py", "data.csv"])
READS = st.sampled_from(["open('{}')", "load_dotenv('{}')", 'Path("/app/{}").read_text()', "const a = `./{}`"])


@mock.patch.dict("os.environ", {"DOCKER_HOST": "unix:///nowhere/no-engine.sock"})
@given_settings(max_examples=40, deadline=None)
@given(trees(SIMPLE | BALLAST), st.data())
def test_what_the_apps_code_reads_is_still_sent(tree: dict[str, object], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        plant(root, tree)
        files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
        read = data.draw(st.lists(st.sampled_from(files), max_size=3)) if files else []
        code = [data.draw(READS).format(path) for path in read]
        (root / data.draw(st.sampled_from(["main.py", "app.ts", "server.rb"]))).write_text("\n".join(code))
        survey = surveyed(root, ["."], data.draw(INSTALLS.filter(lambda text: "npm" not in text)), [])
        write(survey)
        assert set(read) <= {entry[0] for entry in walk(root, load_rules(root, root / "Dockerfile")).entries}
