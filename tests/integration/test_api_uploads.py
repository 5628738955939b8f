"""Source archives over the API: kept by their content, refused without a trace."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import time
from pathlib import Path

import pytest
from api_caller import Api, Caller

from dockwright.db import queue
from dockwright.db.journal import Journal
from dockwright.db.queue import Limits
from dockwright.domain.source import UploadSource, source_from_json
from dockwright.process import Cancel, identity
from dockwright.services.build import request_of
from dockwright.sources import bounds, upload

GZIP = {"Content-Type": "application/gzip"}


@pytest.fixture
def ask(api: Api) -> Caller:
    return api.caller("member")


def _archive(**files: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def _project(ask: Caller, **more: object) -> int:
    return int(ask.post("projects", {"name": "Up", "source": {"kind": "upload"}, **more}, status=201)["id"])


def _kept(api: Api) -> list[str]:
    folder = upload.folder(api.state.settings)
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_an_upload_becomes_the_project_s_source_and_can_be_fetched(api: Api, ask: Caller, tmp_path: Path) -> None:
    project = _project(ask)
    ask.refused("POST", f"builds/trigger/{project}", 409, "conflict")
    archive = _archive(Dockerfile=b"FROM scratch\n")
    done = ask(
        "POST", f"projects/{project}/source?filename=app.tar.gz", content=archive, headers=GZIP, status=201
    ).json()
    assert (done["bytes"], done["files"], done["unpacked_bytes"]) == (len(archive), 1, 13)
    assert _kept(api) == [f"{done['digest']}.tar.gz"]
    source = source_from_json(ask.get(f"projects/{project}")["source"])
    assert source == UploadSource(digest=done["digest"], filename="app.tar.gz")
    (tmp_path / "tree").mkdir()
    root = upload.unpack(upload.archive_path(api.state.settings, done["digest"]), tmp_path / "tree", Cancel())
    assert (root / "Dockerfile").read_bytes() == b"FROM scratch\n"
    assert ask.post(f"builds/trigger/{project}", status=202)["status"] == "queued"


def test_auto_build_builds_what_has_come(ask: Caller) -> None:
    project = _project(ask, auto_build=True)
    assert ask.get(f"projects/{project}")["build_id"] is None
    done = ask("POST", f"projects/{project}/source", content=_archive(Dockerfile=b"x"), headers=GZIP, status=201).json()
    assert f"its build {done['build_id']} is queued" in done["message"]
    assert ask.get(f"builds/{done['build_id']}")["project_id"] == project


def test_the_kind_stays_upload_when_it_is_said_again(ask: Caller) -> None:
    project = _project(ask)
    ask("POST", f"projects/{project}/source", content=_archive(Dockerfile=b"x"), headers=GZIP, status=201)
    before = ask.get(f"projects/{project}")["source"]
    ask("PATCH", f"projects/{project}", json={"source": {"kind": "upload"}}, status=200)
    assert ask.get(f"projects/{project}")["source"] == before


def _link() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        info = tarfile.TarInfo("passwd")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 422, "invalid_archive"),
        (b"no archive", 422, "invalid_archive"),
        (gzip.compress(b"no tar" * 1000), 422, "invalid_archive"),
        (_archive(a=os.urandom(5000))[:-2000], 422, "invalid_archive"),
        (_archive(**{"../a": b"x"}), 422, "unsafe_source"),
        (_archive(**{"/etc/passwd": b"x"}), 422, "unsafe_source"),
        (_link(), 422, "unsafe_source"),
        (_archive(zeros=b"\0" * 10**7), 413, "source_too_large"),
    ],
    ids=["empty", "text", "no-tar", "cut", "parent", "absolute", "link", "bomb"],
)
def test_what_is_refused_leaves_nothing_behind(api: Api, ask: Caller, body: bytes, status: int, code: str) -> None:
    project = _project(ask)
    ask.refused("POST", f"projects/{project}/source", status, code, content=body, headers=GZIP)
    assert _kept(api) == []
    assert ask.get(f"projects/{project}")["source"] == {"kind": "upload"}


def test_larger_than_may_be_is_refused_before_and_while_it_comes(
    api: Api, ask: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = _project(ask)
    for module in ("dockwright.api.bodies", "dockwright.sources.bounds"):
        monkeypatch.setattr(f"{module}.MAX_ARCHIVE_BYTES", 10_000)
    assert bounds.MAX_ARCHIVE_BYTES == 10_000
    path = f"projects/{project}/source"
    ask.refused("POST", path, 413, "body_too_large", content=os.urandom(10_001), headers=GZIP)
    chunked = iter([os.urandom(6_000)] * 3)
    ask.refused("POST", path, 413, "body_too_large", content=chunked, headers=GZIP)
    assert _kept(api) == []


def test_other_types_and_other_kinds(ask: Caller) -> None:
    project = _project(ask)
    form = {"file": ("a.tar.gz", _archive(a=b"x"))}
    ask.refused("POST", f"projects/{project}/source", 415, "unsupported_media_type", files=form)
    git = {"name": "G", "source": {"kind": "git", "url": "https://example.com/a.git"}}
    other = ask.post("projects", git, status=201)["id"]
    ask.refused("POST", f"projects/{other}/source", 409, "conflict", content=_archive(a=b"x"), headers=GZIP)
    ask.refused("POST", "projects/77/source", 404, "not_found", content=_archive(a=b"x"), headers=GZIP)


def test_a_full_disk_is_told(api: Api, ask: Caller) -> None:
    project = _project(ask)
    object.__setattr__(api.state.settings, "disk_min_free", 2**62)
    ask.refused("POST", f"projects/{project}/source", 507, "disk_full", content=_archive(a=b"x"), headers=GZIP)
    assert _kept(api) == []


def test_what_no_project_names_any_more_goes_after_a_day(api: Api, ask: Caller) -> None:
    project = _project(ask)
    path = f"projects/{project}/source"
    digests = []
    for number in range(2):
        body = _archive(a=f"{number}".encode())
        digests.append(ask("POST", path, content=body, headers=GZIP, status=201).json()["digest"])
    assert _kept(api) == sorted(f"{digest}.tar.gz" for digest in digests)
    yesterday = time.time() - 90_000
    for digest in digests:
        os.utime(upload.archive_path(api.state.settings, digest), (yesterday, yesterday))
    newest = ask("POST", path, content=_archive(a=b"2"), headers=GZIP, status=201).json()["digest"]
    # The one just replaced may be what a build has begun with.
    assert _kept(api) == sorted(f"{digest}.tar.gz" for digest in (digests[1], newest))


def test_a_build_is_of_the_archive_that_was_there_when_it_was_queued(api: Api, ask: Caller) -> None:
    project = _project(ask)
    path = f"projects/{project}/source"

    def send(content: bytes) -> str:
        """And everything that is there is of the day before."""
        digest = ask("POST", path, content=_archive(a=content), headers=GZIP, status=201).json()["digest"]
        for name in _kept(api):
            os.utime(upload.folder(api.state.settings) / name, (time.time() - 90_000,) * 2)
        return str(digest)

    first = send(b"first")
    build_id = ask.post(f"builds/trigger/{project}", status=202)["build_id"]
    second, third = send(b"second"), send(b"third")
    # The second was replaced just now, and the first is waited for.
    assert _kept(api) == sorted(f"{digest}.tar.gz" for digest in (first, second, third))
    claim = queue.claim(api.state.connection, identity(), Limits(overall=9, client=9, builder=9))
    assert claim is not None and claim.build_id == build_id
    source = request_of(api.state, claim).source
    assert isinstance(source, UploadSource) and source.digest == first
    fourth = send(b"fourth")
    assert _kept(api) == sorted(f"{digest}.tar.gz" for digest in (first, third, fourth)), "it builds"
    with Journal(api.state.connection, build_id, cancel=Cancel(), attempt=claim.attempt) as log:
        log.finish("failed", {})
    fifth = send(b"fifth")
    assert _kept(api) == sorted(f"{digest}.tar.gz" for digest in (fourth, fifth))
    again = ask.post(f"builds/{build_id}/retry", status=202)["build_id"]
    assert ask.get(f"builds/{again}")["options"]["upload"]["digest"] == fifth, "what the project is made from now"
