"""Reading a large context can be interrupted."""

from pathlib import Path

import pytest

from dockwright.errors import Interrupted
from dockwright.insight import context, index
from dockwright.process import Cancel


def test_a_cancel_is_seen_within_a_large_file(tmp_path: Path) -> None:
    (tmp_path / "weights").touch()
    with (tmp_path / "weights").open("wb") as file:
        file.truncate(10**12)  # a sparse one: read to its end it would take a quarter of an hour
    cancel = Cancel()
    cancel.set()
    with pytest.raises(Interrupted):
        index.update(tmp_path, context.walk(tmp_path), None, cancel.check)
