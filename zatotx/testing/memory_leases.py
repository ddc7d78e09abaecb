"""Leases in memory, without Redis."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from attrs import define, field
from twisted.internet.defer import Deferred, succeed

from zatotx.redis.lease_store import EpochNeeded, EpochSeed, LeaseGranted, LeaseTaken
from zatotx.redis.leases import LeaseStore
from zatotx.rules.resilience.lease import token_base


@define(slots=False)
class MemoryLeaseStore:
    """A lease store in memory that behaves like the one in Redis. `lose_data` simulates the loss of Redis's data."""

    clock: Any  # seconds()
    held: dict[str, tuple[str, int, float]] = field(factory=dict)  # name -> owner, token, expiry time
    tokens: int = 0  # the last token issued
    seeded: bool = False
    ticket: str = ''

    def take(
        self, name: str, owner: str, ttl: float, seed: EpochSeed | None
    ) -> Deferred[LeaseGranted | LeaseTaken | EpochNeeded]:
        return succeed(self.take_now(name, owner, ttl, seed))

    def renew(self, name: str, owner: str, ttl: float) -> Deferred[bool]:
        return succeed(self.renew_now(name, owner, ttl))

    def release(self, name: str, owner: str) -> Deferred[bool]:
        return succeed(self.free_now(name, owner))

    def take_now(
        self, name: str, owner: str, ttl: float, seed: EpochSeed | None
    ) -> LeaseGranted | LeaseTaken | EpochNeeded:
        """Return the result of `take`."""
        if not self.seeded:
            self.ticket = self.ticket or uuid4().hex
            if seed is None or seed.ticket != self.ticket:
                return EpochNeeded(self.ticket)
            self.tokens, self.seeded, self.ticket = max(self.tokens, token_base(seed.epoch)), True, ''
        lease = self._current_lease(name)
        if lease is not None and lease[0] != owner:
            return LeaseTaken(lease[2] - self.clock.seconds())
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
    """A double of the ODB's sequence of epochs."""

    def __init__(self) -> None:
        self.last = 0

    def __call__(self) -> Deferred[int]:
        self.last += 1
        return succeed(self.last)


def memory_leases(clock: Any, store: MemoryLeaseStore | None = None) -> LeaseStore:
    """Return ILeases in memory that use this clock (IReactorTime)."""
    return LeaseStore(clock, store or MemoryLeaseStore(clock), EpochSequence(), now=clock.seconds)
