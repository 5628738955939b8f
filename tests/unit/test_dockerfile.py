from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dockwright.errors import DockerfileSyntax
from dockwright.insight.dockerfile import declared_args, parse, without_syntax

SAMPLE = """\
# syntax=docker/dockerfile:1
# escape=`
ARG TAG=3.11
ARG EMPTY
FROM --platform=$BUILDPLATFORM python:$TAG AS Build
ARG MODE=dev OTHER
RUN --mount=type=cache,target=/c pip install `
    # a comment within
    flask
COPY --chmod=755 <<EOF <<-"RAW" /etc/
hello $X
EOF
\t\tas is
\tRAW
FROM build
ENV A=b "C D"=e
CMD ["x", "y z"]
ONBUILD COPY . /app
"""


def test_a_dockerfile_is_targets_and_instructions() -> None:
    parsed = parse(SAMPLE)
    assert parsed.syntax == "docker/dockerfile:1"
    assert parsed.escape == "`"
    assert parsed.global_args == {"TAG": "3.11", "EMPTY": None}
    build, final = parsed.targets
    assert (build.name, build.base, build.platform, build.label) == ("build", "python:$TAG", "$BUILDPLATFORM", "build")
    assert (final.name, final.base, final.platform, final.label) == (None, "build", None, "1")
    assert [(step.keyword, step.line, step.end_line) for step in build.instructions] == [
        ("ARG", 6, 6),
        ("RUN", 7, 9),
        ("COPY", 10, 14),
    ]
    assert [step.keyword for step in final.instructions] == ["ENV", "CMD", "ONBUILD"]


def test_an_instruction_keeps_flags_operands_and_heredocs() -> None:
    build, final = parse(SAMPLE).targets
    _, run, copy = build.instructions
    assert run.flag_values("mount") == ("type=cache,target=/c",)
    assert " ".join(run.operands[0].split()) == "pip install flask"
    assert copy.flag("chmod") == "755"
    assert copy.flag("from") is None
    assert copy.operands == ("<<EOF", '<<-"RAW"', "/etc/")
    plain, raw = copy.heredocs
    assert (plain.name, plain.content, plain.expand) == ("EOF", "hello $X\n", True)
    assert (raw.name, raw.content, raw.raw, raw.expand) == ("RAW", "as is\n", "\t\tas is\n", False)
    env, cmd, onbuild = final.instructions
    assert env.operands == ("A", "b", '"C D"', "e")
    assert (cmd.operands, cmd.is_json) == (("x", "y z"), True)
    assert onbuild.operands == ("COPY . /app",)


def test_declared_args_are_those_of_all_targets() -> None:
    assert declared_args(parse(SAMPLE)) == {"TAG", "EMPTY", "MODE", "OTHER"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# syntax=x\nFROM a\n", "#\nFROM a\n"),
        ("# syntax = x\r\nFROM a\r\n", "#\nFROM a\r\n"),
        ("# escape=`\n# syntax=x\nFROM a\n", "# escape=`\n#\nFROM a\n"),
        ("# syntax=x\n# escape=`\nFROM a\n", "# escape=`\n#\nFROM a\n"),
        ("\ufeff# syntax=x\nFROM a\n", "\ufeff#\nFROM a\n"),
        ("FROM a\n# syntax=x\n", "FROM a\n# syntax=x\n"),
    ],
)
def test_without_syntax_every_other_line_stays(text: str, expected: str) -> None:
    assert without_syntax(text) == expected
    assert parse(expected).syntax is None
    assert parse(expected).targets[0].origin.line == parse(text).targets[0].origin.line


@pytest.mark.parametrize(
    ("text", "line", "cause"),
    [
        ("FROM a\nRNU x\n", 2, "unknown instruction: RNU (did you mean RUN?)"),
        ("FROM a\n\n# c\nENV a=b \\\n  c\nRUN x\n", 4, "can't find ="),
        ("FROM a\nRUN <<A\nx\nA\n\nRUN <<B\nx\n", 6, "unterminated heredoc"),
        ("FROM a\nENV x\n", 2, "ENV must have two arguments"),
        ("ENV x\n", 1, "ENV must have two arguments"),
        ("RUN x\nFROM a\n", 1, "stands before the first FROM"),
        ("FROM a AS 1b\n", 1, "invalid name for a build target"),
        ("FROM a b\n", 1, "one argument, or three"),
        ("FROM a\nCOPY x\n", 2, "at least two arguments"),
        ("FROM a\nCOPY --form=b x y\n", 2, "unknown flag: form (did you mean from?)"),
        ("FROM a\nCOPY --chown x y\n", 2, "missing a value on flag: chown"),
        ("FROM a\nCOPY --link=maybe x y\n", 2, "expecting boolean value"),
        ("FROM a\nCOPY --from=b --from=c x y\n", 2, "duplicate flag"),
        ("FROM a\nRUN --mount=type=nope x\n", 2, "unsupported mount type"),
        ("FROM a\nRUN --mount=type=cache,sharing=odd,target=/x x\n", 2, "unsupported sharing value"),
        ("FROM a\nRUN --mount=from=$X,target=/x x\n", 2, "doesn't support variable expansion"),
        ("FROM a\nONBUILD ONBUILD RUN x\n", 2, "Chaining ONBUILD"),
        ("FROM a\nHEALTHCHECK CMD\n", 2, "Missing command"),
        ('FROM a\nCMD ["a", 1]\n', 2, "strings only"),
    ],
)
def test_what_cannot_be_built_is_refused_with_its_line(text: str, line: int, cause: str) -> None:
    with pytest.raises(DockerfileSyntax) as caught:
        parse(text, "prod.Dockerfile")
    assert caught.value.message.startswith(f"prod.Dockerfile, line {line}: ")
    assert cause in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize("text", ["", "\n# only a comment\n", "ARG X\n"])
def test_a_dockerfile_without_from_is_refused(text: str) -> None:
    """One of nothing but ARG ends the engine itself (26.1): it must never reach it."""
    with pytest.raises(DockerfileSyntax, match=r"Dockerfile (holds no instruction|has no FROM)"):
        parse(text)


@example("\x1f", "FROM a\n")
@given(st.text(max_size=60), st.sampled_from(["FROM a\n", "FROM a\nRUN ", "FROM a\nCOPY ", "", "FROM a\nENV "]))
def test_any_text_is_read_or_refused(text: str, start: str) -> None:
    try:
        parsed = parse(start + text)
    except DockerfileSyntax as error:
        assert error.remedy
    else:
        assert parsed.targets
