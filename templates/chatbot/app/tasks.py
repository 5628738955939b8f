"""Project management: tasks with an owner, a date and a state."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, ClassVar, Literal

from pydantic import Field

from app.dates import date_in
from app.desk import Desk, DeskReply, Form, MoveRefused, Turn, View
from app.knowledge import Hit
from app.records import Record
from app.tools import Tool

Status = Literal["todo", "in_progress", "blocked", "done"]
Priority = Literal["low", "normal", "high", "urgent"]

_PREFIX = r"^\s*(?:please\s+|can you\s+|could you\s+|hey,?\s+)*"
_CREATE = re.compile(
    _PREFIX + r"(?:(?:create|add|make|open|new|track)\s+(?:a\s+|an\s+|another\s+|the\s+)?(?:new\s+)?(?:task|to-?do)s?"
    r"|(?:task|to-?do)\s*:)"
    r"\s*(?:to\s+|for\s+|:|called\s+|named\s+|-\s*)?\s*(?P<rest>.+)$",
    re.IGNORECASE | re.DOTALL,
)
_NUMBER = re.compile(r"\b(?:task|to-?do|#)\s*#?(?P<id>\d{1,9})\b|^#(?P<other>\d{1,9})\b", re.IGNORECASE)
_ASSIGN = re.compile(
    r"(?:,?\s*\b(?:assigned|assign(?: it)?|give(?: it)?)\s+to\s+|\bto\s+(?=@)|,?\s*\bowner:?\s+)@?"
    r"(?P<who>[^\W\d][\w.'\u2019-]*(?:\s+(?!due\b|by\b|until\b|before\b|on\b|with\b|and\b)[A-Z\u00c0-\u00de][\w.'\u2019-]*)*)",
    re.IGNORECASE,
)
_ASSIGN_NUMBERED = re.compile(
    r"\bto\s+@?(?P<who>[^\W\d][\w.'\u2019-]*(?:\s+[A-Z\u00c0-\u00de][\w.'\u2019-]*)*)", re.IGNORECASE
)
_DUE = re.compile(
    r",?\s*\b(?:(?:is\s+)?due(?:\s+(?:on|by|date))?(?:\s+(?:to|is))?|by|until|before|deadline:?)\s+", re.IGNORECASE
)
_PERCENT = re.compile(r"(?P<value>\d{1,3})\s?(?:%|percent)")
_PRIORITY = re.compile(
    r",?\s*\b(?:with\s+)?(?:(?P<value>low|normal|high|urgent)\s+priority|priority\s*:?\s*(?P<other>low|normal|high|urgent))\b",
    re.IGNORECASE,
)
_STATES: tuple[tuple[re.Pattern[str], Status], ...] = (
    (
        re.compile(
            r"\b(?:reopen|re-open|not done|start|started|begin|working on|in progress|resume|unblock(?:ed)?)\b",
            re.IGNORECASE,
        ),
        "in_progress",
    ),
    (re.compile(r"\b(?:done|complete[ds]?|finish(?:ed)?|close[ds]?|ready)\b", re.IGNORECASE), "done"),
    (re.compile(r"\b(?:block(?:ed)?|stuck|waiting|on hold)\b", re.IGNORECASE), "blocked"),
    (re.compile(r"\b(?:to ?do|not started|back to)\b", re.IGNORECASE), "todo"),
)
_OVERDUE = re.compile(r"\b(?:overdue|late|behind|missed)\b", re.IGNORECASE)
_SUMMARY = re.compile(r"\b(?:summar\w+|status|progress|report|overview|how are we doing|stand-?up)\b", re.IGNORECASE)
_LIST = re.compile(r"\b(?:list|show|which|what)\b.*\b(?:tasks?|to-?dos?)\b|^\s*(?:my\s+)?tasks\s*\??$", re.IGNORECASE)
_SUMMARY_ABOUT = re.compile(r"\b(?:tasks?|project|team|we|to-?dos?|work|sprint)\b|^\s*\w+\W*$", re.IGNORECASE)


class CreateTask(Form):
    title: str = Field(min_length=1, max_length=300)
    description: str = Field(default="", max_length=10_000)
    assignee: str = Field(default="", max_length=200)
    due: date | None = Field(default=None, description="YYYY-MM-DD")
    priority: Priority = "normal"
    progress: int = Field(default=0, ge=0, le=100, description="Percent")
    status: Status | None = None


class PatchTask(Form):
    title: str | None = Field(default=None, min_length=1, max_length=300)
    description: str | None = Field(default=None, max_length=10_000)
    assignee: str | None = Field(default=None, max_length=200)
    due: date | None = Field(default=None, description="YYYY-MM-DD")
    priority: Priority | None = None
    progress: int | None = Field(default=None, ge=0, le=100, description="Percent")
    status: Status | None = None


class ChangeTask(PatchTask):
    task_id: int = Field(ge=1, le=2**31)


class ListTasks(Form):
    status: Status | None = None
    assignee: str | None = None
    overdue: bool = False


class Tasks(Desk):
    kind = "task"
    plural = "tasks"
    initial = "todo"
    is_internal = True
    moves: ClassVar = {
        "todo": frozenset({"in_progress", "blocked", "done"}),
        "in_progress": frozenset({"todo", "blocked", "done"}),
        "blocked": frozenset({"todo", "in_progress", "done"}),
        "done": frozenset({"in_progress"}),
    }
    filters = ("assignee", "priority", "due")
    create_form = CreateTask
    patch_form = PatchTask
    instructions = (
        "Tasks: create, change and list them with the tools; a task is named by its number. Never say that a task was "
        "made or changed unless a tool did it."
    )

    def completed(self, status: str, values: Mapping[str, Any], record: Record | None = None) -> dict[str, Any]:
        """Done is 100 %; a task that is taken up again is not."""
        completed = {name: value for name, value in values.items() if value is not None or name == "due"}
        if status == "done":
            completed["progress"] = 100
        elif record is not None and record.status == "done":
            completed.setdefault("progress", 0)
        return completed

    def view(self, record: Record) -> View:
        view = super().view(record)
        due = view.get("due")
        return {**view, "overdue": bool(due) and record.status != "done" and str(due) < today().isoformat()}

    def all(self, *, status: str | None = None, assignee: str | None = None) -> list[View]:
        fields = {"assignee": assignee} if assignee else None
        return [self.view(record) for record in self.store.list(self.kind, status=status, fields=fields, limit=500)[0]]

    def summary(self) -> View:
        tasks = self.all()
        counts = {status: sum(task["status"] == status for task in tasks) for status in self.moves}
        done = [int(task.get("progress", 0)) for task in tasks]
        return {
            "total": len(tasks),
            "by_status": counts,
            "overdue": [task["id"] for task in tasks if task["overdue"]],
            "progress": round(sum(done) / len(done)) if done else 0,
        }

    # --- conversations ---

    def reply(self, turn: Turn, hits: Sequence[Hit]) -> DeskReply | None:
        message = turn.message
        if (match := _CREATE.match(message)) and match["rest"].strip():
            return self._create(match["rest"], turn.session_id)
        if match := _NUMBER.search(message):
            return self._change(int(match["id"] or match["other"]), message[: match.start()] + message[match.end() :])
        if _LIST.search(message) or (_OVERDUE.search(message) and _SUMMARY_ABOUT.search(message)):
            return self._list(message)
        if _SUMMARY.search(message) and _SUMMARY_ABOUT.search(message) and not hits:
            return DeskReply(text=self._summary_text())
        return None

    def _create(self, rest: str, session_id: str) -> DeskReply:
        form = task_from(rest)
        task = self.create(form, session_id)
        return DeskReply(text=f"Task {task['id']} is on the list: {_line(task)}.", records=(task,))

    def _change(self, number: int, rest: str) -> DeskReply:
        try:
            task = self.get(number)
            values = changes_in(rest)
            if not values:
                return DeskReply(text=f"Task {number}: {_line(task)}.")
            changed = self.patch(number, PatchTask(**values))
        except KeyError:
            return DeskReply(text=f"There is no task {number}.")
        except MoveRefused as error:
            return DeskReply(text=f"{error}.")
        return DeskReply(text=f"Task {number} is changed: {_line(changed)}.", records=(changed,))

    def _list(self, message: str) -> DeskReply:
        is_late = bool(_OVERDUE.search(message))
        tasks = [task for task in self.all() if (task["overdue"] if is_late else task["status"] != "done")]
        if not tasks:
            return DeskReply(text="No task is overdue." if is_late else "No task is open.")
        lines = [f"{task['id']}. {_line(task)}" for task in tasks[:50]]
        return DeskReply(text="\n".join(["Overdue:" if is_late else "Open tasks:", *lines]))

    def _summary_text(self) -> str:
        summary = self.summary()
        if not summary["total"]:
            return (
                "There are no tasks yet. Say for example: add a task to write the report, assigned to Ana, due Friday."
            )
        counts = ", ".join(
            f"{count} {status.replace('_', ' ')}" for status, count in summary["by_status"].items() if count
        )
        late = (
            f" Overdue: {', '.join(f'task {number}' for number in summary['overdue'])}." if summary["overdue"] else ""
        )
        return f"{summary['total']} tasks: {counts}. Progress {summary['progress']} %.{late}"

    def tools(self, turn: Turn, touched: list[View]) -> list[Tool]:
        def create_task(form: CreateTask) -> View:
            touched.append(self.create(form, turn.session_id))
            return touched[-1]

        def change_task(form: ChangeTask) -> View:
            values = form.model_dump(exclude_unset=True, exclude={"task_id"})
            touched.append(self.patch(form.task_id, PatchTask(**values)))
            return touched[-1]

        def list_tasks(form: ListTasks) -> list[View]:
            tasks = self.all(status=form.status, assignee=form.assignee)
            return [task for task in tasks if task["overdue"] or not form.overdue]

        return [
            self.tool("create_task", f"Create a task. Today is {today().isoformat()}.", CreateTask, create_task),
            self.tool("change_task", "Change a task: state, owner, date, progress", ChangeTask, change_task),
            self.tool("list_tasks", "The team's tasks, newest first", ListTasks, list_tasks),
        ]


def today() -> date:
    return datetime.now(UTC).date()


def task_from(text: str) -> CreateTask:
    """`write the report, assigned to Ana, due next Friday, high priority`"""
    due, text = _due_in(text)
    who, priority = _ASSIGN.search(text), _PRIORITY.search(text)
    for match in sorted(filter(None, (who, priority)), key=lambda match: -match.start()):
        text = text[: match.start()] + text[match.end() :]
    title = " ".join(text.split()).strip(" .,;:")
    return CreateTask(
        title=title[:300] or "Untitled",
        assignee=who["who"][:200] if who else "",
        due=due,
        priority=_priority(priority) if priority else "normal",
    )


def changes_in(text: str) -> dict[str, Any]:
    """What a message wants changed in a task, without the words that name the task."""
    values: dict[str, Any] = {}
    due, text = _due_in(text)
    if due:
        values["due"] = due
    if match := _PERCENT.search(text):
        values["progress"] = min(100, int(match["value"]))
    if match := _PRIORITY.search(text):
        values["priority"] = _priority(match)
    if re.search(r"\bassign|\bgive|\bowner|\bhand\b", text, re.IGNORECASE) and (match := _ASSIGN_NUMBERED.search(text)):
        values["assignee"] = match["who"][:200]
    elif "progress" not in values and "priority" not in values:
        state = next((status for pattern, status in _STATES if pattern.search(text)), None)
        values |= {"status": state} if state else {}
    return values


def _due_in(text: str) -> tuple[date | None, str]:
    """The date after "due", "by" and the like, and the text without both."""
    for match in _DUE.finditer(text):
        found = date_in(text[match.end() :], today())
        if found:
            return found.day, text[: match.start()] + text[match.end() + found.length :]
    return None, text


def _priority(match: re.Match[str]) -> Priority:
    levels: dict[str, Priority] = {"low": "low", "normal": "normal", "high": "high", "urgent": "urgent"}
    return levels[(match["value"] or match["other"]).lower()]


def _line(task: View) -> str:
    parts = [f"{task['title']} ({task['status'].replace('_', ' ')}"]
    if task.get("assignee"):
        parts.append(str(task["assignee"]))
    if task.get("due"):
        parts.append(f"due {task['due']}{', overdue' if task['overdue'] else ''}")
    if 0 < int(task.get("progress", 0)) < 100:
        parts.append(f"{task['progress']} %")
    return ", ".join(parts) + ")"
