"""What verify makes of what was seen: which findings, how grave, and in which words."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from dockwright.insight import index, inputs
from dockwright.insight.bundle import OlderBundle, older_bundle
from dockwright.insight.context import walk
from dockwright.insight.copies import NOTHING_COPIED, Copies
from dockwright.insight.dockerfile import parse
from dockwright.insight.input_changes import InputChanges, input_changes
from dockwright.stages import proof
from dockwright.stages.build_info import Disagreement, Word
from dockwright.stages.container_files import Comparison, Difference
from dockwright.stages.proof import Seen, Wanted, judge

STATUS = {"state": "running", "health": None, "exit_code": None, "restarts": 0, "build": "7", "built_at": "2025-09-08"}
EQUAL = Comparison(differences=(), unverifiable=(), changed_elsewhere=())
DOCS = Path(__file__).parents[2] / "docs" / "verify.md"


def seen(comparison: Comparison = EQUAL, status: dict[str, Any] | None = None, **more: Any) -> Seen:
    facts = {"digest": "sha256:aaa", "tag_digest": "sha256:aaa", "manifest_digest": "m1", "word": Word(), **more}
    return Seen(name="app-1", status=STATUS | (status or {}), comparison=comparison, files_checked=3, **facts)


def wanted(**more: Any) -> Wanted:
    facts: dict[str, Any] = {"digest": "sha256:aaa", "image_name": "acme/app:b7", "manifest_digest": "m1"}
    return Wanted(**{"copies": NOTHING_COPIED, "revision": None, **facts, **more})


def codes(one: Seen, other: Wanted) -> dict[str, str]:
    return {finding.code: finding.severity for finding in judge(one, other)}


def difference(*, is_own: bool, what: str = "content", hidden_by: str | None = None) -> Comparison:
    text = "its content differs"
    one = Difference(path="/srv/a.py", what=what, is_own=is_own, text=text, hidden_by=hidden_by)  # type: ignore[arg-type]
    return Comparison(differences=(one,), unverifiable=(), changed_elsewhere=())


def test_all_as_it_should_be() -> None:
    assert codes(seen(), wanted()) == {}


@pytest.mark.parametrize(
    ("one", "other", "code", "severity"),
    [
        (seen(status={"state": "exited", "exit_code": 3}), wanted(), "not_running", "error"),
        (seen(status={"health": "unhealthy"}), wanted(), "unhealthy", "warning"),
        (seen(digest="sha256:bbb"), wanted(), "image_differs", "error"),
        (seen(tag_digest="sha256:bbb"), wanted(), "tag_differs", "error"),
        (seen(tag_digest="sha256:bbb"), wanted(moved_by="build 9, acme/app:b7"), "container_old", "warning"),
        (seen(), wanted(newer="build 9, acme/app:b9"), "container_old", "warning"),
        (seen(manifest_digest="m0"), wanted(), "container_old", "error"),
        (seen(difference(is_own=True)), wanted(), "file_changed", "error"),
        (seen(difference(is_own=False)), wanted(), "file_changed", "error"),
        (seen(difference(is_own=True, what="mode")), wanted(), "mode_differs", "error"),
        (seen(difference(is_own=True, what="missing")), wanted(), "file_missing", "error"),
        (seen(difference(is_own=False, hidden_by="the volume data")), wanted(), "file_hidden", "error"),
        (seen(), wanted(gone="web"), "service_gone", "error"),
        (seen(), wanted(older_bundle=OlderBundle("dist", "src/a.ts", 7200.0)), "bundle_older", "warning"),
    ],
)
def test_each_by_itself(one: Seen, other: Wanted, code: str, severity: str) -> None:
    assert codes(one, other) == {code: severity}


def test_a_service_that_has_done_its_work() -> None:
    ended = seen(status={"state": "exited", "exit_code": 0})
    assert codes(ended, wanted()) == {"not_running": "error"}, "a product is to go on"
    assert codes(ended, wanted(may_end=True)) == {}


def test_a_tag_that_is_gone_names_nothing_wrong() -> None:
    assert codes(seen(tag_digest=None), wanted()) == {}


def test_an_old_container_says_what_it_runs_and_what_changed_since() -> None:
    changes = InputChanges(
        files=tuple(f"src/{n}.py" for n in range(7)), others=("the base image of FROM python moved",)
    )
    one = seen(manifest_digest="m0")
    (finding,) = judge(one, wanted(newer="build 9, acme/app:b9", changes=lambda: changes))
    assert finding.message == (
        "it still runs build 7 of 2025-09-08, and since then the source has changed: src/0.py, src/1.py, src/2.py, "
        "src/3.py, src/4.py and 3 more (build 9, acme/app:b9 is newer and does not run here)"
    )


def test_a_bundle_is_stale_where_its_own_target_changed() -> None:
    copies = Copies((), (("/www", 'comes from build target "web"'), ("/bin/x", "comes from image busybox")), {}, {}, {})
    changed = InputChanges(files=("src/a.ts",), targets=frozenset({"web"}))
    found = judge(seen(manifest_digest="m0"), wanted(copies=copies, changes=lambda: changed))
    assert {one.code: one.place for one in found} == {"container_old": "app-1", "bundle_stale": "app-1:/www"}
    found = judge(seen(manifest_digest="m0"), wanted(copies=copies, changes=lambda: InputChanges(files=("b.py",))))
    assert [one.code for one in found] == ["container_old"]


def test_pages_that_name_another_build() -> None:
    def told(page: str) -> Word:
        return Word(1, (Disagreement(page=page, fact="git_commit", said="0123456", wanted="e8f2dfb"),))

    assert codes(seen(word=told("/build/info")), wanted()) == {"build_info_differs": "error"}
    assert codes(seen(word=told("/build-info.js")), wanted()) == {"bundle_stale": "error"}


def test_what_the_app_changed_by_itself_while_it_started_is_no_failure_then() -> None:
    changed = Comparison(differences=(), unverifiable=(), changed_elsewhere=("/www/config.js",))
    assert codes(seen(changed), wanted(is_fresh=True)) == {"file_changed": "warning"}
    assert codes(seen(changed), wanted()) == {"file_changed": "error"}


def test_nothing_to_compare_is_no_proof() -> None:
    one = Seen(**{**{name: getattr(seen(), name) for name in Seen.__slots__}, "files_checked": 0})
    assert codes(one, wanted(manifest_digest=None)) == {"nothing_proved": "error"}
    assert codes(one, wanted()) == {}, "the inputs are the same"
    assert codes(one, wanted(manifest_digest=None, is_foreign=True)) == {}


def test_many_files_are_not_all_shown() -> None:
    many = tuple(
        Difference(path=f"/srv/{n}.py", what="content", is_own=True, text="its content differs") for n in range(30)
    )
    found = judge(seen(Comparison(differences=many, unverifiable=(), changed_elsewhere=())), wanted())
    assert len(found) == proof.MAX_FILE_FINDINGS + 1 and "and 10 more" in found[-1].message


def test_each_code_is_explained() -> None:
    text = Path(proof.__file__).read_text()
    written = set(re.findall(r'(?:_error|_warning|make)\(\s*"(\w+)"', text))
    written |= {"file_missing", "file_changed", "mode_differs", "bundle_stale", "build_info_differs"}
    explained = set(re.findall(r"^\| `(\w+)`", DOCS.read_text(), re.M))
    assert written == explained


# --- what changed since --------------------------------------------------------------------------------------------


def manifest(root: Path, text: str, **args: str) -> Any:
    indexed = index.update(root, walk(root))
    told = inputs.manifest(
        parse(text), target=None, args=args, platform="linux/amd64", bases={"node": "sha256:1"}, index=indexed
    )
    return told


def test_changes_of_the_inputs_are_told_by_name_and_target(tmp_path: Path) -> None:
    import json

    text = "FROM node AS web\nARG MODE\nCOPY src src\nRUN build\nFROM node\nCOPY a.py .\nCOPY --from=web /dist /www\n"
    (tmp_path / "src").mkdir()
    for path in ("src/one.ts", "src/two.ts", "a.py"):
        (tmp_path / path).write_text(path)
    old = json.loads(inputs.as_json(manifest(tmp_path, text, MODE="one")))
    assert input_changes(old, manifest(tmp_path, text, MODE="one")) == InputChanges()
    (tmp_path / "src" / "one.ts").write_text("changed")
    (tmp_path / "src" / "two.ts").unlink()
    changes = input_changes(old, manifest(tmp_path, text + "RUN more\n", MODE="two"))
    assert changes.files == ("src/one.ts", "src/two.ts") and changes.targets == {"web"}
    assert changes.others == ("MODE: one → two", "RUN more is new")


# --- bundles that are older ----------------------------------------------------------------------------------------


def front_end(root: Path) -> list[str]:
    paths = ["package.json", "src/app.ts", "dist/index.html", "dist/assets/index-C8r3kQ1x.js"]
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)
    return paths


def test_bundle_older_than_its_sources(tmp_path: Path) -> None:
    paths = front_end(tmp_path)
    assert older_bundle(tmp_path, paths) is None
    later = time.time() + 3600
    os.utime(tmp_path / "src" / "app.ts", (later, later))
    found = older_bundle(tmp_path, paths)
    assert found is not None and (found.folder, found.source) == ("dist", "src/app.ts")
    assert found.seconds == pytest.approx(3600, abs=60)


def test_folders_that_are_no_bundle(tmp_path: Path) -> None:
    paths = front_end(tmp_path)
    later = time.time() + 3600
    os.utime(tmp_path / "src" / "app.ts", (later, later))
    assert older_bundle(tmp_path, [path for path in paths if "assets" not in path]) is None, "no bundler named a file"
    (tmp_path / "package.json").unlink()
    assert older_bundle(tmp_path, paths) is None, "nothing says what it is made from"
