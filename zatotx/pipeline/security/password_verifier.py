"""Verifies passwords against argon2id hashes in threads, a few at a time, and in turns between networks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from attrs import define, field
from twisted.internet.defer import Deferred

from zatotx.model.errors import ServiceUnavailable
from zatotx.pipeline.security.secret_comparison import SecretComparison
from zatotx.rules.limits.fair_queue import FairQueue

AT_ONCE = 2  # hashes verified at the same time: each takes 19 MiB and a core
WAITING = 200  # verifications that may wait for that
WAITING_OF_NETWORK = 50  # of these, how many of one network

# What is verified where a definition has no password yet: as costly as any other, matched by nothing.
_NO_PASSWORD = '$argon2id$v=19$m=19456,t=2,p=1$emF0b3R4emF0b3R4emE$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'


class HashJob(Protocol):
    """What is to be verified."""

    network: str  # that it came from
    password: str
    hashing: bool  # set when a thread has begun


def verify(hashed: str, password: str) -> bool:
    """Whether the password is the one that was hashed. Slow by design: for threads."""
    from argon2 import PasswordHasher
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return PasswordHasher().verify(hashed or _NO_PASSWORD, password)
    except (VerificationError, InvalidHashError):
        return False


@define
class PasswordVerifier:
    """Shared by all Basic auth definitions of a node.

    Networks take turns, so that one which keeps the queue full costs another the time of one verification. What is
    cancelled while it waits is never computed; what a thread has begun keeps its place until the thread is done.
    """

    offload: Callable[..., Deferred[Any]]
    guesses: SecretComparison
    _queue: FairQueue[Deferred[None]] = field(factory=partial(FairQueue, WAITING, WAITING_OF_NETWORK))
    _running: int = 0

    async def verified(self, hashed: str, login: HashJob) -> bool:
        """Whether the password is right, when its turn has come. Raises ServiceUnavailable where too many wait."""
        if self._running >= AT_ONCE:
            await self._turn(login.network)
        else:
            self._running += 1
        login.hashing = True
        try:
            return bool(await self.offload(verify, hashed, login.password))
        finally:
            self._running -= 1
            self._next()

    def _turn(self, network: str) -> Deferred[None]:
        """Fires when there is a place, which is taken then."""
        if self._queue.full_for(network):
            raise ServiceUnavailable(None, 'Too many logins from your address are being verified: try again later')
        turn: Deferred[None] = Deferred(partial(self._queue.remove, network))
        displaced = self._queue.add(network, turn)
        if displaced is not None:
            displaced.errback(ServiceUnavailable(None, 'Too many logins are being verified: try again later'))
        return turn

    def _next(self) -> None:
        while len(self._queue) and self._running < AT_ONCE:
            self._running += 1
            self._queue.pop().callback(None)
