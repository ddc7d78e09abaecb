"""Records the service calls of a process by minute, for the statistics of the cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from zatotx.interfaces.statistics import IUsageRecorder, IUsageStore
from zatotx.metrics.counters import CallCounters
from zatotx.metrics.definitions import OVERFLOW_LABEL
from zatotx.model.service_usage import NO_USAGE, ServiceUsage, merge_usage
from zatotx.rules.statistics.calendar_periods import MINUTE, period_start

INTERVAL = 15  # seconds between two records; one of them is at the end of each minute
MAX_MINUTES = 10  # minutes that wait for Redis; earlier ones are missing in the statistics


@implementer(IUsageRecorder)
@define(eq=False, kw_only=True)
class UsageRecorder:
    """Implements IUsageRecorder by recording the usage counters of services once per minute. `services` returns the
    counters of the existing services. Services that share the `overflow` counters are recorded as one entry. `now`
    returns unix time in seconds."""

    clock: IReactorTime
    now: Callable[[], float]
    source: str
    store: IUsageStore
    services: Callable[[], Iterable[tuple[str, CallCounters]]]
    overflow: CallCounters
    _seen: Mapping[str, ServiceUsage] = field(factory=dict, init=False)  # all calls of this process, by service
    _minutes: dict[int, dict[str, ServiceUsage]] = field(factory=dict, init=False)  # not stored yet, or not over
    _minute: int = field(default=0, init=False)  # the one to which the next calls belong
    _timer: Any = field(default=None, init=False)

    _log = Logger()

    def start(self) -> None:
        self._seen = self._read_counters()
        self._minute = period_start(MINUTE, self.now())
        self._schedule()

    def stop(self) -> Deferred[None]:
        timer, self._timer = self._timer, None
        if timer is None:
            return succeed(None)
        if timer.active():
            timer.cancel()
        return Deferred.fromCoroutine(self._store())

    def _schedule(self) -> None:
        self._timer = self.clock.callLater(INTERVAL - self.now() % INTERVAL, self._record)

    def _record(self) -> None:
        self._schedule()
        storing = Deferred.fromCoroutine(self._store())
        storing.addErrback(lambda failure: failure.trap(CancelledError) and None)

    def _count(self) -> None:
        """Add the calls since the last time to the minute in which they ended."""
        counted = self._read_counters()
        calls = {name: usage.since(self._seen.get(name, NO_USAGE)) for name, usage in counted.items()}
        calls = {name: usage for name, usage in calls.items() if usage.calls}
        if calls:
            self._minutes[self._minute] = merge_usage((self._minutes.get(self._minute, {}), calls))
        self._seen, self._minute = counted, period_start(MINUTE, self.now())
        for minute in sorted(self._minutes)[:-MAX_MINUTES]:
            del self._minutes[minute]

    async def _store(self) -> None:
        self._count()
        if not self._minutes:
            return
        stored = dict(self._minutes)
        try:
            await self.store.record(self.source, stored)
        except CancelledError:
            raise
        except Exception as error:
            self._log.debug('The statistics of the last minutes cannot be stored yet: {why}', why=str(error))
            return
        for minute in stored:
            if minute != self._minute:
                self._minutes.pop(minute, None)

    def _read_counters(self) -> dict[str, ServiceUsage]:
        counters = {OVERFLOW_LABEL if one is self.overflow else name: one for name, one in self.services()}
        return {name: ServiceUsage(one.calls, one.errors, one.sum, tuple(one.buckets))
                for name, one in counters.items()}  # fmt: skip
