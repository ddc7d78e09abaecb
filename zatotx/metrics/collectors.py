"""Where the figures of a node are: each function here gives a source of rows, asked at each scrape in the thread that
makes the sample."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from zatotx.metrics.counters import CallSlots, Histogram
from zatotx.metrics.definitions import OTHERS
from zatotx.metrics.meters import call_rows
from zatotx.metrics.snapshot import Row, Source


def services(current: Callable[[], Iterable[tuple[str, CallSlots]]], others: CallSlots | None = None) -> Source:
    """The services there are, by name; those that share `others` are shown as one."""

    def rows() -> Iterator[Row]:
        shared = False
        for name, slots in current():
            if slots is others:
                shared = True
            else:
                yield from call_rows('zatotx_service', (name,), slots)
        if shared and others is not None:
            yield from call_rows('zatotx_service', (OTHERS,), others)

    return rows


def figure(name: str, read: Callable[[], float | Histogram]) -> Source:
    """A family without labels."""
    return lambda: [(name, (), read())]


def build(facts: Mapping[str, str]) -> Source:
    """What runs here: version, python, node, cluster."""
    labels = tuple(facts[name] for name in ('version', 'python', 'node', 'cluster'))
    return lambda: [('zatotx_build_info', labels, 1), ('zatotx_workers', (), 1)]


def process() -> Source:
    """Memory, processor time and file descriptors of this process."""
    collectors: list[Any] = []

    def rows() -> Iterator[Row]:
        if not collectors:
            # Imported when the first scrape comes: it costs a tenth of a second, and a node starts faster without.
            from prometheus_client.process_collector import ProcessCollector

            collectors.append(ProcessCollector(registry=None))
        for family in collectors[0].collect():
            for found in family.samples:
                yield family.name, (), found.value

    return rows
