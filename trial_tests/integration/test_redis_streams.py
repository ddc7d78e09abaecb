"""Work queues on a real Redis: each entry goes to one consumer, none is lost."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from trial_tests.support.proxy import Proxy
from trial_tests.support.reactor import reactor
from trial_tests.support.redis import KEYS, RedisCase
from zatotx.model.errors import ServiceUnavailable, Timeout
from zatotx.redis.client import RedisClient, ScriptRunner
from zatotx.redis.redis_url import RedisAddress
from zatotx.redis.work_queues import CONSUMER_GROUP, RedisStream, StreamConsumer
from zatotx.testing.memory_redis_components import MemoryConsumer, MemoryStream
from zatotx.testing.redis_contracts import StreamContract


class RedisStreamTests(RedisCase, StreamContract):
    """The contract, under failures of Redis and the network."""

    IDLE = 3600.0  # what was claimed is not idle again while a busy machine claims the rest

    async def setUp(self) -> None:  # type: ignore[override]
        super().setUp()
        self.shared = await self.client()
        self._stream = self.of(self.shared)

    def of(self, client: RedisClient) -> RedisStream:
        return RedisStream(client, ScriptRunner(client), KEYS, 'work')

    def stream(self) -> RedisStream:
        return self._stream

    async def consumer(self, name: str, address: RedisAddress | None = None, timeout: float = 5.0) -> StreamConsumer:
        consumer = StreamConsumer(reactor, address or self.server.address, self._stream, consumer=name, timeout=timeout)
        consumer.startService()
        self.addCleanup(consumer.stopService)
        await self.got(consumer.wait_connected())
        return consumer

    async def aged(self, seconds: float) -> None:
        pending: Any = await self.shared.execute('XPENDING', self._stream.key, CONSUMER_GROUP, '-', '+', 1000)
        for entry_id, owner, *_ in pending:
            words = (
                'XCLAIM',
                self._stream.key,
                CONSUMER_GROUP,
                owner,
                0,
                entry_id,
                'IDLE',
                round(seconds * 1000),
                'JUSTID',
            )
            await self.shared.execute(*words)

    async def added(self, count: int) -> list[str]:
        return [await self._stream.add({'n': str(n)}) for n in range(count)]

    async def test_lost_answer(self) -> None:
        """Entries whose reply was lost are delivered by the next read, received ones are not delivered twice; the
        delivery count shows it."""
        consumer = await self.consumer('c1', timeout=2.0)
        ids = await self.added(1)
        self.assertEqual([entry.id for entry in await consumer.read(1, 0)], ids)
        ids = await self.added(3)
        self.server.freeze()
        with self.assertRaises(Timeout):
            await self.got(consumer.read(2, 0))
        self.server.thaw()
        found = [*await self.got(consumer.read(2, 5)), *await self.got(consumer.read(2, 5))]
        self.assertEqual([entry.id for entry in found], ids)
        # Whether Redis handed the two out to the connection that was given up depends on how far it had read.
        self.assertIn([entry.deliveries for entry in found], ([2, 2, 1], [1, 1, 1]))

    async def test_cut_while_waiting(self) -> None:
        """A connection that is cut during a blocking read fails the read, and is replaced; nothing is lost."""
        consumer = await self.consumer('c1')
        waiting = consumer.read(1, 30)
        await self.later(0.1)
        self.server.kill()
        with self.assertRaises(ServiceUnavailable):
            await self.got(waiting)
        await self.until(lambda: self.shared.problem, 'the loss')
        self.server.start()
        await self.got(self.shared.wait_connected())
        (entry_id,) = await self.added(1)
        self.assertEqual([entry.id for entry in await self.got(consumer.read(1, 10))], [entry_id])

    async def test_restart_keeps_the_work(self) -> None:
        """After kill -9 of Redis, unacknowledged entries are still there, delivered or not."""
        consumer = await self.consumer('c1')
        ids = await self.added(4)
        await consumer.ack([entry.id for entry in await consumer.read(1, 0)])
        await consumer.read(1, 0)
        await self.restarted(self.shared)
        other = await self.consumer('c2')
        self.assertEqual([entry.id for entry in await self.got(other.read(9, 5))], ids[2:])
        self.assertEqual([entry.id for entry in await other.claim(0)], ids[1:])

    async def test_flushed(self) -> None:
        """After FLUSHALL, before or during a blocking read, the group is created again, logged and counted, and new
        entries are delivered."""
        consumer = await self.consumer('c1')
        await self.added(2)
        await consumer.read(1, 0)
        await self.shared.execute('FLUSHALL')
        self.assertEqual(await consumer.read(1, 0), [])
        self.assertEqual(self._stream.groups_recreated, 1)
        waiting = consumer.read(1, 30)
        await self.later(0.1)
        await self.shared.execute('FLUSHALL')
        (entry_id,) = await self.added(1)
        self.assertEqual([entry.id for entry in await self.got(waiting)], [entry_id])
        self.assertEqual(await consumer.ack([entry_id]), 1)
        await self.shared.execute('FLUSHALL')
        self.assertEqual(await consumer.claim(0), [])
        await self.shared.execute('FLUSHALL')
        self.assertEqual((await self._stream.backlog()).length, 0)
        await self.shared.execute('FLUSHALL')
        self.assertTrue(await self._stream.remove_consumer('c1'))

    async def test_two_claim_at_once(self) -> None:
        """Concurrent claims get each entry once."""
        dead = await self.consumer('dead')
        ids = await self.added(40)
        await dead.read(40, 0)
        await self.aged(self.IDLE)
        alive = [await self.consumer(f'c{n}') for n in range(4)]
        claims = await gatherResults([one.claim(self.IDLE, 15) for one in alive for _ in range(2)])
        self.assertEqual(sorted(entry.id for found in claims for entry in found), sorted(ids))

    async def test_what_others_did_is_forgotten(self) -> None:
        """Entries that others claimed and acknowledged are not kept by their first consumer."""
        consumer, other = await self.consumer('c1'), await self.consumer('c2')
        for _ in range(3):
            await self.added(700)
            await consumer.read(700, 0)
            await other.ack([entry.id for entry in await other.claim(0, 700)])
        await consumer.read(1, 0)
        self.assertLess(len(consumer._unacknowledged), 701)

    async def test_slow_network(self) -> None:
        """Over a slow and flapping connection, every entry arrives and is acknowledged, and nothing remains."""
        proxy = Proxy(self.server.path)
        self.addCleanup(proxy.close)
        proxy.delay, proxy.cut_every = 0.01, 1500
        address = RedisAddress(host='127.0.0.1', port=proxy.port)
        ids = await self.added(60)
        consumer = await self.consumer('c1', address)
        seen: set[str] = set()
        until = reactor.seconds() + 40
        while reactor.seconds() < until and (len(seen) < 60 or (await self._stream.backlog()).length):
            try:
                found = await consumer.read(5, 1)
                seen |= {entry.id for entry in found}
                await consumer.ack([entry.id for entry in found])  # which may succeed though its reply is lost
            except (ServiceUnavailable, Timeout):
                await self.later(0.05)
        self.assertEqual(seen, set(ids))
        self.assertGreater(proxy.accepted, 1)
        self.assertEqual((await self._stream.backlog()).length, 0)


class MemoryStreamTests(StreamContract, TestCase):
    """The fake fulfills the same contract."""

    def setUp(self) -> None:
        self.clock = Clock()
        self._stream = MemoryStream(self.clock)

    def stream(self) -> MemoryStream:
        return self._stream

    async def consumer(self, name: str) -> MemoryConsumer:
        return self._stream.consumer(name)

    async def later(self, seconds: float) -> None:
        self.clock.pump([seconds / 20] * 20)

    async def got(self, waiting: Deferred[Any]) -> Any:
        while not waiting.called:
            self.clock.advance(0.01)
        return await waiting
