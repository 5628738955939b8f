"""Folders as strangers write them: built, deployed, asked and verified; built again; changed.

`folders/NAME/source` is what the stranger wrote, `folders/NAME/expect.json` what must come of it:

    asks          path → text that the running app's answer holds
    files         how many files of the source verify compares at least; exactly so many with "exact_files"
    unverifiable  part of a path → part of the reason why it cannot be compared
    says          text that the build's lines hold where no registry can be reached
    options       of `dockwright build`
    deploys       false for one that listens on nothing
    change        a text replaced in a file, and what is answered then
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commandline import Home, get, has_registry

FOLDERS = Path(__file__).parent / "folders"
NAMES = sorted(path.parent.name for path in FOLDERS.glob("*/expect.json"))


@pytest.mark.parametrize("name", NAMES)
def test_stranger_folder_is_built_deployed_verified_reused_and_changed(
    name: str, home: Home, folder: Callable[..., Path]
) -> None:
    expect = json.loads((FOLDERS / name / "expect.json").read_text())
    root = folder(name)
    shutil.copytree(FOLDERS / name / "source", root, symlinks=True, dirs_exist_ok=True)
    options = expect.get("options", [])

    first = home.build(root, *options)
    check_answers(first, expect)
    check_proof(home, root, first, expect)

    again = home.build(root, *options)
    assert again["services"][0]["reused"] and again["services"][0]["steps"] == []
    assert again["services"][0]["digest"] == first["services"][0]["digest"]
    check_answers(again, expect)

    change = expect["change"]
    replace_text(root / change["file"], change["from"], change["to"])
    changed = home.build(root, *options)
    assert not changed["services"][0]["reused"]
    assert changed["services"][0]["digest"] != first["services"][0]["digest"]
    check_answers(changed, {**expect, "asks": change.get("asks", {})})
    check_proof(home, root, changed, expect)


def check_answers(build: dict[str, Any], expect: dict[str, Any]) -> None:
    if not expect.get("deploys", True):
        assert build["status"] == "succeeded" and build["deployment_url"] is None
        assert {stage["stage"] for stage in build["stages"] if stage["status"] == "skipped"} >= {"deploy", "verify"}
        return
    assert build["status"] == "deployed"
    for path, text in expect["asks"].items():
        status, answer = get(build["deployment_url"], path)
        assert status == 200 and text in answer, answer


def check_proof(home: Home, root: Path, build: dict[str, Any], expect: dict[str, Any]) -> None:
    if "says" in expect and not has_registry():
        assert expect["says"] in home.run("logs", str(build["build_id"])).stdout
    if not expect.get("deploys", True):
        home.assert_nothing_left()
        return
    proof = home.run("verify", root, "--json").json
    assert proof["ok"] and proof["digest_ok"] and proof["files_differ"] == []
    assert proof["files_checked"] == build["proof"]["files_checked"] >= expect["files"]
    if expect.get("exact_files"):
        assert proof["files_checked"] == expect["files"] and proof["files_unverifiable"] == []
    for path, reason in expect.get("unverifiable", {}).items():
        found = [one for one in proof["files_unverifiable"] if path in one["path"]]
        assert found and all(reason in one["reason"] for one in found), proof["files_unverifiable"]


def replace_text(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


# --- what Git cannot hold, or should not ---------------------------------------------------------------------------

ODD_NAMES = (
    "with space.txt",
    "tab\there.txt",
    "new\nline.txt",
    "-rf",
    "--flag=value",
    "quote's.txt",
    'double"quote.txt',
    "[bracket].txt",
    "[a-z]*",
    "question?.txt",
    "star*.txt",
    "$HOME",
    "${PATH}",
    "`id`",
    "back\\slash",
    "semi;colon&and|pipe",
    "#comment",
    "!exclaimed",
    "%41",
    "ümläut-é.txt",
    "日本語/ファイル.txt",
    "עברית \u202e rtl.txt",
    "\U0001f433.txt",
    " leading and trailing ",
    "...",
    ".hidden/.deeper",
    "COPY",
    "a" * 200 + ".txt",
)

LISTING = """
import hashlib, http.server, json, os


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        found = {}
        for parent, folders, names in os.walk("/odd"):
            for name in names:
                path = os.path.join(parent, name)
                found[os.path.relpath(path, "/odd")] = open(path).read()
            if not folders and not names:
                found[os.path.relpath(parent, "/odd") + "/"] = ""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(found).encode())


http.server.HTTPServer(("", 8000), Handler).serve_forever()
"""

ODD_DOCKERFILE = """
FROM python:3.11-slim
COPY list.py /
COPY . /odd
EXPOSE 8000
CMD ["python3", "/list.py"]
"""


def test_odd_names_and_an_empty_folder_arrive_as_they_are(home: Home, folder: Callable[..., Path]) -> None:
    root = folder("odd $names & (more)", {"Dockerfile": ODD_DOCKERFILE, "list.py": LISTING})
    for number, name in enumerate(ODD_NAMES):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"content {number}")
    (root / "empty" / "deeper").mkdir(parents=True)
    build = home.build(root)
    found = json.loads(get(build["deployment_url"])[1])
    assert {name: found.pop(name) for name in ODD_NAMES} == {
        name: f"content {number}" for number, name in enumerate(ODD_NAMES)
    }
    assert set(found) == {"Dockerfile", "list.py", "empty/deeper/"}
    proof = home.run("verify", root, "--json").json
    # The list stands in two places.
    assert proof["ok"] and proof["files_checked"] == len(ODD_NAMES) + 3 and proof["files_unverifiable"] == []
    assert home.build(root)["services"][0]["reused"]
    (root / "-rf").write_text("another word")
    changed = home.build(root)
    assert json.loads(get(changed["deployment_url"])[1])["-rf"] == "another word"
    assert home.run("verify", root, "--json").json["ok"]


def test_names_that_are_no_utf_8(home: Home, folder: Callable[..., Path]) -> None:
    """BuildKit takes them; what cannot be done with them must be said, not be wrong."""
    root = folder("bytes", {"Dockerfile": "FROM busybox\nCOPY . /all\nRUN ls /all | grep -c caf > /count\n"})
    Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9")).write_text("coffee")
    answer = home.run("build", root, "--json", code=None)
    if answer.code == 0:
        assert home.build(root)["services"][0]["reused"]
    else:
        assert "caf" in answer.json["error"]["message"]


def test_dockerfile_that_is_no_utf_8(home: Home, folder: Callable[..., Path]) -> None:
    """Written in the days of Latin-1; what differs in one such byte is another Dockerfile."""
    root = folder("latin")
    digests = set()
    for byte in (b"\xe8", b"\xe9"):
        (root / "Dockerfile").write_bytes(b"# caf" + byte + b"\nFROM busybox\nRUN echo caf" + byte + b" > /word\n")
        service = home.build(root)["services"][0]
        assert not service["reused"] and home.build(root)["services"][0]["reused"]
        digests.add(service["digest"])
    assert len(digests) == 2


def test_work_tree_below_a_repository(home: Home, folder: Callable[..., Path]) -> None:
    """A monorepo: the folder is built, the whole repository's commit is its revision."""
    root = folder("mono", {"README": "everything", "services/web/page.txt": "first", "services/web/Dockerfile": WEB})
    commit = git_commit(home, root)
    build = home.build(root / "services/web")
    assert get(build["deployment_url"], "/page.txt")[1] == "first"
    proof = home.run("verify", root / "services/web", "--json").json
    assert proof["ok"] and proof["revision"] == proof["built_revision"] == commit
    image = home.run("image", "show", build["services"][0]["image"], "--json").json
    assert image["labels"]["org.opencontainers.image.revision"] == commit

    (root / "README").write_text("a commit that changed nothing the image is made of")
    second = git_commit(home, root)
    again = home.build(root / "services/web")
    assert again["services"][0]["reused"]
    proof = home.run("verify", root / "services/web", "--json").json
    assert proof["ok"] and (proof["revision"], proof["built_revision"]) == (second, commit)


WEB = """
FROM python:3.11-slim
WORKDIR /pages
COPY page.txt .
EXPOSE 8000
CMD ["python3", "-m", "http.server", "8000"]
"""


def git_commit(home: Home, root: Path) -> str:
    """All that the folder holds, as a commit; returns its name."""
    name = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], [*name, "commit", "-q", "-m", "change"]):
        with home.start("git", "-C", str(root), *arguments) as child:
            assert child.wait() == 0
    return (root / ".git/refs/heads/main").read_text().strip()
