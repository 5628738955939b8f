"""Who wrote a file last, as an image's own layers tell it."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from dockwright.docker.layers import Sought, written_in

Member = tuple[str, str | None]
"""A name, which ends in "/" for a folder, and where it leads if it is a link."""


def layer(*members: Member) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, target in members:
            member = tarfile.TarInfo(name.rstrip("/"))
            if target is not None:
                member.type, member.linkname = tarfile.SYMTYPE, target
            elif name.endswith("/"):
                member.type = tarfile.DIRTYPE
            archive.addfile(member)
    return content.getvalue()


def saved(folder: Path, layers: list[bytes], history: list[str]) -> BinaryIO:
    """An image as the engine hands it out."""
    names = [f"{place}/layer.tar" for place, _ in enumerate(layers)]
    files = {
        "manifest.json": json.dumps([{"Config": "config.json", "Layers": names}]).encode(),
        "config.json": json.dumps({"history": [{"created_by": maker} for maker in history]}).encode(),
        **dict(zip(names, layers, strict=True)),
    }
    path = folder / "image.tar"
    with tarfile.open(path, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path.open("rb")


def sought(*paths: str, links: Iterable[str] = ()) -> Sought:
    return Sought(frozenset(paths), frozenset(links))


BASE = layer(("bin", "usr/bin"), ("usr/", None), ("usr/bin/", None), ("usr/bin/sh", None))
TOOL = layer(("usr/", None), ("usr/bin/", None), ("usr/bin/tool", None))
COPY = "COPY tool /bin/tool # buildkit"


def test_a_link_above_a_file_has_not_written_it(tmp_path: Path) -> None:
    wanted = {"/bin/tool": sought("/bin/tool", "/usr/bin/tool", links=["/bin"])}
    with saved(tmp_path, [BASE, TOOL], ["", COPY]) as file:
        (tool,) = written_in(file, wanted).values()
    assert tool.by == "COPY tool /bin/tool" and not tool.is_by_run
    assert tool.digest == hashlib.sha256(b"").hexdigest()


def test_a_link_that_leads_there_no_more_has_not_written_it(tmp_path: Path) -> None:
    with saved(tmp_path, [BASE, TOOL], ["RUN ln -s usr/bin /bin", COPY]) as file:
        assert written_in(file, {"/bin/tool": sought("/bin/tool")}) == {}


def test_a_folder_that_became_a_link_is_told(tmp_path: Path) -> None:
    layers = [layer(("app/", None), ("app/x", None)), layer(("srv/", None), (".wh.app", None), ("app", "srv"))]
    with saved(tmp_path, layers, ["COPY x /app/x", "RUN mv"]) as file:
        (moved,) = written_in(file, {"/app/x": sought("/app/x", "/srv/x", links=["/app"])}).values()
    assert moved.is_by_run and moved.digest is None


def test_a_history_that_is_shorter_than_the_layers_tells_of_the_last(tmp_path: Path) -> None:
    wanted = {path: sought(path) for path in ("/usr/bin/sh", "/usr/bin/tool")}
    for history in ([COPY], []):
        with saved(tmp_path, [BASE, TOOL], history) as file:
            assert {path: one.by for path, one in written_in(file, wanted).items()} == {
                "/usr/bin/sh": "",
                "/usr/bin/tool": "COPY tool /bin/tool" if history else "",
            }
