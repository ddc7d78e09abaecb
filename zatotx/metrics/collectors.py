"""Sources of metrics: each function returns a callable that yields the current rows, called for each scrape in the
thread that takes the snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from zatotx.metrics.counters import CallCounters, Histogram
from zatotx.metrics.definitions import OVERFLOW_LABEL
from zatotx.metrics.meters import call_rows
from zatotx.metrics.snapshot import MetricRow, MetricSource


def service_metrics(
    current_services: Callable[[], Iterable[tuple[str, CallCounters]]], others: CallCounters | None = None
) -> MetricSource:
    """Return the source of the services' metrics by name; services that share `others` are one series."""

    def rows() -> Iterator[MetricRow]:
        has_others = False
        for name, slots in current_services():
            if slots is others:
                has_others = True
            else:
                yield from call_rows('zatotx_service', (name,), slots)
        if has_others and others is not None:
            yield from call_rows('zatotx_service', (OVERFLOW_LABEL,), others)

    return rows


def single_value(name: str, read: Callable[[], float | Histogram]) -> MetricSource:
    """Return the source of a metric without labels."""
    return lambda: [(name, (), read())]


def build_info(facts: Mapping[str, str]) -> MetricSource:
    """Return the source of the build information: version, python, node, cluster."""
    labels = tuple(facts[name] for name in ('version', 'python', 'node', 'cluster'))
    return lambda: [('zatotx_build_info', labels, 1), ('zatotx_workers', (), 1)]


def process_metrics() -> MetricSource:
    """Return the source of this process's memory, CPU time and file descriptors."""
    collectors: list[Any] = []

    def rows() -> Iterator[MetricRow]:
        if not collectors:
            # Imported by the first scrape: the import takes a tenth of a second, which would delay the start.
            from prometheus_client.process_collector import ProcessCollector

            collectors.append(ProcessCollector(registry=None))
        for family in collectors[0].collect():
            for sample in family.samples:
                yield family.name, (), sample.value

    return rows
