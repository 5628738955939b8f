"""Finding templates, checking their variables, and reading `--set`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from chatbot_app import EXAMPLE, TYPES, settings

from dockwright.errors import Conflict, InvalidTemplate, InvalidVariable, PathNotFound, UnknownTemplate
from dockwright.sources.template import Template, list_templates, load_template, read_template
from dockwright.sources.variables import assign, check_variables

MINIMAL = {"name": "mine", "title": "Mine", "description": "One of my own"}


def write_template(root: Path, **changes: Any) -> Path:
    folder = root / "build-templates" / str(changes.get("folder", "mine"))
    folder.mkdir(parents=True)
    document = {**MINIMAL, **{key: value for key, value in changes.items() if key != "folder"}}
    (folder / "template.yaml").write_text(yaml.safe_dump(document))
    return folder


@pytest.fixture
def chatbot(tmp_path: Path) -> Template:
    return load_template("chatbot", settings(tmp_path))


def test_the_operators_templates_stand_beside_the_built_in_ones(tmp_path: Path) -> None:
    write_template(tmp_path)
    (tmp_path / "build-templates" / "notes").mkdir()
    names = [template.name for template in list_templates(settings(tmp_path))]
    assert {"chatbot", "mine"} <= set(names)
    assert names == sorted(names)


def test_a_second_template_of_a_name_is_refused(tmp_path: Path) -> None:
    write_template(tmp_path, folder="chatbot", name="chatbot")
    with pytest.raises(Conflict, match="name of a built-in one"):
        list_templates(settings(tmp_path))


@pytest.mark.parametrize("name", ["chatbto", "../chatbot", "", "/etc"])
def test_an_unknown_template_is_answered_with_those_there_are(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnknownTemplate) as caught:
        load_template(name, settings(tmp_path))
    assert "chatbot" in caught.value.remedy


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"title": ""}, "'title'"),
        ({"name": "other"}, "its folder"),
        ({"extra": 1}, "'extra'"),
        ({"variables": {"type": "list"}}, "JSON Schema"),
        ({"variables": {"type": "array"}}, "type object"),
        ({"tests": [{"name": "a"}]}, "a path"),
        ({"tests": [{"name": "a", "path": "/", "stattus": 1}]}, "stattus"),
    ],
)
def test_a_broken_template_says_what_is_wrong(tmp_path: Path, changes: dict[str, Any], cause: str) -> None:
    with pytest.raises(InvalidTemplate, match=cause):
        read_template(write_template(tmp_path, **changes))


def test_a_template_that_is_not_yaml_is_named(tmp_path: Path) -> None:
    folder = write_template(tmp_path)
    (folder / "template.yaml").write_text("{")
    with pytest.raises(InvalidTemplate, match="'mine' is broken"):
        read_template(folder)


def test_defaults_are_filled_in_at_every_depth(chatbot: Template) -> None:
    checked = check_variables(chatbot, {"api_endpoints": [{"name": "crm", "url": "https://crm.example/{id}"}]})
    assert checked["assistant_type"] == "general"
    assert checked["personality"] == {"tone": "friendly", "style": "concise", "system_prompt": ""}
    assert checked["api_endpoints"][0] == {
        "name": "crm",
        "url": "https://crm.example/{id}",
        "method": "GET",
        "description": "",
        "headers": {},
    }


def test_what_was_given_is_not_changed(chatbot: Template) -> None:
    given = {"personality": {"tone": "dry"}}
    check_variables(chatbot, given)
    assert given == {"personality": {"tone": "dry"}}


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"training_data": [{"question": "a", "answer": "b"}, {"question": "a", "answer": 5}]},
            "training_data[1].answer: must be text, is a number",
        ),
        ({"training_data": [{"question": "a"}]}, "training_data[0].answer: is missing"),
        ({"training_data": {}}, "training_data: must be a list, is a mapping"),
        ({"training_data": None}, "training_data: must be a list, is nothing"),
        ({"business_rules": ["ok", True]}, "business_rules[1]: must be text, is true or false"),
        ({"business_rules": [""]}, "business_rules[0]: must have at least 1 characters, has 0"),
        ({"personality": "warm"}, "personality: must be a mapping, is text"),
        ({"personality": {"tnoe": "warm"}}, "personality.tnoe: did you mean personality.tone?"),
        ({"trainig_data": []}, "trainig_data: did you mean training_data?"),
        ({"zzz": 1}, "zzz: there is no such variable"),
        (
            {"assistant_type": "sales"},
            "assistant_type: must be one of general, customer_support, sales_assistant, project_management",
        ),
        ({"environment_vars": ["A B"]}, "environment_vars[0]: does not have the right form"),
        ({"dependencies": ["--pre"]}, "dependencies[0]: '--pre' is not a package"),
        (
            {"api_endpoints": [{"name": "a", "url": "file:///etc/passwd"}]},
            "api_endpoints[0].url: does not have the right",
        ),
        ({"business_rules": ["\ud800"]}, "business_rules[0]: holds half of a character"),
    ],
)
def test_a_wrong_variable_is_named_by_its_path(chatbot: Template, variables: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidVariable) as caught:
        check_variables(chatbot, variables)
    assert caught.value.message.startswith(message)
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 2


def test_smoke_tests_are_those_of_the_type(chatbot: Template) -> None:
    paths = {
        kind: {test.path for test in chatbot.smoke_tests(check_variables(chatbot, {"assistant_type": kind}))}
        for kind in TYPES
    }
    assert {"/health", "/chat", "/build/info"} <= set.intersection(*paths.values())
    assert "/tickets" in paths["customer_support"]
    assert not {"/tickets", "/leads", "/tasks"} & paths["general"]


# --- `--set` ---


def test_values_are_read_by_the_schemas_type(chatbot: Template, tmp_path: Path) -> None:
    file = tmp_path / "training.json"
    file.write_text(json.dumps(EXAMPLE["training_data"]))
    values = assign(
        chatbot,
        [
            "personality.tone=[warm] = {{ 7 }}",
            'business_rules=["Be brief"]',
            f"training_data=@{file}",
            "assistant_type=customer_support",
        ],
    )
    assert values == {
        "personality": {"tone": "[warm] = {{ 7 }}"},
        "business_rules": ["Be brief"],
        "training_data": EXAMPLE["training_data"],
        "assistant_type": "customer_support",
    }
    assert check_variables(chatbot, values)["personality"]["style"] == "concise"


def test_later_values_win_over_those_of_a_file(chatbot: Template) -> None:
    base = {"personality": {"tone": "dry", "style": "long"}}
    assert assign(chatbot, ["personality.tone=warm"], base)["personality"] == {"tone": "warm", "style": "long"}
    assert base["personality"]["tone"] == "dry"


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("personality.tone", "is not name=value"),
        ("=x", "is not name=value"),
        ("personality.tome=x", "personality.tome: did you mean personality.tone?"),
        ("business_rules=Be brief", "business_rules: must be a list written as JSON"),
        ("training_data=@none.json", "none.json cannot be read"),
    ],
)
def test_a_wrong_assignment_is_named(chatbot: Template, assignment: str, message: str) -> None:
    with pytest.raises((InvalidVariable, PathNotFound)) as caught:
        assign(chatbot, [assignment])
    assert message in caught.value.message


def test_a_file_that_is_neither_json_nor_yaml_is_named(chatbot: Template, tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("a: [")
    with pytest.raises(InvalidVariable, match="neither JSON nor YAML"):
        assign(chatbot, [f"business_rules=@{file}"])
