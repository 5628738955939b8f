"""What builds add up to in `/metrics`, on both databases."""

from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from dockwright import settings as settings_module
from dockwright.db import build_rows, queue
from dockwright.db.journal import Journal
from dockwright.db.metrics import of_build
from dockwright.domain.source import FolderSource
from dockwright.process import Cancel
from dockwright.services import metrics, projects
from dockwright.services.state import State


def _document(seconds: float, cached: list[bool]) -> dict[str, Any]:
    return {
        "seconds": seconds,
        "stages": [
            {"stage": "build", "status": "done", "seconds": seconds},
            {"stage": "deploy", "status": "skipped", "seconds": 0.0},
        ],
        "services": [{"context_bytes": 5_000, "steps": [{"cached": one} for one in cached]}],
    }


def test_ended_builds_add_up_and_those_that_run_and_wait_are_counted(tmp_path: Path, database: dict[str, str]) -> None:
    state = State(settings_module.load({"DOCKWRIGHT_HOME": str(tmp_path), **database}, tmp_path / "none"))
    project = projects.create_from_source(state, FolderSource(path="/srv/a"), "folder:/srv/a", "a")
    for seconds, cached in ((3.0, [True, True, False]), (4000.0, [False])):
        build = build_rows.insert_claimed(
            state.connection, client_id=1, project_id=project, profile="prod", ref=None, options={}, worker="here"
        )
        with Journal(state.connection, build, cancel=Cancel()) as log:
            log.finish("succeeded", {}, of_build("succeeded", _document(seconds, cached)))
    build_rows.insert_claimed(
        state.connection, client_id=1, project_id=project, profile="prod", ref=None, options={}, worker="here"
    )
    for ref in ("v1", "v2"):
        queue.enqueue(
            state.connection, client_id=1, project_id=project, profile="prod", ref=ref, options={}, builder="shared"
        )
    shown = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.exposition(state).decode())
        for sample in family.samples
    }
    assert shown["builds_total", ("status", "succeeded")] == 2
    assert shown[("active_builds",)] == 1
    assert shown[("build_queue_depth",)] == 2
    assert shown["build_steps_total", ("cached", "true")] == 2
    assert shown["build_steps_total", ("cached", "false")] == 2
    assert shown["build_duration_seconds_bucket", ("le", "2.5")] == 0
    assert shown["build_duration_seconds_bucket", ("le", "5.0")] == 1
    assert shown["build_duration_seconds_bucket", ("le", "+Inf")] == 2
    assert shown[("build_duration_seconds_sum",)] == 4003.0
    assert shown["build_stage_seconds_count", ("stage", "build")] == 2
    assert shown["build_context_bytes_bucket", ("le", "10000.0")] == 2
    assert ("deploy_seconds_count",) not in shown
    state.close()
