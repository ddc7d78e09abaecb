"""In-memory test doubles of the components that use Redis: leases, nonces, sessions, rate limits and streams."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from zatotx.interfaces.admin_sessions import IDLE_TIMEOUT, MAX_AGE, ISessionStore
from zatotx.interfaces.rate_limits import ISharedRateBuckets, RateChargeResult
from zatotx.interfaces.redis import IConsumer, INonceStore, IStream, StreamBacklog, StreamEntry
from zatotx.model.errors import ServiceUnavailable
from zatotx.redis.lease_store import EpochSeed, LeaseGranted, LeaseHeldByOther, NewEpochNeeded
from zatotx.redis.leases import LeaseStore
from zatotx.rules.limits.rate_buckets import SECOND, GcraRate, count_admitted_calls
from zatotx.rules.resilience.lease_claim import lowest_token_of_epoch


@define(slots=False)
class MemoryLeaseBackend:
    """An in-memory ILeaseBackend that behaves like the implementation in Redis. `lose_data` simulates the loss of the
    data in Redis."""

    clock: Any  # seconds()
    held: dict[str, tuple[str, int, float]] = field(factory=dict)  # name -> owner, token, expiry time
    tokens: int = 0  # the last token issued
    seeded: bool = False
    ticket: str = ''

    def take(
        self, name: str, owner: str, ttl: float, seed: EpochSeed | None
    ) -> Deferred[LeaseGranted | LeaseHeldByOther | NewEpochNeeded]:
        return succeed(self.take_now(name, owner, ttl, seed))

    def renew(self, name: str, owner: str, ttl: float) -> Deferred[bool]:
        return succeed(self.renew_now(name, owner, ttl))

    def release(self, name: str, owner: str) -> Deferred[bool]:
        return succeed(self.free_now(name, owner))

    def take_now(
        self, name: str, owner: str, ttl: float, seed: EpochSeed | None
    ) -> LeaseGranted | LeaseHeldByOther | NewEpochNeeded:
        """Return the result of `take`."""
        if not self.seeded:
            self.ticket = self.ticket or uuid4().hex
            if seed is None or seed.ticket != self.ticket:
                return NewEpochNeeded(self.ticket)
            self.tokens, self.seeded, self.ticket = max(self.tokens, lowest_token_of_epoch(seed.epoch)), True, ''
        lease = self._current_lease(name)
        if lease is not None and lease[0] != owner:
            return LeaseHeldByOther(lease[2] - self.clock.seconds())
        if lease is None:
            self.tokens += 1
        token = self.tokens if lease is None else lease[1]
        self.held[name] = (owner, token, self.clock.seconds() + ttl)
        return LeaseGranted(token)

    def renew_now(self, name: str, owner: str, ttl: float) -> bool:
        """Return the result of `renew`."""
        lease = self._current_lease(name)
        if lease is None or lease[0] != owner:
            return False
        self.held[name] = (owner, lease[1], self.clock.seconds() + ttl)
        return True

    def free_now(self, name: str, owner: str) -> bool:
        """Return the result of `release`."""
        lease = self._current_lease(name)
        if lease is None or lease[0] != owner:
            return False
        del self.held[name]
        return True

    def lose_data(self) -> None:
        """Lose all data."""
        self.held.clear()
        self.tokens, self.seeded, self.ticket = 0, False, ''

    def _current_lease(self, name: str) -> tuple[str, int, float] | None:
        """Return the lease of that name unless it has expired."""
        lease = self.held.get(name)
        return lease if lease is not None and lease[2] > self.clock.seconds() else None


class EpochSequence:
    """A test double of the ODB's sequence of epochs."""

    def __init__(self) -> None:
        self.last = 0

    def __call__(self) -> Deferred[int]:
        self.last += 1
        return succeed(self.last)


def make_memory_lease_store(clock: Any, store: MemoryLeaseBackend | None = None) -> LeaseStore:
    """Create an in-memory ILeaseStore that uses the given clock (IReactorTime)."""
    return LeaseStore(clock, store or MemoryLeaseBackend(clock), EpochSequence(), now=clock.seconds)


@implementer(INonceStore)
class MemoryNonceStore:
    """An in-memory INonceStore. Instances that share `used` act as processes of one cluster.

    `error` is the exception that every call fails with, None to succeed.
    """

    def __init__(self, clock: IReactorTime, used: dict[str, float] | None = None) -> None:
        self._clock = clock
        self.used = {} if used is None else used  # name -> when it expires
        self.error: Exception | None = None

    def consume(self, name: str, ttl: float) -> Deferred[bool]:
        if self.error is not None:
            return fail(self.error)
        now = self._clock.seconds()
        first = self.used.get(name, 0.0) <= now
        if first:
            self.used[name] = now + ttl
        return succeed(first)


@implementer(ISessionStore)
class MemorySessionStore:
    """An in-memory ISessionStore. `clock` is also the source of the current Unix time. `error` is the exception that
    every call raises, or None."""

    def __init__(self, clock: IReactorTime, idle_timeout: float = IDLE_TIMEOUT) -> None:
        self._clock = clock
        self.idle_timeout = idle_timeout
        self.sessions: dict[str, tuple[float, float]] = {}  # key -> when it began, when it was used last
        self.error: Exception | None = None

    def open(self, key: str) -> Deferred[None]:
        if self.error is None:
            self.sessions[key] = self._clock.seconds(), self._clock.seconds()
        return self._done(None)

    def use(self, key: str, *, renews: bool = True) -> Deferred[bool]:
        began, used = self.sessions.get(key, (-MAX_AGE, -MAX_AGE))
        now = self._clock.seconds()
        is_known = now - used < self.idle_timeout and now - began < MAX_AGE
        if is_known and renews and self.error is None:
            self.sessions[key] = began, now
        return self._done(is_known)

    def close(self, key: str) -> Deferred[None]:
        if self.error is None:
            self.sessions.pop(key, None)
        return self._done(None)

    def _done(self, result: Any) -> Deferred[Any]:
        return succeed(result) if self.error is None else fail(self.error)


@implementer(ISharedRateBuckets)
@define(eq=False)
class MemoryRateBuckets:
    """An in-memory ISharedRateBuckets that behaves like the implementation in Redis. Results arrive in the next
    iteration of the clock.

    `unavailable_reason` is the reason why calls fail, '' to succeed; `charged_names` lists the names of all calls.
    """

    clock: Any  # seconds() and callLater()
    arrival_times: dict[str, int] = field(factory=dict)  # name -> theoretical arrival time (GCRA)
    unavailable_reason: str = ''
    charged_names: list[tuple[str, ...]] = field(factory=list)

    def charge(self, names: tuple[str, ...], rates: tuple[GcraRate, ...]) -> Deferred[RateChargeResult]:
        self.charged_names.append(names)
        result: Deferred[RateChargeResult] = Deferred()
        self.clock.callLater(
            0, self._deliver, result, None if self.unavailable_reason else self.charge_now(names, rates)
        )
        return result

    def charge_now(self, names: tuple[str, ...], rates: tuple[GcraRate, ...]) -> RateChargeResult:
        """Count one call and return its result."""
        now = round(self.clock.seconds() * SECOND)
        leads = [max(0, self.arrival_times.get(name, 0) - now) for name in names]
        admitted = count_admitted_calls(rates, leads, 1) == 1
        if admitted:
            for name, ahead, rate in zip(names, leads, rates, strict=True):
                self.arrival_times[name] = now + ahead + rate.interval
        return RateChargeResult(admitted, leads)

    def _deliver(self, result: Deferred[RateChargeResult], charge: RateChargeResult | None) -> None:
        if result.called:  # cancelled
            return
        if charge is None:
            result.errback(ServiceUnavailable(None, self.unavailable_reason))
        else:
            result.callback(charge)


@define
class _Delivery:
    """An entry delivered to a consumer."""
    consumer: str
    at: float
    deliveries: int = 1


@implementer(IStream)
@define(eq=False)
class MemoryStream:
    """An in-memory IStream that uses a clock (seconds() and callLater())."""

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
    """An in-memory IConsumer of a MemoryStream."""

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
