"""Renders the chatbot template and loads the app that comes out, in this process."""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

from fastapi import FastAPI
from starlette.testclient import TestClient

from dockwright.settings import Settings, load
from dockwright.sources.render import render_tree, template_names
from dockwright.sources.template import load_template
from dockwright.sources.variables import check_variables

TYPES = ("general", "customer_support", "sales_assistant", "project_management")
SESSION = "0123456789abcdef"

EXAMPLE: dict[str, Any] = {
    "personality": {"tone": "warm", "style": "short", "system_prompt": ""},
    "business_rules": ["Never promise a delivery date", "Escalate refunds above 500 euros"],
    "training_data": [
        {"question": "What are your opening hours?", "answer": "We are open Monday to Friday, 9 to 17."},
        {"question": "How do I return an item?", "answer": "Send it back within 30 days with the form in the box."},
        {"question": "Do you ship to Switzerland?", "answer": "Yes, in three to five days, for 9 euros."},
        {"question": "How can I reset my password?", "answer": "Choose Settings, then Security, then Reset password."},
        {"question": "What does the Pro plan cost?", "answer": "The Pro plan costs 40 euros a month per seat."},
    ],
    "environment_vars": ["CRM_KEY"],
    "dependencies": ["python-dateutil>=2.9"],
}


def settings(home: Path) -> Settings:
    return load({"DOCKWRIGHT_HOME": str(home)}, home / "none.env")


def render(
    root: Path,
    assistant_type: str = "general",
    variables: Mapping[str, Any] | None = None,
    *,
    name: str = "Ana",
    description: str = "Helps the customers of a small shop.",
    project_id: int = 7,
) -> Path:
    """Renders below `root` and returns the folder of the app."""
    template = load_template("chatbot", settings(root))
    values = {**(EXAMPLE if variables is None else variables), "assistant_type": assistant_type}
    checked = check_variables(template, values)
    target = root / "tree"
    target.mkdir(parents=True)
    render_tree(template, template_names(checked, name=name, description=description, project_id=project_id), target)
    return target


_kept: dict[str, ModuleType] = {}
"""The modules of the package `app`: the same files in every rendered tree, so they are imported once."""


def _take_out(*packages: str) -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name.partition(".")[0] in packages]
    return {name: sys.modules.pop(name) for name in names}


def load_app(tree: Path, data: Path, **environ: str) -> FastAPI:
    """The `app` of `main.py`, as a server would import it in a container with this environment."""
    logging.getLogger("assistant").handlers.clear()
    _take_out("app", "config", "main")
    sys.modules.update(_kept)
    sys.path.insert(0, str(tree))
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    try:
        importlib.invalidate_caches()
        with mock.patch.dict(os.environ, {"DATA_DIR": str(data), **environ}, clear=True):
            app = importlib.import_module("main").app
    finally:
        sys.dont_write_bytecode = before
        sys.path.remove(str(tree))
        _take_out("config", "main")
        _kept.update(_take_out("app"))
    assert isinstance(app, FastAPI)
    return app


@contextmanager
def running(
    root: Path, assistant_type: str = "general", variables: Mapping[str, Any] | None = None, **environ: str
) -> Iterator[TestClient]:
    """A client of a freshly rendered app; records are kept in `root / "data"`."""
    app = load_app(render(root, assistant_type, variables), root / "data", **environ)
    with TestClient(app) as client:
        yield client


def say(client: TestClient, message: str, session: str = SESSION, **more: Any) -> dict[str, Any]:
    response = client.post("/chat", json={"message": message, "session_id": session, **more})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def events(text: str) -> list[tuple[str, Any]]:
    """The events of a server-sent stream: (name, data)."""
    found = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        found.append((fields["event"], json.loads(fields["data"])))
    return found
