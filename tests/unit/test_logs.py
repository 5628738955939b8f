"""A traceback in the server's log tells where, and not with which values: some of them are secrets."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import structlog, sys
from dockwright import logs
logs.set_up(sys.argv[1])
def sign_in(password):
    raise ValueError("no such user")
try:
    sign_in("hunter" + "2")
except ValueError:
    structlog.get_logger().exception("request.broke", path="/x")
"""


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_values_of_variables(log_format: str) -> None:
    done = subprocess.run([sys.executable, "-c", CODE, log_format], capture_output=True, text=True, check=True)
    assert "request.broke" in done.stderr and "sign_in" in done.stderr and "no such user" in done.stderr
    assert "hunter2" not in done.stderr
