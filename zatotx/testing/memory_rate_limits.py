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

    `unavailable_reason` is the reason why calls fail, '' to succeed; `charged_names` lists the names of all calls.
    """

    clock: Any  # seconds() and callLater()
    arrival_times: dict[str, int] = field(factory=dict)  # name -> theoretical arrival time (GCRA)
    unavailable_reason: str = ''
    charged_names: list[tuple[str, ...]] = field(factory=list)

    def charge(self, names: tuple[str, ...], rates: tuple[Rate, ...]) -> Deferred[RateCharge]:
        self.charged_names.append(names)
        result: Deferred[RateCharge] = Deferred()
        self.clock.callLater(
            0, self._deliver, result, None if self.unavailable_reason else self.charge_now(names, rates)
        )
        return result

    def charge_now(self, names: tuple[str, ...], rates: tuple[Rate, ...]) -> RateCharge:
        """Count one call and return its result."""
        now = round(self.clock.seconds() * SECOND)
        leads = [max(0, self.arrival_times.get(name, 0) - now) for name in names]
        admitted = count_admitted(rates, leads, 1) == 1
        if admitted:
            for name, ahead, rate in zip(names, leads, rates, strict=True):
                self.arrival_times[name] = now + ahead + rate.interval
        return RateCharge(admitted, leads)

    def _deliver(self, result: Deferred[RateCharge], charge: RateCharge | None) -> None:
        if result.called:  # cancelled
            return
        if charge is None:
            result.errback(ServiceUnavailable(None, self.unavailable_reason))
        else:
            result.callback(charge)
