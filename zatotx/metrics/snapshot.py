"""Takes and merges samples. A sample contains the values of all metrics of a process at one moment, in a form that JSON
can represent.

    {"zatotx_service_calls": [[["crm.get-balance"], 12]],                 labels, value
     "zatotx_service_duration_seconds": [[["crm.get-balance"], [0.7, [3, 9, 0]]]], …}     labels, [sum, buckets]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from twisted.logger import Logger

from zatotx.metrics.counters import Histogram
from zatotx.metrics.definitions import COUNTER, DEFINITIONS, GAUGE, HISTOGRAM

MetricRow = tuple[str, tuple[str, ...], 'float | Histogram']  # name of a metric, labels, value
MetricSource = Callable[[], Iterable[MetricRow]]
MetricSample = dict[str, list[Any]]

FAILED = 'zatotx_metrics_failed'
_log = Logger()


def take_snapshot(sources: Sequence[MetricSource]) -> MetricSample:
    """Collect the rows of all sources. This takes milliseconds with hundreds of services, so it should run in a worker
    thread. If a source fails, the failure is counted and logged, and only the metrics of that source are missing."""
    sample: MetricSample = {}
    failures = 0
    for source in sources:
        try:
            rows = list(source())
        except Exception:
            failures += 1
            _log.failure('Some metrics cannot be read')
            continue
        for name, labels, value in rows:
            assert len(labels) == len(DEFINITIONS[name].labels), name
            figure = [value.sum, list(value.buckets)] if isinstance(value, Histogram) else value
            sample.setdefault(name, []).append([list(labels), figure])
    sample[FAILED] = [[[], failures]]
    return sample


def remove_gauges(sample: MetricSample) -> MetricSample:
    """Return a sample without its gauges. Counters and histograms remain valid after their process has ended."""
    return {name: rows for name, rows in sample.items() if DEFINITIONS[name].kind in (COUNTER, HISTOGRAM)}


def merge_samples(first: MetricSample, second: MetricSample) -> MetricSample:
    """Merge the samples of two workers. Unknown metrics, and histograms with different buckets, are omitted, because
    during a rolling restart the workers may run different versions."""
    return {
        name: _merge(name, first.get(name, ()), second.get(name, ()))
        for name in (*first, *(name for name in second if name not in first))
        if name in DEFINITIONS
    }


def _merge(name: str, first: Sequence[Any], second: Sequence[Any]) -> list[Any]:
    family = DEFINITIONS[name]
    rows: dict[tuple[str, ...], Any] = {}
    for labels, figure in (*first, *second):
        key = tuple(labels)
        if len(key) != len(family.labels):
            continue
        if family.kind == HISTOGRAM and len(figure[1]) != len(family.bounds) + 1:
            continue
        if key not in rows:
            rows[key] = figure
        elif family.kind == HISTOGRAM:
            rows[key] = [rows[key][0] + figure[0], [a + b for a, b in zip(rows[key][1], figure[1], strict=True)]]
        elif family.kind in (COUNTER, GAUGE):
            rows[key] = family.merge(rows[key], figure)
    return [[list(key), figure] for key, figure in rows.items()]
