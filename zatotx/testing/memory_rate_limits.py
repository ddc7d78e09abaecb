"""Rate limits in memory, without Redis."""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from zope.interface import implementer

from zatotx.interfaces.rate_limits import ISharedRateBuckets, RateCharge
from zatotx.model.errors import ServiceUnavailable
from zatotx.rules.limits.rate_buckets import SECOND, Rate, count_admitted


@implementer(ISharedRateBuckets)
@define(eq=False)
class MemoryRates:
    """IRates in memory that behaves like the one in Redis; results arrive in the next turn of a clock.

    `away` is the reason why calls fail, '' to succeed; `asked` lists the names of all calls.
    """

    clock: Any  # seconds() and callLater()
    moments: dict[str, int] = field(factory=dict)  # name -> theoretical arrival time (GCRA)
    away: str = ''
    asked: list[tuple[str, ...]] = field(factory=list)

    def charge(self, names: tuple[str, ...], rates: tuple[Rate, ...]) -> Deferred[RateCharge]:
        self.asked.append(names)
        result: Deferred[RateCharge] = Deferred()
        self.clock.callLater(0, self._deliver, result, None if self.away else self.charged(names, rates))
        return result

    def charged(self, names: tuple[str, ...], rates: tuple[Rate, ...]) -> RateCharge:
        """Count one call and return its result."""
        now = round(self.clock.seconds() * SECOND)
        aheads = [max(0, self.moments.get(name, 0) - now) for name in names]
        admitted = count_admitted(rates, aheads, 1) == 1
        if admitted:
            for name, ahead, rate in zip(names, aheads, rates, strict=True):
                self.moments[name] = now + ahead + rate.interval
        return RateCharge(admitted, aheads)

    def _deliver(self, result: Deferred[RateCharge], charge: RateCharge | None) -> None:
        if result.called:  # cancelled
            return
        if charge is None:
            result.errback(ServiceUnavailable(None, self.away))
        else:
            result.callback(charge)
