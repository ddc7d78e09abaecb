"""An in-memory store of the usage of services."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from zatotx.interfaces.statistics import IUsageStore
from zatotx.model.service_usage import ServiceUsage, UsageByService, merge_usage
from zatotx.rules.statistics.calendar_periods import MINUTE


@implementer(IUsageStore)
@define(eq=False)
class MemoryUsageStore:
    """An in-memory IUsageStore. If `problem` is set, the method `record` raises it."""

    problem: Exception | None = None
    _records: dict[int, dict[str, UsageByService]] = field(factory=dict)
    _periods: dict[tuple[str, int], UsageByService] = field(factory=dict)
    _totals: tuple[int, dict[str, ServiceUsage]] = (0, {})

    def record(self, source: str, minutes: Mapping[int, UsageByService]) -> Deferred[None]:
        if self.problem is not None:
            return fail(self.problem)
        for minute, usage in minutes.items():
            self._records.setdefault(minute, {})[source] = usage
        return succeed(None)

    def recorded(self, minutes: Sequence[int]) -> Deferred[list[dict[str, ServiceUsage]]]:
        return succeed([merge_usage(self._records.get(minute, {}).values()) for minute in minutes])

    def usage(self, period: str, starts: Sequence[int]) -> Deferred[list[dict[str, ServiceUsage]]]:
        return succeed([dict(self._periods.get((period, start), {})) for start in starts])

    def stored(self, period: str, starts: Sequence[int]) -> Deferred[list[bool]]:
        return succeed([(period, start) in self._periods for start in starts])

    def store(self, period: str, usages: Mapping[int, UsageByService]) -> Deferred[None]:
        self._periods.update(((period, start), usage) for start, usage in usages.items())
        return succeed(None)

    def delete(self, period: str, starts: Iterable[int]) -> Deferred[int]:
        deleted = 0
        for start in starts:
            if period == MINUTE:
                self._records.pop(start, None)
            deleted += self._periods.pop((period, start), None) is not None
        return succeed(deleted)

    def totals(self) -> Deferred[tuple[int, dict[str, ServiceUsage]]]:
        return succeed(self._totals)

    def replace_totals(self, expected: int, until: int, usage: UsageByService) -> Deferred[bool]:
        if expected != self._totals[0]:
            return succeed(False)
        self._totals = until, dict(usage)
        return succeed(True)
