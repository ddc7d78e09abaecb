"""Tests of the concurrency limit, with the reactor, threads and other workers, and of rate limit buckets."""

from __future__ import annotations

from threading import Thread

from twisted.trial.unittest import SynchronousTestCase

from zatotx.rules.limits.concurrency_limit import (
    DEFAULT_BUDGET,
    DEFAULT_NODE_LIMIT,
    DEFAULT_SERVICE_LIMIT,
    ConcurrencyLimit,
)
from zatotx.rules.limits.rate_buckets import (
    MAX_TOLERANCE,
    SECOND,
    GcraRate,
    RateBuckets,
    RateLimitHeaders,
    RateLimitState,
    ceil_seconds,
    count_admitted_calls,
)


class GateTests(SynchronousTestCase):
    def test_lets_in_up_to_its_limit(self) -> None:
        """Calls above the limit are rejected and counted until a slot is released."""
        gate = ConcurrencyLimit(2)
        self.assertEqual([gate.enter() for _ in range(3)], [True, True, False])
        self.assertEqual((gate.total_active, gate.rejected, gate.is_full), (2, 1, True))
        gate.leave()
        self.assertFalse(gate.is_full)
        self.assertTrue(gate.enter())

    def test_a_new_limit_holds_for_those_who_come(self) -> None:
        """A lower limit affects new calls only; a higher one takes effect immediately."""
        gate = ConcurrencyLimit(2)
        gate.enter()
        gate.enter()
        gate.limit = 1
        gate.leave()
        self.assertFalse(gate.enter())
        gate.limit = 2
        self.assertTrue(gate.enter())
        self.assertEqual(gate.total_active, 2)

    def test_threads_and_the_reactor_share_the_places(self) -> None:
        """Threads and the reactor share the slots."""
        gate = ConcurrencyLimit(2)
        self.assertTrue(gate.enter_from_thread())
        self.assertEqual([gate.enter(), gate.enter()], [True, False])
        self.assertFalse(gate.enter_from_thread())
        gate.leave_from_thread()
        self.assertTrue(gate.enter())
        self.assertEqual(gate.total_active, 2)

    def test_many_threads_lose_no_count(self) -> None:
        """With concurrent threads and the reactor, the count is zero in the end."""
        gate = ConcurrencyLimit(1_000)

        def come_and_go() -> None:
            for _ in range(2_000):
                if gate.enter_from_thread():
                    gate.leave_from_thread()

        threads = [Thread(target=come_and_go) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(20_000):
            if gate.enter():
                gate.leave()
        for thread in threads:
            thread.join()
        self.assertEqual((gate.total_active, gate.rejected), (0, 0))
        self.assertEqual([gate.enter() for _ in range(1_001)].count(True), 1_000)

    def test_what_is_inside_elsewhere_counts(self) -> None:
        """Two workers share the limit by publishing their counts."""
        board = {'a': 0, 'b': 0}
        a = ConcurrencyLimit(3, count_others=lambda: board['b'], publish=lambda inside: board.update(a=inside))
        b = ConcurrencyLimit(3, count_others=lambda: board['a'], publish=lambda inside: board.update(b=inside))
        self.assertEqual([a.enter(), b.enter(), a.enter()], [True, True, True])
        self.assertEqual((b.enter(), a.enter_from_thread()), (False, False))
        self.assertEqual(board, {'a': 2, 'b': 1})
        a.leave()
        self.assertEqual(board, {'a': 1, 'b': 1})
        self.assertTrue(b.enter_from_thread())
        b.leave_from_thread()
        self.assertEqual((board, b.is_full), ({'a': 1, 'b': 1}, False))

    def test_the_last_place_is_never_given_twice(self) -> None:
        """An entry is published before the other counts are read, so that concurrent workers see it."""
        board = {'a': 0}
        seen: list[int] = []

        def others() -> int:
            seen.append(board['a'])
            return 1

        gate = ConcurrencyLimit(1, count_others=others, publish=lambda inside: board.update(a=inside))
        self.assertFalse(gate.enter())
        self.assertEqual((seen, board), ([1], {'a': 0}))

    def test_usual_limits(self) -> None:
        """The defaults are those of the documentation."""
        self.assertEqual((ConcurrencyLimit().limit, DEFAULT_SERVICE_LIMIT, DEFAULT_NODE_LIMIT), (1_000, 1_000, 10_000))
        usual = DEFAULT_BUDGET
        self.assertEqual((usual.json_depth, usual.json_keys, usual.form_fields), (100, 100_000, 1_000))

    def test_granted_places(self) -> None:
        """A worker publishes a 256th of the limit as taken, and neither publishes nor asks within it."""
        published: list[int] = []
        asked: list[None] = []

        def others() -> int:
            asked.append(None)
            return 0

        gate = ConcurrencyLimit(1_000, count_others=others, publish=published.append)
        self.assertEqual((published, len(asked)), ([3], 1))
        self.assertEqual([gate.enter() for _ in range(3)], [True] * 3)
        self.assertEqual((published, len(asked), gate.total_active), ([3], 1, 3))
        self.assertTrue(gate.enter())
        self.assertEqual((published, len(asked)), ([3, 4], 2))
        for _ in range(4):
            gate.leave()
        self.assertEqual((published, gate.total_active), ([3, 4, 3], 0))
        gate.enter_from_thread()
        self.assertEqual([gate.enter() for _ in range(3)], [True] * 3)
        self.assertEqual(published, [3, 4, 3, 3, 4])
        gate.leave_from_thread()
        self.assertEqual((published[-1], gate.fast_limit), (3, 3))

    def test_grants_that_others_have_taken(self) -> None:
        """Where the other workers leave no room for granted places there are none; a lower limit takes them back."""
        for limit, others, expected in ((1_000, 997, [3]), (1_000, 998, [3, 0]), (255, 0, []), (256, 0, [1])):
            published: list[int] = []
            gate = ConcurrencyLimit(limit, count_others=lambda: others, publish=published.append)  # noqa: B023
            self.assertEqual(published, expected, limit)
        gate.limit = 255
        self.assertEqual((published, gate.fast_limit), ([1, 0], 0))
        gate.limit = 100
        self.assertEqual(published, [1, 0])

    def test_one_way(self) -> None:
        """A limit that only publishes publishes every change; one that only asks asks at every entry."""
        published: list[int] = []
        gate = ConcurrencyLimit(1_000, publish=published.append)
        self.assertEqual([gate.enter(), gate.enter_from_thread()], [True, True])
        gate.leave()
        self.assertEqual(published, [1, 2, 1])
        others = [1, 0]
        gate = ConcurrencyLimit(1, count_others=lambda: others[0])
        self.assertEqual((gate.is_full, gate.enter(), gate.rejected), (True, False, 1))
        del others[0]
        self.assertEqual((gate.is_full, gate.enter(), gate.is_full), (False, True, True))


class RateTests(SynchronousTestCase):
    def test_rounding(self) -> None:
        """Intervals are rounded up, so that the rate is never exceeded."""
        self.assertEqual(GcraRate.from_limit(3, 1, 2), GcraRate(333_333_334, 666_666_668))
        self.assertEqual(
            (SECOND, GcraRate.from_limit(3, 1, 2).burst, GcraRate.from_limit(2, 1, 1).interval), (10**9, 2, 500_000_000)
        )

    def test_longest_recovery(self) -> None:
        """A full burst recovers within 104 days."""
        seconds = 104 * 86_400
        self.assertEqual(GcraRate.from_limit(1, seconds, 1).tolerance, MAX_TOLERANCE)
        self.assertRaises(ValueError, GcraRate.from_limit, 1, seconds + 1, 1)
        self.assertRaises(ValueError, GcraRate.from_limit, 1, seconds, 2)

    def test_a_bucket(self) -> None:
        """A call is admitted if the bucket is within its tolerance afterwards."""
        rate = GcraRate(10, 30)
        self.assertEqual([rate.admits(ahead) for ahead in (0, 20, 21)], [True, True, False])
        self.assertEqual([rate.remaining_calls(ahead) for ahead in (0, 1, 10, 20, 21, 30, 50)], [3, 2, 2, 1, 0, 0, 0])
        self.assertEqual([rate.wait_time(ahead) for ahead in (0, 20, 21, 50)], [0, 0, 1, 30])
        self.assertEqual(count_admitted_calls((rate, rate), (0, 10), 5), 2)
        self.assertEqual(count_admitted_calls((rate, rate), (0, 10), 1), 1)
        self.assertRaises(ValueError, count_admitted_calls, (rate, rate), (0,), 1)

    def test_whole_seconds(self) -> None:
        """Seconds are rounded up."""
        self.assertEqual([ceil_seconds(ahead) for ahead in (0, 1, SECOND, SECOND + 1)], [0, 1, 1, 2])

    def test_no_limits(self) -> None:
        """Without limits there are no header lines."""
        self.assertEqual(RateLimitState(RateLimitHeaders((), ())).header_lines(), b'')
        fields = RateLimitHeaders(('a', 'b'), (GcraRate(10, 30), GcraRate(10, 30)))
        self.assertRaises(ValueError, fields.encode, (0, 0, 0))
        self.assertRaises(ValueError, RateLimitHeaders, ('a',), ())

    def test_strictest_limit(self) -> None:
        """The older fields describe the limit with fewest calls left, and of those the one that is full again last."""
        rates = GcraRate(SECOND, 3 * SECOND), GcraRate(2 * SECOND, 6 * SECOND), GcraRate(SECOND, 9 * SECOND)
        for aheads, expected in (((SECOND, 0, 0), (3, 2, 1)), ((SECOND, 2 * SECOND, 0), (3, 2, 2)),
                                 ((0, 0, 9 * SECOND), (9, 0, 9))):  # fmt: skip
            lines = RateLimitHeaders(('a', 'b', 'c'), rates).encode(aheads).decode('ascii').splitlines()
            self.assertEqual(lines[2:], [f'RateLimit-{name}: {value}' for name, value
                                         in zip(('Limit', 'Remaining', 'Reset'), expected, strict=True)])  # fmt: skip


class BucketTests(SynchronousTestCase):
    rate = GcraRate(10, 30)

    def test_charge(self) -> None:
        """A bucket admits its burst, then one call per interval; a rejected call is not counted."""
        buckets = RateBuckets()
        self.assertEqual([buckets.charge('a', self.rate, 100) for _ in range(5)], [0, 10, 20, 30, 30])
        self.assertEqual([buckets.charge('a', self.rate, now) for now in (109, 110, 111, 200)], [21, 20, 29, 0])
        self.assertEqual(buckets.charge('b', self.rate, 200), 0)

    def test_give_back(self) -> None:
        """A refund makes room for one call; of an unknown bucket it changes nothing."""
        buckets = RateBuckets()
        buckets.refund('a', self.rate)
        self.assertEqual([buckets.charge('a', self.rate, 100) for _ in range(3)], [0, 10, 20])
        buckets.refund('a', self.rate)
        self.assertEqual(buckets.charge('a', self.rate, 100), 20)

    def test_bounded(self) -> None:
        """Buckets are kept while they are in use, whatever number of others comes in between, up to half of the
        maximum; buckets that are not in use are forgotten."""
        buckets = RateBuckets(4)
        for _ in range(3):
            buckets.charge('a', self.rate, 100)
        for name in 'bcb':
            buckets.charge(name, self.rate, 100)
        self.assertEqual(buckets.charge('a', self.rate, 100), 30)
        for name in 'bcde':
            buckets.charge(name, self.rate, 100)
        self.assertEqual(buckets.charge('a', self.rate, 100), 0)

    def test_refund_of_an_older_bucket(self) -> None:
        """A bucket of the older half is refunded too."""
        buckets = RateBuckets(1)
        for _ in range(3):
            buckets.charge('a', self.rate, 100)
        buckets.charge('b', self.rate, 100)
        buckets.refund('a', self.rate)
        self.assertEqual(buckets.charge('a', self.rate, 100), 20)
