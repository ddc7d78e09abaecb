"""Registries of the meters of a process. The number of meters is limited, because each meter adds several lines to
every scrape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from zope.interface import implementer

from zatotx.interfaces.meters import IMeters
from zatotx.metrics.counters import CallCounters, ChannelCounters, Histogram, OutgoingCounters
from zatotx.metrics.definitions import OVERFLOW_LABEL
from zatotx.metrics.snapshot import MetricRow, MetricSource

__all__ = [
    'MAX_NAMES',
    'OVERFLOW_LABEL',
    'MeterRegistry',
    'MetersByName',
    'build_info_metrics',
    'call_metrics',
    'call_rows',
    'channel_rows',
    'process_metrics',
    'service_metrics',
    'single_value_metrics',
]


MAX_NAMES = 1000  # names per kind with counters of their own; later names share one set

_Slots = TypeVar('_Slots')


@implementer(IMeters)
class MetersByName(Generic[_Slots]):
    """A registry of meters of one type, by name. Only one thread at a time may add and remove meters; any thread may
    read."""

    def __init__(
        self,
        make: Callable[[], _Slots],
        *,
        max_names: int = MAX_NAMES,
        existing_names: Callable[[], Iterable[str]] | None = None,
    ) -> None:
        """`existing_names` returns the existing names when the set is full; counters of all other names are dropped."""
        self.existing_names = existing_names
        self.overflow = make()
        self._make = make
        self._max_names = max_names
        self._slots: dict[str, _Slots] = {}

    def get(self, name: str) -> _Slots:
        """Return the counters of a name, or the shared ones if the set is full."""
        slots = self._slots.get(name)
        if slots is not None:
            return slots
        if len(self._slots) >= self._max_names and self.existing_names is not None:
            self.retain(self.existing_names())
        if len(self._slots) >= self._max_names:
            return self.overflow
        new_slots = self._slots[name] = self._make()
        return new_slots

    def retain(self, names: Iterable[str]) -> None:
        """Drop the counters of all other names."""
        kept = set(names)
        self._slots = {name: slots for name, slots in self._slots.items() if name in kept}

    def items(self) -> Iterator[tuple[str, _Slots]]:
        """Yield the counters by name, and OTHERS if the set is full."""
        slots = self._slots.copy()
        yield from slots.items()
        if len(slots) >= self._max_names:
            yield OVERFLOW_LABEL, self.overflow


class MeterRegistry:
    """Holds all meters of a process."""

    def __init__(self, max_names: int = MAX_NAMES) -> None:
        self._max_names = max_names
        self._channels: dict[str, MetersByName[ChannelCounters]] = {}
        self._outgoing: dict[str, MetersByName[OutgoingCounters]] = {}
        self.services = MetersByName(CallCounters, max_names=max_names)
        self.redis = CallCounters()
        self.odb = CallCounters()

    def channels(self, kind: str) -> MetersByName[ChannelCounters]:
        """Return the meters of the channels of a kind, in Zato's terms: 'http-soap', 'amqp' …"""
        if kind not in self._channels:
            self._channels[kind] = MetersByName(ChannelCounters, max_names=self._max_names)
        return self._channels[kind]

    def outgoing(self, kind: str) -> MetersByName[OutgoingCounters]:
        """Return the meters of the outgoing connections of a kind: 'rest', 'sql' …"""
        if kind not in self._outgoing:
            self._outgoing[kind] = MetersByName(OutgoingCounters, max_names=self._max_names)
        return self._outgoing[kind]

    def sources(self) -> list[MetricSource]:
        """Return the sources of the metrics of channels, outgoing connections, Redis and the ODB. Those of services are
        exposed by their store, which knows the existing services."""
        return [
            self._channel_rows,
            self._outgoing_rows,
            call_metrics('redis', self.redis),
            call_metrics('odb', self.odb),
        ]

    def channel_requests(self) -> Iterator[MetricRow]:
        """Yield the number of requests of each channel."""
        for kind, named in self._channels.copy().items():
            for name, slots in named.items():
                yield 'zatotx_channel_requests', (kind, name), slots.requests

    def _channel_rows(self) -> Iterator[MetricRow]:
        for kind, named in self._channels.copy().items():
            for name, slots in named.items():
                yield from channel_rows((kind, name), slots)

    def _outgoing_rows(self) -> Iterator[MetricRow]:
        for kind, named in self._outgoing.copy().items():
            for name, slots in named.items():
                yield from call_rows('zatotx_outgoing', (kind, name), slots)
                yield 'zatotx_outgoing_circuit_open', (kind, name), int(slots.circuit_open)
                yield 'zatotx_outgoing_circuit_half_open', (kind, name), int(slots.circuit_half_open)
                yield 'zatotx_outgoing_circuits_opened', (kind, name), slots.circuits_opened
                yield 'zatotx_outgoing_retries', (kind, name), slots.retries


def channel_rows(label: tuple[str, ...], slots: ChannelCounters) -> Iterator[MetricRow]:
    """Yield the metric rows of one channel."""
    answers = list(slots.responses)  # read before `requests`, so that the number in flight is never negative
    requests = slots.requests
    yield 'zatotx_channel_requests', label, requests
    yield 'zatotx_channel_in_flight', label, requests - sum(answers)
    for hundreds, count in enumerate(answers):
        if count or hundreds in (2, 4, 5):  # always present, so that queries find it
            yield 'zatotx_channel_answers', (*label, f'{hundreds}xx' if hundreds else 'gone'), count
    yield 'zatotx_channel_duration_seconds', label, slots


def call_rows(prefix: str, label: tuple[str, ...], slots: CallCounters) -> Iterator[MetricRow]:
    """Yield the metric rows of calls. Their names are `<prefix>_calls` and so on."""
    yield f'{prefix}_calls', label, slots.calls
    yield f'{prefix}_errors', label, slots.errors
    for kind, count in slots.errors_by_name.copy().items():
        yield f'{prefix}_errors_by_kind', (*label, kind), count
    yield f'{prefix}_in_flight', label, slots.in_flight
    yield f'{prefix}_duration_seconds', label, slots


def call_metrics(name: str, slots: CallCounters) -> MetricSource:
    """Return the metrics source of a component of which a process has one instance."""
    return lambda: call_rows(f'zatotx_{name}', (), slots)


# Sources of metrics: each function returns a callable that yields the current rows, called for each scrape in the
# thread that takes the snapshot.

def service_metrics(
    current_services: Callable[[], Iterable[tuple[str, CallCounters]]], others: CallCounters | None = None
) -> MetricSource:
    """Return the metrics source of all services, by service name. Services that share the meter `others` appear as one
    series."""

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


def single_value_metrics(name: str, read: Callable[[], float | Histogram]) -> MetricSource:
    """Return the metrics source of a single value without labels."""
    return lambda: [(name, (), read())]


def build_info_metrics(facts: Mapping[str, str]) -> MetricSource:
    """Return the metrics source of the build information: the versions of zatotx and Python, the node and the
    cluster."""
    labels = tuple(facts[name] for name in ('version', 'python', 'node', 'cluster'))
    return lambda: [('zatotx_build_info', labels, 1), ('zatotx_workers', (), 1)]


def process_metrics() -> MetricSource:
    """Return the metrics source of this process's memory, CPU time and file descriptors."""
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
