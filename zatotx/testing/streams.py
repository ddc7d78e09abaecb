"""Streams of work without Redis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from zatotx.interfaces.redis import Backlog, Entry, IConsumer, IStream


@define
class _Handed:
    consumer: str
    at: float
    deliveries: int = 1


@implementer(IStream)
@define(eq=False)
class MemoryStream:
    """One stream in memory, on a clock (seconds() and callLater())."""

    clock: Any
    entries: dict[str, dict[str, str | bytes]] = field(factory=dict)  # by id, oldest first
    handed: dict[str, _Handed] = field(factory=dict)
    known: set[str] = field(factory=set)  # consumers
    waiting: list[tuple[MemoryConsumer, int, Deferred[list[Entry]]]] = field(factory=list)
    _last: int = 0

    def add(self, fields: Mapping[str, str | bytes]) -> Deferred[str]:
        self._last += 1
        entry_id = f'{self._last}-0'
        self.entries[entry_id] = dict(fields)
        if self.waiting:
            consumer, count, deferred = self.waiting.pop(0)
            deferred.callback(self.hand(consumer.consumer, count))
        return succeed(entry_id)

    def backlog(self) -> Deferred[Backlog]:
        counts = Counter(handed.consumer for handed in self.handed.values())
        return succeed(Backlog(length=len(self.entries), pending=counts.total(), consumers=dict(counts)))

    def trim(self, longest: int) -> Deferred[int]:
        gone = list(self.entries)[: max(0, len(self.entries) - longest)]
        for entry_id in gone:
            del self.entries[entry_id]
        return succeed(len(gone))

    def forget(self, consumer: str) -> Deferred[bool]:
        if any(handed.consumer == consumer for handed in self.handed.values()):
            return succeed(False)
        self.known.discard(consumer)
        return succeed(True)

    def hand(self, consumer: str, count: int) -> list[Entry]:
        """Up to `count` entries that nobody was handed yet."""
        fresh = [entry_id for entry_id in self.entries if entry_id not in self.handed][:count]
        for entry_id in fresh:
            self.handed[entry_id] = _Handed(consumer, self.clock.seconds())
        return [Entry(id=entry_id, fields=self.entries[entry_id]) for entry_id in fresh]

    def consumer(self, name: str) -> MemoryConsumer:
        """One of its consumers."""
        self.known.add(name)
        return MemoryConsumer(self, name)


@implementer(IConsumer)
@define(eq=False)
class MemoryConsumer:
    """A consumer of a MemoryStream."""

    stream: MemoryStream
    consumer: str

    def read(self, count: int, wait: float) -> Deferred[list[Entry]]:
        found = self.stream.hand(self.consumer, count)
        if found or wait <= 0:
            return succeed(found)
        return self._later(count, wait)

    def _later(self, count: int, wait: float) -> Deferred[list[Entry]]:
        def leave() -> None:
            self.stream.waiting[:] = [place for place in self.stream.waiting if place[2] is not answer]

        def late() -> None:
            leave()
            answer.callback([])

        answer: Deferred[list[Entry]] = Deferred(lambda _: leave())
        self.stream.waiting.append((self, count, answer))
        timer = self.stream.clock.callLater(wait, late)

        def settled(result: Any) -> Any:
            if timer.active():
                timer.cancel()
            return result

        return answer.addBoth(settled)

    def claim(self, idle: float, count: int = 10) -> Deferred[list[Entry]]:
        now = self.stream.clock.seconds()
        found: list[Entry] = []
        for entry_id, handed in list(self.stream.handed.items()):
            if now - handed.at < idle or len(found) == count:
                continue
            if entry_id not in self.stream.entries:  # trimmed away meanwhile
                del self.stream.handed[entry_id]
                continue
            taken = self.stream.handed[entry_id] = _Handed(self.consumer, now, handed.deliveries + 1)
            found.append(Entry(id=entry_id, fields=self.stream.entries[entry_id], deliveries=taken.deliveries))
        return succeed(found)

    def ack(self, ids: Sequence[str]) -> Deferred[int]:
        done = 0
        for entry_id in ids:
            self.stream.handed.pop(entry_id, None)
            done += self.stream.entries.pop(entry_id, None) is not None
        return succeed(done)
