"""Made-up trees full of ballast, wildcards in names and exceptions: what instructions name is never dropped."""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest import mock

from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

from dockwright import settings
from dockwright.insight.context import walk
from dockwright.insight.ignore import load_rules
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
