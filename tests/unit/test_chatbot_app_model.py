"""The generated app with a language model: a server that speaks OpenAI's protocol stands in for it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from chatbot_app import EXAMPLE, events, running, say
from stand_ins import ApiStandIn, LanguageModelStandIn, serving
from starlette.testclient import TestClient


@contextmanager
def with_model(
    root: Path,
    *script: dict[str, Any],
    assistant_type: str = "general",
    variables: Mapping[str, Any] | None = None,
    **environ: str,
) -> Iterator[tuple[TestClient, LanguageModelStandIn]]:
    model = LanguageModelStandIn(*script)
    options = {"OPENAI_API_KEY": "k3y", "OPENAI_BASE_URL": f"{model.url}/v1", "OPENAI_MODEL": "m1", **environ}
    with serving(model), running(root, assistant_type, variables, **options) as client:
        yield client, model


def test_the_model_answers_and_is_told_what_it_must_know(tmp_path: Path) -> None:
    history = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    with with_model(tmp_path, {"text": "From nine to five."}) as (client, model):
        answer = say(client, "When are you open?", history=history)
        assert client.get("/health").json()["mode"] == "llm"
    assert answer["reply"] == "From nine to five."
    assert answer["mode"] == "llm"
    assert answer["degraded"] is None
    assert [source["question"] for source in answer["sources"]] == ["What are your opening hours?"]
    [request] = model.requests
    assert request["path"] == "/v1/chat/completions"
    assert request["headers"]["authorization"] == "Bearer k3y"
    body = request["body"]
    assert (body["model"], body["stream"]) == ("m1", True)
    system, *rest = body["messages"]
    assert system["role"] == "system"
    for part in ("Your name is Ana.", "warm", "short", "1. Never promise a delivery date", "9 to 17"):
        assert part in system["content"]
    assert "Reset password" not in system["content"]
    assert rest == [*history, {"role": "user", "content": "When are you open?"}]
    assert "tools" not in body


def test_a_prompt_of_the_projects_own_takes_the_roles_place(tmp_path: Path) -> None:
    variables = {"personality": {"system_prompt": "You are a pirate."}}
    with with_model(tmp_path, {"text": "Arr"}, variables=variables) as (client, model):
        say(client, "Hi")
    assert model.bodies[0]["messages"][0]["content"].startswith("You are a pirate.\n\n")


def test_the_answer_streams_as_it_comes(tmp_path: Path) -> None:
    with with_model(tmp_path, {"text": "One two three four five."}) as (client, _):
        response = client.post("/chat", json={"message": "Count", "stream": True})
    found = events(response.text)
    pieces = [value["text"] for name, value in found if name == "delta"]
    assert len(pieces) == 4
    assert "".join(pieces) == found[-1][1]["reply"] == "One two three four five."


def test_only_the_newest_history_is_sent(tmp_path: Path) -> None:
    history = [{"role": "user", "content": f"m{number}"} for number in range(50)]
    with with_model(tmp_path, {"text": "ok"}, MAX_HISTORY="3") as (client, model):
        say(client, "Hi", history=history)
    assert [message["content"] for message in model.bodies[0]["messages"][1:]] == ["m47", "m48", "m49", "Hi"]


@pytest.mark.parametrize("turn", [{"plain": "ok"}, {"refuses_options": True, "text": "ok"}])
def test_endpoints_that_know_less_of_the_protocol_work(tmp_path: Path, turn: dict[str, Any]) -> None:
    with with_model(tmp_path, turn) as (client, _):
        assert say(client, "Hi")["reply"] == "ok"
        assert say(client, "Hi")["reply"] == "ok"


# --- when the model fails ---


@pytest.mark.parametrize(
    ("turn", "code", "requests"),
    [
        ({"status": 401}, "unauthorized", 1),
        ({"status": 403}, "unauthorized", 1),
        ({"status": 404}, "not_found", 1),
        ({"status": 429}, "rate_limited", 2),
        ({"status": 500}, "failed", 1),
        ({"status": 503}, "failed", 2),
        ({"text": ""}, "failed", 1),
        ({"break_off": ""}, "failed", 1),
    ],
)
def test_a_model_that_fails_is_named_and_the_training_data_answers(
    tmp_path: Path, turn: dict[str, Any], code: str, requests: int
) -> None:
    with with_model(tmp_path, turn) as (client, model):
        answer = say(client, "When are you open?")
        assert client.get("/health").status_code == 200
    assert len(model.requests) == requests
    assert answer["degraded"]["code"] == code
    assert answer["mode"] == "training_data"
    assert answer["reply"].startswith(f"({answer['degraded']['message']}; this answer comes from my training data.)")
    assert "9 to 17" in answer["reply"]


def test_a_model_that_hangs_is_given_up(tmp_path: Path) -> None:
    with with_model(tmp_path, {"hang": 2.5}, OPENAI_TIMEOUT_SECONDS="1") as (client, _):
        answer = say(client, "When are you open?")
    assert answer["degraded"]["code"] == "timeout"
    assert "9 to 17" in answer["reply"]


def test_an_endpoint_that_is_not_there_is_named(tmp_path: Path) -> None:
    with running(tmp_path, OPENAI_API_KEY="k", OPENAI_BASE_URL="http://127.0.0.1:9/v1") as client:
        answer = say(client, "When are you open?")
    assert answer["degraded"]["code"] == "unreachable"
    assert "9 to 17" in answer["reply"]


def test_an_endpoint_that_is_busy_for_a_moment_is_asked_again(tmp_path: Path) -> None:
    with with_model(tmp_path, {"status": 503}, {"text": "back"}) as (client, _):
        answer = say(client, "Hi")
    assert (answer["reply"], answer["degraded"]) == ("back", None)


def test_an_answer_that_breaks_off_says_so(tmp_path: Path) -> None:
    with with_model(tmp_path, {"break_off": "We are open from"}) as (client, _):
        response = client.post("/chat", json={"message": "When?", "stream": True})
    found = events(response.text)
    answer = found[-1][1]
    assert answer["reply"] == "We are open from\n\n(The language model broke off; this answer is not complete.)"
    assert answer["reply"] == "".join(value["text"] for name, value in found if name == "delta")
    assert answer["degraded"]["code"] == "failed"


def test_the_desk_works_while_the_model_is_down(tmp_path: Path) -> None:
    with with_model(tmp_path, {"status": 500}, assistant_type="customer_support") as (client, _):
        answer = say(client, "I want to speak to a human")
    assert answer["records"][0]["status"] == "escalated"
    assert answer["degraded"]["code"] == "failed"


# --- the desks' tools ---


def test_the_model_opens_a_ticket(tmp_path: Path) -> None:
    call = ("open_ticket", {"subject": "Lamp flickers", "customer_email": "a@b.example", "priority": "low"})
    script = ({"calls": [call]}, {"text": "Your ticket is 1."})
    with with_model(tmp_path, *script, assistant_type="customer_support") as (client, model):
        answer = say(client, "My lamp flickers")
        [ticket] = client.get("/tickets").json()["items"]
    assert answer["reply"] == "Your ticket is 1."
    assert answer["tools_used"] == ["open_ticket"]
    assert answer["records"] == [ticket]
    assert (ticket["subject"], ticket["priority"], ticket["status"]) == ("Lamp flickers", "low", "open")
    offered = {tool["function"]["name"] for tool in model.bodies[0]["tools"]}
    assert offered == {"open_ticket", "change_ticket", "list_tickets"}
    *_, asked, result = model.bodies[1]["messages"]
    assert asked["tool_calls"][0]["function"]["name"] == "open_ticket"
    assert result["role"] == "tool"
    assert result["tool_call_id"] == asked["tool_calls"][0]["id"]
    assert json.loads(result["content"])["id"] == 1
    assert "session_id" not in result["content"]


def test_that_a_person_is_called_does_not_depend_on_the_model(tmp_path: Path) -> None:
    with with_model(tmp_path, {"text": "Calm down."}, assistant_type="customer_support") as (client, _):
        answer = say(client, "I am furious, give me a human")
    assert answer["reply"].startswith("Calm down.\n\nI have passed this on to a colleague: ticket 1")
    assert answer["records"][0]["status"] == "escalated"


def test_a_ticket_that_the_model_opened_is_not_opened_twice(tmp_path: Path) -> None:
    script = ({"calls": [("open_ticket", {"subject": "a", "escalate": True})]}, {"text": "Done."})
    with with_model(tmp_path, *script, assistant_type="customer_support") as (client, _):
        answer = say(client, "I am furious, give me a human")
        assert client.get("/tickets").json()["total"] == 1
    assert answer["reply"] == "Done."
    assert answer["records"][0]["escalation_reason"] == "the customer asked for a person"


@pytest.mark.parametrize(
    ("calls", "told"),
    [
        ([("open_ticket", "{not json")], "Error: the arguments are not JSON"),
        ([("open_ticket", "[]")], "Error: the arguments must be a JSON object"),
        ([("open_ticket", {})], "Error: subject: Field required"),
        ([("open_ticket", {"subject": "a", "priority": "huge"})], "Error: priority"),
        ([("drop_tables", {})], "Error: there is no tool 'drop_tables'"),
        ([("change_ticket", {"ticket_id": 1, "status": "resolved"})], "Error: there is no such record"),
        ([("change_ticket", {"ticket_id": 10**30})], "Error: ticket_id"),
    ],
)
def test_a_wrong_call_is_told_to_the_model(tmp_path: Path, calls: Any, told: str) -> None:
    """Ticket 1 is another visitor's: to this conversation there is no such ticket."""
    script = ({"calls": calls}, {"text": "I see."})
    with with_model(tmp_path, *script, assistant_type="customer_support") as (client, model):
        client.post("/tickets", json={"subject": "of another"})
        assert say(client, "Do it")["reply"] == "I see."
        assert client.get("/tickets/1").json()["status"] == "open"
    assert model.bodies[1]["messages"][-1]["content"].startswith(told)


def test_a_model_that_calls_for_ever_is_stopped(tmp_path: Path) -> None:
    script = {"calls": [("list_tickets", {})]}
    with with_model(tmp_path, script, assistant_type="customer_support") as (client, model):
        answer = say(client, "When are you open?")
    assert len(model.requests) == 6
    assert "tools" not in model.bodies[-1]
    assert answer["degraded"]["code"] == "failed"
    assert "9 to 17" in answer["reply"]


def test_the_model_fills_a_lead_and_rules_fill_what_it_forgot(tmp_path: Path) -> None:
    script = ({"calls": [("save_lead", {"name": "Ana", "need": "chat", "timeline": "June"})]}, {"text": "Noted."})
    with with_model(tmp_path, *script, assistant_type="sales_assistant") as (client, _):
        say(client, "I am Ana, ana@acme.example, budget 5000 euros")
        [lead] = client.get("/leads").json()["items"]
    assert (lead["name"], lead["email"], lead["budget"]) == ("Ana", "ana@acme.example", "5000 euros")
    assert lead["stage"] == "qualified"


def test_the_model_works_with_tasks(tmp_path: Path) -> None:
    script = (
        {"calls": [("create_task", {"title": "report", "assignee": "Ana"}), ("create_task", {"title": "call"})]},
        {"calls": [("change_task", {"task_id": 1, "status": "done"}), ("list_tasks", {"status": "todo"})]},
        {"text": "Done."},
    )
    with with_model(tmp_path, *script, assistant_type="project_management") as (client, model):
        answer = say(client, "Plan the week")
    assert {task["id"]: task["status"] for task in answer["records"]} == {1: "done", 2: "todo"}
    listed = json.loads(model.bodies[2]["messages"][-1]["content"])
    assert [task["title"] for task in listed] == ["call"]


# --- the project's HTTP APIs ---


def endpoint(url: str, **more: Any) -> dict[str, Any]:
    return {"name": "find customer!", "url": url, "description": "Finds a customer", **more}


@contextmanager
def with_api(
    root: Path, replies: dict[str, tuple[int, Any, dict[str, str]]], arguments: Any, path: str, **more: Any
) -> Iterator[tuple[ApiStandIn, LanguageModelStandIn, dict[str, Any]]]:
    """One conversation in which the model calls an endpoint once with `arguments`."""
    api = ApiStandIn(replies)
    variables = {**EXAMPLE, "api_endpoints": [endpoint(api.url + path, **more)]}
    script = ({"calls": [("find_customer", arguments)]}, {"text": "Found."})
    with serving(api), with_model(root, *script, variables=variables, CRM_KEY="s3cr&t") as (client, model):
        yield api, model, say(client, "Who is Ana?")


def test_an_endpoint_is_a_tool_and_its_key_stays_outside_the_model(tmp_path: Path) -> None:
    replies = {"/c/a%2Fb%20c": (200, {"name": "Ana"}, {})}
    arguments = {"id": "a/b c", "query": {"limit": 5, "q": "x&y"}}
    more = {"headers": {"X-Key": "Bearer {CRM_KEY}", "X-Other": "{nothing}"}}
    with with_api(tmp_path, replies, arguments, "/c/{id}?key={CRM_KEY}", **more) as (api, model, answer):
        pass
    [request] = api.requests
    assert request["path"] == "/c/a%2Fb%20c?key=s3cr%26t&limit=5&q=x%26y"
    assert request["headers"]["x-key"] == "Bearer s3cr&t"
    assert request["headers"]["x-other"] == "{nothing}"
    [tool] = model.bodies[0]["tools"]
    assert tool["function"]["name"] == "find_customer"
    assert tool["function"]["parameters"]["required"] == ["id"]
    assert "CRM_KEY" not in json.dumps(tool)
    assert model.bodies[1]["messages"][-1]["content"] == 'Status 200\n{"name": "Ana"}'
    assert "s3cr" not in json.dumps(model.bodies)
    assert answer["tools_used"] == ["find_customer"]


def test_an_endpoint_that_writes_takes_a_body(tmp_path: Path) -> None:
    replies: dict[str, tuple[int, Any, dict[str, str]]] = {"/c": (201, {}, {})}
    with with_api(tmp_path, replies, {"body": {"name": "Ana"}}, "/c", method="POST") as (api, _, _):
        pass
    assert (api.requests[0]["method"], api.requests[0]["body"]) == ("POST", {"name": "Ana"})


@pytest.mark.parametrize(
    ("reply", "arguments", "path", "told"),
    [
        ((200, "", {}), {}, "/c/{id}", "Error: id must be given"),
        ((200, "", {}), {"id": ".."}, "/c/{id}", "Error: id must be given"),
        ((302, "", {"Location": "http://127.0.0.2:1/x"}), {}, "/c", "Error: the API redirects to another host"),
        ((302, "", {"Location": "/c"}), {}, "/c", "Error: the API redirects in a circle"),
        ((500, {"detail": "no"}, {}), {}, "/c", "Status 500"),
        ((200, b"x" * 200_000, {}), {}, "/c", "Status 200\nxxx"),
    ],
)
def test_an_endpoint_that_does_not_do_what_it_should_is_told_to_the_model(
    tmp_path: Path, reply: Any, arguments: Any, path: str, told: str
) -> None:
    with with_api(tmp_path, {"/c": reply}, arguments, path) as (api, model, answer):
        pass
    content = model.bodies[1]["messages"][-1]["content"]
    assert content.startswith(told)
    assert len(content) < 9_000
    assert answer["reply"] == "Found."
    assert len(api.requests) <= 4


def test_a_redirect_on_the_same_host_is_followed(tmp_path: Path) -> None:
    replies = {"/c": (302, "", {"Location": "/d"}), "/d": (200, {"ok": True}, {})}
    with with_api(tmp_path, replies, {}, "/c") as (_, model, _):
        pass
    assert model.bodies[1]["messages"][-1]["content"] == 'Status 200\n{"ok": true}'


def test_a_variable_that_the_operator_has_not_set_is_told(tmp_path: Path) -> None:
    variables = {**EXAMPLE, "api_endpoints": [endpoint("http://127.0.0.1:9/?key={CRM_KEY}")]}
    script = ({"calls": [("find_customer", {})]}, {"text": "Hm."})
    with with_model(tmp_path, *script, variables=variables) as (client, model):
        say(client, "Who is Ana?")
    assert model.bodies[1]["messages"][-1]["content"] == "Error: the operator has not set CRM_KEY"


def test_the_host_is_not_for_the_model_to_choose(tmp_path: Path) -> None:
    variables = {**EXAMPLE, "api_endpoints": [endpoint("http://{host}.example/c")]}
    script = ({"calls": [("find_customer", {"host": "evil"})]}, {"text": "Hm."})
    with with_model(tmp_path, *script, variables=variables) as (client, model):
        say(client, "Who is Ana?")
    assert "not for the model to choose" in model.bodies[1]["messages"][-1]["content"]


def test_names_of_tools_are_unique_and_as_the_protocol_wants_them(tmp_path: Path) -> None:
    names = ["open ticket", "open_ticket", "Größe/1", "!!!", "x" * 100, "a", "a"]
    url = "https://crm.example/"
    variables = {**EXAMPLE, "api_endpoints": [{"name": name, "url": url} for name in names]}
    with running(tmp_path, "customer_support", variables) as client:
        tools = client.get("/config").json()["tools"]
    assert len(set(tools)) == len(names)
    assert tools[:4] == ["open_ticket_2", "open_ticket_3", "Gr_e_1", "endpoint"]
    assert all(len(name) <= 64 for name in tools)


def test_without_a_model_endpoints_are_listed_and_not_called(tmp_path: Path) -> None:
    api = ApiStandIn({})
    variables = {**EXAMPLE, "api_endpoints": [endpoint(f"{api.url}/c")]}
    with serving(api), running(tmp_path, variables=variables) as client:
        say(client, "find customer")
        assert client.get("/config").json()["tools"] == ["find_customer"]
    assert api.requests == []
