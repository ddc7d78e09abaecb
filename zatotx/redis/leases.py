"""Leases of the cluster: taken, renewed and given back."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from twisted.internet.defer import CancelledError, Deferred, succeed
from zope.interface import implementer

from zatotx.interfaces.redis import Busy, ILease, ILeases
from zatotx.model.errors import ServiceError, ServiceUnavailable
from zatotx.redis.lease_store import Granted, ILeaseStore, Seed, Taken, Unseeded
from zatotx.redis.polling import poll
from zatotx.rules.resilience.lease import LeaseClaim, granted, refused, renewal, ttl_error

_TRIES = 3  # an epoch may be too late once or twice: Redis was wiped, or others came first


def monotonic_clock() -> float:
    """Seconds of a clock that nobody sets, and that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@implementer(ILeases)
class Leases:
    """Takes leases at a desk; see zatotx.rules.resilience.lease for why no two believe to hold one."""

    def __init__(
        self,
        clock: Any,
        desk: ILeaseStore,
        epochs: Callable[[], Deferred[int]],
        *,
        now: Callable[[], float] = monotonic_clock,
    ) -> None:
        """`clock`: IReactorTime. `epochs`: the ODB's next epoch, asked where Redis lost count. `now`: monotonic."""
        self._clock = clock
        self._desk = desk
        self._epochs = epochs
        self._now = now

    def acquire(self, name: str, *, ttl: float, wait: float = 0.0) -> Deferred[ILease]:
        """See ILeases."""
        return Deferred.fromCoroutine(self._acquire(name, ttl, wait))

    async def _acquire(self, name: str, ttl: float, wait: float) -> ILease:
        if mistake := ttl_error(ttl):
            raise ValueError(mistake)
        attempt = _Attempt(self, name, ttl)
        try:
            claim = await poll(self._clock, attempt.look, within=wait, random=random.random)
        except BaseException:
            # Cancelled, or the last answer was lost: Redis may have given it to us all the same.
            self._give_back(name, attempt.owner)
            raise
        if claim is None:
            if attempt.lost is not None:
                self._give_back(name, attempt.owner)
                raise attempt.lost
            raise Busy(f'The lease {name!r} is held by somebody else', attempt.left)
        return Lease(self._clock, self._desk, name, attempt.owner, claim=claim, now=self._now)

    async def ask(self, attempt: _Attempt) -> LeaseClaim | None:
        """One question, with a fresh epoch where the desk wants one. None where somebody has it."""
        seed = None
        for _ in range(_TRIES):
            sent = self._now()
            answer = await self._desk.take(attempt.name, attempt.owner, attempt.ttl, seed)
            if isinstance(answer, Granted):
                claim = granted(LeaseClaim(ttl=attempt.ttl), answer.token, sent)
                if claim.holds(self._now()):
                    return claim
                continue  # the answer was too long on its way: the next one is for a full ttl again
            if isinstance(answer, Taken):
                attempt.left = answer.left
                return None
            assert isinstance(answer, Unseeded)
            seed = Seed(answer.ticket, await self._epochs())
        raise ServiceUnavailable(
            None, f'The lease {attempt.name!r} was not given in {_TRIES} tries: Redis is slow, or loses its data'
        )

    def _give_back(self, name: str, owner: str) -> None:
        # Nobody waits for it; where it does not arrive the lease runs out.
        self._desk.free(name, owner).addErrback(lambda _: None)


class _Attempt:
    """One wish for a lease, under one owner's name: a question that is asked again after a lost answer is the same."""

    def __init__(self, leases: Leases, name: str, ttl: float) -> None:
        self.name = name
        self.ttl = ttl
        self.owner = uuid4().hex
        self.left = 0.0
        self.lost: ServiceError | None = None  # why the last question got no answer
        self._leases = leases

    async def look(self) -> LeaseClaim | None:
        self.lost = None
        try:
            return await self._leases.ask(self)
        except CancelledError:
            raise
        except ServiceError as error:  # Redis, or the ODB, is away: it may be back within the wait
            self.lost = error
            return None


@implementer(ILease)
class Lease:
    """Renews itself at a third of its ttl, and sooner after a request that got no answer."""

    def __init__(
        self, clock: Any, desk: ILeaseStore, name: str, owner: str, *, claim: LeaseClaim, now: Callable[[], float]
    ) -> None:
        self.name = name
        self.token = claim.token
        self._clock = clock
        self._desk = desk
        self._owner = owner
        self._claim = claim
        self._now = now
        self._problem = ''  # of the last renewal
        self._over: str | None = None  # why it is not held any more, '' after a release
        self._waiting: list[Deferred[str]] = []
        self._timer: Any = None
        self._asking: Deferred[None] | None = None
        self._plan(failed=False)

    @property
    def held(self) -> bool:
        """See ILease."""
        return self._over is None and self._claim.holds(self._now())

    def lost(self) -> Deferred[str]:
        """See ILease."""
        if self._over is not None:
            return succeed(self._over)
        waiter: Deferred[str] = Deferred(lambda d: self._waiting.remove(d))
        self._waiting.append(waiter)
        return waiter

    def release(self) -> Deferred[None]:
        """See ILease."""
        if self._over is not None:
            return succeed(None)
        self._end('')
        freed = self._desk.free(self.name, self._owner)
        return freed.addBoth(lambda _: None)

    def _plan(self, *, failed: bool) -> None:
        """Set the timer for the next renewal, or for the end."""
        now = self._now()
        at = renewal(self._claim, now, failed=failed)
        if at is None:
            self._end(f'The lease {self.name!r} could not be renewed in time{self._problem}')
        else:
            self._timer = self._clock.callLater(max(0.0, min(at, self._claim.until) - now), self._renew)

    def _renew(self) -> None:
        self._timer = None
        if not self.held:
            self._end(f'The lease {self.name!r} could not be renewed in time{self._problem}')
            return
        # The belief may end before the answer comes, so the end has a timer of its own meanwhile.
        self._timer = self._clock.callLater(max(0.0, self._claim.until - self._now()), self._plan, failed=True)
        self._asking = Deferred.fromCoroutine(self._ask())
        self._asking.addErrback(lambda failure: failure.trap(CancelledError) and None)

    async def _ask(self) -> None:
        sent = self._now()
        try:
            ours = await self._desk.renew(self.name, self._owner, self._claim.ttl)
        except CancelledError:
            raise
        except Exception as error:
            # Not heard, or not answered: ask again while there is time.
            self._problem = f': {error}'
            self._replan(failed=True)
            return
        if not ours:
            self._claim = refused(self._claim)
            self._end(f'The lease {self.name!r} was lost: Redis does not know it any more')
            return
        self._claim, self._problem = granted(self._claim, self.token, sent), ''
        self._replan(failed=False)

    def _replan(self, *, failed: bool) -> None:
        self._asking = None
        if self._over is None:
            self._cancel_timer()
            self._plan(failed=failed)

    def _end(self, why: str) -> None:
        if self._over is not None:
            return
        self._over = why
        self._cancel_timer()
        if self._asking is not None:
            self._asking.cancel()
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(why)

    def _cancel_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
