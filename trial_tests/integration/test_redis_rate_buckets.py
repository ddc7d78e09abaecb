"""Rate limits: token buckets as pure numbers, in memory and in a real Redis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from trial_tests.support.properties import holds
from trial_tests.support.redis import KEYS, RedisCase
from zatotx.interfaces.redis import IScriptRunner, LuaScript
from zatotx.model.errors import ServiceUnavailable, Timeout
from zatotx.redis.client import ScriptRunner
from zatotx.redis.key_names import RedisKeys
from zatotx.redis.rate_buckets import REPLY_TIMEOUT, RedisRateBuckets
from zatotx.rules.limits.rate_buckets import SECOND, GcraRate, RateBuckets, count_admitted_calls
from zatotx.testing.memory_redis_components import MemoryRateBuckets
from zatotx.testing.redis_contracts import RateBucketsContract

reactor: Any = _reactor
RATES = st.builds(lambda count, seconds, burst: GcraRate.from_limit(count, seconds, burst),
                  st.integers(1, 1000), st.integers(1, 3600), st.integers(1, 50))  # fmt: skip
PAUSES = st.lists(st.integers(0, 3 * SECOND), max_size=60)


class RateTests(SynchronousTestCase):
    def test_read(self) -> None:
        """A rate is in whole nanoseconds, rounded to the slower side; one that would take too long is rejected."""
        self.assertEqual(GcraRate.from_limit(100, 60, 100), GcraRate(600_000_000, 60 * SECOND))
        self.assertEqual(GcraRate.from_limit(3, 1, 2).interval, 333_333_334)
        self.assertEqual((GcraRate.from_limit(3, 1, 2).burst, GcraRate.from_limit(1, 86_400, 100).burst), (2, 100))
        self.assertRaises(ValueError, GcraRate.from_limit, 1, 86_400, 105)

    def test_asked(self) -> None:
        """The remaining requests, and the time until the next one."""
        rate = GcraRate.from_limit(1, 1, 3)
        self.assertEqual([rate.remaining_calls(n * SECOND) for n in range(5)], [3, 2, 1, 0, 0])
        self.assertEqual([rate.admits(n * SECOND) for n in range(4)], [True, True, True, False])
        self.assertEqual(rate.wait_time(2 * SECOND), 0)
        self.assertEqual(rate.wait_time(3 * SECOND - 1), SECOND - 1)
        self.assertEqual(count_admitted_calls((rate, GcraRate.from_limit(1, 1, 9)), (SECOND, 0), 5), 2)

    @holds(rate=RATES, pauses=PAUSES)
    def test_never_more_than_burst_and_rate(self, rate: GcraRate, pauses: list[int]) -> None:
        """In any period, at most the burst plus the rate's share is admitted; a request is rejected only if it would
        exceed that in a period that ends now."""
        buckets, now, admitted = RateBuckets(), 5, []
        for pause in [0, *pauses]:
            now += pause
            if rate.admits(buckets.charge('a', rate, now)):
                admitted.append(now)
                for first in range(len(admitted)):
                    span = now - admitted[first]
                    self.assertLessEqual(len(admitted) - first, rate.burst + span / rate.interval)
            else:
                spans = [(len(admitted) - first + 1, now - moment) for first, moment in enumerate(admitted)]
                self.assertTrue(any(calls > rate.burst + span / rate.interval for calls, span in spans))

    @holds(rate=RATES, calls=st.lists(st.integers(1, 9), min_size=1, max_size=20), pauses=PAUSES)
    def test_many_at_once_are_as_many_one_by_one(self, rate: GcraRate, calls: list[int], pauses: list[int]) -> None:
        """Charging several requests at once equals charging them one by one."""
        together, single, now = 0, RateBuckets(), 0
        for count, pause in zip(calls, pauses, strict=False):
            now += pause
            ahead = max(0, together - now)
            admitted = count_admitted_calls((rate,), (ahead,), count)
            together = now + ahead + admitted * rate.interval
            one_by_one = [rate.admits(single.charge('a', rate, now)) for _ in range(count)]
            self.assertEqual(one_by_one, [True] * admitted + [False] * (count - admitted))


class BucketsTests(SynchronousTestCase):
    rate = GcraRate.from_limit(1, 1, 2)

    def test_the_boundary(self) -> None:
        """A request is rejected one nanosecond before its time, and admitted at it."""
        buckets = RateBuckets()
        self.assertEqual([buckets.charge('a', self.rate, 7) for _ in range(3)], [0, SECOND, 2 * SECOND])
        self.assertFalse(self.rate.admits(buckets.charge('a', self.rate, 6 + SECOND)))
        self.assertTrue(self.rate.admits(buckets.charge('a', self.rate, 7 + SECOND)))
        self.assertFalse(self.rate.admits(buckets.charge('a', self.rate, 7 + SECOND)))

    def test_given_back(self) -> None:
        """A refunded request leaves its capacity to another one."""
        buckets = RateBuckets()
        for _ in range(2):
            buckets.charge('a', self.rate, 0)
        buckets.refund('a', self.rate)
        buckets.refund('b', self.rate)
        self.assertEqual([buckets.charge('a', self.rate, 0) for _ in range(2)], [SECOND, 2 * SECOND])

    def test_memory_is_bounded(self) -> None:
        """The number of buckets is bounded; those in use are kept."""
        buckets = RateBuckets(100)
        for number in range(1000):
            buckets.charge(f'name {number}', self.rate, 0)
            buckets.charge('busy', self.rate, 0)
        self.assertEqual(buckets.charge('busy', self.rate, 0), 2 * SECOND)
        self.assertEqual([buckets.charge(f'name {number}', self.rate, 0) for number in range(900)], [0] * 900)

    def test_many_other_names(self) -> None:
        """Half as many new names as buckets give no bucket a new burst; displaced ones can be refunded."""
        buckets = RateBuckets(100)
        for name in ('a', 'a', 'b', 'b', *(f'name {number}' for number in range(50))):
            buckets.charge(name, self.rate, 0)
        self.assertEqual(buckets.charge('a', self.rate, 0), 2 * SECOND)
        buckets.refund('b', self.rate)
        self.assertEqual(buckets.charge('b', self.rate, 0), SECOND)


class MemoryRatesTests(RateBucketsContract, TestCase):
    """The double."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.shared: dict[str, int] = {}

    def rates(self) -> Any:
        return MemoryRateBuckets(self.clock, self.shared)

    async def later(self, seconds: float) -> None:
        self.clock.advance(seconds)

    async def got(self, waiting: Deferred[Any]) -> Any:
        self.clock.advance(0)
        return await waiting

    async def test_away(self) -> None:
        """It can be told to be."""
        rates = self.rates()
        rates.unavailable_reason = 'Redis is unavailable'
        waiting = rates.charge(('a',), (self.SLOW,))
        self.clock.advance(0)
        self.failureResultOf(waiting, ServiceUnavailable)
        self.assertEqual(rates.charged_names, [('a',)])


class RedisRatesTests(RedisCase, RateBucketsContract):
    """The real one."""

    async def setUp(self) -> None:  # type: ignore[override]
        super().setUp()
        self.shared = await self.client()

    def rates(self) -> RedisRateBuckets:
        return self.of(self.shared)

    def of(self, client: Any, keys: RedisKeys = KEYS) -> RedisRateBuckets:
        return RedisRateBuckets(reactor, ScriptRunner(client), keys)

    async def ask(self, *words: str) -> Any:
        """One command."""
        return await self.shared.execute(*words)

    async def asked(self) -> int:
        """Return the number of scripts that Redis has run."""
        stats = str(await self.shared.execute('INFO', 'commandstats'))
        return sum(
            int(line.partition('calls=')[2].partition(',')[0])
            for line in stats.splitlines()
            if line.startswith(('cmdstat_eval:', 'cmdstat_evalsha:'))
        )

    async def test_one_call_a_turn(self) -> None:
        """All requests of one iteration of the reactor, with any number of buckets, cause one call."""
        rates = self.rates()
        await self.charged(rates, 'first')
        before = await self.asked()
        waiting = [rates.charge((f'{n % 7}', f'{n % 3} more'), (self.SLOW, self.SLOW)) for n in range(100)]
        charges = await self.got(gatherResults(waiting))
        self.assertEqual(await self.asked(), before + 1)
        self.assertEqual(sum(charge.admitted for charge in charges), 15)

    SLOWEST = GcraRate.from_limit(1, 1000, 5000)

    async def test_exact_under_load(self) -> None:
        """With several clients at once, exactly the allowed number of requests is admitted."""
        everybody = [self.of(await self.client()) for _ in range(4)]
        rate, admitted = GcraRate.from_limit(1, 3600, 100), 0
        for _ in range(10):
            waiting = [rates.charge(('a', 'b'), (rate, self.SLOWEST)) for rates in everybody for _ in range(7)]
            admitted += sum(charge.admitted for charge in await self.got(gatherResults(waiting)))
        self.assertEqual(admitted, 100)

    async def test_keys_go_by_themselves(self) -> None:
        """A refilled bucket has no key; until then it is below the cluster's prefix, and clusters are independent."""
        await self.charged(self.rates(), 'a:b', rate=self.QUICK)
        await self.charged(self.rates(), 'c', rate=self.SLOW)
        quick, slow = KEYS.key('rate', 'a:b'), KEYS.key('rate', 'c')
        self.assertLessEqual(await self.ask('PTTL', quick), 200)  # it may be over by now
        self.assertTrue(50_000 < await self.ask('PTTL', slow) <= 60_000)
        await self.later(0.3)
        self.assertEqual(await self.ask('KEYS', '*'), [slow])
        other = self.of(self.shared, RedisKeys('c2'))
        self.assertEqual((await self.charged(other, 'c')).bucket_leads, [0])

    async def test_frozen(self) -> None:
        """Requests wait at most half a second for a frozen Redis, not at all while a reply is overdue, and it is used
        again once it continues."""
        rates = self.rates()
        await self.charged(rates, 'a')
        self.server.freeze()
        began = reactor.seconds()
        await self.assertFailure(rates.charge(('a',), (self.SLOW,)), Timeout)
        self.assertTrue(REPLY_TIMEOUT * 0.9 <= reactor.seconds() - began < 20, reactor.seconds() - began)
        self.assertTrue(rates.is_overdue)
        self.failureResultOf(rates.charge(('a',), (self.SLOW,)), Timeout)
        self.server.thaw()
        await self.until(lambda: not rates.is_overdue, 'the late answer')
        self.assertTrue((await self.charged(rates, 'a')).admitted)

    async def test_away(self) -> None:
        """A missing Redis is reported at once; when it is back, limits apply again."""
        rates = self.rates()
        self.server.kill()
        await self.until(lambda: self.shared.problem, 'the loss')
        error: Any = await self.assertFailure(rates.charge(('a',), (self.SLOW,)), ServiceUnavailable)
        self.assertIn(str(self.server.address), error.details)
        self.assertFalse(rates.is_overdue)
        self.server.start()
        await self.got(self.shared.wait_connected())
        self.assertTrue((await self.charged(rates, 'a')).admitted)

    async def test_refused(self) -> None:
        """An error reply counts as unavailable, and is logged."""
        rates = self.rates()
        await self.shared.execute('LPUSH', KEYS.key('rate', 'a'), 'x')
        logged: list[str] = []

        @implementer(ILogObserver)
        def observer(event: LogEvent) -> None:
            logged.append(str(event.get('words', '')))

        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        for _ in range(3):
            error: Any = await self.assertFailure(rates.charge(('a',), (self.SLOW,)), ServiceUnavailable)
            self.assertIn('WRONGTYPE', error.details)
        self.assertEqual(len([words for words in logged if 'WRONGTYPE' in words]), 1, 'not for every request')
        self.assertTrue((await self.charged(rates, 'b')).admitted)


@implementer(IScriptRunner)
class _Silent:
    """Replies when the test says so."""

    def __init__(self) -> None:
        self.asked: list[Deferred[Any]] = []

    def run(self, script: LuaScript, keys: Any, args: Any = ()) -> Deferred[Any]:
        answer: Deferred[Any] = Deferred()
        self.asked.append(answer)
        return answer


class PatienceTests(SynchronousTestCase):
    """Exact times with a fake clock."""

    def setUp(self) -> None:
        self.clock, self.scripts = Clock(), _Silent()
        self.rates = RedisRateBuckets(self.clock, self.scripts, KEYS)

    def charge(self) -> Any:
        return self.rates.charge(('a',), (GcraRate.from_limit(1, 60, 5),))

    def test_an_answer_in_time(self) -> None:
        """A reply in time leaves no timer."""
        waiting = self.charge()
        self.clock.advance(0)
        self.clock.advance(REPLY_TIMEOUT - 0.01)
        self.scripts.asked[0].callback('1 0')
        self.assertTrue(self.successResultOf(waiting).admitted)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_process_that_stood_still(self) -> None:
        """A stalled process cannot tell whether Redis was late: it waits once more, and uses a reply that arrives
        meanwhile."""
        waiting = self.charge()
        self.clock.advance(0)
        self.clock.advance(REPLY_TIMEOUT + 2)
        self.assertNoResult(waiting)
        self.scripts.asked[0].callback('1 0')
        self.assertTrue(self.successResultOf(waiting).admitted)
        late = self.charge()
        self.clock.advance(0)
        self.clock.advance(REPLY_TIMEOUT + 2)
        self.clock.advance(REPLY_TIMEOUT)
        self.failureResultOf(late, Timeout)

    def test_a_late_answer(self) -> None:
        """A late reply is useless for its callers, and ends the overdue state."""
        for end in (lambda answer: answer.callback('1 0'), lambda answer: answer.errback(Timeout(None, 'lost'))):
            waiting = [self.charge(), self.charge()]
            self.clock.advance(0)
            self.clock.advance(REPLY_TIMEOUT)
            for one in waiting:
                self.failureResultOf(one, Timeout)
            self.failureResultOf(self.charge(), Timeout)
            end(self.scripts.asked.pop())
            self.assertFalse(self.rates.is_overdue)
            self.assertNoResult(self.charge())
            self.clock.advance(0)
            self.scripts.asked.pop().callback('1 0')

    def test_each_has_an_error_of_its_own(self) -> None:
        """Each caller gets its own exception, since a shared one would collect their tracebacks."""
        waiting = [self.charge(), self.charge()]
        self.clock.advance(0)
        self.scripts.asked[0].errback(ServiceUnavailable(None, 'Redis is unavailable'))
        errors = [self.failureResultOf(one, ServiceUnavailable).value for one in waiting]
        self.assertEqual([error.details for error in errors], ['Redis is unavailable'] * 2)
        self.assertIsNot(*errors)
