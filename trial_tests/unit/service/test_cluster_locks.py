"""self.lock in async and `def` services."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from zatotx import Service, Timeout
from zatotx.interfaces.redis import LeaseHeld, LeaseLost
from zatotx.testing.service_test_case import ServiceTesting

entered: list[Any] = []
waiting: list[Deferred[None]] = []


class Hold(Service):
    """Holds a lock until the test lets it go on."""

    name = 'locks.hold'

    async def handle(self) -> None:
        async with self.lock('orders', ttl=2, block=1) as lease:
            entered.append(lease)
            waiter: Deferred[None] = Deferred()
            waiting.append(waiter)
            await waiter
        self.response.payload = lease.token


class Plain(Service):
    """As written for Zato."""

    name = 'locks.plain'

    def handle(self) -> None:
        with self.lock('orders', 20, timeout=1) as lease:
            self.response.payload = [lease.name, lease.is_held]


class Default(Service):
    name = 'locks.default'

    async def handle(self) -> None:
        async with self.lock() as lease:
            self.response.payload = lease.name


class Wrong(Service):
    name = 'locks.wrong'

    async def handle(self) -> None:
        with self.lock('orders'):
            pass


class Failing(Service):
    name = 'locks.failing'

    def handle(self) -> None:
        with self.lock('orders', expires=20, timeout=0.2):
            raise ValueError('of the block')


class LockTests(ServiceTesting, SynchronousTestCase):
    services = (Hold, Plain, Default, Wrong, Failing)

    def setUp(self) -> None:
        entered.clear()
        waiting.clear()

    def test_one_holder(self) -> None:
        """While the lock is held it is renewed, and others get LeaseHeld after `block`; then they get it."""
        first = self.start(Hold)
        self.clock.advance(30)
        self.assertTrue(entered[0].is_held)
        before = self.clock.seconds()
        with self.assertRaisesRegex(LeaseHeld, "lock 'orders' is held by another call and was not free within 1 s"):
            self.call(Plain)
        self.assertTrue(1 <= self.clock.seconds() - before < 1.5)
        waiting[0].callback(None)
        first_token = first.answer().payload
        self.assertEqual(self.call(Plain).payload, ['orders', True])
        second = self.start(Hold)
        self.assertGreater(entered[1].token, first_token)
        waiting[1].callback(None)
        self.assertEqual(second.answer().payload, entered[1].token)

    def test_names(self) -> None:
        """The default name is the service's; locks with other names do not wait for each other."""
        holding = self.start(Hold)
        self.assertEqual(self.call(Default).payload, 'locks.default')
        waiting[0].callback(None)
        holding.answer()

    def test_lost(self) -> None:
        """If the lock was lost during the block, is_held says so, and the end of the block raises LeaseLost."""
        running = self.start(Hold)
        self.kit._redis.leases._store.lose_data()  # type: ignore[attr-defined]
        self.clock.advance(3)
        self.assertFalse(entered[0].is_held)
        waiting[0].callback(None)
        with self.assertRaisesRegex(LeaseLost, "lock 'orders' was lost before its block ended"):
            running.answer()

    def test_errors_release(self) -> None:
        """An error in the block releases the lock and is not replaced."""
        for _ in range(2):
            with self.assertRaisesRegex(ValueError, 'of the block'):
                self.call(Failing)
        self.assertEqual(self.call(Plain).payload, ['orders', True])

    def test_cancelled(self) -> None:
        """A call whose deadline passes in the block releases the lock."""
        running = self.start(Hold, timeout=5)
        self.clock.advance(6)
        with self.assertRaises(Timeout):
            running.answer()
        self.assertEqual(self.call(Plain).payload, ['orders', True])

    def test_with_in_async(self) -> None:
        """`with` in an async service says what to write."""
        with self.assertRaisesRegex(TypeError, 'async with self.lock'):
            self.call(Wrong)
