"""All meters of a process, by what they count. Their number is bounded: each is several lines of every scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from zope.interface import implementer

from zatotx.interfaces.meters import IMeters
from zatotx.metrics.counters import CallSlots, ChannelSlots, OutgoingSlots
from zatotx.metrics.definitions import OTHERS
from zatotx.metrics.snapshot import Row, Source

MOST = 1000  # names of one kind that have figures of their own; those that come later share one set

_Slots = TypeVar('_Slots')


@implementer(IMeters)
class MeterSet(Generic[_Slots]):
    """Slots by name. One thread adds and forgets at a time; any thread may read."""

    def __init__(
        self, make: Callable[[], _Slots], *, most: int = MOST, alive: Callable[[], Iterable[str]] | None = None
    ) -> None:
        """`alive` gives the names that still are, when there is no room for another: those of all others go."""
        self.alive = alive
        self.others = make()
        self._make = make
        self._most = most
        self._slots: dict[str, _Slots] = {}

    def of(self, name: str) -> _Slots:
        found = self._slots.get(name)
        if found is not None:
            return found
        if len(self._slots) >= self._most and self.alive is not None:
            self.only(self.alive())
        if len(self._slots) >= self._most:
            return self.others
        made = self._slots[name] = self._make()
        return made

    def only(self, names: Iterable[str]) -> None:
        kept = set(names)
        self._slots = {name: slots for name, slots in self._slots.items() if name in kept}

    def items(self) -> Iterator[tuple[str, _Slots]]:
        """Those there are, by name, and OTHERS where somebody has no slots of his own."""
        slots = self._slots.copy()
        yield from slots.items()
        if len(slots) >= self._most:
            yield OTHERS, self.others


class MeterRegistry:
    """The meters of a process."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._channels: dict[str, MeterSet[ChannelSlots]] = {}
        self._outgoing: dict[str, MeterSet[OutgoingSlots]] = {}
        self.services = MeterSet(CallSlots, most=most)
        self.redis = CallSlots()
        self.odb = CallSlots()

    def channels(self, kind: str) -> MeterSet[ChannelSlots]:
        """Those of the channels of a kind, in Zato's words: 'http-soap', 'amqp' …"""
        if kind not in self._channels:
            self._channels[kind] = MeterSet(ChannelSlots, most=self._most)
        return self._channels[kind]

    def outgoing(self, kind: str) -> MeterSet[OutgoingSlots]:
        """Those of the outgoing connections of a kind: 'rest', 'sql' …"""
        if kind not in self._outgoing:
            self._outgoing[kind] = MeterSet(OutgoingSlots, most=self._most)
        return self._outgoing[kind]

    def sources(self) -> list[Source]:
        """The figures of channels and outgoing connections, of Redis and the ODB. Those of services are shown by who
        knows which there are."""
        return [self._of_channels, self._of_outgoing, calls_of('redis', self.redis), calls_of('odb', self.odb)]

    def _of_channels(self) -> Iterator[Row]:
        for kind, named in self._channels.copy().items():
            for name, slots in named.items():
                yield from channel_rows((kind, name), slots)

    def _of_outgoing(self) -> Iterator[Row]:
        for kind, named in self._outgoing.copy().items():
            for name, slots in named.items():
                yield from call_rows('zatotx_outgoing', (kind, name), slots)
                yield 'zatotx_outgoing_circuit_open', (kind, name), int(slots.circuit_open)
                yield 'zatotx_outgoing_circuit_half_open', (kind, name), int(slots.circuit_half_open)
                yield 'zatotx_outgoing_circuits_opened', (kind, name), slots.circuits_opened
                yield 'zatotx_outgoing_retries', (kind, name), slots.retries


def channel_rows(label: tuple[str, ...], slots: ChannelSlots) -> Iterator[Row]:
    """What one channel did."""
    answers = list(slots.answers)  # before `requests`: what is under way is never seen as less than nothing
    requests = slots.requests
    yield 'zatotx_channel_requests', label, requests
    yield 'zatotx_channel_in_flight', label, requests - sum(answers)
    for hundreds, count in enumerate(answers):
        if count or hundreds in (2, 4, 5):  # what is looked for is there from the beginning
            yield 'zatotx_channel_answers', (*label, f'{hundreds}xx' if hundreds else 'gone'), count
    yield 'zatotx_channel_duration_seconds', label, slots


def call_rows(prefix: str, label: tuple[str, ...], slots: CallSlots) -> Iterator[Row]:
    """What calls of one thing did, as `<prefix>_calls` and so on."""
    yield f'{prefix}_calls', label, slots.calls
    yield f'{prefix}_errors', label, slots.errors
    for kind, count in slots.kinds.copy().items():
        yield f'{prefix}_errors_by_kind', (*label, kind), count
    yield f'{prefix}_in_flight', label, slots.in_flight
    yield f'{prefix}_duration_seconds', label, slots


def calls_of(name: str, slots: CallSlots) -> Source:
    """A part of the node that there is once."""
    return lambda: call_rows(f'zatotx_{name}', (), slots)


__all__ = ['MOST', 'OTHERS', 'MeterRegistry', 'MeterSet', 'call_rows', 'calls_of', 'channel_rows']
