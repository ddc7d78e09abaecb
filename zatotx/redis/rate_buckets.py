"""Stores rate-limit buckets in Redis, and takes tokens from them with one script call per reactor iteration.

The clock of Redis is used, so the clocks of servers need not agree. A bucket is a key that stores its theoretical
arrival time (GCRA) in nanoseconds since the epoch, and that expires at that time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from zatotx.interfaces.rate_limits import ISharedRateBuckets, RateChargeResult
from zatotx.interfaces.redis import IScriptRunner, LuaScript
from zatotx.model.errors import ServiceUnavailable, Timeout
from zatotx.redis.key_names import RedisKeys
from zatotx.rules.limits.rate_buckets import GcraRate

REPLY_TIMEOUT = 0.5  # seconds to wait for a reply: requests wait for it, too
# If a timer fires this many seconds late, this process had no CPU time, and the reply may be unread in its socket.
_STALL_THRESHOLD = 0.1

# Arguments: interval and tolerance of each key; then, for each batch of calls that use the same buckets, the number of
# calls, the number of buckets and the indexes of the buckets. The reply is one text: for each batch, the number of
# admitted calls, and how far ahead each of its buckets was. A double represents 15 digits exactly, so a time is stored
# as seconds and nine more digits, and only its distance from now is computed as a number. A bucket that refills within
# a minute is not written to the disk and the replicas of Redis, which every request would wait for: it is lost when the
# process of Redis ends.
_CHARGE = LuaScript('charge rate limits', """
local time = redis.call('TIME')
local seconds, nanos = tonumber(time[1]), tonumber(time[2]) * 1000
local interval, tolerance, ahead, moved = {}, {}, {}, {}
for i, key in ipairs(KEYS) do
    interval[i], tolerance[i] = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
    local moment = redis.call('GET', key)
    ahead[i] = 0
    if moment then
        local whole, rest = tonumber(string.sub(moment, 1, -10)), tonumber(string.sub(moment, -9))
        ahead[i] = math.max(0, (whole - seconds) * 1000000000 + rest - nanos)
    end
end
local said, at = {}, 2 * #KEYS + 1
while at < #ARGV do
    local admitted, last = tonumber(ARGV[at]), at + 1 + tonumber(ARGV[at + 1])
    for j = at + 2, last do
        local i = tonumber(ARGV[j])
        admitted = math.min(admitted, math.floor((tolerance[i] - ahead[i]) / interval[i]))
    end
    admitted = math.max(0, admitted)
    said[#said + 1] = string.format('%d', admitted)
    for j = at + 2, last do
        local i = tonumber(ARGV[j])
        said[#said + 1] = string.format('%.0f', ahead[i])
        ahead[i] = ahead[i] + admitted * interval[i]
        moved[i] = moved[i] or admitted > 0
    end
    at = last + 1
end
for i, key in ipairs(KEYS) do
    if moved[i] then
        local total = nanos + ahead[i]
        redis.set_repl(tolerance[i] > 60000000000 and redis.REPL_ALL or redis.REPL_NONE)
        local moment = string.format('%.0f%09.0f', seconds + math.floor(total / 1000000000), total % 1000000000)
        redis.call('SET', key, moment, 'PX', math.ceil(ahead[i] / 1000000))
    end
end
return table.concat(said, ' ')
""")


@define(eq=False)
class _Batch:
    """The calls of one iteration of the reactor that use the same buckets."""

    rates: tuple[GcraRate, ...]
    callers: list[Deferred[RateChargeResult]] = field(factory=list)

    def deliver(self, admitted: int, leads: Sequence[int]) -> None:
        """Deliver the results: the first `admitted` callers are admitted, each one interval further ahead than the
        previous."""
        intervals = [rate.interval for rate in self.rates]
        ahead = list(leads)
        for index, caller in enumerate(self.callers):
            if not caller.called:  # otherwise it was cancelled
                caller.callback(RateChargeResult(index < admitted, ahead))
            if index < admitted:
                ahead = [value + interval for value, interval in zip(ahead, intervals, strict=True)]


@implementer(ISharedRateBuckets)
class RedisRateBuckets:
    """Implements ISharedRateBuckets over the shared connection. While a reply is overdue, further calls fail
    immediately."""

    def __init__(self, clock: IReactorTime, scripts: IScriptRunner, keys: RedisKeys) -> None:
        """`clock`: IReactorTime."""
        self._clock = clock
        self._scripts = scripts
        self._prefix = keys.key('rate', '')
        self._batches: dict[tuple[str, ...], _Batch] = {}  # of this iteration of the reactor
        self._overdue = 0
        self._last_error = ''  # the last error that Redis replied, as logged

    @property
    def is_overdue(self) -> bool:
        """Whether a reply is outstanding whose callers have timed out."""
        return self._overdue > 0

    def charge(self, names: tuple[str, ...], rates: tuple[GcraRate, ...]) -> Deferred[RateChargeResult]:
        """See IRates."""
        if self._overdue:
            return fail(_timeout_error())
        batch = self._batches.get(names)
        if batch is None:
            if not self._batches:
                self._clock.callLater(0, self._send)
            batch = self._batches[names] = _Batch(rates)
        waiting: Deferred[RateChargeResult] = Deferred()
        batch.callers.append(waiting)
        return waiting

    def _send(self) -> None:
        batches, self._batches = self._batches, {}
        indexes: dict[str, int] = {}  # name -> index among the keys
        args: list[object] = []
        for names, batch in batches.items():
            for name, rate in zip(names, batch.rates, strict=True):
                if name not in indexes:
                    indexes[name] = len(indexes) + 1
                    args += (rate.interval, rate.tolerance)
        for names, batch in batches.items():
            args += (len(batch.callers), len(names), *(indexes[name] for name in names))
        replied = self._scripts.run(_CHARGE, [self._prefix + name for name in indexes], args)
        _PendingCharge(self, list(batches.values())).wait(replied)


@define(eq=False)
class _PendingCharge:
    """The calls of one iteration of the reactor, sent to Redis."""

    rates: RedisRateBuckets
    batches: list[_Batch]
    _timer: Any = None
    _due: float = 0.0
    _log = Logger()

    def wait(self, replied: Deferred[Any]) -> None:
        """Deliver the results to the callers, or a timeout."""
        self._start_timer()
        replied.addCallbacks(self._deliver, self._failed)

    def _start_timer(self) -> None:
        clock = self.rates._clock
        self._due = clock.seconds() + REPLY_TIMEOUT
        self._timer = clock.callLater(REPLY_TIMEOUT, self._timeout_error)

    def _deliver(self, reply: str) -> None:
        if not self._stop_timer():
            return
        self.rates._last_error = ''
        numbers = map(int, reply.split())
        for batch in self.batches:
            batch.deliver(next(numbers), [next(numbers) for _ in batch.rates])

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, Timeout | ServiceUnavailable):
            message = error.msg
        else:
            message = f'Redis cannot check rate limits: {error}'
            if message != self.rates._last_error:  # once, not for every request
                self.rates._last_error = message
                self._log.error('{words}', words=message)
        if self._stop_timer():
            self._fail(partial(ServiceUnavailable, None, message))

    def _timeout_error(self) -> None:
        if self.rates._clock.seconds() - self._due > _STALL_THRESHOLD:
            self._start_timer()  # this process stalled
            return
        self._timer = None
        self.rates._overdue += 1
        self._fail(_timeout_error)

    def _stop_timer(self) -> bool:
        if self._timer is None:
            self.rates._overdue -= 1
            return False
        self._timer.cancel()
        return True

    def _fail(self, error: Callable[[], Exception]) -> None:
        for batch in self.batches:
            for caller in batch.callers:
                if not caller.called:
                    caller.errback(error())


def _timeout_error() -> Timeout:
    return Timeout(None, f'Redis did not check rate limits within {REPLY_TIMEOUT:g} s')
