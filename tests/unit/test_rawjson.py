"""BuildKit's progress: both of buildx's forms, cut anywhere."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwright.docker.rawjson import LogLine, Progress, Splitter, Vertex

DOCUMENTS: list[dict[str, Any]] = [
    {"vertexes": [{"digest": "sha256:a", "name": "[2/3] RUN make"}]},
    {"vertexes": [{"digest": "sha256:a", "name": "[2/3] RUN make", "started": "2026-01-02T03:04:05.123456789Z"}]},
    {"logs": [{"vertex": "sha256:a", "stream": 1, "data": base64.b64encode("hé".encode()[:2]).decode()}]},
    {"logs": [{"vertex": "sha256:a", "stream": 1, "data": base64.b64encode("hé".encode()[2:] + b"\nrest").decode()}]},
    {
        "vertexes": [
            {
                "digest": "sha256:a",
                "name": "[2/3] RUN make",
                "started": "2026-01-02T03:04:05.123456789Z",
                "completed": "2026-01-02T03:04:07.623456789Z",
                "error": "exit code: 3",
            }
        ]
    },
]


def _stream(indent: int | None) -> bytes:
    return b"".join(json.dumps(document, indent=indent).encode() + b"\n" for document in DOCUMENTS) + b"ERROR: failed\n"


@pytest.mark.parametrize("indent", [None, 2])
@given(cuts=st.lists(st.integers(0, 2000), max_size=20))
def test_the_stream_is_the_same_however_it_is_cut(indent: int | None, cuts: list[int]) -> None:
    content, splitter = _stream(indent), Splitter()
    items: list[Any] = []
    at = 0
    for cut in [*sorted(cuts), len(content)]:
        items += splitter.feed(content[at:cut])
        at = max(at, cut)
    items += splitter.close()
    assert items == [*DOCUMENTS, "ERROR: failed"]


def test_a_failed_step_has_its_time_its_lines_and_its_error() -> None:
    progress = Progress()
    news = [item for document in DOCUMENTS for item in progress.feed(document)] + list(progress.close())
    lines = [item.text for item in news if isinstance(item, LogLine)]
    vertex = progress.vertices["sha256:a"]
    assert lines == ["hé", "rest"]
    assert (vertex.state, vertex.seconds, vertex.error) == ("failed", 2.5, "exit code: 3")
    assert vertex.is_step


def test_a_progress_bar_is_what_it_came_to() -> None:
    progress = Progress()
    data = base64.b64encode(b"10%\r50%\r100%\r\n").decode()
    (line,) = progress.feed({"vertexes": [], "logs": [{"vertex": "x", "stream": 2, "data": data}]})
    assert isinstance(line, LogLine)
    assert (line.text, line.stream) == ("100%", "stderr")


def test_internal_vertices_are_no_steps() -> None:
    names = [
        "[internal] load build definition from Dockerfile",
        "exporting to image",
        "[auth] x",
        "[build 2/7] COPY . .",
    ]
    assert [Vertex("d", name).is_step for name in names] == [False, False, False, True]
