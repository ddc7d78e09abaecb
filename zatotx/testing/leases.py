"""Leases without Redis."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from attrs import define, field
from twisted.internet.defer import Deferred, succeed

from zatotx.redis.lease_store import Granted, Seed, Taken, Unseeded
from zatotx.redis.leases import Leases
from zatotx.rules.resilience.lease import first_token


@define(slots=False)
class MemoryLeaseStore:
    """Keeps leases as Redis does, on a clock of its own. `wiped` is what happens to a Redis that loses its data."""

    clock: Any  # seconds()
    held: dict[str, tuple[str, int, float]] = field(factory=dict)  # name -> owner, token, when it runs out
    tokens: int = 0  # the last one
    seeded: bool = False
    ticket: str = ''

    def take(self, name: str, owner: str, ttl: float, seed: Seed | None) -> Deferred[Granted | Taken | Unseeded]:
        return succeed(self.taken(name, owner, ttl, seed))

    def renew(self, name: str, owner: str, ttl: float) -> Deferred[bool]:
        return succeed(self.renewed(name, owner, ttl))

    def free(self, name: str, owner: str) -> Deferred[bool]:
        return succeed(self.freed(name, owner))

    def taken(self, name: str, owner: str, ttl: float, seed: Seed | None) -> Granted | Taken | Unseeded:
        """The answer to `take`."""
        if not self.seeded:
            self.ticket = self.ticket or uuid4().hex
            if seed is None or seed.ticket != self.ticket:
                return Unseeded(self.ticket)
            self.tokens, self.seeded, self.ticket = max(self.tokens, first_token(seed.epoch)), True, ''
        held = self._holder(name)
        if held is not None and held[0] != owner:
            return Taken(held[2] - self.clock.seconds())
        if held is None:
            self.tokens += 1
        token = self.tokens if held is None else held[1]
        self.held[name] = (owner, token, self.clock.seconds() + ttl)
        return Granted(token)

    def renewed(self, name: str, owner: str, ttl: float) -> bool:
        """The answer to `renew`."""
        held = self._holder(name)
        if held is None or held[0] != owner:
            return False
        self.held[name] = (owner, held[1], self.clock.seconds() + ttl)
        return True

    def freed(self, name: str, owner: str) -> bool:
        """The answer to `free`."""
        held = self._holder(name)
        if held is None or held[0] != owner:
            return False
        del self.held[name]
        return True

    def wiped(self) -> None:
        """Everything is lost."""
        self.held.clear()
        self.tokens, self.seeded, self.ticket = 0, False, ''

    def _holder(self, name: str) -> tuple[str, int, float] | None:
        held = self.held.get(name)
        return held if held is not None and held[2] > self.clock.seconds() else None


class Epochs:
    """The ODB's epochs."""

    def __init__(self) -> None:
        self.last = 0

    def __call__(self) -> Deferred[int]:
        self.last += 1
        return succeed(self.last)


def memory_leases(clock: Any, desk: MemoryLeaseStore | None = None) -> Leases:
    """ILeases in memory, on that clock (IReactorTime)."""
    return Leases(clock, desk or MemoryLeaseStore(clock), Epochs(), now=clock.seconds)
