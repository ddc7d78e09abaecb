"""Acquires, renews and releases the leases of a cluster."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from uuid import uuid4

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from zope.interface import implementer

from zatotx.interfaces.redis import ILease, ILeaseStore, LeaseHeld
from zatotx.model.errors import ServiceError, ServiceUnavailable
from zatotx.redis.lease_store import EpochSeed, ILeaseBackend, LeaseGranted, LeaseHeldByOther, NewEpochNeeded
from zatotx.rules.resilience.lease_claim import (
    LeaseClaim,
    claim_after_grant,
    claim_after_rejection,
    lease_ttl_error,
    next_renewal,
)

T = TypeVar('T')

_FIRST_PAUSE, _MAX_PAUSE = 0.02, 0.25  # seconds between two polls


async def poll_until_result(
    clock: IReactorTime, check: Callable[[], Awaitable[T | None]], *, timeout: float, random: Callable[[], float],
) -> T | None:
    """Call `check` repeatedly until it returns a value other than None, and return this value. Returns None after
    `timeout` seconds. `check` is called at least once.

    The pauses grow and have jitter. Polling is used because a pub/sub message could be lost, and keyspace notifications
    are disabled on most servers. `random` returns numbers in [0, 1). Raises what `check` raises. Cancelling cancels the
    current call of `check`.
    """
    end = clock.seconds() + timeout
    pause = _FIRST_PAUSE
    while (result := await check()) is None:
        left = end - clock.seconds()
        if left <= 0:
            return None
        await deferLater(clock, min(left, pause * (0.5 + random())))
        pause = min(pause * 1.5, _MAX_PAUSE)
    return result


_ATTEMPTS = 3  # an epoch may be outdated once or twice, if Redis was wiped or other nodes were faster


def monotonic_clock() -> float:
    """Return the time in seconds of a clock that is never adjusted, and that continues while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@implementer(ILeaseStore)
class LeaseStore:
    """Implements ILeaseStore. The module zatotx.rules.resilience.lease_claim explains why two nodes never believe that
    they hold the same lease."""

    def __init__(
        self,
        clock: IReactorTime,
        backend: ILeaseBackend,
        next_epoch: Callable[[], Deferred[int]],
        *,
        now: Callable[[], float] = monotonic_clock,
    ) -> None:
        """`clock`: IReactorTime. `next_epoch`: fetches the next epoch from the database, when Redis lost its count.
        `now`: a monotonic clock."""
        self._clock = clock
        self._store = backend
        self._next_epoch = next_epoch
        self._now = now

    def acquire(self, name: str, *, ttl: float, wait: float = 0.0) -> Deferred[ILease]:
        """See ILeases."""
        return Deferred.fromCoroutine(self._acquire(name, ttl, wait))

    async def _acquire(self, name: str, ttl: float, wait: float) -> ILease:
        if error := lease_ttl_error(ttl):
            raise ValueError(error)
        attempt = _Attempt(self, name, ttl)
        try:
            claim = await poll_until_result(self._clock, attempt.try_once, timeout=wait, random=random.random)
        except BaseException:
            # Cancelled, or the last reply was lost: Redis may have granted the lease all the same.
            self._free(name, attempt.owner)
            raise
        if claim is None:
            if attempt.last_error is not None:
                self._free(name, attempt.owner)
                raise attempt.last_error
            raise LeaseHeld(f'The lease {name!r} is held by another owner', attempt.expires_in)
        return RedisLease(self._clock, self._store, name, attempt.owner, claim=claim, now=self._now)

    async def try_to_take(self, attempt: _Attempt) -> LeaseClaim | None:
        """Try once to take the lease, with a new epoch if the store needs one. Returns None if another owner holds
        it."""
        seed = None
        for _ in range(_ATTEMPTS):
            sent = self._now()
            result = await self._store.take(attempt.name, attempt.owner, attempt.ttl, seed)
            if isinstance(result, LeaseGranted):
                claim = claim_after_grant(LeaseClaim(ttl=attempt.ttl), result.token, sent)
                if claim.is_held(self._now()):
                    return claim
                continue  # the reply took too long: the next one is valid for a full ttl again
            if isinstance(result, LeaseHeldByOther):
                attempt.expires_in = result.seconds_left
                return None
            assert isinstance(result, NewEpochNeeded)
            seed = EpochSeed(result.ticket, await self._next_epoch())
        raise ServiceUnavailable(
            None, f'The lease {attempt.name!r} was not granted in {_ATTEMPTS} attempts: Redis is slow or loses its data'
        )

    def _free(self, name: str, owner: str) -> None:
        # Nothing waits for the result: if the command is lost, the lease expires.
        self._store.release(name, owner).addErrback(lambda _: None)


class _Attempt:
    """An attempt to acquire a lease, under one owner name, so that a repeated request after a lost reply is the same
    one."""

    def __init__(self, leases: LeaseStore, name: str, ttl: float) -> None:
        self.name = name
        self.ttl = ttl
        self.owner = uuid4().hex
        self.expires_in = 0.0
        self.last_error: ServiceError | None = None  # why the last request failed
        self._leases = leases

    async def try_once(self) -> LeaseClaim | None:
        self.last_error = None
        try:
            return await self._leases.try_to_take(self)
        except CancelledError:
            raise
        except ServiceError as error:  # Redis or the database is unavailable, but may be back within the wait
            self.last_error = error
            return None


@implementer(ILease)
class RedisLease:
    """Implements ILease. The lease is renewed after a third of its TTL, and sooner after a request that got no
    reply."""

    def __init__(
        self, clock: IReactorTime, backend: ILeaseBackend, name: str, owner: str, *, claim: LeaseClaim,
        now: Callable[[], float],
    ) -> None:
        self.name = name
        self.token = claim.token
        self._clock = clock
        self._store = backend
        self._owner = owner
        self._claim = claim
        self._now = now
        self._problem = ''  # the error of the last renewal
        self._end_reason: str | None = None  # why the lease ended, '' after a release, None while it is held
        self._waiters: list[Deferred[str]] = []
        self._timer: Any = None
        self._renewal: Deferred[None] | None = None
        self._schedule(failed=False)

    @property
    def is_held(self) -> bool:
        """See ILease."""
        return self._end_reason is None and self._claim.is_held(self._now())

    def when_lost(self) -> Deferred[str]:
        """See ILease."""
        if self._end_reason is not None:
            return succeed(self._end_reason)
        waiter: Deferred[str] = Deferred(lambda d: self._waiters.remove(d))
        self._waiters.append(waiter)
        return waiter

    def release(self) -> Deferred[None]:
        """See ILease."""
        if self._end_reason is not None:
            return succeed(None)
        self._end('')
        freed = self._store.release(self.name, self._owner)
        return freed.addBoth(lambda _: None)

    def _schedule(self, *, failed: bool) -> None:
        """Set the timer for the next renewal, or for the end of the lease."""
        now = self._now()
        at = next_renewal(self._claim, now, failed=failed)
        if at is None:
            self._end(f'The lease {self.name!r} could not be renewed in time{self._problem}')
        else:
            self._timer = self._clock.callLater(max(0.0, min(at, self._claim.expires_at) - now), self._renew)

    def _renew(self) -> None:
        self._timer = None
        if not self.is_held:
            self._end(f'The lease {self.name!r} could not be renewed in time{self._problem}')
            return
        # The lease may expire before the reply arrives, so a timer ends it in the meantime.
        self._timer = self._clock.callLater(max(0.0, self._claim.expires_at - self._now()), self._schedule, failed=True)
        self._renewal = Deferred.fromCoroutine(self._request_renewal())
        self._renewal.addErrback(lambda failure: failure.trap(CancelledError) and None)

    async def _request_renewal(self) -> None:
        sent = self._now()
        try:
            still_held = await self._store.renew(self.name, self._owner, self._claim.ttl)
        except CancelledError:
            raise
        except Exception as error:
            # The request failed: retry while there is time.
            self._problem = f': {error}'
            self._reschedule(failed=True)
            return
        if not still_held:
            self._claim = claim_after_rejection(self._claim)
            self._end(f'The lease {self.name!r} was lost: it is no longer in Redis')
            return
        self._claim, self._problem = claim_after_grant(self._claim, self.token, sent), ''
        self._reschedule(failed=False)

    def _reschedule(self, *, failed: bool) -> None:
        self._renewal = None
        if self._end_reason is None:
            self._cancel_timer()
            self._schedule(failed=failed)

    def _end(self, reason: str) -> None:
        if self._end_reason is not None:
            return
        self._end_reason = reason
        self._cancel_timer()
        if self._renewal is not None:
            self._renewal.cancel()
        waiting, self._waiters = self._waiters, []
        for waiter in waiting:
            waiter.callback(reason)

    def _cancel_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
