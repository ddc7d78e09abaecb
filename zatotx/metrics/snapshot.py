"""All figures of one process at one moment, as a plain value that travels as JSON; the sum of two such values.

    {"zatotx_service_calls": [[["crm.get-balance"], 12]],                 labels, figure
     "zatotx_service_duration_seconds": [[["crm.get-balance"], [0.7, [3, 9, 0]]]], …}     labels, [sum, buckets]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from twisted.logger import Logger

from zatotx.metrics.counters import Histogram
from zatotx.metrics.definitions import COUNTER, FAMILIES, GAUGE, HISTOGRAM

Row = tuple[str, tuple[str, ...], 'float | Histogram']  # name of a family, labels, figure
Source = Callable[[], Iterable[Row]]
Sample = dict[str, list[Any]]

FAILED = 'zatotx_metrics_failed'
_log = Logger()


def take_snapshot(sources: Sequence[Source]) -> Sample:
    """What the sources say now. Takes milliseconds where there are hundreds of services: for a worker thread. A source
    that fails costs its own figures, is counted and logged; the others are as good as ever."""
    found: Sample = {}
    failed = 0
    for source in sources:
        try:
            rows = list(source())
        except Exception:
            failed += 1
            _log.failure('Some metrics cannot be read')
            continue
        for name, labels, value in rows:
            assert len(labels) == len(FAMILIES[name].labels), name
            figure = [value.sum, list(value.buckets)] if isinstance(value, Histogram) else value
            found.setdefault(name, []).append([list(labels), figure])
    found[FAILED] = [[[], failed]]
    return found


def without_gauges(sample: Sample) -> Sample:
    """What of it stays true when its process has ended: what was counted, not what there is."""
    return {name: rows for name, rows in sample.items() if FAMILIES[name].kind in (COUNTER, HISTOGRAM)}


def add(one: Sample, other: Sample) -> Sample:
    """What two workers say together. Families that this version does not know, and histograms cut otherwise, are left
    out: the other worker may be of another version, while they are replaced one by one."""
    return {
        name: _merged(name, one.get(name, ()), other.get(name, ()))
        for name in (*one, *(name for name in other if name not in one))
        if name in FAMILIES
    }


def _merged(name: str, one: Sequence[Any], other: Sequence[Any]) -> list[Any]:
    family = FAMILIES[name]
    rows: dict[tuple[str, ...], Any] = {}
    for labels, figure in (*one, *other):
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
