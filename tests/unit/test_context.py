from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from dockwright.errors import PathNotFound, SourceChanged, UsageError
from dockwright.insight import index
from dockwright.insight.context import Walk, pack, walk
from dockwright.insight.ignore import parse_rules


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "a" / "b").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "a" / "b" / "c.txt").write_text("c")
    (root / "a-b").write_text("")
    (root / "link").symlink_to("a/b")
    (root / os.fsdecode(b"odd\xff\n name")).write_text("odd")
    return root


def later(walked: Walk) -> Walk:
    """The same walk, as if it had begun some time after all edits: ctime cannot be set, so the clock is."""
    return Walk(walked.columns, walked.started_ns + 10_000_000_000)


def test_a_walk_finds_files_links_and_folders_sorted(tree: Path) -> None:
    walked = walk(tree)
    paths = [entry[0] for entry in walked.entries]
    assert paths == sorted(["a", "a-b", "a/b", "a/b/c.txt", "empty", "link", os.fsdecode(b"odd\xff\n name")])
    assert (walked.files, walked.bytes) == (4, 4)


def test_the_fingerprint_tells_every_change(tree: Path) -> None:
    seen = {walk(tree).fingerprint}
    assert walk(tree).fingerprint in seen
    for change in (
        lambda: (tree / "a-b").write_text("x"),
        lambda: (tree / "a-b").chmod(0o600),
        lambda: os.utime(tree / "a-b", ns=(0, 0)),
        lambda: (tree / "empty").chmod(0o700),
        (tree / "empty").rmdir,
        lambda: (tree / "a-b").rename(tree / "a-c"),
        lambda: ((tree / "link").unlink(), (tree / "link").symlink_to("a/c")),
    ):
        change()
        fingerprint = walk(tree).fingerprint
        assert fingerprint not in seen
        seen.add(fingerprint)


def test_the_fingerprint_does_not_care_for_ignored_files(tree: Path) -> None:
    rules = parse_rules("**/*.pyc\n")
    before = walk(tree, rules).fingerprint
    (tree / "a" / "x.pyc").write_text("x")
    assert walk(tree, rules).fingerprint == before


def test_excluded_folders_come_in_with_what_is_taken_in_below(tree: Path) -> None:
    (tree / "a" / "other").mkdir()
    rules = parse_rules("*\n!a/b/c.txt\n!nothing/**\n")
    assert [entry[0] for entry in walk(tree, rules).entries] == ["a", "a/b", "a/b/c.txt"]


def test_a_file_touched_a_moment_ago_is_racy(tree: Path) -> None:
    (tree / "a-b").write_text("now")
    walked = walk(tree)
    assert "a-b" in walked.racy
    assert walked.is_racy
    assert not later(walked).is_racy


def test_whole_second_times_are_racy_for_longer() -> None:
    now = time.time_ns()
    second = now - now % 1_000_000_000 - 1_000_000_000
    assert Walk(pack([("a", 0o100644, 1, second, second, 1)]), now).is_racy
    assert not Walk(pack([("a", 0o100644, 1, second + 1, second + 1, 1)]), now).is_racy


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(PathNotFound):
        walk(tmp_path / "missing")


def test_a_folder_that_vanishes_meanwhile(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def open_folder(path: str, flags: int) -> int:
        if path.endswith("a/b/"):
            (tree / "a" / "b" / "c.txt").unlink()
            (tree / "a" / "b").rmdir()
        return real(path, flags)

    monkeypatch.setattr(os, "open", open_folder)
    with pytest.raises(SourceChanged, match="a/b/ vanished"):
        walk(tree)


def test_a_file_that_vanishes_meanwhile(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked at from its folder, and told by its whole path."""
    real = os.scandir

    def scandir(folder: int) -> object:
        found = list(real(folder))
        for item in found:
            if item.name == "c.txt":
                (tree / "a" / "b" / "c.txt").unlink()
        return nullcontext(found)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(SourceChanged, match=r"a/b/c\.txt vanished"):
        walk(tree)


# --- digests ------------------------------------------------------------------------------------------------------


def test_digests_are_those_of_contents_and_link_targets(tree: Path) -> None:
    files = index.update(tree, walk(tree)).files
    assert files["a/b/c.txt"][5] == index.digest_text("c")
    assert files["link"][5] == index.digest_text("a/b")
    assert files["a"][5] == ""


def test_only_what_changed_is_read(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = index.update(tree, later(walk(tree)))
    (tree / "a-b").write_text("new")
    read: list[str] = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, *rest: (read.append(os.path.basename(path)), real(path, *rest))[1])
    second = index.update(tree, later(walk(tree)), first)
    assert [name for name in read if name] == ["a-b"]  # a folder's path ends with a slash
    assert second.files["a-b"][5] == index.digest_text("new")
    assert second.links == first.links == {"link": "a/b"}


def test_a_racy_file_is_read_again(tree: Path) -> None:
    """An edit in the same tick of the clock keeps every stat: the old digest must not be trusted."""
    walked = walk(tree)
    stale = index.Index(
        {path: (*facts[:5], "f" * 64) for path, facts in index.update(tree, walked).files.items()}, {}, walked.racy
    )
    assert index.update(tree, walked, stale).files["a-b"][5] == index.digest_text("")


def test_an_edit_that_keeps_size_and_mtime_is_suspicious(tree: Path) -> None:
    path = tree / "a" / "b" / "c.txt"
    facts = path.stat()
    first = index.update(tree, later(walk(tree)))
    assert index.suspicious(first, index.update(tree, later(walk(tree)), first)) == []
    path.write_text("d")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    second = index.update(tree, later(walk(tree)), first)
    assert index.suspicious(first, second) == ["a/b/c.txt"]


def test_a_file_that_changes_while_it_is_read(tree: Path) -> None:
    walked = walk(tree)
    (tree / "a" / "b" / "c.txt").write_text("longer")
    with pytest.raises(SourceChanged, match=r"a/b/c\.txt changed"):
        index.update(tree, walked)
    (tree / "a" / "b" / "c.txt").unlink()
    with pytest.raises(SourceChanged, match=r"a/b/c\.txt vanished"):
        index.update(tree, walked)


def test_a_file_that_may_not_be_read_is_named(tree: Path) -> None:
    """Root may read everything, so someone else tries."""
    (tree / "a-b").chmod(0o000)
    script = (
        "from dockwright.errors import UsageError\nfrom dockwright.insight import context, index\n"
        "import sys\n"
        "try: index.update(sys.argv[1], context.walk(sys.argv[1]))\n"
        "except UsageError as error: print(error.message)\n"
    )
    if os.geteuid() != 0:
        with pytest.raises(UsageError, match="a-b may not be read"):
            index.update(tree, walk(tree))
        return
    demote = "import os, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
    for parent in (tree, *tree.parents):
        if parent.stat().st_mode & 0o005 != 0o005 and str(parent).startswith("/tmp/"):
            parent.chmod(parent.stat().st_mode | 0o755)
    done = subprocess.run(
        [sys.executable, "-c", f"import dockwright.insight.index, dockwright.errors\n{demote}{script}", str(tree)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "a-b may not be read" in done.stdout


def test_an_index_survives_a_file(tree: Path, tmp_path: Path) -> None:
    kept = tmp_path / "state" / "index"
    first = index.update(tree, walk(tree))
    index.save(first, kept)
    assert index.load(kept) == first
    index.save(index.EMPTY, kept)
    assert index.load(kept) == index.EMPTY
    assert [path.name for path in kept.parent.iterdir()] == ["index"]


def test_a_damaged_or_foreign_index_counts_as_none(tree: Path, tmp_path: Path) -> None:
    kept = tmp_path / "index"
    assert index.load(kept) is None
    index.save(index.update(tree, walk(tree)), kept)
    whole = kept.read_bytes()
    for content in (b"", b"{}", whole[:-1], whole[:60] + b"x" + whole[61:], whole.replace(b"index 2", b"index 9")):
        kept.write_bytes(content)
        assert index.load(kept) is None


def test_the_walk_imports_nothing_heavy() -> None:
    script = (
        "import sys; before = set(sys.modules); import dockwright.insight.context, dockwright.insight.ignore\n"
        "print(*sorted(name for name in set(sys.modules) - before if '.' not in name))"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"yaml", "httpx", "rich", "sqlalchemy", "dockerfile", "subprocess", "tempfile", "difflib"} & set(loaded)
