"""The figures that `/metrics` shows: what builds have added up, and what is running and waiting now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString
from sqlalchemy import Select, func, select

from dockwright.db.metrics import HISTOGRAMS
from dockwright.db.tables import Build, MetricSample
from dockwright.domain.transitions import ACTIVE
from dockwright.services.state import State

_ABOUT = {
    "builds_total": "Builds that have ended",
    "build_steps_total": "Instructions of Dockerfiles that BuildKit came to",
    "build_duration_seconds": "How long builds took",
    "build_stage_seconds": "How long the stages of builds took",
    "build_context_bytes": "What was sent to the builder",
    "deploy_seconds": "How long deployments took",
}


def exposition(state: State) -> bytes:
    """In Prometheus' text format. Raises `DatabaseError`."""
    registry = CollectorRegistry()
    registry.register(_FromDatabase(state))
    return generate_latest(registry)


class _FromDatabase(Collector):
    def __init__(self, state: State) -> None:
        self._state = state

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        with self._state.session() as session:
            samples = {(one.name, one.labels): one.value for one in session.scalars(select(MetricSample))}
            statuses = {status: count for status, count in session.execute(_unfinished())}  # noqa: C416 - rows are no pairs for mypy
        yield GaugeMetricFamily("active_builds", "Builds that are running", sum(statuses.get(one, 0) for one in ACTIVE))
        yield GaugeMetricFamily("build_queue_depth", "Builds that wait", statuses.get("queued", 0))
        for name in ("builds_total", "build_steps_total"):
            yield _counter(name, samples)
        for name in HISTOGRAMS:
            yield _histogram(name, samples)


def _unfinished() -> Select[str, int]:
    unfinished = ("queued", *ACTIVE)
    return select(Build.status, func.count()).where(Build.status.in_(unfinished)).group_by(Build.status)


def _counter(name: str, samples: dict[tuple[str, str], float]) -> CounterMetricFamily:
    found = {labels: value for (sample, labels), value in samples.items() if sample == name}
    label = next((labels.partition("=")[0] for labels in found), "status")
    family = CounterMetricFamily(name.removesuffix("_total"), _ABOUT[name], labels=[label])
    for labels, value in sorted(found.items()):
        family.add_metric([_parse(labels)[label]], value)
    return family


def _histogram(name: str, samples: dict[tuple[str, str], float]) -> HistogramMetricFamily:
    """Buckets added up from the smallest bound to the largest."""
    counts: dict[str, dict[str, float]] = defaultdict(dict)
    for (sample, labels), value in samples.items():
        if sample == f"{name}_bucket":
            rest, _, bound = labels.rpartition("le=")
            counts[rest.rstrip(",")][bound.strip('"')] = value
    family = HistogramMetricFamily(name, _ABOUT[name], labels=["stage"] if name == "build_stage_seconds" else [])
    for labels, found in sorted(counts.items()):
        total, buckets = 0.0, []
        for bound in (*(f"{bound:g}" for bound in HISTOGRAMS[name]), "+Inf"):
            total += found.get(bound, 0)
            buckets.append((_shown(bound), total))
        family.add_metric(list(_parse(labels).values()), buckets, samples.get((f"{name}_sum", labels), 0.0))
    return family


def _parse(labels: str) -> dict[str, str]:
    """`stage="build"` → {"stage": "build"}; our own values hold no quotes and no commas."""
    pairs = (part.partition("=") for part in labels.split(",") if part)
    return {name: value.strip('"') for name, _, value in pairs}


def _shown(bound: str) -> str:
    return str(floatToGoString(float(bound)))  # type: ignore[no-untyped-call]
