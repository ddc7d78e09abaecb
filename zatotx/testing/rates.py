"""Rate limits without Redis."""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from zope.interface import implementer

from zatotx.interfaces.rates import Charge, IRates
from zatotx.model.errors import ServiceUnavailable
from zatotx.rules.limits.gcra import SECOND, Rate, admit_all


@implementer(IRates)
@define(eq=False)
class MemoryRates:
    """Keeps buckets as Redis does, and tells in the next turn of a clock. `away`: why nothing can be asked; `asked` are
    the names of all calls."""

    clock: Any  # seconds() and callLater()
    moments: dict[str, int] = field(factory=dict)  # name -> until when it is used up
    away: str = ''
    asked: list[tuple[str, ...]] = field(factory=list)

    def charge(self, names: tuple[str, ...], rates: tuple[Rate, ...]) -> Deferred[Charge]:
        self.asked.append(names)
        said: Deferred[Charge] = Deferred()
        self.clock.callLater(0, self._tell, said, None if self.away else self.charged(names, rates))
        return said

    def charged(self, names: tuple[str, ...], rates: tuple[Rate, ...]) -> Charge:
        """Count one call, and say what became of it."""
        now = round(self.clock.seconds() * SECOND)
        aheads = [max(0, self.moments.get(name, 0) - now) for name in names]
        admitted = admit_all(rates, aheads, 1) == 1
        if admitted:
            for name, ahead, rate in zip(names, aheads, rates, strict=True):
                self.moments[name] = now + ahead + rate.interval
        return Charge(admitted, aheads)

    def _tell(self, said: Deferred[Charge], charge: Charge | None) -> None:
        if said.called:  # cancelled
            return
        if charge is None:
            said.errback(ServiceUnavailable(None, self.away))
        else:
            said.callback(charge)
