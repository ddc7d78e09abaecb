"""Samples and slow responses: the store on a real Redis, and the services through the pipeline of a node."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

from trial_tests.support.internals import InternalTestCase
from trial_tests.support.redis import KEYS, RedisCase
from zatotx.interfaces.call_samples import KEPT, MAX_SLOW
from zatotx.model.call_sample import CallSample
from zatotx.redis.call_sample_store import RedisCallSampleStore


class RedisStoreTests(RedisCase):
    async def test_store(self) -> None:
        """The last sample and the newest slow responses of a service are kept, until they expire."""
        client = await self.client()
        store = RedisCallSampleStore(client, KEYS)
        one = CallSample(cid='c1', channel='ch', started_at=1.5, milliseconds=2.5, request='\x00é"', response='{}')
        self.assertIsNone(await store.sample('ä.crm'))
        self.assertEqual(await store.slow('ä.crm'), [])
        for number in range(MAX_SLOW + 2):
            slow = CallSample(cid=f'c{number}', channel='ch', started_at=1.5, milliseconds=2.5, request='', response='',
                              threshold=5)  # fmt: skip
            await store.record_slow('ä.crm', slow)
        await store.record_sample('ä.crm', one)
        self.assertEqual(await store.sample('ä.crm'), one)
        found = await store.slow('ä.crm')
        self.assertEqual((len(found), found[0].cid, found[-1].cid), (MAX_SLOW, f'c{MAX_SLOW + 1}', 'c2'))
        for key in (KEYS.key('call-sample', 'ä.crm'), KEYS.key('slow-calls', 'ä.crm')):
            left = await client.execute('TTL', key)
            self.assertTrue(isinstance(left, int) and KEPT - 60 < left <= KEPT)


class CallSampleTests(InternalTestCase):
    async def configure(self, **fields: Any) -> dict[str, Any]:
        await self.with_crm()
        row: dict[str, Any] = await self.call('zato.service.get-by-name', {'name': 'crm.get-balance'})
        if fields:
            await self.call('zato.service.edit', {'id': row['id'], **fields})
        return row

    async def test_samples(self) -> None:
        """A frequency is set, the next call is recorded, and 0 ends that."""
        row = await self.configure()
        service, configure = 'zato.service.get-request-response', 'zato.service.configure-request-response'
        name = {'name': 'crm.get-balance', 'cluster_id': 1}
        await self.one.call('crm.get-balance', {'account_id': 1})
        found = await self.call(service, name)
        self.assertEqual((found['service_id'], found['sample_cid'], found['sample_req_resp_freq']), (row['id'], '', 0))
        await self.call(configure, {**name, 'sample_req_resp_freq': 1})
        await self.one.call('crm.get-balance', {'account_id': 21})
        found = await self.call(service, name)
        self.assertEqual(b64decode(found['sample_req']), b'{"account_id":21}')
        self.assertIn(b'42', b64decode(found['sample_resp']))
        self.assertLessEqual(found['sample_req_ts'], found['sample_resp_ts'])
        await self.call(configure, {**name, 'sample_req_resp_freq': 0})
        await self.one.call('crm.get-balance', {'account_id': 5})
        self.assertEqual((await self.call(service, name))['sample_cid'], found['sample_cid'])
        refused = await self.refusal(configure, {**name, 'sample_req_resp_freq': -1}, 400)
        self.assertIn('$.sample_req_resp_freq', refused)

    async def test_slow_responses(self) -> None:
        """A call that takes as long as the threshold is listed, failed and nested ones, too, and shown with its
        texts."""
        await self.configure(slow_threshold=0)
        name = {'name': 'crm.get-balance'}
        await self.one.call('crm.get-balance', {'account_id': 21})
        await self.one.reply('crm.get-balance', {})
        await self.call('zato.service.invoke', {'name': 'crm.get-balance', 'payload': {'account_id': 3}})
        rows = await self.call('zato.service.slow-response.get-list', name)
        self.assertEqual(len(rows), 3)
        texts = []
        for row in rows:
            found = await self.call('zato.service.slow-response.get', {**name, 'cid': row['cid']})
            self.assertEqual((found['threshold'], found['service_name']), (0, 'crm.get-balance'))
            texts.append((b64decode(found['req']), b64decode(found['resp'])))
        self.assertIn('account_id', texts[0][0].decode())
        self.assertIn(b'missing', texts[1][1])
        self.assertIn(b'42', texts[2][1])
        self.assertIn('nowhere', await self.refusal('zato.service.slow-response.get', {**name, 'cid': 'nowhere'}, 404))
