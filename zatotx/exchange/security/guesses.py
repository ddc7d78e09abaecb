"""Secrets that are compared as they are: in constant time, and slowly for those who keep presenting wrong ones."""

from __future__ import annotations

from collections.abc import Awaitable
from hashlib import blake2b
from hmac import compare_digest
from os import urandom
from typing import Any, NoReturn

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from zatotx.model.faults import ServiceUnavailable, Unauthorized
from zatotx.model.message import Inbound, Principal
from zatotx.rules.throttle import Throttle

MOST = 1_000  # refusals that may wait: each holds a place of the node


@define
class Guesses:
    """Shared by all definitions of a node whose secrets are at hand. What is compared are digests by a key that lives
    and dies with the process, so nothing of a secret shows in how long that takes."""

    clock: IReactorTime
    throttle: Throttle = field(factory=Throttle)
    _keyed: Any = field(factory=lambda: blake2b(key=urandom(32), digest_size=16), repr=False)
    _waiting: int = 0

    def digest(self, *parts: bytes) -> bytes:
        """What stands for these parts, none of which has a zero byte."""
        keyed = self._keyed.copy()
        keyed.update(b'\0'.join(parts))
        digest: bytes = keyed.digest()
        return digest

    def refuse(self, inbound: Inbound, refused: Unauthorized) -> Awaitable[Principal]:
        """What to return for a wrong secret: it raises `refused` when the wait is over that earlier failures of the
        address have earned. Where there is none to wait, this raises it; ServiceUnavailable where too many wait."""
        address, now = '' if inbound.http is None else inbound.http.peer, self.clock.seconds()
        delay = self.throttle.delay(address, now)
        self.throttle.failed(address, now)
        if delay <= 0:
            raise refused
        if self._waiting >= MOST:
            raise ServiceUnavailable(None, 'Too many wrong credentials are being answered, try again')
        return self._later(delay, refused)

    async def _later(self, delay: float, refused: Unauthorized) -> NoReturn:
        self._waiting += 1
        try:
            await deferLater(self.clock, delay)
        finally:
            self._waiting -= 1
        raise refused


def same(one: bytes, other: bytes) -> bool:
    """Whether two digests are, in constant time."""
    return compare_digest(one, other)
