"""Numbers and names that no row can have, and names of which one holds another."""

from __future__ import annotations

import pytest
from commandline import Home

MISSING = [
    ("image", "show"),
    ("image", "rm"),
    ("stop",),
    ("start",),
    ("releases",),
    ("verify",),
    ("build",),
    ("deploy",),
]


@pytest.mark.parametrize("name", ["\u00b2", "9" * 20, "\u0663"])
def test_a_name_that_nothing_has_is_not_found(home: Home, name: str) -> None:
    for command in MISSING:
        assert home.fail(*command, name, code=2)["code"] == "not_found", command


def test_a_name_that_is_no_text_is_not_found(home: Home) -> None:
    for command in MISSING:
        home.run(*command, "\udcff", code=2)


def test_a_number_that_nothing_has(home: Home) -> None:
    assert home.fail("logs", "9" * 18, code=2)["code"] == "not_found"
    for command in (("logs", "9" * 20), ("logs", "0"), ("rollback", "shop", "--to", "9" * 20)):
        assert home.fail(*command, code=2)["code"] == "wrong_usage", command


def test_a_name_that_is_no_text_is_refused(home: Home) -> None:
    assert home.fail("new", "chatbot", "caf\udce9", code=2)["code"] == "wrong_usage"
    assert home.fail("build", "file:///nowhere#caf\udce9", code=3)["code"] == "git_unreachable"


def test_the_full_name_wins_over_another_s_slug_and_number(home: Home) -> None:
    slugs = {name: home.run("new", "chatbot", name, "--json").json["slug"] for name in ("Süd Bot", "sud-bot", "1")}
    assert slugs == {"Süd Bot": "sud-bot", "sud-bot": "sud-bot-2", "1": "1"}
    for name, slug in slugs.items():
        assert home.build(name, "--until", "plan")["project"] == slug


def test_a_tag_given_twice_is_refused(home: Home) -> None:
    error = home.fail("build", ".", "--tag", "v1", "--tag", "v2", code=2)
    assert error["code"] == "wrong_usage" and "--tag" in error["message"]
