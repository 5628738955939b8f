"""The landing rules themselves are held to the real builder in tests/acceptance/test_context_semantics.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from dockwright.insight import index
from dockwright.insight.context import walk
from dockwright.insight.copies import Copies, copies, sources_of
from dockwright.insight.dockerfile import parse


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path in ("app/main.py", "app/lib/a.py", "conf.ini", "data.tar.gz"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    (tmp_path / "app" / "link").symlink_to("main.py")
    return tmp_path


def traced(root: Path, text: str, *, workdir: str = "/", **more: dict[str, str]) -> Copies:
    indexed = index.update(root, walk(root))
    args = more.pop("args", {})
    return copies(parse(text), target=None, args=args, index=indexed, workdir=workdir, **more)  # type: ignore[arg-type]


def landed(told: Copies) -> dict[str, str]:
    return {mapping.destination: mapping.source for mapping in told.mappings}


def test_files_land_under_the_workdir_of_the_base(root: Path) -> None:
    told = traced(root, "FROM python\nCOPY conf.ini .\nWORKDIR src\nCOPY app/ ./\n", workdir="/opt/x")
    assert landed(told) == {
        "/opt/x/conf.ini": "conf.ini",
        "/opt/x/src/main.py": "app/main.py",
        "/opt/x/src/lib/a.py": "app/lib/a.py",
        "/opt/x/src/link": "app/link",
    }
    assert told.unverifiable == ()
    assert sources_of(told.mappings) == {"conf.ini", "app/main.py", "app/lib/a.py", "app/link"}


def test_where_the_base_may_have_a_folder_both_places_are_told(root: Path) -> None:
    told = traced(root, "FROM python\nCOPY conf.ini /data\nCOPY conf.ini /etc\nWORKDIR /w\nCOPY conf.ini /w\n")
    assert landed(told) == {"/data": "conf.ini", "/etc/conf.ini": "conf.ini", "/w/conf.ini": "conf.ini"}
    assert told.either == {"/data": "/data/conf.ini"}
    assert traced(root, "FROM scratch\nCOPY conf.ini /data\n").either == {}


def test_a_later_copy_wins_and_a_later_run_is_told(root: Path) -> None:
    told = traced(root, "FROM python\nCOPY app/main.py /x.py\nRUN sed -i s/a/b/ /x.py\nCOPY conf.ini /y/\nRUN x\n")
    assert told.run_after == {"/x.py": 3, "/y/conf.ini": 5}
    told = traced(root, "FROM python\nCOPY app/main.py /x.py\nRUN x\nCOPY conf.ini /x.py\n")
    assert landed(told) == {"/x.py": "conf.ini"}
    assert told.run_after == {}


def test_what_comes_from_elsewhere_is_listed_with_the_reason(root: Path) -> None:
    told = traced(
        root,
        "FROM node AS web\nCOPY app /web\nRUN build\nFROM python\nCOPY app /srv\n"
        "COPY --from=web /web/dist /srv/static\n"
        "COPY --from=busybox /bin/sh /bin/bsh\nADD https://example.com/x /x\nADD data.tar.gz /data/\n",
    )
    assert dict(told.unverifiable) == {
        "/srv/static": 'comes from build target "web"',
        "/bin/bsh": "comes from image busybox",
        "/x": "comes from https://example.com/x",
        "/data": "comes out of the archive data.tar.gz",
    }
    assert "/srv/main.py" in landed(told)
    assert told.doubts == {}


def test_what_may_have_been_replaced_is_in_doubt_and_still_compared(root: Path) -> None:
    told = traced(root, "FROM node AS web\nRUN x\nFROM python\nCOPY app /srv\nCOPY --from=web /out /srv\n")
    assert landed(told)["/srv/main.py"] == "app/main.py"
    assert told.doubts["/srv/main.py"] == '/srv comes from build target "web"'


def test_files_are_followed_through_targets_where_nothing_ran_after(root: Path) -> None:
    told = traced(
        root,
        "FROM python AS deps\nRUN x\nCOPY app /a\nCOPY conf.ini /made/\n"
        "FROM scratch\nCOPY --from=deps /a/main.py /m.py\nCOPY --from=deps /made /made\nCOPY --from=0 /a/none /none\n",
    )
    assert landed(told) == {"/m.py": "app/main.py", "/made/conf.ini": "conf.ini"}
    assert dict(told.unverifiable) == {
        "/made": 'comes from build target "deps"',
        "/none": 'comes from build target "deps"',
    }


def test_a_heredoc_is_known_content(root: Path) -> None:
    told = traced(root, "FROM scratch\nARG N=1\nCOPY --chmod=755 <<EOF /run.sh\necho $N\nEOF\n", args={"N": "2"})
    (mapping,) = told.mappings
    assert (mapping.source, mapping.destination) == ("Dockerfile:3", "/run.sh")
    assert (mapping.mode & 0o777, mapping.digest) == (0o755, index.digest_text("echo 2\n"))


def test_a_targets_base_is_traced_with_it(root: Path) -> None:
    told = traced(
        root, "FROM python AS base\nWORKDIR /srv\nCOPY conf.ini .\nFROM base\nCOPY app/main.py .\n", workdir="/w"
    )
    assert landed(told) == {"/srv/conf.ini": "conf.ini", "/srv/main.py": "app/main.py"}


def test_a_switch_may_be_written_in_capitals(root: Path) -> None:
    """As BuildKit takes `--link=TRUE`."""
    text = "FROM scratch\nCOPY --parents={} app/lib /x/\n"
    assert landed(traced(root, text.format("TRUE"))) == {"/x/app/lib/a.py": "app/lib/a.py"}
    assert landed(traced(root, text.format("False"))) == {"/x/a.py": "app/lib/a.py"}


def test_a_trigger_may_copy_from_a_target(root: Path) -> None:
    """Dockerfile 1.11 lets it; what it copies from is needed then."""
    text = "FROM scratch AS a\nCOPY conf.ini /\nFROM python AS b\nONBUILD COPY --from=a /conf.ini /etc/\nFROM b\n"
    assert landed(traced(root, text)) == {"/etc/conf.ini": "conf.ini"}


def test_an_escape_of_the_file_s_own_is_none_in_a_heredoc(root: Path) -> None:
    """As measured on BuildKit 0.13: a backslash escapes there, whatever `# escape=` says."""
    told = traced(root, "# escape=`\nFROM scratch\nARG A=v\nCOPY <<EOF /y\n`$A \\$A $A\nEOF\n")
    assert [mapping.digest for mapping in told.mappings] == [index.digest_text("`v $A v\n")]


def test_parents_and_excludes(root: Path) -> None:
    told = traced(root, "FROM scratch\nCOPY --parents app/lib /x\nCOPY --exclude=lib app /y\n")
    assert landed(told) == {
        "/x/app/lib/a.py": "app/lib/a.py",
        "/y/main.py": "app/main.py",
        "/y/link": "app/link",
    }


def test_what_add_may_unpack_whatever_its_name_is_in_doubt(root: Path) -> None:
    """BuildKit looks at the content, which is not known here: an archive need not be called one."""
    told = traced(root, "FROM scratch\nADD conf.ini /d/\nADD app/main.py /m.py\nADD app /app\n")
    assert landed(told)["/d/conf.ini"] == "conf.ini"
    assert set(told.doubts) == {"/d/conf.ini", "/m.py"}
    assert told.doubts["/d/conf.ini"] == "/d/conf.ini may come out of conf.ini: ADD unpacks what is an archive"
    told = traced(root, "FROM scratch\nADD conf.ini /d/\nCOPY conf.ini /d/\n")
    assert told.doubts == {}
