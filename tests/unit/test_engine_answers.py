"""What the engine's door refuses before it asks, and what it makes of answers that no sane engine gives.

The calls themselves are tested with the real engine, in tests/acceptance/test_engine.py.
"""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwright.docker import engine as door
from dockwright.docker.engine import Engine, split_name
from dockwright.errors import Conflict, DockwrightError, EngineError, EngineUnreachable, NotFound, UsageError


@contextmanager
def answering(folder: Path, answer: bytes) -> Iterator[Engine]:
    """A socket that gives each caller the same bytes."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "s"))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield Engine(f"unix://{folder}/s")
        thread.join(5)


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (b'HTTP/1.1 404 x\r\n\r\n{"message":"No such\\nthing"}', NotFound, "The Docker engine: No such thing"),
        (b'HTTP/1.1 409 x\r\n\r\n{"message":"in use"}', Conflict, "in use"),
        (b'HTTP/1.1 500 x\r\n\r\n{"message":"boom"}', EngineError, "boom"),
        (b"HTTP/1.1 500 x\r\n\r\nplain words", EngineError, "plain words"),
        (b"HTTP/1.1 503 x\r\n\r\n", EngineError, "status 503 without a reason"),
        (b"HTTP/1.1 301 x\r\nLocation: /elsewhere\r\n\r\n", EngineError, "status 301"),
        (b"", EngineUnreachable, "ended the connection"),
        (b"SSH-2.0-OpenSSH\r\n", EngineUnreachable, "ended the connection"),
    ],
)
def test_an_answer_becomes_an_error(tmp_path: Path, answer: bytes, error: type[DockwrightError], message: str) -> None:
    with answering(tmp_path, answer) as engine, pytest.raises(error) as caught:
        engine.request("GET", "/info")
    assert message in caught.value.message
    assert caught.value.remedy


def test_an_answer_that_never_comes_is_given_up(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        with pytest.raises(EngineUnreachable, match="did not answer GET /info within"):
            Engine(f"unix://{tmp_path}/s").request("GET", "/info", timeout=0.1)


def test_what_was_started_already_is_fine(tmp_path: Path) -> None:
    with answering(tmp_path, b"HTTP/1.1 304 Not Modified\r\n\r\n") as engine:
        assert engine.request("POST", "/containers/x/start") is None


@pytest.mark.parametrize(
    "host", ["ssh://me@host", "tcp://", "npipe:////./pipe/docker", "unix://", "tcp://h:port", "/var/run/docker.sock"]
)
def test_an_address_that_cannot_be_spoken_to_is_refused(host: str) -> None:
    with pytest.raises(UsageError, match="DOCKER_HOST") as caught:
        Engine(host).ping()
    assert "unix:///path" in caught.value.remedy


def test_an_engine_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineUnreachable, match="there is no such socket") as caught:
        Engine(f"unix://{tmp_path}/none").ping()
    assert "dockwright doctor" in caught.value.remedy
    with pytest.raises(EngineUnreachable, match="too long"):
        Engine("unix:///" + "x" * 200).ping()
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
    with pytest.raises(EngineUnreachable, match="nothing listens there"):
        Engine(f"tcp://127.0.0.1:{port}").ping()


def test_the_environment_names_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://10.0.0.1:2375")
    assert Engine().host == "tcp://10.0.0.1:2375"
    monkeypatch.delenv("DOCKER_HOST")
    assert Engine().host == "unix:///var/run/docker.sock"


@pytest.mark.parametrize(
    "name", ["", "../containers/x", "a//b", "/a", "a b", "a?b", "a#b", "a%2fb", "é", "a\n", "-a", "a/../b"]
)
def test_a_name_that_could_be_another_path_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is no name"):
        Engine("unix:///nowhere").image(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pay", ("pay", "latest")),
        ("pay:v1", ("pay", "v1")),
        ("host:5000/pay", ("host:5000/pay", "latest")),
        ("host:5000/pay:v1", ("host:5000/pay", "v1")),
    ],
)
def test_a_name_is_split_at_its_tag(name: str, expected: tuple[str, str]) -> None:
    assert split_name(name) == expected


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=40)), max_size=20), st.integers(1, 10))
def test_frames_of_two_streams_become_their_last_lines(frames: list[tuple[int, bytes]], count: int) -> None:
    stream = b"".join(bytes([number, 0, 0, 0]) + len(part).to_bytes(4, "big") + part for number, part in frames)
    lines = door._last_lines(door._frames(io.BytesIO(stream)), count)
    assert len(lines) <= count
    assert not any("\n" in line for line in lines)
    for number in (1, 2):
        text = b"".join(part for one, part in frames if one == number)
        if len({one for one, _ in frames}) == 1 and text:
            whole = [line.decode("utf-8", "replace").rstrip("\r") for line in text.removesuffix(b"\n").split(b"\n")]
            assert lines == whole[-count:]


def test_a_line_that_never_ends_is_kept_in_bounds() -> None:
    endless = ((1, b"x" * 16384) for _ in range(100))
    (line,) = door._last_lines(endless, 5)
    assert len(line) == door.MAX_LINE
