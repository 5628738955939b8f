from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwright.insight.variables import FatalPattern, Scope, expand, global_values, platform_args

VALUES = {"X": "1", "EMPTY": "", "PATH": "/a/b/c.tar.gz", "SPACE": "a  b"}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("plain", "plain"),
        ("$X-${X}$XX", "1-1"),
        ("${NO:-w}${NO-w}${EMPTY:-w}${EMPTY-w}", "www"),
        ("${NO:+w}${NO+w}${EMPTY:+w}${EMPTY+w}${X:+w}", "ww"),
        ("${X:?no}${X?no}", "11"),
        ("${NO:-$X${X:+2}}", "12"),
        ("${PATH#*/}|${PATH##*/}", "a/b/c.tar.gz|c.tar.gz"),
        ("${PATH%.*}|${PATH%%.*}", "/a/b/c.tar|/a/b/c"),
        ("${PATH/a/z}|${PATH//a/z}", "/z/b/c.tar.gz|/z/b/c.tzr.gz"),
        ("${PATH/\\/a/}|${PATH//?\\//-}", "/b/c.tar.gz|/--c.tar.gz"),
        ('\\$X \'$X\' "$X" "\\$X" "\\n"', "$X $X 1 $X \\n"),
        ("a\\ b", "a b"),
        ("$", "$"),
        ("$1${X}", "1"),
    ],
)
def test_values_are_put_in(word: str, expected: str) -> None:
    assert expand(word, VALUES) == expected


def test_a_run_is_shown_with_its_quotes_and_unknown_variables() -> None:
    shown = expand("echo \"$X\" '$X' \\$X $NO ${NO:-a} ${NO##a} $$", VALUES, quotes="keep", keep_unset=True)
    assert shown == "echo \"1\" '$X' $X $NO ${NO:-a} ${NO##a} $$"


def test_a_heredoc_has_no_quotes() -> None:
    assert expand('it\'s "$X" \\$X', VALUES, quotes="plain") == 'it\'s "1" $X'


@pytest.mark.parametrize(
    "word", ["${X", "${}", "${{X}}", "${:x}", "'a", '"a', "${NO:?needed}", "${EMPTY:?}", "${X!y}", "${X/a"]
)
def test_what_cannot_be_put_in_is_an_error(word: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        expand(word, VALUES)


@pytest.mark.parametrize("word", ["${X#}", "${X%}", "${NO#}"])
def test_patterns_that_end_the_builder_are_told_apart(word: str) -> None:
    with pytest.raises(FatalPattern):
        expand(word, VALUES)


@given(st.text(alphabet="aX${}:-+#%/?*\\'\" ", max_size=25))
def test_any_word_is_expanded_or_refused(word: str) -> None:
    used: set[str] = set()
    try:
        expand(word, VALUES, used=used)
    except ValueError as error:
        assert str(error)


def scope(passed: dict[str, str], known: dict[str, str | None]) -> Scope:
    return Scope(passed, known)


def test_an_argument_above_the_first_from_counts_only_where_it_is_declared() -> None:
    target = scope({}, {"TAG": "3.11"})
    assert target.put_in("$TAG") == ""
    target.declare(("TAG",), set())
    assert target.put_in("$TAG") == "3.11"


def test_a_passed_value_wins_over_the_default_and_env_over_an_earlier_arg() -> None:
    target = scope({"A": "passed", "UNDECLARED": "x"}, {})
    target.declare(("A=default", "B=$A"), set())
    assert target.args_of() == {"A": "passed", "B": ""}
    target.set_env(("A", "env", "C", "$A"), set())
    assert target.args_of() == {"A": "env", "B": ""}
    assert target.values["C"] == "passed"
    assert "UNDECLARED" not in target.values


def test_a_child_sees_what_its_parent_declared() -> None:
    parent = scope({}, {})
    parent.declare(("A=1",), set())
    child = parent.child()
    child.declare(("A=2",), set())
    assert (parent.values["A"], child.values["A"]) == ("1", "2")


def test_an_arg_wins_over_an_env_above_it_but_not_in_a_child() -> None:
    parent = scope({}, {})
    parent.begin_with({"A": "base"})
    parent.set_env(("B", "env"), set())
    parent.declare(("A=arg", "B=arg", "C=arg"), set())
    assert parent.args_of() == {"A": "arg", "B": "arg", "C": "arg"}
    assert parent.child().args_of() == {"A": "base", "B": "env", "C": "arg"}


def test_global_values_build_on_each_other_and_on_the_platform() -> None:
    values = global_values({"A": "1", "B": "$A-$TARGETARCH", "C": None}, {"A": "2"}, "linux/arm64/v8", "\\")
    assert (values["A"], values["B"], values["C"]) == ("2", "2-arm64", None)


def test_platform_args() -> None:
    args = platform_args("linux/arm/v7")
    assert (args["TARGETPLATFORM"], args["TARGETOS"], args["TARGETARCH"], args["TARGETVARIANT"]) == (
        "linux/arm/v7",
        "linux",
        "arm",
        "v7",
    )
