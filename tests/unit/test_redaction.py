"""No form of a secret's value that a common tool writes is left in a text."""

import base64
import json
import shlex
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwright.domain.redaction import NO_SECRETS, Redactor

VALUE = "s3cr3t/Pä ss\"w'ord+&=%<x>"
LONG = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U" * 3


@pytest.mark.parametrize(
    "form",
    [
        VALUE,
        quote(VALUE),
        quote(VALUE, safe=""),
        quote(VALUE, safe="").lower().replace("s3cr3t%2fp", "s3cr3t%2fP"),
        quote_plus(VALUE),
        json.dumps(VALUE),
        json.dumps(VALUE, ensure_ascii=False),
        shlex.quote(VALUE),
        VALUE.encode().hex(),
        VALUE.encode().hex().upper(),
        (VALUE + "\n").encode().hex(),
        base64.b64encode(VALUE.encode()).decode(),
        base64.b64encode((VALUE + "\n").encode()).decode(),
        base64.urlsafe_b64encode(VALUE.encode()).decode(),
        base64.urlsafe_b64encode(VALUE.encode()).decode().rstrip("="),
    ],
)
def test_a_form_of_the_value_is_masked_whole(form: str) -> None:
    shown = Redactor({"KEY": VALUE})(f"before: {form} :after")
    assert shown.startswith("before: ") and shown.endswith(" :after")
    assert "***KEY***" in shown
    assert len(shown) <= len("before: ''***KEY***'' :after") and "3cr" not in shown


@given(st.binary(max_size=7), st.binary(max_size=7), st.text("abcXYZ0189!?-_. /", min_size=12, max_size=40))
def test_base64_is_known_wherever_the_value_stands(before: bytes, behind: bytes, value: str) -> None:
    encoded = base64.b64encode(before + value.encode() + behind).decode()
    shown = Redactor({"KEY": value})(encoded)
    assert shown == "***KEY***"


@pytest.mark.parametrize("before", range(3))
def test_short_values_are_known_in_base64_too(before: int) -> None:
    encoded = base64.b64encode(b"-" * before + b"hunt").decode()
    core = encoded[4 if before else 0 : 4 + (4 if before else 0)]
    assert "***KEY***" in Redactor({"KEY": "hunt"})(encoded)
    assert core not in Redactor({"KEY": "hunt"})(encoded)


@pytest.mark.parametrize("width", [60, 64, 76])
@pytest.mark.parametrize("before", range(5))
def test_encoded_values_that_tools_break_into_lines(width: int, before: int) -> None:
    """`base64`, `openssl base64`, `xxd -p`: each line is an event of its own."""
    redact = Redactor({"KEY": LONG})
    content = b"=" * before + LONG.encode() + b"\n"
    for encoded in (base64.b64encode(content).decode(), content.hex()):
        lines = [encoded[start : start + width] for start in range(0, len(encoded), width)]
        assert [redact(line) for line in lines[:-1]] == ["***KEY***"] * (len(lines) - 1)
        assert len(lines[-1]) < 12 or redact(lines[-1]) == "***KEY***"


def test_each_line_of_a_value_of_many_lines() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\r\n  hkiG9w0BAQEFAASC\n}\n"
    redact = Redactor({"PEM": key})
    assert redact("> hkiG9w0BAQEFAASC") == "> ***PEM***"
    assert redact("MIIEvQIBADANBgkq") == "***PEM***"
    assert redact("}") == "}"
    assert redact(json.dumps({"key": key})) == '{"key": "***PEM***"}'


def test_a_value_that_holds_another_goes_as_a_whole() -> None:
    assert Redactor({"A": "pass", "B": "passphrase"})("passphrase pass") == "***B*** ***A***"


def test_documents_keep_their_own_words_and_their_form() -> None:
    redact = Redactor({"A": "running", "B": "true", "C": "null", "D": '": "'})
    document = {"status": "running", "reason": "it was running", "cached": True, "lines": ["true", 1, None]}
    assert redact.document(document) == {
        "status": "running",
        "reason": "it was ***A***",
        "cached": True,
        "lines": ["***B***", 1, None],
    }


@given(st.text(), st.dictionaries(st.sampled_from("ABC"), st.text(min_size=4), max_size=3))
def test_a_value_is_in_no_text_any_more(text: str, values: dict[str, str]) -> None:
    shown = Redactor(values)(text + "".join(values.values()))
    for name, value in values.items():
        assert value not in shown or value in f"***{name}***" * 2 or set(value) <= set("*ABC")


def test_without_secrets_nothing_is_touched() -> None:
    text = "x" * 100
    assert not NO_SECRETS
    assert NO_SECRETS(text) is text
    assert Redactor({"KEY": "not there"})("step 1/5: /usr/lib/python3.11/site-packages") == (
        "step 1/5: /usr/lib/python3.11/site-packages"
    )
