"""Rendering: the same input gives the same bytes, and user text never reaches a file unescaped."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from chatbot_app import EXAMPLE, TYPES, render, settings

from dockwright.domain.build import BuildRequest, History
from dockwright.domain.events import Event
from dockwright.domain.product import LiveState
from dockwright.domain.source import FolderSource, TemplateSource, Tree
from dockwright.errors import InvalidTemplate, InvalidVariable
from dockwright.process import Cancel
from dockwright.sources.render import render_tree
from dockwright.sources.template import load_template, read_template
from dockwright.stages.context import StageContext
from dockwright.stages.generate import generate

GOLDEN = Path(__file__).parent / "golden"
RENDERED = (
    "Dockerfile",
    "README.md",
    "config/prompts.py",
    "config/settings.py",
    "deployment/docker-compose.yml",
    "deployment/nginx.conf",
    "main.py",
    "requirements.txt",
)


def tree_of(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """Path → mode, time in nanoseconds, content."""
    return {
        path.relative_to(root).as_posix(): (
            path.stat().st_mode,
            path.stat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in sorted(root.rglob("*"))
    }


@pytest.mark.parametrize("assistant_type", TYPES)
def test_the_rendered_files_are_the_golden_ones(tmp_path: Path, assistant_type: str) -> None:
    """Set UPDATE_GOLDEN=1 to write them anew, and read the difference before you commit it."""
    root = render(tmp_path, assistant_type)
    text = "".join(f"======== {path}\n{(root / path).read_text(encoding='utf-8')}" for path in RENDERED)
    golden = GOLDEN / f"chatbot-{assistant_type}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


def test_all_other_files_are_copied_byte_for_byte(tmp_path: Path) -> None:
    template = load_template("chatbot", settings(tmp_path))
    root = render(tmp_path)
    copied = [path for path in root.rglob("*") if path.is_file() and path.relative_to(root).as_posix() not in RENDERED]
    assert len(copied) > 20
    for path in copied:
        assert path.read_bytes() == (template.root / path.relative_to(root)).read_bytes()
    assert not [path for path in copied if "__pycache__" in path.parts or path.name == "template.yaml"]


def test_the_same_input_gives_the_same_tree(tmp_path: Path) -> None:
    first = tree_of(render(tmp_path / "a", "customer_support"))
    time.sleep(0.01)
    second = tree_of(render(tmp_path / "b", "customer_support"))
    assert first == second


def test_a_changed_text_of_the_same_length_changes_the_files_time(tmp_path: Path) -> None:
    """BuildKit takes a file of the same size and time for the one that it has."""
    first = tree_of(render(tmp_path / "a", description="Sells tea"))["config/settings.py"]
    second = tree_of(render(tmp_path / "b", description="Sells pea"))["config/settings.py"]
    assert len(first[2]) == len(second[2])
    assert first[1] != second[1]


def test_the_projects_number_changes_only_what_names_it(tmp_path: Path) -> None:
    first, second = (tree_of(render(tmp_path / name, project_id=number)) for name, number in (("a", 1), ("b", 2)))
    changed = {path for path in first if first[path] != second[path]}
    assert changed == {"config/settings.py", "deployment/docker-compose.yml"}


# --- templates of others ---


def render_one(root: Path, name: str, text: str, **names: Any) -> str:
    folder = root / "one"
    folder.mkdir()
    (folder / "template.yaml").write_text("name: one\ntitle: One\ndescription: A single file\n")
    (folder / f"{name}.template").write_text(text)
    target = root / "out"
    target.mkdir()
    render_tree(read_template(folder), names, target)
    return (target / name).read_text()


@pytest.mark.parametrize(
    "text",
    [
        "x = {{ TEXT }}",
        "x = '{{ TEXT }}'",
        "x = {{ TEXT | py ~ '' }}",
        "x = {{ (TEXT | py)[1:-1] }}",
        "x = {{ TEXT.upper() }}",
        "x = {{ ITEMS }}",
        "x = {{ ITEMS[0] }}",
        "x = {{ 'constant' }}",
        "{% for item in ITEMS %}{{ item }}{% endfor %}",
        "{% set y %}{{ TEXT | py }}{% endset %}{{ y }}",
        "{{ TEXT | yaml }}",
        "{{ TEXT | safe }}",
        "{{ TEXT | e }}",
    ],
)
def test_text_without_its_filter_does_not_come_out(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidTemplate, match=r"one\.py\.template"):
        render_one(tmp_path, "one.py", text, TEXT="import os", ITEMS=["import os"])


def test_text_with_its_filter_and_whole_numbers_come_out(tmp_path: Path) -> None:
    text = "{% for item in ITEMS %}\nx{{ loop.index }} = {{ item | py }}\n{% endfor %}\n"
    assert render_one(tmp_path, "one.py", text, ITEMS=["a", "{{ 7*7 }}"]) == "x1 = 'a'\nx2 = '{{ 7*7 }}'\n"


@pytest.mark.parametrize("text", ["{{ NOPE | py }}", "{{ NOPE }}", "{% if NOPE.x %}{% endif %}"])
def test_a_name_that_is_not_there_is_told(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidTemplate, match="NOPE"):
        render_one(tmp_path, "one.py", text)


def test_a_syntax_error_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(InvalidTemplate, match="line 2"):
        render_one(tmp_path, "one.py", "a\n{% if %}\n")


def test_templates_cannot_reach_into_python(tmp_path: Path) -> None:
    with pytest.raises(InvalidTemplate):
        render_one(tmp_path, "one.py", "{{ TEXT.__class__.__mro__[1].__subclasses__() | py }}", TEXT="a")


def test_text_that_has_no_literal_is_the_users_to_change(tmp_path: Path) -> None:
    with pytest.raises(InvalidVariable, match=r"nginx\.conf"):
        render_one(tmp_path, "nginx.conf", "add_header X {{ TEXT | nginx }};", TEXT="$host")


def test_a_link_in_a_template_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "template.yaml").write_text("name: one\ntitle: One\ndescription: A link\n")
    (folder / "link").symlink_to("/etc/hostname")
    with pytest.raises(InvalidTemplate, match="a link"):
        render_tree(read_template(folder), {}, tmp_path)


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.py").write_text("")
    with pytest.raises(InvalidTemplate, match="made twice"):
        render_one_into(tmp_path)


def render_one_into(root: Path) -> None:
    folder = root / "one"
    (folder / "template.yaml").write_text("name: one\ntitle: One\ndescription: Twice\n")
    (folder / "a.py.template").write_text("")
    render_tree(read_template(folder), {}, root)


# --- the stage ---


def stage_context(root: Path, events: list[Event]) -> StageContext:
    request = BuildRequest(
        build_id=1,
        client="local",
        project="ana",
        project_id=7,
        name="Ana",
        description="Helps the customers of a small shop.",
        source=FolderSource(path=str(root)),
    )
    return StageContext(
        request=request,
        settings=settings(root),
        history=History(),
        live=LiveState(),
        workspace=root / "workspace",
        sink=events.append,
        cancel=Cancel(),
        stage="generate",
    )


def test_the_stage_makes_a_tree_with_its_smoke_tests(tmp_path: Path) -> None:
    events: list[Event] = []
    template = load_template("chatbot", settings(tmp_path))
    source = TemplateSource(template="chatbot", variables={**EXAMPLE, "assistant_type": "customer_support"})
    tree = generate(stage_context(tmp_path, events), Tree(root=template.root, source=source, is_in_place=True))
    assert tree.root == tmp_path / "workspace" / "generated"
    assert not tree.is_in_place
    assert "/tickets" in {test.path for test in tree.smoke_tests}
    assert tree_of(tree.root) == tree_of(render(tmp_path / "other", "customer_support"))
    assert any("files from the template chatbot" in event.text for event in events)


def test_the_stage_leaves_other_sources_alone(tmp_path: Path) -> None:
    tree = Tree(root=tmp_path, source=FolderSource(path=str(tmp_path)), is_in_place=True)
    assert generate(stage_context(tmp_path, []), tree) is tree
    assert not (tmp_path / "workspace").exists()


def test_the_compose_file_holds_what_the_project_names(tmp_path: Path) -> None:
    root = render(tmp_path, variables={**EXAMPLE, "environment_vars": ["CRM_KEY", "REGION"]}, name="a\n$b: {c} # d")
    compose = yaml.safe_load((root / "deployment/docker-compose.yml").read_text())
    assert set(compose["services"]) == {"app", "nginx"}
    assert {"CRM_KEY", "REGION", "OPENAI_API_KEY"} <= set(compose["services"]["app"]["environment"])
    assert compose["name"] == "assistant-7"
