"""Buckets of rate limits in Redis: one script, called once for all that one turn of the reactor brings.

Redis's own clock is the one that counts, so servers need not agree on the time. A bucket is a key that holds its moment
as nanoseconds since the epoch, and that expires when that moment is past.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from zatotx.interfaces.rates import Charge, IRates
from zatotx.interfaces.redis import IScripts, Script
from zatotx.model.errors import ServiceUnavailable, Timeout
from zatotx.redis.keys import Keys
from zatotx.rules.limits.gcra import Rate

PATIENCE = 0.5  # seconds for Redis to answer: requests wait for it
_STOOD_STILL = 0.1  # seconds that a timer rings late where this process got no processor: the answer may lie unread

# Arguments: interval and tolerance of each key, then the calls, those together that need the same buckets: how many
# there are, how many buckets they need, and which. The answer, as one text: for each such lot how many calls were
# admitted, and how far ahead each of its buckets was. A double holds 15 digits exactly: a moment is kept as seconds and
# nine digits more, and only its distance from now is ever a number. A bucket that is full again within a minute is not
# worth a write to Redis's disk and its replicas, for which every request would wait: it is lost with Redis's process.
_CHARGE = Script('charge rate limits', """
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
class _Lot:
    """The calls of one turn that need the same buckets."""

    rates: tuple[Rate, ...]
    callers: list[Deferred[Charge]] = field(factory=list)

    def give(self, admitted: int, aheads: Sequence[int]) -> None:
        """To each its own: the first ones are in, each one interval further ahead than the one before."""
        intervals = [rate.interval for rate in self.rates]
        ahead = list(aheads)
        for number, caller in enumerate(self.callers):
            if not caller.called:  # else it gave up
                caller.callback(Charge(number < admitted, ahead))
            if number < admitted:
                ahead = [before + interval for before, interval in zip(ahead, intervals, strict=True)]


@implementer(IRates)
class RedisRates:
    """On the shared connection. While an answer is overdue nobody else is made to wait for one."""

    def __init__(self, clock: Any, scripts: IScripts, keys: Keys) -> None:
        """`clock`: IReactorTime."""
        self._clock = clock
        self._scripts = scripts
        self._prefix = keys.key('rate', '')
        self._lots: dict[tuple[str, ...], _Lot] = {}  # of this turn
        self._overdue = 0
        self._refused = ''  # in which words Redis refused the last call, as the log has them

    @property
    def overdue(self) -> bool:
        """Whether Redis owes an answer that nobody waits for any more."""
        return self._overdue > 0

    def charge(self, names: tuple[str, ...], rates: tuple[Rate, ...]) -> Deferred[Charge]:
        if self._overdue:
            return fail(_late())
        lot = self._lots.get(names)
        if lot is None:
            if not self._lots:
                self._clock.callLater(0, self._send)
            lot = self._lots[names] = _Lot(rates)
        caller: Deferred[Charge] = Deferred()
        lot.callers.append(caller)
        return caller

    def _send(self) -> None:
        lots, self._lots = self._lots, {}
        places: dict[str, int] = {}  # name -> its number among the keys
        args: list[object] = []
        for names, lot in lots.items():
            for name, rate in zip(names, lot.rates, strict=True):
                if name not in places:
                    places[name] = len(places) + 1
                    args += (rate.interval, rate.tolerance)
        for names, lot in lots.items():
            args += (len(lot.callers), len(names), *(places[name] for name in names))
        asked = self._scripts.run(_CHARGE, [self._prefix + name for name in places], args)
        _Asked(self, list(lots.values())).wait(asked)


@define(eq=False)
class _Asked:
    """The calls of one turn, on their way."""

    rates: RedisRates
    lots: list[_Lot]
    _timer: Any = None
    _due: float = 0.0
    _log = Logger()

    def wait(self, asked: Deferred[Any]) -> None:
        """Give what comes to whom it is for, or the word that nothing came in time."""
        self._be_patient()
        asked.addCallbacks(self._answered, self._failed)

    def _be_patient(self) -> None:
        clock = self.rates._clock
        self._due = clock.seconds() + PATIENCE
        self._timer = clock.callLater(PATIENCE, self._late)

    def _answered(self, said: str) -> None:
        if not self._in_time():
            return
        self.rates._refused = ''
        numbers = map(int, said.split())
        for lot in self.lots:
            lot.give(next(numbers), [next(numbers) for _ in lot.rates])

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, Timeout | ServiceUnavailable):
            words = error.msg
        else:
            words = f'Redis does not say how it stands with rate limits: {error}'
            if words != self.rates._refused:  # not for every request
                self.rates._refused = words
                self._log.error('{words}', words=words)
        if self._in_time():
            self._fail(partial(ServiceUnavailable, None, words))

    def _late(self) -> None:
        if self.rates._clock.seconds() - self._due > _STOOD_STILL:
            self._be_patient()  # it was us
            return
        self._timer = None
        self.rates._overdue += 1
        self._fail(_late)

    def _in_time(self) -> bool:
        if self._timer is None:
            self.rates._overdue -= 1
            return False
        self._timer.cancel()
        return True

    def _fail(self, error: Callable[[], Exception]) -> None:
        for lot in self.lots:
            for caller in lot.callers:
                if not caller.called:
                    caller.errback(error())


def _late() -> Timeout:
    return Timeout(None, f'Redis did not say within {PATIENCE:g} s how it stands with rate limits')
