"""BuildKit's structured progress: a stream of JSON objects on stderr, and plain text after a failure.

buildx writes the objects over several lines up to 0.14 and one a line from 0.15, so the stream is cut at lines: an
object ends at a line that is a closing brace alone, or is one whole line. A vertex appears several times (created,
started, completed), may start again, and may be cached; a step that never ran has no `started`.
"""

from __future__ import annotations

import base64
import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from dockwright.domain.redaction import NO_SECRETS, Redactor

STEP_NAME = re.compile(r"\[(?:(?P<target>[^\]\s]+) +)?(?P<number>\d+)/(?P<total>\d+)\] ")
"""How BuildKit names an instruction: `[2/5] RUN …`, `[build 2/5] RUN …`."""


class Splitter:
    """Cuts the byte stream into objects (dict) and lines of plain text (str)."""

    def __init__(self) -> None:
        self._rest = b""
        self._object: list[bytes] = []

    def feed(self, chunk: bytes) -> Iterator[dict[str, Any] | str]:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            yield from self._line(line)

    def close(self) -> Iterator[dict[str, Any] | str]:
        if self._rest:
            yield from self._line(self._rest)
        yield from (line.decode(errors="replace") for line in self._object)
        self._rest, self._object = b"", []

    def _line(self, line: bytes) -> Iterator[dict[str, Any] | str]:
        if not self._object and not line.startswith(b"{"):
            yield line.decode(errors="replace")
            return
        self._object.append(line)
        if line == b"}" or (len(self._object) == 1 and line.endswith(b"}")):
            text = b"\n".join(self._object)
            self._object = []
            try:
                yield json.loads(text)
            except ValueError:
                yield text.decode(errors="replace")


@dataclass(slots=True)
class Vertex:
    """One node of the build graph, as far as it is known."""

    digest: str
    name: str = ""
    state: Literal["waiting", "started", "done", "failed"] = "waiting"
    cached: bool = False
    error: str = ""
    started: float | None = None
    seconds: float = 0.0
    """Sum of its runs, when it ran more than once."""
    lines: list[str] = field(default_factory=list)
    """Its newest output, for the message of a failure."""

    @property
    def is_step(self) -> bool:
        return STEP_NAME.match(self.name) is not None


@dataclass(frozen=True, slots=True)
class LogLine:
    vertex: Vertex
    stream: Literal["stdout", "stderr"]
    text: str


KEPT_LINES = 40
MAX_LINE = 4000
"""Characters of a line that are kept; BuildKit hands out lines of 200,000 and more."""


class Progress:
    """Follows the objects and tells what is new: a vertex that changed its state, or a whole line of its output."""

    def __init__(self, redact: Redactor = NO_SECRETS) -> None:
        self._redact = redact
        self.vertices: dict[str, Vertex] = {}
        self.begun: dict[str, Vertex] = {}
        """Those that started or were found in the cache, in that order; BuildKit announces them in another."""
        self._partial: dict[tuple[str, int], tuple[codecs.IncrementalDecoder, str]] = {}

    def feed(self, document: dict[str, Any]) -> Iterator[Vertex | LogLine]:
        for entry in document.get("vertexes") or ():
            yield from self._vertex(entry)
        for entry in document.get("logs") or ():
            yield from self._log(entry)

    def close(self) -> Iterator[LogLine]:
        """What was written last without an end of line."""
        for (digest, stream), (_, rest) in self._partial.items():
            if rest:
                yield self._line(self.vertices[digest], stream, rest)
        self._partial.clear()

    def _vertex(self, entry: dict[str, Any]) -> Iterator[Vertex]:
        vertex = self.vertices.setdefault(entry["digest"], Vertex(entry["digest"]))
        before = (vertex.state, vertex.cached)
        vertex.name = " ".join(entry.get("name", vertex.name).split("\n"))
        vertex.cached = vertex.cached or bool(entry.get("cached"))
        started, completed = entry.get("started"), entry.get("completed")
        if started:
            vertex.state, vertex.started = "started", _seconds(started)
        if completed:
            vertex.state = "failed" if entry.get("error") else "done"
            if started:
                vertex.seconds += max(0.0, _seconds(completed) - _seconds(started))
        vertex.error = entry.get("error", "")
        if vertex.cached or vertex.state != "waiting":
            self.begun.setdefault(vertex.digest, vertex)
        if (vertex.state, vertex.cached) != before:
            yield vertex

    def _log(self, entry: dict[str, Any]) -> Iterator[LogLine]:
        key = (entry["vertex"], int(entry.get("stream", 1)))
        vertex = self.vertices.setdefault(entry["vertex"], Vertex(entry["vertex"]))
        decoder, rest = self._partial.get(key) or (codecs.getincrementaldecoder("utf-8")("replace"), "")
        *lines, rest = (rest + decoder.decode(base64.b64decode(entry.get("data") or ""))).split("\n")
        self._partial[key] = (decoder, rest)
        for line in lines:
            yield self._line(vertex, key[1], line)

    def _line(self, vertex: Vertex, stream: int, line: str) -> LogLine:
        # A progress bar redraws its line with carriage returns: only what it came to is worth keeping.
        text = line.rstrip("\r").rpartition("\r")[2]
        text = self._redact(text)  # before it is cut, which may be in the middle of a secret
        if len(text) > MAX_LINE:
            text = f"{text[:MAX_LINE]} … and {len(text) - MAX_LINE:,} characters more"
        vertex.lines = [*vertex.lines[-KEPT_LINES:], text]
        return LogLine(vertex, "stderr" if stream == 2 else "stdout", text)


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()
