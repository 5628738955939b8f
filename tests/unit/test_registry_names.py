"""Whether a registry can be reached is a question that any name may ask."""

import pytest

from dockwright.docker.registry import is_reachable


@pytest.mark.parametrize("name", ["a:b/front:1", f"{'a' * 70}.example/front", "[::1/front", "host..name/front"])
def test_a_name_that_no_host_can_have_is_not_reachable(name: str) -> None:
    """`# syntax=` of a Dockerfile comes here as it was written."""
    assert not is_reachable(name)
