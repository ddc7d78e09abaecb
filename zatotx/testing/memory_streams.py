"""Work streams in memory, without Redis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from zatotx.interfaces.redis import IConsumer, IStream, StreamBacklog, StreamEntry


@define
class _Delivery:
    """An entry delivered to a consumer."""
    consumer: str
    at: float
    deliveries: int = 1


@implementer(IStream)
@define(eq=False)
class MemoryStream:
    """A work stream in memory that uses a clock (seconds() and callLater())."""

    clock: Any
    entries: dict[str, dict[str, str | bytes]] = field(factory=dict)  # by id, oldest first
    deliveries: dict[str, _Delivery] = field(factory=dict)
    known: set[str] = field(factory=set)  # names of consumers
    waiting_reads: list[tuple[MemoryConsumer, int, Deferred[list[StreamEntry]]]] = field(factory=list)
    _last_id: int = 0

    def add(self, fields: Mapping[str, str | bytes]) -> Deferred[str]:
        self._last_id += 1
        entry_id = f'{self._last_id}-0'
        self.entries[entry_id] = dict(fields)
        if self.waiting_reads:
            consumer, count, deferred = self.waiting_reads.pop(0)
            deferred.callback(self.deliver(consumer.consumer, count))
        return succeed(entry_id)

    def backlog(self) -> Deferred[StreamBacklog]:
        counts = Counter(handed.consumer for handed in self.deliveries.values())
        return succeed(StreamBacklog(length=len(self.entries), pending=counts.total(), consumers=dict(counts)))

    def consumers(self) -> Deferred[Mapping[str, int]]:
        counts = Counter(handed.consumer for handed in self.deliveries.values())
        return succeed({name: counts[name] for name in sorted(self.known)})

    def trim(self, max_length: int) -> Deferred[int]:
        removed = list(self.entries)[: max(0, len(self.entries) - max_length)]
        for entry_id in removed:
            del self.entries[entry_id]
        return succeed(len(removed))

    def remove_consumer(self, consumer: str) -> Deferred[bool]:
        if any(handed.consumer == consumer for handed in self.deliveries.values()):
            return succeed(False)
        self.known.discard(consumer)
        return succeed(True)

    def deliver(self, consumer: str, count: int) -> list[StreamEntry]:
        """Deliver up to `count` new entries to a consumer."""
        new_ids = [entry_id for entry_id in self.entries if entry_id not in self.deliveries][:count]
        for entry_id in new_ids:
            self.deliveries[entry_id] = _Delivery(consumer, self.clock.seconds())
        return [StreamEntry(id=entry_id, fields=self.entries[entry_id]) for entry_id in new_ids]

    def consumer(self, name: str) -> MemoryConsumer:
        """Return a consumer of the stream."""
        self.known.add(name)
        return MemoryConsumer(self, name)


@implementer(IConsumer)
@define(eq=False)
class MemoryConsumer:
    """A consumer of a MemoryStream."""

    stream: MemoryStream
    consumer: str

    def read(self, count: int, wait: float) -> Deferred[list[StreamEntry]]:
        entries = self.stream.deliver(self.consumer, count)
        if entries or wait <= 0:
            return succeed(entries)
        return self._wait_for_entries(count, wait)

    def _wait_for_entries(self, count: int, wait: float) -> Deferred[list[StreamEntry]]:
        def stop_waiting() -> None:
            self.stream.waiting_reads[:] = [waiter for waiter in self.stream.waiting_reads if waiter[2] is not result]

        def on_timeout() -> None:
            stop_waiting()
            result.callback([])

        result: Deferred[list[StreamEntry]] = Deferred(lambda _: stop_waiting())
        self.stream.waiting_reads.append((self, count, result))
        timer = self.stream.clock.callLater(wait, on_timeout)

        def cancel_timer(entries: Any) -> Any:
            if timer.active():
                timer.cancel()
            return entries

        return result.addBoth(cancel_timer)

    def claim(self, idle: float, count: int = 10) -> Deferred[list[StreamEntry]]:
        now = self.stream.clock.seconds()
        return self._claim(lambda handed: now - handed.at >= idle, count)

    def take_over(self, owner: str, count: int = 10) -> Deferred[list[StreamEntry]]:
        return self._claim(lambda handed: handed.consumer == owner, count)

    def _claim(self, is_wanted: Callable[[_Delivery], bool], count: int) -> Deferred[list[StreamEntry]]:
        now = self.stream.clock.seconds()
        claimed: list[StreamEntry] = []
        for entry_id, handed in list(self.stream.deliveries.items()):
            if not is_wanted(handed) or len(claimed) == count:
                continue
            if entry_id not in self.stream.entries:  # removed by trim meanwhile
                del self.stream.deliveries[entry_id]
                continue
            delivery = self.stream.deliveries[entry_id] = _Delivery(self.consumer, now, handed.deliveries + 1)
            claimed.append(
                StreamEntry(id=entry_id, fields=self.stream.entries[entry_id], deliveries=delivery.deliveries)
            )
        return succeed(claimed)

    def ack(self, ids: Sequence[str]) -> Deferred[int]:
        done = 0
        for entry_id in ids:
            self.stream.deliveries.pop(entry_id, None)
            done += self.stream.entries.pop(entry_id, None) is not None
        return succeed(done)
