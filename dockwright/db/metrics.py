"""Counts and histograms of builds, kept in the database: they survive restarts and are the same for every process.

A histogram is kept as one number a bucket, not yet added up, beside its sum: an observation touches two rows.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from dockwright.db.connection import Connection

SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
BYTES = (10**4, 10**5, 10**6, 10**7, 10**8, 10**9, 10**10)
HISTOGRAMS: dict[str, tuple[float, ...]] = {
    "build_duration_seconds": SECONDS,
    "build_stage_seconds": SECONDS,
    "deploy_seconds": SECONDS,
    "build_context_bytes": BYTES,
}
"""Name → upper bounds of its buckets; what is above the last one is in `+Inf`."""


class Sample(NamedTuple):
    name: str
    labels: str
    """`stage="build"`, as Prometheus writes it; the bound of a bucket is its last label."""
    value: float


def of_build(status: str, document: Mapping[str, Any]) -> list[Sample]:
    """What a finished build adds, from the document that `build --json` ends with."""
    samples = [Sample("builds_total", f'status="{status}"', 1)]
    samples += _observed("build_duration_seconds", "", document["seconds"])
    for stage in document["stages"]:
        if stage["status"] in {"done", "failed"}:
            samples += _observed("build_stage_seconds", f'stage="{stage["stage"]}"', stage["seconds"])
            if stage["stage"] == "deploy" and stage["status"] == "done":
                samples += _observed("deploy_seconds", "", stage["seconds"])
    for service in document["services"]:
        samples += _observed("build_context_bytes", "", service["context_bytes"])
        for cached in (True, False):
            steps = sum(step["cached"] is cached for step in service["steps"])
            samples.append(Sample("build_steps_total", f'cached="{str(cached).lower()}"', steps))
    return samples


def _observed(name: str, labels: str, value: float) -> list[Sample]:
    bounds = HISTOGRAMS[name]
    place = bisect_left(bounds, value)
    bound = f"{bounds[place]:g}" if place < len(bounds) else "+Inf"
    bucket = ",".join(part for part in (labels, f'le="{bound}"') if part)
    return [Sample(f"{name}_bucket", bucket, 1), Sample(f"{name}_sum", labels, value)]


def add(connection: Connection, samples: Iterable[Sample]) -> None:
    """Within a transaction. In one order everywhere, so that two that end at once cannot wait for each other."""
    total: dict[tuple[str, str], float] = {}
    for name, labels, value in samples:
        total[name, labels] = total.get((name, labels), 0) + value
    connection.executemany(
        "INSERT INTO metric_samples (name, labels, value) VALUES (?, ?, ?)"
        " ON CONFLICT (name, labels) DO UPDATE SET value = metric_samples.value + excluded.value",
        [(*key, value) for key, value in sorted(total.items())],
    )
