"""Each finding of a check: when it is told, where, and when it is not. Without an engine."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from check_cases import APP, PYTHON, TOLD
from quiet_cases import NOT_TOLD

from dockwright import settings
from dockwright.errors import NoDockerfile, ToolMissing
from dockwright.insight.findings import SEVERITIES, Finding
from dockwright.process import Cancel
from dockwright.services.check import Checked, check
from dockwright.sources.render import render_tree, template_names
from dockwright.sources.template import read_template
from dockwright.sources.variables import check_variables

Tree = Callable[[Mapping[str, str | bytes]], Path]
END = "USER 1000\nHEALTHCHECK CMD true\n"
REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs" / "check.md"
SOURCES = sorted((REPOSITORY / "tests" / "acceptance" / "folders").glob("*/source"))


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")

    def make(files: Mapping[str, str | bytes]) -> Path:
        root = tmp_path / "app"
        for path, content in {".dockerignore": "x\n", **files}.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content.encode() if isinstance(content, str) else content)
        return root

    return make


def look(root: Path) -> Checked:
    return check(settings.load(), root, Cancel())


def told(root: Path, code: str) -> list[Finding]:
    return [one for one in look(root).findings if one.code == code]


@pytest.mark.parametrize(("code", "place", "files"), TOLD.values(), ids=TOLD)
def test_it_is_told_with_its_place(tree: Tree, code: str, place: str, files: dict[str, str]) -> None:
    root = tree(files)
    found = told(root, code)
    assert [one.place for one in found] == [place], look(root).findings
    assert found[0].severity == SEVERITIES[code] and found[0].message and found[0].remedy
    assert look(root).is_ok == all(one.severity != "error" for one in look(root).findings)


@pytest.mark.parametrize(("code", "files"), NOT_TOLD.values(), ids=NOT_TOLD)
def test_it_is_not_told_without_cause(tree: Tree, code: str, files: dict[str, str | bytes]) -> None:
    root = tree(files)
    assert told(root, code) == []
    assert not any("compose.yaml" in files and one.severity == "error" for one in look(root).findings)


def test_what_is_passed_has_a_value(tree: Tree) -> None:
    root = tree({"Dockerfile": "ARG BASE\nFROM ${BASE}\nARG ENV\nCOPY ${ENV}.json /\n", "prod.json": "{}"})
    checked = look(root)
    assert checked.is_ok and [one.place for one in told(root, "arg_without_value")] == ["Dockerfile:2", "Dockerfile:4"]
    passed = check(settings.load(), root, Cancel(), args={"BASE": "python:3", "ENV": "prod"})
    assert "arg_without_value" not in {one.code for one in passed.findings} and passed.is_ok
    wrong = check(settings.load(), root, Cancel(), args={"BASE": "python:3", "ENV": "dev"})
    assert [one.code for one in wrong.findings if one.severity == "error"] == ["copy_source_missing"]


def test_what_only_a_profile_starts_is_looked_at_and_no_error(tree: Tree) -> None:
    compose = "services:\n  a: {image: x:1}\n  b: {build: ./b, profiles: [p]}\n"
    root = tree({"compose.yaml": compose, "b/Dockerfile": "FROM busybox:1\nRUNN x\n"})
    assert [(one.place, one.severity) for one in told(root, "dockerfile_syntax")] == [("b/Dockerfile:2", "warning")]
    assert look(root).is_ok


def test_without_the_plug_in_one_file_says_nothing_of_the_others(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> str:
        raise ToolMissing("There is no compose", remedy="Install it")

    monkeypatch.setattr("dockwright.docker.compose.find_plugin", missing)
    service = "services:\n  a: {depends_on: [db], build: '${A1:-${B1:-.}}'}\n"
    root = tree({"compose.yaml": service, "Dockerfile": PYTHON})
    assert {one.code for one in look(root).findings if one.severity == "error"} == {"compose_unknown_service"}
    (root / "compose.yaml").write_text(f"include: [db.yaml]\n{service}")
    assert look(root).is_ok


def test_a_good_dockerfile_has_no_finding(tree: Tree) -> None:
    dockerfile = PYTHON + "WORKDIR /srv\nCOPY requirements.txt ./\nRUN pip install --no-cache-dir -r requirements.txt\n"
    dockerfile += "COPY app ./app\nEXPOSE 8000\n" + END + 'CMD ["python", "app/main.py"]\n'
    checked = look(tree({"Dockerfile": dockerfile, **APP}))
    assert [one.code for one in checked.findings] == ["base_unchecked"]
    assert checked.is_ok and checked.contexts[0]["path"] == "."


def test_a_missing_source_names_the_line_that_leaves_it_out(tree: Tree) -> None:
    files = {"Dockerfile": PYTHON + "COPY app/main.py /\n", ".dockerignore": "# mine\n*.md\napp\n!app/other\n", **APP}
    (finding,) = told(tree(files), "copy_source_missing")
    assert ".dockerignore, line 3" in finding.message and "'app'" in finding.remedy


def test_manifests_are_named_in_the_advice(tree: Tree) -> None:
    files = {
        "Dockerfile": "FROM node:18\nCOPY . .\nRUN npm ci\n",
        "package.json": "{}",
        "package-lock.json": "{}",
        "a.js": "x",
    }
    (finding,) = told(tree(files), "copy_before_install")
    assert "package-lock.json and package.json" in finding.remedy


def test_manifests_that_refer_to_other_files_are_not_enough(tree: Tree) -> None:
    dockerfile = PYTHON + "COPY . .\nRUN pip install -r requirements.txt\n"
    files = {"Dockerfile": dockerfile, "requirements.txt": "-r base.txt\n", "base.txt": "a\n", "a.py": "x"}
    (finding,) = told(tree(files), "copy_before_install")
    assert "Copy requirements.txt and what it refers to first" in finding.remedy
    (finding,) = told(tree({**files, "requirements.txt": "a\n"}), "copy_before_install")
    assert "Copy requirements.txt first" in finding.remedy


def test_requirements_that_no_image_installs_are_no_error(tree: Tree) -> None:
    dockerfile = PYTHON + "COPY docker/requirements.txt common.txt ./\nRUN pip install -r requirements.txt\n"
    dockerfile = dockerfile.replace("-r req", "-r docker/req")
    files = {"Dockerfile": dockerfile, "docker/requirements.txt": "-r common.txt\n", "common.txt": "a\n"}
    root = tree({**files, "requirements-old.txt": "a==1\na==2\nb = 3\n"})
    found = {one.code: one.severity for one in look(root).findings if one.code.startswith("requirements_")}
    assert found == dict.fromkeys(
        ("requirements_missing", "requirements_conflict", "requirements_unreadable"), "warning"
    )
    (root / "common.txt").unlink()
    assert [one.severity for one in told(root, "requirements_missing")] == ["error"]


def test_no_ignore_file(tree: Tree) -> None:
    root = tree({"Dockerfile": PYTHON + "COPY . .\n"})
    (root / ".dockerignore").unlink()
    assert [one.place for one in told(root, "dockerignore_missing")] == [".dockerignore"]


def test_a_large_context(tree: Tree) -> None:
    root = tree({"Dockerfile": PYTHON + "COPY . .\n"})
    with (root / "data").open("wb") as file:
        file.truncate(120_000_000)
    (finding,) = told(root, "context_large")
    assert "120 MB" in finding.message


def test_comments_silence_what_is_below_them(tree: Tree) -> None:
    comments = "# why\n# dockwright: ignore=several_commands, command_in_shell_form\n# and so on\n"
    text = f"FROM python:3\n{comments}CMD a\nCMD b\n"
    root = tree({"Dockerfile": text})
    codes = [(one.code, one.place) for one in look(root).findings]
    assert ("several_commands", "Dockerfile:5") not in codes and ("command_in_shell_form", "Dockerfile:6") in codes
    (root / "Dockerfile").write_text("# dockwright: ignore=runs_as_root,command_in_shell_form\n" + text)
    assert not {"runs_as_root", "command_in_shell_form"} & {one.code for one in look(root).findings}


def test_comments_silence_lines_of_other_files(tree: Tree) -> None:
    root = tree({"Dockerfile": PYTHON, "requirements.txt": "a==1\n# dockwright: ignore=requirements_conflict\na==2\n"})
    assert told(root, "requirements_conflict") == []


def test_the_gravest_come_first_and_none_twice(tree: Tree) -> None:
    findings = look(tree({"Dockerfile": "FROM python\nCOPY no /\nCMD a\nCMD b\n"})).findings
    order = [("error", "warning", "info").index(one.severity) for one in findings]
    assert order == sorted(order) and len(set(findings)) == len(findings) > 4


def _template(root: Path) -> Path:
    template = read_template(REPOSITORY / "templates" / "chatbot")
    variables = check_variables(template, {})
    names = template_names(variables, name="Help desk", description='It\'s "ours"', project_id=7)
    render_tree(template, names, root)
    return root


def test_our_own_template_has_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")
    found = look(_template(tmp_path / "app")).findings
    assert {one.code for one in found} == {"base_unchecked"}
    from dockwright.services.context import context

    assert context(settings.load(), tmp_path / "app")["suggestions"] == []


@pytest.mark.parametrize("source", SOURCES, ids=[path.parent.name for path in SOURCES])
def test_folders_that_build_have_no_errors(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")
    assert [one for one in look(source).findings if one.severity == "error"] == []


def test_a_folder_with_neither(tmp_path: Path) -> None:
    with pytest.raises(NoDockerfile):
        look(tmp_path)


def test_every_code_is_explained_and_every_explained_code_is_one() -> None:
    rows = dict(re.findall(r"(?m)^\| `([a-z_]+)` \| (error|warning|info) \|", DOCS.read_text()))
    assert rows == SEVERITIES


def test_every_code_has_a_test_here() -> None:
    tested = {code for code, _, _ in TOLD.values()} | {"dockerignore_missing", "context_large"}
    assert tested == set(SEVERITIES)
