"""The word of what the builder was last sent, whatever becomes of the build."""

from __future__ import annotations

from pathlib import Path

import pytest

from dockwright.insight import index
from dockwright.insight.index import Index
from dockwright.stages.sending import Sending

OLD = Index({"a": (1, 2, 3, 4, 0o100644, "0" * 63 + "1")})
NEW = Index({"a": (1, 2, 3, 4, 0o100644, "0" * 63 + "2")})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    index.save(OLD, tmp_path / "index")
    return tmp_path / "index"


def test_while_it_is_sent_there_is_no_word(file: Path) -> None:
    sending = Sending(file, OLD, NEW)
    sending.begin()
    assert index.load(file) is None, "who is killed now leaves nothing that is not so"
    sending.note()
    sending.end("all")
    assert index.load(file) == NEW


def test_what_was_not_sent_is_not_said_to_be(file: Path) -> None:
    sending = Sending(file, OLD, NEW)
    sending.begin()
    sending.note()
    sending.end("nothing")
    assert index.load(file) == OLD


@pytest.mark.parametrize(("before", "sent"), [(OLD, "partly"), (None, "partly"), (None, "nothing")])
def test_what_is_not_known_is_not_said(before: Index | None, sent: str, file: Path) -> None:
    sending = Sending(file, before, NEW)
    sending.begin()
    sending.note()
    sending.end(sent)  # type: ignore[arg-type]
    assert index.load(file) is None


@pytest.mark.parametrize("sent", ["nothing", "partly", "all"])
def test_the_same_once_more_is_not_written_again(sent: str, file: Path) -> None:
    facts = file.stat()
    sending = Sending(file, OLD, OLD)
    sending.begin()
    sending.note()
    sending.end(sent)  # type: ignore[arg-type]
    assert file.stat() == facts
