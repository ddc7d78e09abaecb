"""A sample as Prometheus text, by a collector of prometheus_client."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from zatotx.metrics.definitions import COUNTER, FAMILIES, HISTOGRAM, INFO, MetricDefinition
from zatotx.metrics.snapshot import Sample


def render(sample: Sample) -> bytes:
    """The text. Takes tens of milliseconds where there are hundreds of services: call it in a worker thread."""
    # Imported when the first scrape comes: it costs a tenth of a second, and a node starts faster without.
    from prometheus_client.exposition import generate_latest

    return generate_latest(_Collector(sample))


class _Collector:
    """What generate_latest asks."""

    def __init__(self, sample: Sample) -> None:
        self._sample = sample

    def collect(self) -> Iterator[Any]:
        for name, family in FAMILIES.items():  # always in the same order
            if name in self._sample:
                yield _filled(family, self._sample[name])


def _filled(family: MetricDefinition, rows: Iterable[Any]) -> Any:
    filled = _empty(family)
    for labels, figure in rows:
        if family.kind == HISTOGRAM:
            filled.add_metric(labels, _cumulated(family.bounds, figure[1]), figure[0])
        else:
            filled.add_metric(labels, figure)
    return filled


def _empty(family: MetricDefinition) -> Any:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    if family.kind == HISTOGRAM:
        return HistogramMetricFamily(family.name, family.text, labels=family.labels)
    if family.kind == COUNTER:
        return CounterMetricFamily(family.name, family.text, labels=family.labels)
    assert not (family.kind == INFO and not family.labels)  # an info is a gauge of 1 whose labels say all
    return GaugeMetricFamily(family.name, family.text, labels=family.labels)


def _cumulated(bounds: tuple[float, ...], buckets: Iterable[int]) -> list[tuple[str, float]]:
    total, cumulated = 0, []
    for bound, count in zip((*bounds, None), buckets, strict=True):
        total += count
        cumulated.append(('+Inf' if bound is None else f'{bound:g}', float(total)))
    return cumulated
