"""The main job, from beginning to end: an assistant made from its template, built, deployed, verified, and asked."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent
DOCKWRIGHT = HERE / ".venv" / "bin" / "dockwright"
PROJECT = "Support"
QUESTION = "The light on my pot blinks red, what should I do?"


def dockwright(*arguments: str, expected: str | None = None) -> dict[str, Any]:
    """The JSON document that the command ended with; what it says to people goes to the terminal.

    Ends this script where the command failed, unless its error's code is the `expected` one.
    """
    stderr = subprocess.PIPE if expected else None
    command = [str(DOCKWRIGHT), *arguments, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, text=True, check=False)
    document: dict[str, Any] = json.loads(done.stdout or "{}")
    if done.returncode != 0 and (not expected or (document.get("error") or {}).get("code") != expected):
        sys.stderr.write(done.stderr or "")
        sys.exit(done.returncode)
    return document


def ask(url: str, message: str) -> str:
    call = urllib.request.Request(  # noqa: S310 - the address of our own edge
        f"{url.rstrip('/')}/chat",
        data=json.dumps({"message": message}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(call, timeout=30) as answer:  # noqa: S310
        return str(json.load(answer)["reply"])


def main() -> None:
    values = str(HERE / "demo" / "support.yaml")
    dockwright("new", "chatbot", PROJECT, "--values", values, expected="conflict")  # from an earlier run
    build = dockwright("build", PROJECT)
    url = build["deployment_url"]
    answer = ask(url, QUESTION)
    print(f"\nThe assistant is live at {url}\n\n  You:  {QUESTION}\n  It:   {answer}")


if __name__ == "__main__":
    main()
