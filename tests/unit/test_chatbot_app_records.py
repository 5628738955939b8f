"""Tickets and leads: made by chat without a language model, kept in a file, changed over the API."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from chatbot_app import load_app, render, running, say
from starlette.testclient import TestClient

OTHER = "fedcba9876543210"


def items(client: TestClient, path: str) -> list[dict[str, Any]]:
    response = client.get(path)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["items"]
    return found


# --- tickets ---


@pytest.mark.parametrize(
    ("message", "status", "priority", "reason"),
    [
        ("I want to speak to a human", "escalated", "high", "asked for a person"),
        ("can I talk with someone from your team?", "escalated", "high", "asked for a person"),
        ("This is UNACCEPTABLE, I am furious", "escalated", "high", "is upset"),
        ("WHERE IS MY ORDER NUMBER FIVE", "escalated", "high", "is upset"),
        ("It is urgent, our shop is down", "escalated", "urgent", "urgent"),
        (
            "I need a refund of 800, that is above 500 euros",
            "escalated",
            "high",
            "rule: Escalate refunds above 500 euros",
        ),
        ("Please open a ticket: the lamp flickers", "open", "normal", ""),
    ],
)
def test_a_message_makes_a_ticket(tmp_path: Path, message: str, status: str, priority: str, reason: str) -> None:
    with running(tmp_path, "customer_support") as client:
        answer = say(client, message)
        [ticket] = items(client, "/tickets")
    assert answer["records"] == [ticket]
    assert f"ticket {ticket['id']}" in answer["reply"]
    assert (ticket["status"], ticket["priority"]) == (status, priority)
    assert reason in ticket["escalation_reason"]
    assert ticket["description"] == message


@pytest.mark.parametrize(
    "message", ["When are you open?", "I like people", "Does a human being fit in the box?", "refund"]
)
def test_an_ordinary_question_makes_none(tmp_path: Path, message: str) -> None:
    with running(tmp_path, "customer_support") as client:
        say(client, message)
        assert items(client, "/tickets") == []


def test_two_questions_without_an_answer_go_to_a_person(tmp_path: Path) -> None:
    with running(tmp_path, "customer_support") as client:
        say(client, "Hello")
        assert say(client, "Does the lamp sing?")["records"] == []
        assert say(client, "When are you open?")["records"] == []
        assert say(client, "Does the lamp sing?")["records"] == []
        [ticket] = say(client, "Does it dance?")["records"]
    assert ticket["status"] == "escalated"
    assert "2 times in a row" in ticket["escalation_reason"]


def test_a_conversation_has_one_open_ticket(tmp_path: Path) -> None:
    with running(tmp_path, "customer_support") as client:
        say(client, "Please open a ticket: the lamp flickers")
        [ticket] = say(client, "I am furious now, this is urgent")["records"]
        assert (ticket["id"], ticket["status"], ticket["priority"]) == (1, "escalated", "urgent")
        assert "flickers" in ticket["description"]
        answer = say(client, "ana@example.org")
        assert "ana@example.org" in answer["reply"]
        assert answer["records"][0]["customer_email"] == "ana@example.org"
        say(client, "I want a human", session=OTHER)
        assert len(items(client, "/tickets")) == 2
        client.patch("/tickets/1", json={"status": "resolved"})
        assert say(client, "I want a human")["records"][0]["id"] == 3


def test_a_ticket_takes_its_subject_from_what_was_said_before(tmp_path: Path) -> None:
    history = [{"role": "user", "content": "The lamp flickers"}, {"role": "assistant", "content": "Oh"}]
    with running(tmp_path, "customer_support") as client:
        [ticket] = say(client, "I want a human", history=history)["records"]
    assert ticket["subject"] == "The lamp flickers"


def test_a_visitor_sees_the_state_of_their_own_tickets_only(tmp_path: Path) -> None:
    with running(tmp_path, "customer_support") as client:
        say(client, "Open a ticket: the lamp flickers")
        assert (
            "Ticket 1 (Open a ticket: the lamp flickers): open."
            in say(client, "What is the status of my ticket?")["reply"]
        )
        assert "no ticket" in say(client, "What is the status of ticket 1?", session=OTHER)["reply"]


@pytest.mark.parametrize(
    ("start", "wanted", "code"),
    [
        ("open", "in_progress", 200),
        ("open", "resolved", 200),
        ("escalated", "open", 409),
        ("escalated", "resolved", 200),
        ("resolved", "open", 200),
        ("resolved", "escalated", 409),
        ("open", "open", 200),
        ("open", "closed", 422),
    ],
)
def test_a_ticket_moves_only_as_it_may(tmp_path: Path, start: str, wanted: str, code: int) -> None:
    with running(tmp_path, "customer_support") as client:
        number = client.post("/tickets", json={"subject": "a"}).json()["id"]
        assert client.patch(f"/tickets/{number}", json={"status": start}).status_code == 200
        response = client.patch(f"/tickets/{number}", json={"status": wanted, "assignee": "Bo"})
        after = client.get(f"/tickets/{number}").json()
    assert response.status_code == code
    assert after["status"] == (wanted if code == 200 else start)
    assert after["assignee"] == ("Bo" if code == 200 else "")


# --- the API that all three share ---


def test_records_are_listed_with_filters_and_in_pages(tmp_path: Path) -> None:
    with running(tmp_path, "customer_support") as client:
        for number in range(5):
            body = {"subject": f"s{number}", "priority": "high" if number % 2 else "low", "assignee": "Bo"}
            assert client.post("/tickets", json=body).status_code == 201
        assert [ticket["subject"] for ticket in items(client, "/tickets?priority=high")] == ["s3", "s1"]
        assert [ticket["subject"] for ticket in items(client, "/tickets?limit=2&offset=1")] == ["s3", "s2"]
        assert client.get("/tickets?limit=1").json()["total"] == 5
        assert len(items(client, "/tickets?assignee=bo&status=open")) == 5
        assert items(client, "/tickets?status=resolved") == []


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("GET", "/tickets/9", None, 404),
        ("PATCH", "/tickets/9", {"priority": "low"}, 404),
        ("GET", "/tickets/0", None, 422),
        ("GET", "/tickets/99999999999999999999", None, 422),
        ("GET", "/tickets/abc", None, 422),
        ("GET", "/tickets?status=nope", None, 422),
        ("GET", "/tickets?color=red", None, 422),
        ("GET", "/tickets?limit=0", None, 422),
        ("GET", "/tickets?offset=99999999999999999999", None, 422),
        ("POST", "/tickets", {}, 422),
        ("POST", "/tickets", {"subject": "  "}, 422),
        ("POST", "/tickets", {"subject": "a", "extra": 1}, 422),
        ("POST", "/tickets", {"subject": "a", "priority": "huge"}, 422),
        ("POST", "/tickets", {"subject": "x" * 201}, 422),
        ("PATCH", "/tickets/1", {"subject": None, "id": 5}, 422),
        ("DELETE", "/tickets/1", None, 405),
    ],
)
def test_a_wrong_request_is_a_clear_4xx(tmp_path: Path, method: str, path: str, body: Any, code: int) -> None:
    with running(tmp_path, "customer_support") as client:
        client.post("/tickets", json={"subject": "a"})
        response = client.request(method, path, json=body)
    assert response.status_code == code
    assert response.json()["detail"]


def test_with_a_staff_token_records_are_for_staff_and_for_their_own_visitor(tmp_path: Path) -> None:
    staff = {"Authorization": "Bearer s3cret"}
    with running(tmp_path, "customer_support", STAFF_TOKEN="s3cret") as client:
        say(client, "I want a human")
        say(client, "I want a human", session=OTHER)
        assert client.get("/config").json()["needs_token"] is True
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic s3cret"}):
            assert client.get("/tickets", headers=headers).status_code == 401
            assert client.get("/tickets/1", headers=headers).status_code == 401
            assert client.patch("/tickets/1", json={"priority": "low"}, headers=headers).status_code == 401
            assert client.post("/tickets", json={"subject": "a"}, headers=headers).status_code == 401
        assert [ticket["id"] for ticket in items(client, f"/tickets?session_id={OTHER}")] == [2]
        assert client.get("/tickets?session_id=a").status_code == 401
        assert client.get(f"/tickets/2?session_id={OTHER}").status_code == 200
        assert client.get(f"/tickets/1?session_id={OTHER}").status_code == 401
        assert client.get("/tickets", headers=staff).json()["total"] == 2
        assert client.patch("/tickets/1", json={"priority": "low"}, headers=staff).status_code == 200


def test_records_survive_a_new_container_and_two_at_once(tmp_path: Path) -> None:
    """Two releases share the volume while the traffic moves from one to the other."""
    tree = render(tmp_path, "customer_support")
    data = tmp_path / "data"
    with TestClient(load_app(tree, data)) as old, TestClient(load_app(tree, data)) as new:
        # Each has answered before it gets traffic, and the two make their schemas one after the other: here they
        # share a process, and Pydantic makes schemas in one thread only.
        assert [app.get("/tickets").status_code for app in (old, new)] == [200, 200]

        def write(number: int) -> int:
            client = old if number % 2 else new
            return int(client.post("/tickets", json={"subject": f"s{number}"}).status_code)

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(write, range(40))) == {201}
        assert old.get("/tickets").json()["total"] == new.get("/tickets").json()["total"] == 40
    with TestClient(load_app(tree, data)) as later:
        assert {ticket["subject"] for ticket in items(later, "/tickets?limit=200")} == {f"s{n}" for n in range(40)}


def test_an_older_release_keeps_what_it_does_not_know(tmp_path: Path) -> None:
    with running(tmp_path, "customer_support") as client:
        client.post("/tickets", json={"subject": "a"})
        with sqlite3.connect(tmp_path / "data" / "assistant.db") as connection:
            connection.execute("UPDATE records SET fields = json_set(fields, '$.later', 'kept')")
            connection.execute("ALTER TABLE records ADD COLUMN added_later TEXT")
        connection.close()
        ticket = client.patch("/tickets/1", json={"priority": "low"}).json()
    assert (ticket["later"], ticket["priority"]) == ("kept", "low")


def test_what_people_write_comes_back_as_they_wrote_it(tmp_path: Path) -> None:
    text = "'; DROP TABLE records; -- \0 \u202e <b>{{ 7 }}</b> 🙂 \" \\ $x"
    with running(tmp_path, "customer_support") as client:
        number = client.post("/tickets", json={"subject": text, "assignee": text[30:]}).json()["id"]
        client.post("/tickets", json={"subject": "other"})
        assert client.get(f"/tickets/{number}").json()["subject"] == text
        found = client.get("/tickets", params={"assignee": text[30:]}).json()
        assert [ticket["id"] for ticket in found["items"]] == [number]


# --- leads ---


def test_a_conversation_becomes_a_qualified_lead(tmp_path: Path) -> None:
    """Each message answers the question before it; the lead fills up, and is qualified once it says enough."""
    said = [
        "Hello, what does the Pro plan cost?",
        "We are looking for chat software for our shop",
        "Our budget is 5000 euros",
        "By the end of June",
        "I'm the CEO",
        "Acme",
        "My name is Ana Müller",
        "Write to ana@acme.example please",
    ]
    history: list[dict[str, str]] = []
    with running(tmp_path, "sales_assistant") as client:
        for message in said:
            answer = say(client, message, history=history)
            history += [{"role": "user", "content": message}, {"role": "assistant", "content": answer["reply"]}]
        [lead] = items(client, "/leads")
    assert "40 euros" in history[1]["content"]
    assert history[1]["content"].endswith("What are you looking for?")
    assert {name: lead[name] for name in ("name", "email", "company", "budget", "timeline", "authority", "stage")} == {
        "name": "Ana Müller",
        "email": "ana@acme.example",
        "company": "Acme",
        "budget": "5000 euros",
        "timeline": "By the end of June",
        "authority": "CEO",
        "stage": "qualified",
    }
    assert lead["need"].startswith("chat software")
    assert lead["score"] == 95
    assert lead["missing"] == []
    assert "ana@acme.example" in history[-1]["content"]


def test_one_message_can_say_it_all(tmp_path: Path) -> None:
    message = (
        "Hi, I am Bo Berg from Acme GmbH, head of support. We need a chatbot for our shop within 3 months, "
        "budget $20k. bo@acme.example or +49 30 1234567"
    )
    with running(tmp_path, "sales_assistant") as client:
        [lead] = say(client, message)["records"]
    assert lead["name"] == "Bo Berg"
    assert lead["company"] == "Acme GmbH"
    assert lead["email"] == "bo@acme.example"
    assert lead["phone"] == "+49 30 1234567"
    assert lead["budget"] == "$20k"
    assert lead["timeline"] == "within 3 months"
    assert lead["stage"] == "qualified"


def test_a_question_without_interest_makes_no_lead(tmp_path: Path) -> None:
    with running(tmp_path, "sales_assistant") as client:
        assert say(client, "When are you open?")["records"] == []
        assert items(client, "/leads") == []


def test_an_email_address_opens_nobody_elses_lead(tmp_path: Path) -> None:
    with running(tmp_path, "sales_assistant") as client:
        say(client, "My name is Ana, our budget is 5000 euros, ana@acme.example")
        answer = say(client, "ana@acme.example", session=OTHER)
        assert "5000" not in str(answer["records"])
        assert len(items(client, "/leads?email=ana@acme.example")) == 2


@pytest.mark.parametrize(
    ("moves", "code"),
    [(["contacted", "qualified", "won"], 200), (["won"], 409), (["lost", "contacted"], 200), (["lost", "won"], 409)],
)
def test_a_lead_moves_only_as_it_may(tmp_path: Path, moves: list[str], code: int) -> None:
    with running(tmp_path, "sales_assistant") as client:
        client.post("/leads", json={"name": "Ana"})
        codes = [client.patch("/leads/1", json={"stage": stage}).status_code for stage in moves]
        assert codes == [200] * (len(moves) - 1) + [code]
        assert client.post("/leads", json={"email": "nobody"}).status_code == 422


def test_a_lead_that_is_created_complete_is_qualified(tmp_path: Path) -> None:
    body = {"email": "a@b.example", "budget": "1", "need": "2", "timeline": "3"}
    with running(tmp_path, "sales_assistant") as client:
        assert client.post("/leads", json=body).json()["stage"] == "qualified"
        assert client.post("/leads", json={**body, "stage": "contacted"}).json()["stage"] == "contacted"
        assert len(items(client, "/leads?stage=qualified")) == 1
