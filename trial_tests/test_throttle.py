"""Slowing down an address that keeps failing."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zatotx.rules.throttle import Throttle, network_of


class ThrottleTests(SynchronousTestCase):
    def failing(self, times: int, *, now: float = 0.0, address: str = '10.0.0.1') -> Throttle:
        throttle = Throttle()
        for _ in range(times):
            throttle.failed(address, now)
        return throttle

    def test_within_the_limit(self) -> None:
        """Twenty failures cost nothing, and nobody else pays for them."""
        throttle = self.failing(20)
        self.assertEqual(throttle.delay('10.0.0.1', 0.0), 0.0)
        self.assertEqual(throttle.delay('10.0.0.2', 0.0), 0.0)

    def test_grows(self) -> None:
        """Over the limit the delay doubles with each failure, from half a second up to eight."""
        delays = [self.failing(times).delay('10.0.0.1', 0.0) for times in (21, 22, 23, 24, 25, 26, 100)]
        self.assertEqual(delays, [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0])

    def test_drains(self) -> None:
        """A minute after any number of failures the address is within its limit again, two minutes after it is as
        good as new."""
        throttle = self.failing(1000)
        self.assertGreater(throttle.delay('10.0.0.1', 59.0), 0.0)
        self.assertEqual(throttle.delay('10.0.0.1', 60.0), 0.0)
        for _ in range(20):
            throttle.failed('10.0.0.1', 120.0)
        self.assertEqual(throttle.delay('10.0.0.1', 120.0), 0.0)

    def test_steady_failures(self) -> None:
        """Somebody who fails twenty times a minute, evenly, is never slowed down; at twice that rate he is."""
        for gap, slowed in ((3.0, False), (1.5, True)):
            throttle = Throttle()
            for number in range(200):
                throttle.failed('10.0.0.1', number * gap)
            self.assertEqual(throttle.delay('10.0.0.1', 200 * gap) > 0.0, slowed)

    def test_bounded(self) -> None:
        """Memory stays bounded under any number of addresses; who failed longest ago is forgotten first."""
        throttle = Throttle(limit=0, most=100)
        for number in range(1000):
            throttle.failed(f'10.0.{number // 256}.{number % 256}', 0.0)
        self.assertEqual(len(throttle), 100)

    def test_networks(self) -> None:
        """IPv6 addresses of one /64 count together: their owner has all of them."""
        same = ('2001:db8:1:2:3:4:5:6', '2001:db8:1:2::7', '2001:db8:1:2:ffff::')
        self.assertEqual({network_of(address) for address in same}, {'2001:db8:1:2'})
        self.assertEqual(network_of('2001:db8::1'), network_of('2001:db8:0:0:9::'))
        self.assertNotEqual(network_of('2001:db8:1:3::7'), '2001:db8:1:2')
        self.assertEqual(network_of('192.0.2.7'), '192.0.2.7')
