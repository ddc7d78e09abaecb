"""The work stream on a real Redis."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from trial_tests.support.reactor import reactor
from trial_tests.support.redis import KEYS, RedisCase
from zatotx.interfaces.work_stream import IWorkStream
from zatotx.redis.client import ScriptRunner
from zatotx.redis.work_stream import RedisWorkConsumer, RedisWorkStream
from zatotx.testing.memory_work_stream import MemoryWorkConsumer, MemoryWorkStream
from zatotx.testing.work_stream_contract import WorkStreamContract, make_numbered_work_message


class RedisWorkStreamTests(RedisCase, WorkStreamContract):
    """The contract, under failures of Redis."""

    async def setUp(self) -> None:  # type: ignore[override]
        super().setUp()
        self.shared = await self.client()
        self._work = RedisWorkStream(self.shared, ScriptRunner(self.shared), KEYS)

    def work_stream(self) -> IWorkStream:
        stream: IWorkStream = self._work
        return stream

    async def consumer(self, name: str, queue: str = '') -> RedisWorkConsumer:
        consumer = RedisWorkConsumer(reactor, self.server.address, self._work, queue=queue, name=name)
        consumer.start()
        self.addCleanup(consumer.stop)
        await self.got(consumer._consumer.wait_connected())
        return consumer

    async def test_restart_keeps_the_work(self) -> None:
        """After kill -9 of Redis everything is there: waiting, running, delayed and ordered messages."""
        consumer = await self.consumer('1.a')
        await self.got(
            self._work.add(
                [
                    make_numbered_work_message(1),
                    make_numbered_work_message(2),
                    make_numbered_work_message(3),
                    make_numbered_work_message(4, order_key='k'),
                    make_numbered_work_message(5, order_key='k'),
                ]
            )
        )
        one, two = await self.got(consumer.take(2, 0))
        await self.got(consumer.retry(one, one.message, 0))
        await self.restarted(self.shared)
        await self.got(consumer._consumer.wait_connected())
        counts = await self.got(consumer.counts())
        self.assertEqual((counts.waiting, counts.running, counts.delayed), (2, 1, 1))
        await self.got(consumer.finish(two))
        await self.got(consumer.release_due())
        self.assertEqual(await self.numbers(consumer), [3, 4, 1])

    async def test_wiped(self) -> None:
        """After a loss of all data, messages that run are retried and their follow-ups stored; new ones are
        delivered, as the group is created again at the beginning of the stream."""
        consumer = await self.consumer('1.a')
        await self.got(self._work.add([make_numbered_work_message(1), make_numbered_work_message(2)]))
        one, two = await self.got(consumer.take(5, 0))
        await self.shared.execute('FLUSHALL')
        await self.got(self._work.add([make_numbered_work_message(3)]))
        await self.got(consumer.retry(one, one.message, 0))
        await self.got(consumer.finish(two, [make_numbered_work_message(4)]))
        await self.got(consumer.release_due())
        self.assertEqual(await self.numbers(consumer), [3, 4, 1])

    async def test_nothing_is_left(self) -> None:
        """Settled messages leave no key behind but the stream itself, which is empty."""
        consumer = await self.consumer('1.a')
        await self.got(self._work.add([make_numbered_work_message(number, order_key='k') for number in range(3)]))
        for _ in range(3):
            (delivery,) = await self.got(consumer.take(5, 0))
            await self.got(consumer.retry(delivery, delivery.message, 0))
            await self.got(consumer.release_due())
            (delivery,) = await self.got(consumer.take(5, 0))
            await self.got(consumer.finish(delivery))
        self.assertEqual(await self.shared.execute('KEYS', '*'), [self._work.stream_key('')])
        self.assertEqual(await self.shared.execute('XLEN', self._work.stream_key('')), 0)

    async def test_foreign_entry(self) -> None:
        """An entry that another program added becomes a message that has failed already, with its data."""
        consumer = await self.consumer('1.a')
        await self.shared.execute('XADD', self._work.stream_key(''), '*', 'm', 'not MessagePack')
        await self.shared.execute('XADD', self._work.stream_key(''), '*', 'other', 'x')
        for delivery in await self.got(consumer.take(5, 0)):
            self.assertIn('cannot be read', delivery.message.cause)
            self.assertEqual(delivery.message.service, '')


class MemoryWorkStreamTests(WorkStreamContract, TestCase):
    """The contract on the double."""

    def setUp(self) -> None:
        self.clock = Clock()
        self._work = MemoryWorkStream(self.clock)

    def work_stream(self) -> IWorkStream:
        stream: IWorkStream = self._work
        return stream

    async def consumer(self, name: str, queue: str = '') -> MemoryWorkConsumer:
        consumer = self._work.consumer(name, queue)
        consumer.start()
        return consumer

    async def later(self, seconds: float) -> None:
        self.clock.advance(seconds)
