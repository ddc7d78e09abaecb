"""zato.dead-letter.* and asynchronous zato.service.invoke, on nodes in memory."""

from __future__ import annotations

from typing import Any

from trial_tests.support.internals import InternalTestCase
from zatotx.interfaces.work_stream import IWorkConsumer
from zatotx.model.work_message import WorkMessage


class DeadLetterServiceTests(InternalTestCase):
    async def stored(self, number: int, service: str = 'crm.pay', **fields: Any) -> str:
        """Store a dead letter; gives its id."""
        made = {'payload': {'n': number}, 'attempts': 5, 'cause': 'boom', 'first_failed': 1.0,
                'last_failed': 10.0 + number, 'expires_at': 5.0, **fields}  # fmt: skip
        message = WorkMessage(id=f'm{number}', cid='c', service=service, **made)
        await self.one.odb.store_dead_letter(message)
        return message.id

    def taken(self) -> list[WorkMessage]:
        """The messages in the node's work stream."""
        consumer: IWorkConsumer = self.one.work.consumer('test')
        return [delivery.message for delivery in self.successResultOf(consumer.take(100, 0))]

    async def test_list(self) -> None:
        """Those that failed last come first; by service and up to a limit. Payloads are shown as JSON can."""
        await self.stored(1, payload=b'\xff\x00')
        await self.stored(2, service='other', payload=b'{"a": 1}', data_format='json')
        await self.stored(3, payload={'raw': b'\xff', 1: 'number'})
        rows = await self.call('zato.dead-letter.get-list')
        self.assertEqual([row['id'] for row in rows], ['m3', 'm2', 'm1'])
        self.assertEqual([row['payload'] for row in rows], [{'raw': '/w==', '1': 'number'}, {'a': 1}, '/wA='])
        self.assertEqual(rows[2]['last_failed'], '1970-01-01T00:00:11+00:00')
        (row,) = await self.call('zato.dead-letter.get-list', {'service': 'other'})
        self.assertEqual(row['id'], 'm2')
        self.assertEqual(len(await self.call('zato.dead-letter.get-list', {'limit': 2})), 2)

    async def test_replay(self) -> None:
        """Replayed messages are in the work stream as if they had never run, and do not expire; the others stay."""
        first, second = await self.stored(1), await self.stored(2, service='other')
        self.assertEqual(await self.call('zato.dead-letter.replay', {'all': True, 'service': 'other'}), {'replayed': 1})
        (message,) = self.taken()
        self.assertEqual((message.id, message.service, message.attempts, message.cause, message.expires_at),
                         (second, 'other', 0, '', 0.0))  # fmt: skip
        (row,) = await self.call('zato.dead-letter.get-list')
        self.assertEqual(row['id'], first)

    async def test_edit(self) -> None:
        """An edit changes payload and service; a body keeps its form."""
        await self.stored(1)
        await self.stored(2, payload=b'x', data_format='json')
        edited = await self.call('zato.dead-letter.edit', {'id': 'm1', 'payload': [1], 'service': 'new'})
        self.assertEqual((edited['payload'], edited['service']), ([1], 'new'))
        edited = await self.call('zato.dead-letter.edit', {'id': 'm2', 'payload': {'a': 2}})
        self.assertEqual(edited['payload'], {'a': 2})
        await self.call('zato.dead-letter.replay', {'ids': ['m1', 'm2']})
        self.assertEqual({message.id: message.payload for message in self.taken()}, {'m1': [1], 'm2': b'{"a":2}'})

    async def test_wrong_requests(self) -> None:
        """An unknown id is 404, and nothing is changed; a request that names nothing, or both, is 400."""
        await self.stored(1)
        self.assertIn('no dead letter m9', await self.refusal('zato.dead-letter.purge', {'ids': ['m1', 'm9']}, 404))
        for action, request in (('purge', {}), ('purge', {'ids': ['m1'], 'all': True}), ('replay', {'ids': [{}]}),
                                ('edit', {'id': 'm1'}), ('get-list', {'limit': 20_000})):  # fmt: skip
            await self.refusal(f'zato.dead-letter.{action}', request, 400)
        await self.refusal('zato.dead-letter.get', {'id': 'm9'}, 404)
        self.assertEqual(await self.call('zato.dead-letter.purge', {'ids': 'm1'}), {'purged': 1})

    async def test_invoke_async(self) -> None:
        """zato.service.invoke with async writes the invocation and responds with its cid."""
        await self.with_crm()
        request = {'name': 'crm.get-balance', 'payload': 'eyJhIjogMX0=', 'async': True, 'expiration': 60}
        answer = await self.call('zato.service.invoke', request)
        (message,) = self.taken()
        self.assertEqual((message.cid, message.service, message.payload), (answer['cid'], 'crm.get-balance', {'a': 1}))
        self.assertGreater(message.expires_at, message.created_at)
