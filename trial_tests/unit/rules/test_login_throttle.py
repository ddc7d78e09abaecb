"""Tests of the login throttle and the fair queue."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zatotx.rules.limits.concurrency_limit import FairQueue
from zatotx.rules.security.login_throttle import LoginThrottle, client_network


class ThrottleTests(SynchronousTestCase):
    def failing(self, times: int, *, now: float = 0.0, address: str = '10.0.0.1') -> LoginThrottle:
        throttle = LoginThrottle()
        for _ in range(times):
            throttle.record_failure(address, now)
        return throttle

    def test_within_the_limit(self) -> None:
        """Twenty failures cause no delay, and do not affect other networks."""
        throttle = self.failing(20)
        self.assertEqual(throttle.delay('10.0.0.1', 0.0), 0.0)
        self.assertEqual(throttle.delay('10.0.0.2', 0.0), 0.0)

    def test_grows(self) -> None:
        """Above the limit the delay doubles with each failure, from half a second up to eight seconds."""
        delays = [self.failing(times).delay('10.0.0.1', 0.0) for times in (21, 22, 23, 24, 25, 26, 100)]
        self.assertEqual(delays, [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0])

    def test_drains(self) -> None:
        """A minute after any number of failures the network is within its limit again, after two minutes its count is
        zero."""
        throttle = self.failing(1000)
        self.assertGreater(throttle.delay('10.0.0.1', 59.0), 0.0)
        self.assertEqual(throttle.delay('10.0.0.1', 60.0), 0.0)
        for _ in range(20):
            throttle.record_failure('10.0.0.1', 120.0)
        self.assertEqual(throttle.delay('10.0.0.1', 120.0), 0.0)

    def test_steady_failures(self) -> None:
        """Twenty failures per minute at a constant rate are never delayed; twice that rate is."""
        for gap, slowed in ((3.0, False), (1.5, True)):
            throttle = LoginThrottle()
            for number in range(200):
                throttle.record_failure('10.0.0.1', number * gap)
            self.assertEqual(throttle.delay('10.0.0.1', 200 * gap) > 0.0, slowed)

    def test_bounded(self) -> None:
        """Memory is bounded for any number of addresses; the network whose last failure is oldest is dropped first."""
        throttle = LoginThrottle(limit=0, max_networks=100)
        for number in range(1000):
            throttle.record_failure(f'10.0.{number // 256}.{number % 256}', 0.0)
        self.assertEqual(len(throttle), 100)

    def test_dropped(self) -> None:
        """The network whose last failure is oldest is forgotten, with its delay; the usual number is 10,000."""
        throttle = LoginThrottle(limit=1, max_networks=2)
        for network in ('a', 'a', 'b', 'b', 'a'):
            throttle.record_failure(network, 0.0)
        self.assertEqual((len(throttle), [*throttle.delayed_until]), (2, ['b', 'a']))
        throttle.record_failure('c', 0.0)
        self.assertEqual((len(throttle), throttle.delayed_until, throttle.delay('b', 0.0)), (2, {'a': 60.0}, 0.0))
        usual = LoginThrottle()
        for number in range(10_001):
            usual.record_failure(str(number), 0.0)
        self.assertEqual(len(usual), 10_000)

    def test_fractions(self) -> None:
        """The excess is rounded up; at the limit there is no delay."""
        throttle = self.failing(22)
        self.assertEqual([throttle.delay('10.0.0.1', now) for now in (2.9, 3.0, 5.9)], [1.0, 0.5, 0.5])
        self.assertEqual((throttle.delay('10.0.0.1', 6.0), throttle.delayed_until), (0.0, {}))
        throttle = self.failing(21)
        self.assertEqual((throttle.delay('x', 2.9), len(throttle.delayed_until)), (0.0, 1))

    def test_networks(self) -> None:
        """IPv6 addresses of one /64 count together, since they have one owner."""
        same = ('2001:db8:1:2:3:4:5:6', '2001:db8:1:2::7', '2001:db8:1:2:ffff::')
        self.assertEqual({client_network(address) for address in same}, {'2001:db8:1:2'})
        self.assertEqual(client_network('2001:db8::1'), client_network('2001:db8:0:0:9::'))
        self.assertNotEqual(client_network('2001:db8:1:3::7'), '2001:db8:1:2')
        self.assertEqual(client_network('192.0.2.7'), '192.0.2.7')
        for address, network in (('::1', '0:0:0:0'), ('2001:db8::', '2001:db8:0:0'), ('1:2:3::4', '1:2:3:0'),
                                 ('1:2:3:4::', '1:2:3:4'), ('1:2:3:4:5::', '1:2:3:4'), ('1:2:3:4:5:6:7:8', '1:2:3:4'),
                                 ('::ffff:1:2', '0:0:0:0')):  # fmt: skip
            self.assertEqual(client_network(address), network)

    def test_networks_of_a_dual_stack_listener(self) -> None:
        """IPv4-mapped addresses, as a listener on `::` sees IPv4 clients, count as IPv4 addresses, as with a listener
        on 0.0.0.0."""
        for address in ('::ffff:192.0.2.7', '::FFFF:192.0.2.7', '0:0:0:0:0:ffff:192.0.2.7'):
            self.assertEqual(client_network(address), '192.0.2.7')
        self.assertNotEqual(client_network('::ffff:192.0.2.7'), client_network('::ffff:192.0.2.8'))
        self.assertEqual(client_network('2001:db8:1:2::192.0.2.7'), '2001:db8:1:2')

    def test_forgiven(self) -> None:
        """A revoked failure has no effect."""
        throttle = self.failing(22)
        throttle.revoke_failure('10.0.0.1', 0.0)
        self.assertEqual(throttle.delay('10.0.0.1', 0.0), 0.5)
        throttle.revoke_failure('10.0.0.1', 0.0)
        self.assertEqual((throttle.delay('10.0.0.1', 0.0), throttle.delayed_until), (0.0, {}))
        throttle.revoke_failure('10.0.0.2', 0.0)
        self.assertEqual(len(throttle), 1)
        throttle = self.failing(1)
        for _ in range(2):
            throttle.revoke_failure('10.0.0.1', 0.0)
        for _ in range(20):
            throttle.record_failure('10.0.0.1', 0.0)
        self.assertEqual(throttle.delay('10.0.0.1', 0.0), 0.0)

    def test_who_is_slowed(self) -> None:
        """Delayed networks are found by one lookup, and dropped afterwards even without another attempt."""
        throttle = self.failing(21)
        throttle.record_failure('10.0.0.2', 0.0)
        self.assertEqual(throttle.delayed_until, {'10.0.0.1': 3.0})
        self.assertEqual(throttle.delay('10.0.0.2', 3.0), 0.0)
        self.assertEqual(throttle.delayed_until, {})


class FairQueueTests(SynchronousTestCase):
    def test_owners_take_turns(self) -> None:
        """Owners take turns in the order of their first items; items of one owner keep their order."""
        queue: FairQueue[str] = FairQueue(10, 10)
        for item in ('a1', 'a2', 'a3', 'b1', 'c1', 'c2'):
            queue.add(item[0], item)
        self.assertEqual([queue.pop() for _ in range(len(queue))], ['a1', 'b1', 'c1', 'a2', 'c2', 'a3'])
        self.assertRaises(KeyError, queue.pop)

    def test_bounds(self) -> None:
        """Items are limited per owner and in total; when full, the owner with most items loses its newest to one with
        fewer."""
        queue: FairQueue[str] = FairQueue(5, 3)
        self.assertEqual([queue.add('a', f'a{n}') for n in range(3)], [None] * 3)
        self.assertEqual((queue.is_full_for('a'), queue.is_full_for('b')), (True, False))
        self.assertEqual([queue.add('b', 'b0'), queue.add('c', 'c0')], [None, None])
        self.assertEqual(queue.add('d', 'd0'), 'a2')
        self.assertEqual(queue.add('e', 'e0'), 'a1')
        self.assertEqual(queue.add('f', 'f0'), 'f0')
        self.assertEqual([queue.pop() for _ in range(len(queue))], ['a0', 'b0', 'c0', 'd0', 'e0'])

    def test_removed(self) -> None:
        """A removed item is skipped; removing it again has no effect."""
        queue: FairQueue[str] = FairQueue(5, 5)
        for item in ('a1', 'a2', 'b1'):
            queue.add(item[0], item)
        for item in ('a1', 'a1', 'b1', 'x'):
            queue.remove(item[0], item)
        self.assertEqual((len(queue), queue.pop()), (1, 'a2'))
