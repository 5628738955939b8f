"""The moves of a build's status."""

import pytest

from dockwright.domain.build import STAGE_NAMES
from dockwright.domain.transitions import ACTIVE, FINISHED, STATUS_OF_STAGE, is_allowed, sources_of


def test_every_stage_has_a_status_and_they_only_go_on() -> None:
    order = ["building", "testing", "deploying"]
    places = [order.index(STATUS_OF_STAGE[name]) for name in STAGE_NAMES]
    assert places == sorted(places)


def test_a_finished_build_never_moves() -> None:
    everything = ACTIVE | FINISHED | {"queued"}
    assert not any(is_allowed(old, new) for old in FINISHED for new in everything)


def test_only_active_builds_come_back_to_the_queue() -> None:
    assert set(sources_of("queued")) == ACTIVE


def test_deployed_comes_only_after_deploying() -> None:
    assert sources_of("deployed") == ("deploying",)


@pytest.mark.parametrize("status", sorted(ACTIVE))
def test_whatever_runs_can_fail_and_be_canceled(status: str) -> None:
    assert is_allowed(status, "failed") and is_allowed(status, "canceled")  # type: ignore[arg-type]
