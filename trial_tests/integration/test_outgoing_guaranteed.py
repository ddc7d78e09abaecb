"""REST and SOAP calls with `delivery: guaranteed`: which are stored, what of them, and what the service gets."""

from __future__ import annotations

from typing import Any

import msgspec
from lxml import etree
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.calling import CID, Asking, WithConnections, crm, stored
from zatotx.api.stored_call_delivery import is_rejected
from zatotx.model.errors import BadRequest, BadStatus, ServiceUnavailable
from zatotx.model.soap_message import PeerFault
from zatotx.model.work_message import decode_work
from zatotx.plugins.http.guaranteed_calls import AcceptedResponse
from zatotx.plugins.http.schema import SoapOutgoing
from zatotx.testing.memory_work_stream import MemoryWorkStream

GUARANTEED = 'guaranteed'
NO_PEER = 1  # a port that no call reaches


class Order(msgspec.Struct):
    id: int


class _Storing(WithConnections):
    def setUp(self) -> None:
        super().setUp()
        self.work = MemoryWorkStream(Clock())

    def payloads(self) -> list[Any]:
        """What was stored."""
        entries = [entry for queue in self.work.queues.values() for entry in queue.entries.values()]
        return [decode_work(entry.body, 'x').payload for entry in entries]

    def rest(self, **fields: Any) -> Any:
        """`self.out.rest['CRM']` whose delivery is guaranteed."""
        context = {'work': self.work}
        return self.crm(NO_PEER, context=context, **{'delivery': GUARANTEED, **fields})


class RestTests(_Storing):
    async def test_a_call_is_stored(self) -> None:
        """The body as it would be sent, with its Content-Type and a key for the peer; the service gets a 202."""
        rest = self.rest()
        response = await rest.post(Order(7), {'a': 'b'}, {'X-A': '1'}, timeout=3)
        self.assertIsInstance(response, AcceptedResponse)
        self.assertEqual((response.status_code, response.reason), (202, 'Accepted'))
        self.assertEqual((response.ok, response.cid), (True, CID))
        response.raise_for_status()
        self.assertEqual(self.payloads(), [{
            'kind': 'rest', 'name': 'CRM', 'method': 'post', 'kwargs': {'timeout': 3},
            'args': ['{"id":7}', {'a': 'b'}, {'X-A': '1', 'Content-Type': 'application/json',
                                              'Idempotency-Key': response.message_id}],
        }])  # fmt: skip

    async def test_which_calls_are_stored(self) -> None:
        """Those that write, also in Zato's form; those that read are made directly."""
        rest = self.rest()
        for number, calling in enumerate((
            lambda: rest.put('a'), lambda: rest.patch(data='a'), lambda: rest.delete(), lambda: rest.call('PURGE', 'a'),
            lambda: rest.call(data='a'), lambda: rest.conn.post(CID, 'a'), lambda: rest.conn.send(CID, 'a'),
            lambda: rest.conn.delete(CID, {'a': 'b'}),
        ), 1):  # fmt: skip
            self.assertEqual((await calling()).status_code, 202)
            self.assertEqual(len(self.payloads()), number)
        for reading in (lambda: rest.get(), lambda: rest.call('GET'), lambda: rest.conn.get(CID), lambda: rest.ping()):
            await self.fault(reading(), ServiceUnavailable)
        self.assertEqual(len(self.payloads()), 8)
        self.assertEqual([one['method'] for one in self.payloads()][-3:], ['conn.post', 'conn.send', 'conn.delete'])

    async def test_headers_of_the_service(self) -> None:
        """Its own Content-Type and key are kept; that of the connection is not stored."""
        await self.rest().post('<a/>', headers={'content-type': 'text/xml', 'idempotency-key': 'k'})
        await self.rest(content_type='application/x-a').post({'a': 1})
        stored_headers = [one['kwargs']['headers'] for one in self.payloads()]
        self.assertEqual(stored_headers[0], {'content-type': 'text/xml', 'idempotency-key': 'k'})
        self.assertEqual(list(stored_headers[1]), ['Idempotency-Key'])

    async def test_what_cannot_be_stored(self) -> None:
        """Files and iterators, options for a response, bodies that the data format cannot represent."""
        rest = self.rest(data_format='xml')
        for calling, reason in ((lambda: rest.post(iter([b'a'])), 'a file or an iterator'),
                                (lambda: rest.post('a', stream=True), 'stream: a stored call has no response'),
                                (lambda: rest.post({'a': 1}), 'data_format xml sends text')):  # fmt: skip
            error = self.assertRaises(BadRequest, calling)
            self.assertIn(f"self.out.rest['CRM'].post: its arguments cannot be stored: {reason}", str(error))
        self.assertEqual(self.payloads(), [])

    async def test_direct_connections_beside(self) -> None:
        """Another connection of the same type still calls at once; without a work stream nothing is accepted."""
        node = self.node(stored(crm(NO_PEER, delivery=GUARANTEED)), stored(crm(NO_PEER, name='Direct')))
        rest = node.namespaces['rest'](Asking())
        await self.fault(rest['Direct'].post('a'), ServiceUnavailable)
        error = await self.fault(rest['CRM'].post('a'), ServiceUnavailable)
        self.assertIn('there is no work stream for guaranteed delivery here', str(error))


class SoapTests(_Storing):
    async def test_a_message_is_stored(self) -> None:
        """XML elements, also of the header, as text."""
        value = SoapOutgoing(name='Bank', host='http://127.0.0.1:1', proxy='none', delivery=GUARANTEED)
        node = self.node(stored(value, 'outgoing_soap'), work=self.work)
        soap = node.namespaces['soap'](Asking())['Bank']
        element, header = etree.fromstring('<a xmlns="urn:a"/>'), etree.fromstring('<h xmlns="urn:h"/>')
        for calling in (soap.post, soap.send):
            self.assertEqual((await calling(element, soap_headers=[header])).status_code, 202)
        await soap.call('urn:action', element)
        await soap.conn.send(CID, element)
        first, _, third, fourth = self.payloads()
        self.assertEqual((first['args'], first['kwargs']['soap_headers']),
                         (['<a xmlns="urn:a"/>'], ['<h xmlns="urn:h"/>']))  # fmt: skip
        self.assertEqual(third['args'], ['urn:action', '<a xmlns="urn:a"/>'])
        self.assertEqual((fourth['method'], fourth['args'][1]), ('conn.send', '<a xmlns="urn:a"/>'))


class RejectionTests(SynchronousTestCase):
    def test_what_is_not_repeated(self) -> None:
        """Statuses and faults that say that the call itself is wrong."""
        expected = {400: True, 404: True, 408: False, 429: False, 500: False, 503: False}
        self.assertEqual({one: is_rejected(BadStatus(CID, 'x', _Status(one))) for one in expected}, expected)
        faults = {code: is_rejected(PeerFault(CID, 'x', code=code)) for code in ('Sender', 'Receiver', '')}
        self.assertEqual(faults, {'Sender': True, 'Receiver': False, '': False})


class _Status(msgspec.Struct):
    status_code: int
