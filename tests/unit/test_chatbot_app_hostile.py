"""User text never becomes code: hostile strings in every variable come out of the running app as the same strings."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml
from chatbot_app import load_app, render
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stand_ins import LanguageModelStandIn, serving
from starlette.testclient import TestClient

PIECES = (
    "{{", "}}", "{%", "%}", "{#", "#}", "${HOME}", "$(id)", "`id`", "$$", "\\", "\\n", "\\u0041", "\n", "\r\n", "\r",
    "\t", "\0", '"', "'", '"""', "'''", "%s", "{0}", "\u202e", "\u200f", "\u2028", "\ufeff", "\x7f", "\x85", "é", "🙂",
    "coding: latin-1", "escape=`", "syntax=x", "EOF", "<script>", "]]>", "-->", "#", ";", ": ", "- ", "&a", "*a", "!!x",
    "import os", "FROM x", " ",
)  # fmt: skip
HOSTILE = st.lists(
    st.sampled_from(PIECES) | st.text(st.characters(exclude_categories=["Cs"]), max_size=3), max_size=8
).map("".join)
SAID = HOSTILE.map(lambda text: f"a{text}")
"""Where a variable may not be empty."""
ONE_LINE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
PATH_PART = st.text(st.sampled_from("abc\"'${}%#`&;()*"), max_size=8)

VARIABLES = st.fixed_dictionaries(
    {
        "personality": st.fixed_dictionaries(
            {"tone": HOSTILE.map(lambda text: text[:200]), "style": HOSTILE, "system_prompt": SAID}
        ),
        "business_rules": st.lists(SAID, max_size=3),
        "training_data": st.lists(st.fixed_dictionaries({"question": SAID, "answer": SAID}), max_size=3),
        "api_endpoints": st.lists(
            st.fixed_dictionaries(
                {
                    "name": SAID.map(lambda text: text[:100]),
                    "url": PATH_PART.map(lambda text: f"https://crm.example/{text}"),
                    "description": HOSTILE,
                    "headers": st.dictionaries(
                        st.just("X-A"),
                        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20),
                        max_size=1,
                    ),
                }
            ),
            max_size=2,
        ),
    }
)


def rendered_and_loaded(root: Path, variables: dict[str, Any], name: str, description: str, **environ: str) -> Any:
    tree = render(root, "customer_support", variables, name=name, description=description)
    compose = yaml.safe_load((tree / "deployment/docker-compose.yml").read_text(encoding="utf-8"))
    assert set(compose) == {"name", "services", "volumes"}
    return load_app(tree, root / "data", **environ)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(VARIABLES, SAID, HOSTILE)
def test_hostile_text_comes_out_as_it_went_in(variables: dict[str, Any], name: str, description: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        app = rendered_and_loaded(Path(folder), variables, name, description)
        with TestClient(app) as client:
            config = client.get("/config").json()
            assert client.get("/health").status_code == 200
            assert client.get("/openapi.json").json()["info"]["title"] == name
    assert (config["name"], config["description"]) == (name, description)
    assert config["personality"] == {key: variables["personality"][key] for key in ("tone", "style")}
    assert config["suggestions"] == [item["question"] for item in variables["training_data"]]
    assistant = app.state.assistant
    assert assistant.role == variables["personality"]["system_prompt"]
    assert list(assistant.business_rules) == variables["business_rules"]
    assert [(item.question, item.answer) for item in assistant.training_data] == [
        (item["question"], item["answer"]) for item in variables["training_data"]
    ]
    assert [(item.name, item.url, item.description, item.headers) for item in assistant.endpoints] == [
        (item["name"], item["url"], item["description"], item["headers"]) for item in variables["api_endpoints"]
    ]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(HOSTILE, HOSTILE, HOSTILE)
def test_hostile_text_reaches_the_model_as_it_is(text: str, name: str, message: str) -> None:
    variables = {
        "personality": {"system_prompt": f"PROMPT {text}"},
        "business_rules": [f"RULE {text}"],
        "training_data": [{"question": "zebra", "answer": f"ANSWER {text}"}],
    }
    model = LanguageModelStandIn({"text": f"SAID {text}"})
    environ = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": f"{model.url}/v1"}
    with tempfile.TemporaryDirectory() as folder, serving(model):
        app = rendered_and_loaded(Path(folder), variables, f"NAME {name}", "", **environ)
        with TestClient(app) as client:
            body = {"message": "zebra", "history": [{"role": "user", "content": f"EARLIER {message}"}]}
            reply = client.post("/chat", json=body).json()["reply"]
    assert reply == f"SAID {text}"
    system, earlier, _ = model.bodies[0]["messages"]
    for part in (f"PROMPT {text}", f"RULE {text}", f"ANSWER {text}", f"NAME {name}"):
        assert part in system["content"]
    assert earlier["content"] == f"EARLIER {message}"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(HOSTILE)
def test_an_answer_of_hostile_text_is_given_as_it_is(text: str) -> None:
    variables = {"training_data": [{"question": "zebra", "answer": f"a{text}"}]}
    with tempfile.TemporaryDirectory() as folder:
        app = load_app(render(Path(folder), "general", variables), Path(folder) / "data")
        with TestClient(app) as client:
            assert client.post("/chat", json={"message": "zebra"}).json()["reply"] == f"a{text}"
