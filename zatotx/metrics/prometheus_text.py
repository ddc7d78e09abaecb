"""Rendering of a sample in the Prometheus text format, with prometheus_client."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from zatotx.metrics.definitions import COUNTER, DEFINITIONS, HISTOGRAM, INFO, MetricDefinition
from zatotx.metrics.snapshot import MetricSample


def render_sample(sample: MetricSample) -> bytes:
    """Render a sample. Takes tens of milliseconds with hundreds of services: call it in a worker thread."""
    # Imported by the first scrape: the import takes a tenth of a second, which would delay the start.
    from prometheus_client.exposition import generate_latest

    return generate_latest(_Collector(sample))


class _Collector:
    """The collector that generate_latest calls."""

    def __init__(self, sample: MetricSample) -> None:
        self._sample = sample

    def collect(self) -> Iterator[Any]:
        for name, family in DEFINITIONS.items():  # in a stable order
            if name in self._sample:
                yield _make_family(family, self._sample[name])


def _make_family(family: MetricDefinition, rows: Iterable[Any]) -> Any:
    result = _make_empty_family(family)
    for labels, figure in rows:
        if family.kind == HISTOGRAM:
            result.add_metric(labels, _cumulative(family.bounds, figure[1]), figure[0])
        else:
            result.add_metric(labels, figure)
    return result


def _make_empty_family(family: MetricDefinition) -> Any:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    if family.kind == HISTOGRAM:
        return HistogramMetricFamily(family.name, family.help, labels=family.labels)
    if family.kind == COUNTER:
        return CounterMetricFamily(family.name, family.help, labels=family.labels)
    assert not (family.kind == INFO and not family.labels)  # an info is a gauge of 1 with labels
    return GaugeMetricFamily(family.name, family.help, labels=family.labels)


def _cumulative(bounds: tuple[float, ...], buckets: Iterable[int]) -> list[tuple[str, float]]:
    total, result = 0, []
    for bound, count in zip((*bounds, None), buckets, strict=True):
        total += count
        result.append(('+Inf' if bound is None else f'{bound:g}', float(total)))
    return result
