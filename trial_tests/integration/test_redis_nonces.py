"""Nonces used once per cluster: in memory and in a real Redis."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred, fail, gatherResults
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from trial_tests.support.redis import KEYS, RedisCase
from zatotx.interfaces.redis import RedisError
from zatotx.model.errors import ServiceUnavailable, Timeout
from zatotx.redis import nonce_store as room
from zatotx.redis.key_names import RedisKeys
from zatotx.redis.nonce_store import RedisNonceStore
from zatotx.testing.memory_redis_components import MemoryNonceStore
from zatotx.testing.redis_contracts import NonceStoreContract

reactor: Any = _reactor


class MemoryNonceTests(NonceStoreContract, TestCase):
    """The fake."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.shared: dict[str, float] = {}

    def nonces(self) -> MemoryNonceStore:
        return MemoryNonceStore(self.clock, self.shared)

    async def later(self, seconds: float) -> None:
        self.clock.advance(seconds)

    async def test_away(self) -> None:
        """The fake can be made unavailable."""
        nonces = self.nonces()
        nonces.error = ServiceUnavailable(None, 'Redis is unavailable')
        self.failureResultOf(nonces.consume('a', 1.0), ServiceUnavailable)


class RedisNonceTests(RedisCase, NonceStoreContract):
    """The real implementation."""

    async def setUp(self) -> None:  # type: ignore[override]
        super().setUp()
        self.shared = await self.client()

    def nonces(self) -> RedisNonceStore:
        return RedisNonceStore(reactor, self.shared, KEYS)

    async def test_keys_go_by_themselves(self) -> None:
        """Keys are below the cluster's prefix and expire; clusters are independent, and a later use does not extend the
        expiry."""
        for ttl in (20.0, 60.0):
            await self.used(self.nonces(), 'a:b', ttl)
        key = KEYS.key('nonce', 'a:b')
        self.assertTrue(0 < int(str(await self.shared.execute('PTTL', key))) <= 20_000)
        self.assertTrue(await self.used(RedisNonceStore(reactor, self.shared, RedisKeys('c2')), 'a:b'))

    async def test_one_write_a_turn(self) -> None:
        """All calls of one iteration are sent in one write; very many in several."""
        self.patch(room, 'BATCH_SIZE', 40)
        asked: list[int] = []
        real = self.shared.execute_batch

        def counted(commands: Any) -> Any:
            asked.append(len(commands))
            return real(commands)
        self.patch(self.shared, 'execute_batch', counted)
        nonces = self.nonces()
        first = await self.got(gatherResults([nonces.consume(f'{n % 50}', 60.0) for n in range(100)]))
        self.assertEqual((asked, sum(first)), ([40, 40, 20], 50))

    async def test_who_gave_up(self) -> None:
        """A cancelled call has used its nonce, and takes no other call's result."""
        nonces = self.nonces()
        gone, other = nonces.consume('a', 60.0), nonces.consume('b', 60.0)
        gone.addErrback(lambda failure: failure.trap(CancelledError))
        gone.cancel()
        self.assertTrue(await self.got(other))
        self.assertFalse(await self.used(nonces, 'a'))

    async def test_frozen_and_away(self) -> None:
        """If Redis is unavailable, calls fail in time, and work again later."""
        client = await self.client(timeout=2.0)
        nonces = RedisNonceStore(reactor, client, KEYS)
        await self.used(nonces, 'a')
        self.server.freeze()
        with self.assertRaises(Timeout):
            await self.used(nonces, 'a')
        self.server.thaw()
        await self.got(client.wait_connected())
        self.assertFalse(await self.used(nonces, 'a'))
        self.server.kill()
        await self.until(lambda: bool(client.problem), 'the loss')
        with self.assertRaises(ServiceUnavailable):
            await self.used(nonces, 'a')


class RefusalTests(SynchronousTestCase):
    """Error replies of Redis."""

    def use(self, answer: Deferred[Any]) -> Deferred[bool]:
        class Client:
            def execute_batch(self, commands: Any) -> Deferred[Any]:
                return answer

        clock = Clock()
        waiting = RedisNonceStore(clock, Client(), KEYS).consume('a', 1.0)  # type: ignore[arg-type]
        clock.advance(0)
        return waiting

    def test_a_command_that_is_refused(self) -> None:
        """A rejected command is not a first use, whatever the error."""
        refused: Deferred[Any] = Deferred()
        waiting = self.use(refused)
        refused.callback([RedisError('NOPERM this user has no permissions')])
        error = self.failureResultOf(waiting, ServiceUnavailable).value
        self.assertIn('NOPERM', str(error))

    def test_a_batch_that_fails(self) -> None:
        """The same for a failed batch."""
        for error, kind in ((RedisError('x'), ServiceUnavailable), (Timeout(None, 'late'), Timeout)):
            self.failureResultOf(self.use(fail(error)), kind)
