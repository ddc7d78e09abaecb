"""Routing of SOAP requests, and the errors before a service is invoked."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from zatotx.model.message import Message
from zatotx.plugins.http.schema import SoapChannel
from zatotx.plugins.http.server.route_table import build_table
from zatotx.plugins.http.test.server_doubles import Answer, ScriptedExchange, Server, channel, get, post
from zatotx.schema.snapshot import StoredObject
from zatotx.wire.soap.envelope import Envelope, read_envelope
from zatotx.wire.soap.faults import FaultElement, read_fault
from zatotx.wire.xml import parser


def soap(number: int, name: str, url_path: str = '/crm', action: str = '', **fields: Any) -> StoredObject:
    """Create a stored SOAP channel."""
    given = {'name': name, 'url_path': url_path, 'soap_action': action, 'service': f'test.{name}', **fields}
    return StoredObject(number, 'channel_soap', SoapChannel(**given), number)


CHANNELS = [
    soap(1, 'balance', action='getBalance'),
    soap(2, 'orders', action='urn:crm/orders#list', timeout=5.0, security='partner'),
    soap(3, 'any'),
    soap(4, 'alone', '/alone', 'doIt'),
    soap(5, 'off', '/alone', 'off', is_active=False),
    soap(6, 'customer', '/customers/{id}', 'get'),
    soap(7, 'customer-orders', '/customers/{number}', 'orders'),
    channel(8, name='rest', url_path='/crm', method='POST', service='test.rest', data_format=''),
    channel(9, name='rest-get', url_path='/crm', method='GET', service='test.rest-get'),
    channel(10, name='rest-any', url_path='/alone', service='test.rest-any'),
    channel(11, name='old', url_path='/old', method='POST', service='test.old', data_format=''),
]
TEXT_XML = 'Content-Type: text/xml; charset=utf-8'


def in_11(action: str | None, path: str = '/crm') -> bytes:
    """Create a SOAP 1.1 request."""
    return post(path, b'<x/>', TEXT_XML, *([] if action is None else [f'SOAPAction: {action}']))


def in_12(action: str | None, path: str = '/crm') -> bytes:
    """Create a SOAP 1.2 request."""
    parameter = '' if action is None else f'; action="{action}"'
    return post(path, b'<x/>', f'Content-Type: application/soap+xml; charset=utf-8{parameter}')


class RoutingCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.exchange = ScriptedExchange()
        self.server = Server(self.exchange, channels=CHANNELS)
        self.client = self.server.connect()

    def inbound(self, request: bytes) -> Message:
        self.assertEqual(self.client.ask(request).status, 200)
        return self.exchange.delivered[-1].inbound

    def leads(self, request: bytes) -> str:
        return self.inbound(request).service

    def refused(self, request: bytes, status: int) -> tuple[Answer, Envelope, FaultElement]:
        """Return the response and the fault of a request that reaches no service."""
        before = len(self.exchange.delivered)
        answer = self.server.connect().ask(request)
        self.assertEqual(answer.status, status)
        self.assertEqual(len(self.exchange.delivered), before)
        envelope = read_envelope(parser.parse_document(answer.body))
        fault = read_fault(envelope.payload)
        assert fault is not None
        return answer, envelope, fault


class ActionTests(RoutingCase):
    def test_by_action(self) -> None:
        """Channels of one path are selected by SOAPAction, quoted or not, or by SOAP 1.2's parameter."""
        for request, expected in (
            (in_11('"getBalance"'), 'test.balance'), (in_11('getBalance'), 'test.balance'),
            (in_12('getBalance'), 'test.balance'), (in_11('"urn:crm/orders#list"'), 'test.orders'),
            (in_12('urn:crm/orders#list'), 'test.orders'),
        ):  # fmt: skip
            self.assertEqual(self.leads(request), expected)

    def test_no_action(self) -> None:
        """A request with an empty action, or none, is for the channel without one."""
        for request in (in_11('""'), in_11(''), in_12(None), in_12('')):
            self.assertEqual(self.leads(request), 'test.any')

    def test_what_the_exchange_gets(self) -> None:
        """The dispatcher gets the channel's specification, including SOAP's part."""
        spec = self.inbound(in_11('"urn:crm/orders#list"')).channel
        self.assertEqual((spec.name, spec.kind, spec.data_format), ('orders', 'http-soap', 'soap'))
        self.assertEqual((spec.security, spec.timeout), ('partner', 5.0))
        assert spec.soap is not None
        self.assertEqual((spec.soap.action, spec.soap.operation), ('urn:crm/orders#list', 'list'))

    def test_parameters_in_the_path(self) -> None:
        """Each channel uses the parameter names of its own url_path."""
        for action, service, params in (('get', 'test.customer', {'id': '7'}),
                                        ('orders', 'test.customer-orders', {'number': '7'})):  # fmt: skip
            inbound = self.inbound(in_11(action, '/customers/7'))
            assert inbound.http is not None
            self.assertEqual((inbound.service, dict(inbound.http.params)), (service, params))

    def test_one_connection(self) -> None:
        """Requests of one connection that differ in the action only are routed separately."""
        for _ in range(2):
            self.assertEqual(self.leads(in_11('getBalance')), 'test.balance')
            self.assertEqual(self.leads(in_11('""')), 'test.any')
            self.assertEqual(self.leads(in_12('getBalance')), 'test.balance')
            self.assertEqual(self.leads(in_12(None)), 'test.any')
            self.assertEqual(self.leads(in_11(None)), 'test.rest')


class BesideRestTests(RoutingCase):
    def test_the_same_path(self) -> None:
        """A request with an action, or of type application/soap+xml, is for SOAP; others are for the REST channel."""
        self.assertEqual(self.leads(in_11(None)), 'test.rest')
        self.assertEqual(self.leads(in_11('""')), 'test.any')
        self.assertEqual(self.leads(get('/crm')), 'test.rest-get')
        self.assertEqual(self.leads(get('/alone')), 'test.rest-any')
        self.assertEqual(self.leads(in_12('doIt', '/alone')), 'test.alone')

    def test_rest_channels_of_soap_messages(self) -> None:
        """If no SOAP channel has the path, REST channels get requests with a SOAPAction too."""
        self.assertEqual(self.leads(in_11('"x"', '/old')), 'test.old')
        self.assertEqual(self.leads(in_12('x', '/old')), 'test.old')

    def test_methods(self) -> None:
        """405 lists the methods of both."""
        answer = self.server.connect().ask(get('/crm', method='DELETE'))
        self.assertEqual((answer.status, answer.headers[b'allow']), (405, b'GET, HEAD, POST'))
        answer, _, fault = self.refused(get('/customers/1', 'SOAPAction: get'), 405)
        self.assertEqual((answer.headers[b'allow'], fault.code), (b'POST', 'Sender'))


class RefusalTests(RoutingCase):
    def test_unknown_actions(self) -> None:
        """An unknown action gets 404 with a fault in the request's version, which contains action and cid."""
        for request, version in ((in_11('"drop"'), '1.1'), (in_12('drop'), '1.2')):
            answer, envelope, fault = self.refused(request, 404)
            self.assertEqual(envelope.version.number, version)
            self.assertEqual(answer.headers[b'content-type'].decode(), envelope.version.content_type)
            self.assertEqual((fault.code, 'drop' in fault.reason), ('Sender', True))
            self.assertIn(b'<cid>' + answer.headers[b'x-zato-cid'] + b'</cid>', answer.body)

    def test_an_action_is_needed(self) -> None:
        """If all channels of the path have an action, requests without one get 400."""
        for request in (in_11('""', '/customers/1'), in_11(None, '/customers/1'), in_12(None, '/alone')):
            self.assertIn('SOAPAction', self.refused(request, 400)[2].reason)

    def test_unknown_paths(self) -> None:
        """An unknown path gets 404, as a fault for SOAP requests."""
        self.assertEqual(self.refused(in_11('"a"', '/nowhere'), 404)[2].reason, 'URL not found')
        self.assertEqual(self.refused(in_12('a', '/nowhere'), 404)[1].version.number, '1.2')

    def test_inactive(self) -> None:
        """An inactive channel gets 404, even if another one of the path is active."""
        self.assertEqual(self.refused(in_11('off', '/alone'), 404)[2].reason, 'Inactive channel')

    def test_content_types(self) -> None:
        """A type other than SOAP's gets 415; generic XML types, none, and that of curl -d are accepted."""
        for sent in ('application/json', 'text/plain', 'multipart/related; type="application/xop+xml"'):
            answer, _, fault = self.refused(post('/crm', b'{}', 'SOAPAction: getBalance', f'Content-Type: {sent}'), 415)
            self.assertIn('text/xml', fault.reason)
            self.assertEqual(answer.headers[b'accept'], b'text/xml, application/soap+xml')
        for line in (['Content-Type: application/xml'], [], ['Content-Type: application/x-www-form-urlencoded']):
            self.assertEqual(self.leads(post('/crm', b'<x/>', 'SOAPAction: getBalance', *line)), 'test.balance')

    def test_too_large(self) -> None:
        """A too large body gets 413 as a fault, with or without Content-Length."""
        self.server = Server(self.exchange, channels=CHANNELS, max_body=1024)
        head = b'POST /crm HTTP/1.1\r\nHost: a\r\nSOAPAction: getBalance\r\n'
        self.assertIn('1024', self.refused(head + b'Content-Length: 2000\r\n\r\n', 413)[2].reason)
        chunked = b'Transfer-Encoding: chunked\r\n\r\n800\r\n' + b'x' * 2048 + b'\r\n0\r\n\r\n'
        self.assertIn('1024', self.refused(head + chunked, 413)[2].reason)

    def test_actions_that_are_no_text(self) -> None:
        """An action that is not text gets 400."""
        request = post('/crm', b'<x/>', TEXT_XML, 'SOAPAction: "\xff\xfe"')
        self.assertIn('UTF-8', self.refused(request, 400)[2].reason)


class DoorTests(RoutingCase):
    def test_the_service_is_the_action(self) -> None:
        """`/zato/soap` invokes internal services, for the API's user, with any method."""
        for request in (in_11('"zato.ping"', '/zato/soap'), in_12('zato.ping', '/zato/soap')):
            inbound = self.inbound(request)
            self.assertEqual((inbound.service, inbound.channel.security, inbound.channel.internal_only),
                             ('zato.ping', 'pubapi', True))  # fmt: skip
            assert inbound.http is not None
            self.assertEqual(dict(inbound.http.params), {})
        self.assertEqual(self.leads(get('/zato/soap', 'SOAPAction: zato.ping')), 'zato.ping')

    def test_any_content_type(self) -> None:
        """Built-in endpoints accept any content type, as in Zato."""
        form = 'Content-Type: application/x-www-form-urlencoded'
        self.assertEqual(self.leads(post('/zato/soap', b'<x/>', 'SOAPAction: zato.ping', form)), 'zato.ping')

    def test_no_action(self) -> None:
        """A request without an action names no service and gets 400."""
        self.assertEqual(self.refused(in_11('""', '/zato/soap'), 400)[2].code, 'Sender')
        self.refused(in_12(None, '/zato/soap'), 400)


class TableTests(SynchronousTestCase):
    def test_channels_that_cannot_be_reached_are_left_out(self) -> None:
        """Invalid channels are reported, and all others are served."""
        table, mistakes = build_table([
            soap(1, 'first', '/a', 'x'), soap(2, 'second', '/a', '"x"'), soap(3, 'bad', '/b/{', 'x'),
            soap(4, 'good', '/b'),
        ])  # fmt: skip
        self.assertEqual(len(mistakes), 2)
        self.assertIn("'second' is left out: 'first'", mistakes[0])
        self.assertIn("'bad' is left out", mistakes[1])
        self.assertIsNotNone(table.find('POST', b'/b'))

    def test_rest_alone(self) -> None:
        """Without SOAP channels a REST route is reused whatever the other fields are."""
        self.assertFalse(build_table([channel(1)])[0].has_soap)
        self.assertTrue(build_table([channel(1), soap(2, 'a')])[0].has_soap)
