"""The generated app without a language model: what it tells of itself, its answers, its limits."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from chatbot_app import EXAMPLE, TYPES, events, running, say
from starlette.testclient import TestClient


@pytest.mark.parametrize("assistant_type", TYPES)
def test_every_type_starts_and_answers(tmp_path: Path, assistant_type: str) -> None:
    with running(tmp_path, assistant_type) as client:
        assert client.get("/health").json()["status"] == "healthy"
        answer = say(client, "When are you open?")
        assert answer["reply"].startswith("We are open Monday to Friday, 9 to 17.")
        assert answer["mode"] == "training_data"
        assert answer["sources"][0]["question"] == "What are your opening hours?"


def test_health_names_what_is_missing(tmp_path: Path) -> None:
    with running(tmp_path, "customer_support") as client:
        warnings = client.get("/health").json()["warnings"]
    assert "CRM_KEY is not set" in warnings
    assert any("STAFF_TOKEN" in warning for warning in warnings)
    with running(tmp_path / "b", "customer_support", CRM_KEY="x", STAFF_TOKEN="y") as client:
        assert client.get("/health").json()["warnings"] == []


def test_health_tells_of_a_volume_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a folder")
    with running(tmp_path, "customer_support") as client:
        health = client.get("/health")
        assert health.status_code == 200
        assert any("DATA_DIR" in warning for warning in health.json()["warnings"])
        assert client.get("/tickets").status_code == 503
        assert "could not note this down" in say(client, "I want to talk to a human")["reply"]
        assert "9 to 17" in say(client, "When are you open?")["reply"]


def test_build_info_is_as_promised(tmp_path: Path) -> None:
    environ = {"BUILD_DATE": "2025-09-08T16:32:44Z", "GIT_COMMIT": "e8f2dfb", "CACHE_BUST": "1757349164"}
    with running(tmp_path, **environ) as client:
        info = client.get("/build/info").json()
        script = client.get("/build-info.js")
    assert list(info) == ["build_date", "git_commit", "cache_bust", "python_version", "container_started", "status"]
    assert (info["build_date"], info["git_commit"], info["cache_bust"]) == tuple(environ.values())
    assert re.fullmatch(r"3\.\d+\.\d+", info["python_version"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", info["container_started"])
    assert script.headers["content-type"].startswith("text/javascript")
    told = json.loads(script.text.removeprefix("window.BUILD_INFO = ").rstrip().removesuffix(";"))
    assert told == {
        "buildDate": "2025-09-08T16:32:44Z",
        "gitCommit": "e8f2dfb",
        "cacheBust": "1757349164",
        "buildTimestamp": 1757349164000,
    }


def test_config_tells_what_the_page_shows_and_no_more(tmp_path: Path) -> None:
    variables = {
        **EXAMPLE,
        "personality": {"tone": "warm", "system_prompt": "SECRET PROMPT"},
        "api_endpoints": [{"name": "find customer", "url": "https://crm.example/?key=SECRET"}],
    }
    with running(tmp_path, "customer_support", variables, CRM_KEY="SECRET") as client:
        response = client.get("/config")
    config = response.json()
    assert config["name"] == "Ana"
    assert config["business_rules"] == 2
    assert config["tools"] == ["find_customer"]
    assert config["records"] == {"kind": "ticket", "plural": "tickets", "state": "status"}
    assert "SECRET" not in response.text


def test_the_page_has_no_foreign_assets_and_a_strict_policy(tmp_path: Path) -> None:
    with running(tmp_path) as client:
        page = client.get("/")
        assert page.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "unsafe" not in page.headers["content-security-policy"]
        paths = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert paths
        for path in paths:
            assert path.startswith(("/", "data:"))
            assert path.startswith("data:") or client.get(path).status_code == 200
        script = client.get("/static/chat.js").text
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script)
        assert client.get("/static/../server.py").status_code == 404
        assert client.get("/static/%2e%2e%2fserver.py").status_code == 404


# --- answers from the training data ---


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        ("when are you open", "9 to 17"),
        ("OPENING HOURS???", "9 to 17"),
        ("opening huors", "9 to 17"),
        ("I would like to return the item", "within 30 days"),
        ("returning items", "within 30 days"),
        ("How can I retrun a broken laptop?", "within 30 days"),
        ("shipping to Switzerland", "three to five days"),
        ("password reset", "Reset password"),
        ("what's the price of the pro plan", "40 euros"),
    ],
)
def test_questions_find_their_answer_in_other_words(tmp_path: Path, message: str, answer: str) -> None:
    with running(tmp_path) as client:
        assert answer in say(client, message)["reply"]


@pytest.mark.parametrize(
    "message", ["Tell me a joke about cats", "Who won the cup final?", "42", "¿Qué?", "🙂", "the of and"]
)
def test_what_is_not_known_is_said(tmp_path: Path, message: str) -> None:
    with running(tmp_path) as client:
        answer = say(client, message)
    assert answer["reply"].startswith("I do not have an answer to that.")
    assert "What are your opening hours?" in answer["reply"]
    assert answer["sources"] == []


def test_greetings_and_thanks_are_answered(tmp_path: Path) -> None:
    with running(tmp_path) as client:
        assert say(client, "Hello!")["reply"].startswith("Hello, I am Ana.")
        assert say(client, "thanks a lot")["reply"] == "You are welcome."


@pytest.mark.parametrize(
    ("question", "asked"),
    [
        ("Où se trouve le café?", "cafe"),
        ("営業時間は何時ですか", "営業時間を教えて"),
        ("Как вернуть товар?", "вернуть ТОВАР"),
        ("आपके खुलने का समय क्या है", "खुलने का समय"),
        ("ما هي ساعات العمل؟", "ساعات العمل"),
        ("Wie groß ist die Straße?", "STRASSE"),
    ],
)
def test_questions_in_any_script_are_found(tmp_path: Path, question: str, asked: str) -> None:
    training = [{"question": question, "answer": "FOUND"}, *EXAMPLE["training_data"]]
    with running(tmp_path, variables={"training_data": training}) as client:
        assert say(client, asked)["reply"] == "FOUND"


def test_an_assistant_that_knows_nothing_says_so(tmp_path: Path) -> None:
    with running(tmp_path, variables={}) as client:
        assert say(client, "When are you open?")["reply"] == "I do not have an answer to that."
        assert client.get("/config").json()["suggestions"] == []


def test_an_answer_streams_to_the_same_text(tmp_path: Path) -> None:
    with running(tmp_path) as client:
        whole = say(client, "When are you open?")
        with client.stream("POST", "/chat", json={"message": "When are you open?", "stream": True}) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            assert response.headers["x-accel-buffering"] == "no"
            response.read()
    found = events(response.text)
    pieces = [value["text"] for name, value in found if name == "delta"]
    assert len(pieces) > 3
    assert "".join(pieces) == whole["reply"]
    assert found[-1][0] == "done"
    assert found[-1][1]["reply"] == whole["reply"]


# --- limits ---


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({}, "message"),
        ({"message": ""}, "message"),
        ({"message": " \n\t"}, "empty"),
        ({"message": 5}, "message"),
        ({"message": "x" * 4001}, "longer than 4000"),
        ({"message": "a", "histroy": []}, "histroy"),
        ({"message": "a", "history": [{"role": "system", "content": "b"}]}, "history.0.role"),
        ({"message": "a", "history": [{"role": "user", "content": "b"}] * 201}, "history"),
        ({"message": "a", "session_id": "short"}, "session_id"),
        ([], "dictionary"),
    ],
)
def test_a_wrong_message_is_a_clear_422(tmp_path: Path, body: Any, detail: str) -> None:
    with running(tmp_path) as client:
        response = client.post("/chat", json=body)
    assert response.status_code == 422
    assert detail in response.json()["detail"]


@pytest.mark.parametrize("raw", [b"", b"{", b'{"message": "\\ud800"}', b"\xff", b"[" * 100_000])
def test_a_body_that_is_not_a_message_is_a_4xx(tmp_path: Path, raw: bytes) -> None:
    with running(tmp_path) as client:
        response = client.post("/chat", content=raw, headers={"content-type": "application/json"})
    assert 400 <= response.status_code < 500
    assert response.json()["detail"]


def test_a_body_that_is_too_large_is_413(tmp_path: Path) -> None:
    def pieces() -> Any:
        yield b'{"message": "'
        for _ in range(40):
            yield b"x" * 10_000

    with running(tmp_path) as client:
        announced = client.post("/chat", json={"message": "x" * 300_000})
        chunked = client.post("/chat", content=pieces(), headers={"content-type": "application/json"})
        assert client.get("/health").status_code == 200
    assert announced.status_code == chunked.status_code == 413
    assert chunked.json() == {"detail": "The request is larger than 262144 bytes"}


def test_limits_are_set_by_the_environment(tmp_path: Path) -> None:
    with running(tmp_path, MAX_MESSAGE_CHARS="10") as client:
        assert client.post("/chat", json={"message": "x" * 11}).status_code == 422
        assert client.get("/config").json()["max_message_chars"] == 10


@pytest.mark.parametrize(
    "environ", [{"MAX_HISTORY": "many"}, {"MAX_BODY_BYTES": "0"}, {"OPENAI_BASE_URL": "example.org"}]
)
def test_a_wrong_setting_is_named_at_the_start(tmp_path: Path, environ: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(environ))), running(tmp_path, **environ):
        pass


def test_the_log_says_what_happened_and_not_what_was_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running(tmp_path, "customer_support") as client:
        say(client, "My secret word is xyzzy and I am furious")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == ["answer", "request"]
    assert lines[0]["mode"] == "training_data"
    assert lines[0]["records"] == [1]
    assert lines[1]["status"] == 200
    assert not re.search("xyzzy|furious", json.dumps(lines))


def test_types_without_records_have_none(tmp_path: Path) -> None:
    with running(tmp_path) as client:
        for path in ("/tickets", "/leads", "/tasks"):
            assert client.get(path).status_code == 404


def test_an_unknown_path_is_json(client_of_general: TestClient) -> None:
    response = client_of_general.get("/nope")
    assert response.status_code == 404
    assert response.json() == {"detail": "Not Found"}


@pytest.fixture
def client_of_general(tmp_path: Path) -> Any:
    with running(tmp_path) as client:
        yield client
