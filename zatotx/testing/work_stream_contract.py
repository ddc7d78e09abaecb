"""Contract tests that every implementation of IWorkStream and IWorkConsumer must pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from zope.interface.verify import verifyObject

from zatotx.interfaces.work_stream import IWorkConsumer, IWorkStream
from zatotx.model.message import Principal
from zatotx.model.work_message import WORK_VERSION, WorkMessage, decode_work

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase as Case
else:
    Case = object


def make_numbered_work_message(number: int, **fields: Any) -> WorkMessage:
    """Create a work message for use in contract tests."""
    return WorkMessage(id=f'id-{number}', cid=f'cid-{number}', service='a.b', payload={'n': number}, **fields)


class WorkStreamContract(Case):
    """Contract tests of IWorkStream and IWorkConsumer. The subclass, a TestCase of trial, creates the objects under
    test; `later` lets time pass, and `got` waits for a result. DELAY is long enough to be noticed."""

    DELAY = 0.3

    def work_stream(self) -> IWorkStream:
        """Return the stream, always the same one."""
        raise NotImplementedError

    async def consumer(self, name: str, queue: str = '') -> IWorkConsumer:
        """Return a consumer that is ready."""
        raise NotImplementedError

    async def later(self, seconds: float) -> None:
        """Let that many seconds pass."""
        raise NotImplementedError

    async def got(self, waiting: Deferred[Any], within: float = 50.0) -> Any:
        """Wait for a result while time passes."""
        return await waiting

    async def numbers(self, consumer: IWorkConsumer, count: int = 9) -> list[int]:
        """Take messages and return their numbers."""
        return [delivery.message.payload['n'] for delivery in await self.got(consumer.take(count, 0))]

    async def test_unchanged(self) -> None:
        """A message arrives as it was added: text, bytes, numbers, nesting, principal, headers."""
        stream, consumer = self.work_stream(), await self.consumer('1.a')
        verifyObject(IWorkStream, stream)
        verifyObject(IWorkConsumer, consumer)
        payload = {'text': 'zażółć', 'raw': b'\xff\x00', 'list': [1, 2.5, None, True], 'deep': {'a': {'b': []}}}
        message = WorkMessage(
            id='x', cid='c', service='a.b', payload=payload, headers={b'h': b'v'}, callbacks=('d', 'e'),
            principal=Principal('p', 'user', 'basic_auth', {'sub': 'x'}, frozenset(('admin',))), expires_at=5.5,
        )  # fmt: skip
        await self.got(stream.add([message]))
        (delivery,) = await self.got(consumer.take(5, 0))
        self.assertEqual(delivery.message, message)
        self.assertEqual(delivery.crashes, 0)

    async def test_newer_version(self) -> None:
        """A message of a newer version arrives with its version, even if its form is unknown; it is put back unchanged,
        and offered again after a delay."""
        stream, consumer = self.work_stream(), await self.consumer('1.a')
        await self.got(
            stream.add(
                [
                    make_numbered_work_message(1, version=WORK_VERSION + 1, order_key='k'),
                    make_numbered_work_message(2, order_key='k'),
                ]
            )
        )
        (delivery,) = await self.got(consumer.take(5, 0))
        self.assertTrue(delivery.is_newer)
        self.assertEqual(decode_work(delivery.data, '').payload, {'n': 1})
        await self.got(consumer.give_back(delivery, self.DELAY))
        self.assertEqual(await self.got(consumer.take(5, 0)), [])
        await self.later(self.DELAY)
        await self.got(consumer.release_due())
        (again,) = await self.got((await self.consumer('2.a')).take(5, 0))
        self.assertEqual((again.data, again.crashes), (delivery.data, 0))
        await self.got(consumer.finish(again))
        self.assertEqual(await self.numbers(consumer), [2])

    async def test_each_to_one(self) -> None:
        """Each message goes to one consumer, in the order they were added, also those added before the consumers."""
        stream = self.work_stream()
        await self.got(stream.add([make_numbered_work_message(number) for number in range(6)]))
        one, two = await self.consumer('1.a'), await self.consumer('2.a')
        self.assertEqual(await self.numbers(one, 2), [0, 1])
        self.assertEqual(await self.numbers(two, 3), [2, 3, 4])
        self.assertEqual(await self.numbers(one), [5])
        self.assertEqual(await self.numbers(two), [])

    async def test_waiting(self) -> None:
        """A consumer waits for the next message; a cancelled wait loses none."""
        stream, consumer = self.work_stream(), await self.consumer('1.a')
        gone = consumer.take(1, 30)
        await self.later(0.05)
        gone.cancel()
        with self.assertRaises(CancelledError):
            await gone
        waiting = consumer.take(1, 30)
        await self.later(0.05)
        self.assertNoResult(waiting)
        await self.got(stream.add([make_numbered_work_message(1)]))
        self.assertEqual([delivery.message.id for delivery in await self.got(waiting)], ['id-1'])

    async def test_finished(self) -> None:
        """A finished message is gone, for all consumers; its follow-ups are there. Finishing again does no harm."""
        stream, consumer = self.work_stream(), await self.consumer('1.a')
        await self.got(stream.add([make_numbered_work_message(1)]))
        (delivery,) = await self.got(consumer.take(5, 0))
        await self.got(consumer.finish(delivery, [make_numbered_work_message(2), make_numbered_work_message(3)]))
        await self.got(consumer.finish(delivery))
        self.assertEqual(await self.numbers(consumer), [2, 3])
        other = await self.consumer('2.a')
        self.assertEqual([one.message.payload['n'] for one in await self.got(other.recover(lambda name: True, 9))],
                         [2, 3])  # fmt: skip

    async def test_retried(self) -> None:
        """The next attempt replaces a message, and comes to any consumer when its time has come, not before."""
        stream, consumer, other = self.work_stream(), await self.consumer('1.a'), await self.consumer('2.a')
        await self.got(stream.add([make_numbered_work_message(1)]))
        (delivery,) = await self.got(consumer.take(5, 0))
        again = msgspec.structs.replace(delivery.message, attempts=1, cause='x')
        self.assertIsNone(await self.got(consumer.release_due()))
        await self.got(consumer.retry(delivery, again, self.DELAY))
        left = await self.got(other.release_due())
        self.assertTrue(0 < left <= self.DELAY, left)
        self.assertEqual(await self.numbers(other), [])
        self.assertEqual((await self.got(other.counts())).delayed, 1)
        await self.later(self.DELAY * 1.2)
        self.assertIsNone(await self.got(other.release_due()))
        (delivery,) = await self.got(other.take(5, 0))
        self.assertEqual((delivery.message, delivery.crashes), (again, 0))

    async def test_recovered(self) -> None:
        """The messages of dead consumers are taken over, with the number of runs that crashed; those of living ones
        are not, however long they have them."""
        stream = self.work_stream()
        dead, alive, other = await self.consumer('1.a'), await self.consumer('2.a'), await self.consumer('3.a')
        await self.got(stream.add([make_numbered_work_message(number) for number in range(4)]))
        self.assertEqual(await self.numbers(dead, 3), [0, 1, 2])
        self.assertEqual(await self.numbers(alive, 1), [3])
        asked: set[str] = set()

        def is_dead(name: str) -> bool:
            asked.add(name)
            return name == '1.a'

        first = await self.got(other.recover(is_dead, 2))
        self.assertEqual([(one.message.payload['n'], one.crashes) for one in first], [(0, 1), (1, 1)])
        rest = await self.got(other.recover(is_dead, 2))
        self.assertEqual([one.message.payload['n'] for one in rest], [2])
        self.assertEqual(await self.got(other.recover(is_dead, 2)), [])
        self.assertLessEqual(asked, {'1.a', '2.a'})
        again = await self.got(alive.recover(lambda name: name == '3.a', 9))
        self.assertEqual([one.crashes for one in again], [2, 2, 2])

    async def test_counts(self) -> None:
        """Messages are counted by what they wait for."""
        stream, consumer = self.work_stream(), await self.consumer('1.a')
        await self.got(stream.add([make_numbered_work_message(number) for number in range(5)]))
        one, two = await self.got(consumer.take(2, 0))
        await self.got(consumer.retry(one, one.message, 60))
        counts = await self.got(consumer.counts())
        self.assertEqual((counts.waiting, counts.running, counts.delayed), (3, 1, 1))
        await self.got(consumer.finish(two))
        self.assertEqual((await self.got(consumer.counts())).running, 0)

    async def test_for_one_server(self) -> None:
        """A message for a server goes to the consumers of its queue, and to no other."""
        stream = self.work_stream()
        shared, own = await self.consumer('1.a'), await self.consumer('2.a', 'server2')
        await self.got(stream.add([make_numbered_work_message(1, target='server2'), make_numbered_work_message(2)]))
        self.assertEqual(await self.numbers(shared), [2])
        self.assertEqual(await self.numbers(own), [1])

    async def test_in_order(self) -> None:
        """Messages of one order key come one after another, each after the one before is settled, through retries;
        others are not held up."""
        stream, one, two = self.work_stream(), await self.consumer('1.a'), await self.consumer('2.a')
        for number in range(3):
            await self.got(stream.add([make_numbered_work_message(number, order_key='k')]))
        await self.got(stream.add([make_numbered_work_message(8), make_numbered_work_message(9, order_key='other')]))
        (first, *_) = deliveries = await self.got(one.take(9, 0))
        self.assertEqual([delivery.message.payload['n'] for delivery in deliveries], [0, 8, 9])
        self.assertEqual(await self.numbers(two), [])
        await self.got(one.retry(first, msgspec.structs.replace(first.message, attempts=1), 0))
        await self.got(one.release_due())
        (first,) = await self.got(two.take(9, 0))
        self.assertEqual((first.message.payload['n'], first.message.attempts), (0, 1))
        await self.got(two.finish(first))
        (second,) = await self.got(one.take(9, 0))
        self.assertEqual(second.message.payload['n'], 1)
        await self.got(one.finish(second, [make_numbered_work_message(5, order_key='k')]))
        (third,) = await self.got(one.take(9, 0))
        self.assertEqual(third.message.payload['n'], 2)
        await self.got(one.finish(third))
        self.assertEqual(await self.numbers(two), [5])

    async def test_unencodable(self) -> None:
        """A payload that cannot be stored raises TypeError, and nothing is stored."""
        stream, consumer = self.work_stream(), await self.consumer('1.a')
        with self.assertRaises(TypeError):
            await stream.add([WorkMessage(id='x', cid='c', service='a', payload=object())])
        self.assertEqual(await self.numbers(consumer), [])
