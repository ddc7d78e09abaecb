"""Nonces in memory, without Redis."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from zatotx.interfaces.nonces import INonceStore


@implementer(INonceStore)
class MemoryNonces:
    """INonces in memory. Instances that share `used` act as processes of one cluster.

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
