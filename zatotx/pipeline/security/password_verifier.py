"""Verifies passwords against argon2id hashes in threads. Concurrency is limited, and networks are queued fairly."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from attrs import define, field
from twisted.internet.defer import Deferred

from zatotx.model.errors import ServiceUnavailable
from zatotx.pipeline.security.secret_comparison import SecretComparison
from zatotx.rules.limits.concurrency_limit import FairQueue
from zatotx.rules.security.password_verification import verify_password

MAX_CONCURRENT = 2  # hashes verified concurrently: each takes 19 MiB and a core
MAX_WAITING = 200  # verifications that may wait
MAX_WAITING_PER_NETWORK = 50  # the same, per network

# Verified if a definition has no password yet: as costly as any other hash, and matched by no password.
_NO_PASSWORD = '$argon2id$v=19$m=19456,t=2,p=1$emF0b3R4emF0b3R4emE$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'


class HashJob(Protocol):
    """The interface of a password verification that waits for a thread."""

    network: str  # where the request comes from
    password: str
    hashing: bool  # set when a thread has started


@define
class PasswordVerifier:
    """Verifies passwords for all Basic authentication definitions of a node.

    Networks are served in turn, so that one which fills the queue delays another by a single verification. A
    verification that is cancelled while it waits is never computed; one that has started occupies its slot until its
    thread is done.
    """

    offload: Callable[..., Deferred[Any]]
    comparison: SecretComparison
    _queue: FairQueue[Deferred[None]] = field(factory=partial(FairQueue, MAX_WAITING, MAX_WAITING_PER_NETWORK))
    _running: int = 0

    async def verify(self, hashed: str, job: HashJob) -> bool:
        """Return whether the password is valid. Raises ServiceUnavailable if too many verifications are waiting."""
        if self._running >= MAX_CONCURRENT:
            await self._wait_for_slot(job.network)
        else:
            self._running += 1
        job.hashing = True
        try:
            return bool(await self.offload(verify_password, hashed or _NO_PASSWORD, job.password))
        finally:
            self._running -= 1
            self._start_waiting()

    def _wait_for_slot(self, network: str) -> Deferred[None]:
        """Fires when a slot is free and taken."""
        if self._queue.is_full_for(network):
            raise ServiceUnavailable(None, 'Too many logins from your address are being verified: try again later')
        waiting: Deferred[None] = Deferred(partial(self._queue.remove, network))
        displaced = self._queue.add(network, waiting)
        if displaced is not None:
            displaced.errback(ServiceUnavailable(None, 'Too many logins are being verified: try again later'))
        return waiting

    def _start_waiting(self) -> None:
        while len(self._queue) and self._running < MAX_CONCURRENT:
            self._running += 1
            self._queue.pop().callback(None)
