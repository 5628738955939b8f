"""Tasks: made and changed by chat without a language model, listed, late and summed up."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from chatbot_app import EXAMPLE, running, say


def day(ahead: int) -> str:
    return (datetime.now(UTC).date() + timedelta(days=ahead)).isoformat()


def weekday(number: int) -> str:
    today = datetime.now(UTC).date()
    return (today + timedelta(days=(number - today.weekday()) % 7 or 7)).isoformat()


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Create a task to write the report", {"title": "write the report", "status": "todo", "due": None}),
        (
            "add a task: write the report, assigned to Ana Berg, due tomorrow, high priority",
            {"title": "write the report", "assignee": "Ana Berg", "due": day(1), "priority": "high"},
        ),
        ("Please add task call Bo by 2031-05-31", {"title": "call Bo", "due": "2031-05-31"}),
        ("new task: stand by for the release due Friday", {"title": "stand by for the release", "due": weekday(4)}),
        ("todo: pay the bill due in 2 weeks", {"title": "pay the bill", "due": day(14)}),
        ("create a task for the audit due on 5 June 2031", {"title": "the audit", "due": "2031-06-05"}),
        ("create a task for the audit by June 5th, 2031", {"title": "the audit", "due": "2031-06-05"}),
        ("add a task to move by train", {"title": "move by train", "due": None}),
    ],
)
def test_a_message_makes_a_task(tmp_path: Path, message: str, expected: dict[str, Any]) -> None:
    with running(tmp_path, "project_management") as client:
        [task] = say(client, message)["records"]
        assert client.get("/tasks").json()["items"] == [task]
    assert {name: task[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("task 1 is done", {"status": "done", "progress": 100}),
        ("Please finish task #1", {"status": "done"}),
        ("start task 1", {"status": "in_progress"}),
        ("task 1 is blocked", {"status": "blocked"}),
        ("task 1 is 40% done", {"status": "todo", "progress": 40}),
        ("assign task 1 to Bo", {"assignee": "Bo"}),
        ("task 1 is due tomorrow", {"due": day(1)}),
        ("set task 1 to urgent priority", {"priority": "urgent"}),
    ],
)
def test_a_message_changes_a_task(tmp_path: Path, message: str, expected: dict[str, Any]) -> None:
    with running(tmp_path, "project_management") as client:
        client.post("/tasks", json={"title": "write the report"})
        answer = say(client, message)
        assert "Task 1 is changed" in answer["reply"]
        task = client.get("/tasks/1").json()
    assert {name: task[name] for name in expected} == expected


def test_a_task_that_is_not_there_or_cannot_move_is_told(tmp_path: Path) -> None:
    with running(tmp_path, "project_management") as client:
        assert say(client, "task 7 is done")["reply"] == "There is no task 7."
        client.post("/tasks", json={"title": "a", "status": "done"})
        refused = "A task that is done can become in_progress, not blocked."
        assert say(client, "task 1 is blocked")["reply"] == refused
        assert client.get("/tasks/1").json()["status"] == "done"
        assert client.patch("/tasks/1", json={"status": "in_progress"}).json()["progress"] == 0


def test_late_tasks_and_the_summary_are_told(tmp_path: Path) -> None:
    with running(tmp_path, "project_management") as client:
        assert "no tasks yet" in say(client, "summary")["reply"]
        client.post("/tasks", json={"title": "late one", "due": day(-1), "progress": 50})
        client.post("/tasks", json={"title": "late but done", "due": day(-1), "status": "done"})
        client.post("/tasks", json={"title": "later", "due": day(1)})
        client.post("/tasks", json={"title": "today", "due": day(0)})
        assert client.get("/tasks/summary").json() == {
            "total": 4,
            "by_status": {"todo": 3, "in_progress": 0, "blocked": 0, "done": 1},
            "overdue": [1],
            "progress": 38,
        }
        overdue = say(client, "Which tasks are overdue?")["reply"]
        assert "late one" in overdue
        assert "later" not in overdue
        assert "late but done" not in overdue
        listed = say(client, "list the tasks")["reply"]
        assert "later" in listed
        assert "late but done" not in listed
        summary = say(client, "give me a status report of the project")["reply"]
        assert "4 tasks: 3 todo, 1 done. Progress 38 %. Overdue: task 1." in summary


def test_the_training_data_still_answers_a_project_team(tmp_path: Path) -> None:
    with running(tmp_path, "project_management") as client:
        assert "9 to 17" in say(client, "When are you open?")["reply"]


def test_with_a_staff_token_a_teams_chat_is_for_the_team(tmp_path: Path) -> None:
    """The chat of this type shows everybody's tasks."""
    staff = {"Authorization": "Bearer s3cret"}
    with running(tmp_path, "project_management", EXAMPLE, STAFF_TOKEN="s3cret") as client:
        body = {"message": "list the tasks"}
        assert client.post("/chat", json=body).status_code == 401
        assert client.post("/chat", json=body, headers=staff).status_code == 200
        completion = {"messages": [{"role": "user", "content": "list the tasks"}]}
        assert client.post("/v1/chat/completions", json=completion).status_code == 401
        assert client.post("/v1/chat/completions", json=completion, headers=staff).status_code == 200


def test_dates_are_checked(tmp_path: Path) -> None:
    with running(tmp_path, "project_management") as client:
        assert client.post("/tasks", json={"title": "a", "due": "soon"}).status_code == 422
        task = client.post("/tasks", json={"title": "a", "due": date(2031, 1, 2).isoformat()}).json()
        assert client.patch(f"/tasks/{task['id']}", json={"due": None}).json()["due"] is None
        assert task["session_id"] == ""
