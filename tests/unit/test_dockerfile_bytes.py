"""Dockerfiles that are no UTF-8: BuildKit builds them, and the parser's library would end the process over them."""

from __future__ import annotations

import pytest

from dockwright.errors import DockerfileSyntax
from dockwright.insight.dockerfile import parse


def text(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")


def test_bytes_come_back_as_they_were() -> None:
    dockerfile = parse(text(b"# caf\xe9\nFROM a\nCOPY caf\xe9.txt /\nLABEL x=\xff\nCOPY <<E /f\n\x80 here\nE\n"))
    copy, label, heredoc = dockerfile.targets[0].instructions
    assert copy.operands[0] == text(b"caf\xe9.txt")
    assert text(b"\xff") in label.operands
    assert heredoc.heredocs[0].content == text(b"\x80 here\n")


def test_two_dockerfiles_that_differ_in_such_a_byte_are_two() -> None:
    one, other = (parse(text(b"FROM a\nRUN echo " + byte + b"\n")) for byte in (b"\xe8", b"\xe9"))
    assert one != other


def test_private_character_of_the_user_stays_itself_in_a_text_that_is_utf_8() -> None:
    instruction = parse("FROM a\nRUN echo \uf7e9\n").targets[0].instructions[0]
    assert "\uf7e9" in instruction.text


@pytest.mark.parametrize("content", [b"\x00", b"FROM a\n\x00", b"FROM a\nRUN x \x00 y\n", "FROM a\n".encode("utf-16")])
def test_zero_byte_is_refused_with_its_line(content: bytes) -> None:
    """The library would read no further than that, and BuildKit would."""
    line = content.partition(b"\x00")[0].count(b"\n") + 1
    with pytest.raises(DockerfileSyntax, match=f"Dockerfile, line {line}: a zero byte"):
        parse(text(content), "Dockerfile")


def test_syntax_error_beside_such_a_byte_has_its_line() -> None:
    with pytest.raises(DockerfileSyntax, match="line 3"):
        parse(text(b"FROM a\n# \xe9\nFROM\n"))
