"""`self.out.soap`: what goes out, and what comes back."""

from __future__ import annotations

import datetime as dt
import hashlib
from base64 import b64encode
from typing import Any

from lxml import etree

from trial_tests.support.calling import CID, Asking, started, stored
from trial_tests.support.soap import envelope
from trial_tests.support.soap_calling import BALANCE, TITLE, WithSoap, answer, bank, sent, tokens, wss
from zatotx import BadGateway, BadStatus, Inactive, NotFound, PeerFault, ServiceUnavailable, SoapFault, Timeout
from zatotx.plugins.http.schema.http_outgoing_base import RetrySettings
from zatotx.plugins.http.soap.faults import write_fault_envelope
from zatotx.plugins.http.test.upstream_servers import Request, raw, says, silent
from zatotx.schema.circuit_breaker_settings import CircuitBreakerSettings
from zatotx.security.apikey import ApiKey
from zatotx.wire.soap import ws_security
from zatotx.wire.soap.envelope import SOAP_11, SOAP_12, VERSIONS
from zatotx.wire.xml import parser

ASK = '<getBalance xmlns="urn:bank"><account_id>7</account_id></getBalance>'


def retried(methods: tuple[str, ...] = ('POST',)) -> RetrySettings:
    """Three attempts, at once."""
    return RetrySettings(attempts=3, backoff=0, methods=list(methods))


class Calling(WithSoap):
    def setUp(self) -> None:
        super().setUp()
        self.peer = self.listen(answer(BALANCE))

    @property
    def last(self) -> Request:
        """What the peer was sent last."""
        return self.peer.requests[-1]


class MessageTests(Calling):
    async def test_body_of_any_form(self) -> None:
        """Text, with or without a declaration, bytes and elements become the content of the Body; nothing an empty
        one."""
        soap = self.bank(self.peer)
        declared = f'<?xml version="1.0" encoding="iso-8859-2"?>\n{ASK}'
        for body in (ASK, declared, ASK.encode(), etree.fromstring(ASK), parser.parse_document(ASK.encode())):
            await soap.post(body)
            message = sent(self.last)
            self.assertEqual((message.version, message.headers), (SOAP_11, ()))
            self.assertEqual((message.payload.tag, message.payload.account_id), ('{urn:bank}getBalance', 7))
        for nothing in (None, '', b''):
            await soap.post(nothing)
            self.assertIsNone(sent(self.last).payload)

    async def test_types_of_values_are_kept(self) -> None:
        """xsi:type and CDATA of what a service sends reach the peer."""
        body = '<a xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="b"><![CDATA[<&]]></a>'
        await self.bank(self.peer).post(body)
        self.assertIn(body.encode(), self.last.body)

    async def test_both_versions(self) -> None:
        """Each with its envelope, Content-Type and way to name the action."""
        await self.bank(self.peer, soap_action='urn:bank/get "it"'.replace('"', '')).post(ASK)
        self.assertEqual(self.last.headers[b'content-type'], b'text/xml; charset=utf-8')
        self.assertEqual(self.last.headers[b'soapaction'], b'"urn:bank/get it"')
        peer = self.listen(answer(BALANCE, SOAP_12))
        soap = self.bank(peer, soap_version='1.2', soap_action='get')
        await soap.post(ASK)
        self.assertEqual(peer.requests[-1].headers[b'content-type'],
                         b'application/soap+xml; charset=utf-8; action="get"')
        self.assertNotIn(b'soapaction', peer.requests[-1].headers)
        self.assertIs(sent(peer.requests[-1]).version, SOAP_12)
        self.assertTrue(peer.requests[-1].headers[b'accept'].startswith(b'application/soap+xml'))

    async def test_action(self) -> None:
        """The connection's, or the one that the call names; an empty one is named as such."""
        soap = self.bank(self.peer, soap_action='usual')
        for sending, action in ((soap.post(ASK), b'"usual"'), (soap.call('other', ASK), b'"other"'),
                                (soap.send(ASK, soap_action=''), b'""'),
                                (soap.post(ASK, headers={'SOAPAction': 'mine'}), b'mine')):
            await sending
            self.assertEqual(self.last.headers[b'soapaction'], action)

    async def test_fields_and_path(self) -> None:
        """Those of every call are there, a service's own count more; parameters fill the path."""
        soap = self.bank(self.peer, url_path='/bank/{branch}', content_type='text/xml; charset="utf-8"')
        await soap.post(ASK, {'branch': 'a b', 'q': 1}, {'X-Own': 'é', 'X-Zato-Component': None})
        fields = self.last.headers
        self.assertEqual((self.last.method, self.last.target), (b'POST', b'/bank/a%20b?q=1'))
        self.assertEqual((fields[b'x-zato-cid'], fields[b'x-own']), (CID.encode(), 'é'.encode()))
        self.assertEqual(fields[b'content-type'], b'text/xml; charset="utf-8"')
        self.assertNotIn(b'x-zato-component', fields)
        for name in (b'x-zato-msg-ts', b'x-zato-deadline-ms'):
            self.assertIn(name, fields)

    async def test_headers_of_the_envelope(self) -> None:
        """Elements and XML, one or several."""
        soap = self.bank(self.peer)
        await soap.post(ASK, soap_headers=['<a xmlns="urn:a">1</a>', etree.fromstring('<b/>')])
        self.assertEqual([one.tag for one in sent(self.last).headers], ['{urn:a}a', 'b'])
        await soap.post(ASK, soap_headers='<a/>')
        self.assertEqual([one.tag for one in sent(self.last).headers], ['a'])

    async def test_a_whole_envelope_goes_as_it_is(self) -> None:
        """To the byte, in its own version."""
        for version, type_ in ((SOAP_11, b'text/xml'), (SOAP_12, b'application/soap+xml')):
            whole = envelope('<!-- kept --><a>é</a>', version, '<h/>')
            peer = self.listen(answer(BALANCE, version))
            for body in (whole, whole.decode()):
                await self.bank(peer).post(body)
                self.assertEqual(peer.requests[-1].body, whole)
                self.assertTrue(peer.requests[-1].headers[b'content-type'].startswith(type_))

    async def test_what_cannot_be_sent(self) -> None:
        """Is refused in a sentence, and nothing of it goes out."""
        soap = self.bank(self.peer)
        for body in ('<a>', 'plain', '<a/><b/>', '</x><y>', '<!DOCTYPE a []><a/>', b'\xff'):
            refused = await self.fault(soap.post(body), ValueError)
            self.assertTrue(str(refused).startswith('SOAP sends XML, which the body is not: '), refused)
        for value in ({'a': 1}, 5):
            refused = await self.fault(soap.post(value), TypeError)
            self.assertIn(f'the body is of type {type(value).__name__}; what is not XML goes by .client', str(refused))
        await self.fault(soap.post(envelope('<a/>'), soap_headers='<h/>'), ValueError)
        await self.fault(soap.post(ASK, soap_headers=[envelope('<a/>')]), ValueError)
        self.assertEqual(self.peer.requests, [])

    async def test_large_ones_are_made_in_a_thread(self) -> None:
        """And arrive whole; so do large answers."""
        peer = self.listen(answer(f'<a>{"é" * 400_000}</a>'))
        response = await self.bank(peer).post(f'<a>{"b" * 400_000}</a>')
        self.assertEqual((len(sent(peer.requests[-1]).payload.text), len(response.data.text)), (400_000, 400_000))

    async def test_zatos_forms(self) -> None:
        """`conn.post(cid, xml)` and `conn.send`, by name or by get; the cid that is said goes out."""
        soap = self.bank(self.peer)
        for method in (soap.conn.post, soap.conn.send):
            response = await method('k' * 24, ASK, headers={'X-A': '1'})
            self.assertEqual(response.data.balance, 10.5)
            self.assertEqual(self.last.headers[b'x-zato-cid'], b'k' * 24)
        self.assertIn('Code: 200', await soap.conn.ping('cid'))


class AnswerTests(Calling):
    def says(self, status: bytes, body: bytes, *lines: bytes, **fields: Any) -> Any:
        return self.bank(self.listen(says(status, body, *lines)), **fields)

    async def test_answer(self) -> None:
        """The content of the Body as objects, the envelope with its headers, and all of HTTP."""
        peer = self.listen(answer(BALANCE, header='<seen xmlns="urn:s">yes</seen>'))
        response = await self.bank(peer).post(ASK)
        self.assertEqual((response.data.tag, response.data.balance), ('{urn:bank}getBalanceResponse', 10.5))
        self.assertEqual([(one.tag, one.text) for one in response.soap_headers], [('{urn:s}seen', 'yes')])
        self.assertEqual(response.envelope.tag, SOAP_11.envelope)
        self.assertEqual((response.status_code, response.ok, response.reason), (200, True, 'OK'))
        self.assertEqual(response.headers['content-type'], 'text/xml; charset=utf-8')
        self.assertEqual((response.text.encode(), response.cid), (response.content, CID))
        self.assertEqual(repr(response), f'<SoapResponse 200 of {TITLE}>')

    async def test_an_empty_body_element(self) -> None:
        """Is an answer without data."""
        self.assertIsNone((await self.bank(self.listen(answer(''))).post(ASK)).data)

    async def test_faults(self) -> None:
        """Of both versions and whatever status: code, text, actor, subcodes and detail, as an error that is caught as
        SoapFault too."""
        in_11 = ('<s:Fault><faultcode>s:Client</faultcode><faultstring>No money</faultstring><faultactor>urn:x'
                 '</faultactor><detail><short xmlns="urn:bank">10</short></detail></s:Fault>')
        in_12 = ('<s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value xmlns:b="urn:bank">b:NoMoney'
                 '</s:Value></s:Subcode></s:Code><s:Reason><s:Text xml:lang="en">No money</s:Text></s:Reason>'
                 '<s:Role>urn:x</s:Role><s:Detail><short xmlns="urn:bank">10</short></s:Detail></s:Fault>')
        for version, text, subcodes in ((SOAP_11, in_11, ()), (SOAP_12, in_12, ('{urn:bank}NoMoney',))):
            for status in (b'500 Internal Server Error', b'400 Bad Request', b'200 OK'):
                peer = self.listen(answer(text, version, status=status))
                fault = await self.fault(self.bank(peer, soap_version=version.number).post(ASK), PeerFault)
                self.assertIsInstance(fault, SoapFault)
                self.assertEqual((fault.code, fault.string, fault.actor), ('Sender', 'No money', 'urn:x'))
                self.assertEqual((fault.subcodes, fault.detail[0].text), (subcodes, '10'))
                self.assertEqual(fault.response.status_code, int(status[:3]))
                self.assertEqual((fault.status, fault.cid), (502, CID))
                self.assertEqual(fault.details, f'{TITLE} answered with a fault (Sender)')

    def test_nothing_of_them_goes_on(self) -> None:
        """A SOAP channel whose service lets one through answers with a fault of its own: the peer's code, text and
        detail stay behind."""
        fault = PeerFault(CID, f'{TITLE} answered with a fault (Sender)', code='Sender', string='the text',
                          actor='urn:x', subcodes=['{urn:bank}NoMoney'], detail=[etree.fromstring('<the-detail/>')])
        for version, code in ((SOAP_11, b'Server'), (SOAP_12, b'Receiver')):
            body = write_fault_envelope(version, fault, fault.details, CID)
            self.assertIn(b':' + code + b'<', body)
            self.assertIn(f'{TITLE} answered with a fault (Sender)'.encode(), body)
            for part in (b'the text', b'NoMoney', b'the-detail', b'urn:x'):
                self.assertNotIn(part, body)

    async def test_codes_of_their_own(self) -> None:
        """Are told as subcodes."""
        text = '<s:Fault><faultcode xmlns:b="urn:b">b:Odd</faultcode><faultstring/></s:Fault>'
        fault = await self.fault(self.bank(self.listen(answer(text))).post(ASK), PeerFault)
        self.assertEqual((fault.code, fault.subcodes, fault.string), ('', ('{urn:b}Odd',), ''))
        self.assertEqual(fault.details, f'{TITLE} answered with a fault')

    async def test_version_mismatch(self) -> None:
        """A peer that does not know our version says so in its own: that is its fault, not another mistake."""
        text = '<s:Fault><faultcode>s:VersionMismatch</faultcode><faultstring>1.1 only</faultstring></s:Fault>'
        peer = self.listen(answer(text, SOAP_11, status=b'500 Internal Server Error'))
        fault = await self.fault(self.bank(peer, soap_version='1.2').post(ASK), PeerFault)
        self.assertEqual((fault.code, fault.string), ('VersionMismatch', '1.1 only'))

    async def test_taken_and_not_answered(self) -> None:
        """202 and 204 without a body are an answer without data; of a one-way message any other good status is too,
        whatever comes with it."""
        for head, status in ((b'202 Accepted\r\nContent-Length: 0', 202), (b'204 No Content', 204)):
            response = await self.bank(self.listen(raw(b'HTTP/1.1 %b\r\n\r\n' % head))).post(ASK)
            self.assertEqual((response.data, response.envelope, response.status_code), (None, None, status))
        for body, line in ((b'', b'X: y'), (b'thanks', b'Content-Type: text/plain')):
            response = await self.says(b'200 OK', body, line).post(ASK, one_way=True)
            self.assertEqual((response.data, response.status_code), (None, 200))

    async def test_no_soap(self) -> None:
        """HTML, JSON, XML of another kind, broken XML, nothing, two Bodies: an error that names the connection and
        says what it is instead."""
        text_xml = b'Content-Type: text/xml'
        two = envelope('<a/>').replace(b'</s:Envelope>', b'<s:Body/></s:Envelope>')
        for body, line, why in (
            (b'<html><body>Hi</body></html>', b'Content-Type: text/html', 'its Content-Type is not that of SOAP'),
            (b'{}', b'Content-Type: application/json', 'its Content-Type is not that of SOAP'),
            (b'<html/>', text_xml, 'it is not SOAP: the root is html, not an Envelope of SOAP'),
            (b'<a', text_xml, 'it is not XML: '), (b'', text_xml, 'it has no body'),
            (two, text_xml, 'it is not SOAP: the Envelope has two Bodies'),
            (b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + envelope('<a>&x;</a>'), text_xml,
             'it is not XML: '),
        ):  # fmt: skip
            fault = await self.fault(self.says(b'200 OK', body, line).post(ASK), BadGateway)
            self.assertTrue(str(fault).startswith(f'{TITLE} gave no usable answer: {why}'), str(fault))

    async def test_refused_by_http(self) -> None:
        """A status without SOAP is what is told; its answer is there to be looked at."""
        for status in (b'503 Service Unavailable', b'401 Unauthorized', b'302 Found'):
            for body, line in ((b'', b'X: y'), (b'<html>no</html>', b'Content-Type: text/html'),
                               (envelope('<a/>'), b'Content-Type: text/xml'), (b'<a', b'Content-Type: text/xml')):
                fault = await self.fault(self.says(status, body, line, follow_redirects=False).post(ASK), BadStatus)
                self.assertEqual(str(fault), f'{TITLE} answered {status.decode()}')
                self.assertEqual((fault.status_code, fault.response.content), (int(status[:3]), body))

    async def test_another_version(self) -> None:
        """Is an error, but for faults."""
        peer = self.listen(answer(BALANCE, SOAP_12))
        fault = await self.fault(self.bank(peer).post(ASK), BadGateway)
        self.assertEqual(str(fault), f'{TITLE} gave no usable answer: it is SOAP 1.2, and the message was SOAP 1.1')

    async def test_no_answer(self) -> None:
        """As of all outgoing HTTP: late, nobody there, broken off."""
        fault = await self.fault(self.bank(self.listen(silent), timeout=0.2).post(ASK), Timeout)
        self.assertEqual(str(fault), f'{TITLE} gave no answer within 0.2 s')
        fault = await self.fault(self.bank(1).post(ASK), ServiceUnavailable)
        self.assertEqual(str(fault), f'{TITLE} cannot be used: nobody is at its address')
        self.assertEqual(self.slots().errors_by_name, {'Timeout': 1, 'ServiceUnavailable': 1})


class TokenTests(Calling):
    async def test_clear_text(self) -> None:
        """The password itself, with a nonce and the moment, to be understood by the peer, before other headers."""
        await self.bank(self.peer, wss(), security='bank.wss').post(ASK, soap_headers='<h/>')
        (token,) = tokens(self.last)
        self.assertEqual((token.username, token.password, token.is_digest), ('bänk', 'pä<ss', False))
        age = dt.datetime.now(dt.UTC).timestamp() - (token.created_at or 0)
        self.assertTrue(-1 < age < 60, age)
        self.assertEqual(len(token.nonce), 16)
        first, second = sent(self.last).headers
        self.assertEqual((first.tag, second.tag), (ws_security.SECURITY, 'h'))
        self.assertEqual(first.get(SOAP_11.must_understand), '1')

    async def test_digest(self) -> None:
        """Of nonce, moment and password, in both versions; the password is nowhere."""
        for version in VERSIONS.values():
            peer = self.listen(answer(BALANCE, version))
            soap = self.bank(peer, wss(password_type='digest'), security='bank.wss', soap_version=version.number)
            await soap.post(ASK)
            (token,) = tokens(peer.requests[-1])
            digest = hashlib.sha1(token.nonce + token.created.encode() + 'pä<ss'.encode()).digest()
            self.assertEqual((token.is_digest, token.password.encode()), (True, b64encode(digest)))
            self.assertNotIn('pä'.encode(), peer.requests[-1].body)
            self.assertEqual(sent(peer.requests[-1]).headers[0].get(version.must_understand), '1')

    async def test_each_sending_has_a_nonce_of_its_own(self) -> None:
        """Each call, and each attempt of one."""
        statuses = iter((b'503 Busy', b'503 Busy', b'200 OK', b'200 OK'))
        peer = self.listen(lambda peer, request: answer(BALANCE, status=next(statuses))(peer, request))
        soap = self.bank(peer, wss(), security='bank.wss', retry=retried())
        await soap.post(ASK)
        await soap.post(ASK)
        nonces = [token.nonce for request in peer.requests for token in tokens(request)]
        self.assertEqual((len(nonces), len(set(nonces))), (4, 4))

    async def test_whole_envelopes(self) -> None:
        """Get the token into their Header, or one made for it; one that has a token keeps its own and nothing else."""
        soap = self.bank(self.peer, wss(), security='bank.wss')
        body = '<a xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="t">x</a>'
        for header in ('', '<h/>'):
            await soap.post(envelope(body, header=header))
            self.assertEqual(len(tokens(self.last)), 1)
            self.assertIn(b'xsi:type="t">x</a>', self.last.body)
            self.assertEqual([one.tag for one in sent(self.last).headers][1:], ['h'] if header else [])
        own = ws_security.write_security_header(ws_security.UsernameToken('me', 'mine', False), SOAP_11).decode()
        await soap.post(envelope(body, header=own))
        self.assertEqual([token.username for token in tokens(self.last)], ['me'])

    async def test_what_looks_like_the_place_of_the_token(self) -> None:
        """Is sent as it is: nothing that a service sends can move its token."""
        await self.bank(self.peer, wss(), security='bank.wss').post('<a><![CDATA[<?zatotx token?>]]></a>')
        self.assertEqual((len(tokens(self.last)), sent(self.last).payload.text), (1, '<?zatotx token?>'))

    async def test_redirections_are_not_followed(self) -> None:
        """A token is not for whoever a peer names."""
        other = self.listen(answer(BALANCE))
        there = f'Location: http://127.0.0.1:{other.port}/'.encode()
        peer = self.listen(says(b'307 Temporary Redirect', b'', there))
        await self.fault(self.bank(peer, wss(), security='bank.wss', follow_redirects='any').post(ASK), BadStatus)
        self.assertEqual(other.requests, [])
        self.assertEqual((await self.bank(peer, follow_redirects='any').post(ASK)).data.balance, 10.5)

    async def test_other_definitions(self) -> None:
        """Keys go in fields, as of REST; a token is not for REST, and a definition without password for nobody."""
        key = stored(ApiKey(name='key', header='X-Key', password='k'), 'apikey')
        await self.bank(self.peer, key, security='key').post(ASK)
        self.assertEqual((self.last.headers[b'x-key'], tokens(self.last)), (b'k', []))
        fault = self.assertRaises(ServiceUnavailable, self.bank, self.peer, wss(password=''), security='bank.wss')
        self.assertIn('its security definition bank.wss has no password yet', str(fault))
        fault = self.assertRaises(ServiceUnavailable, self.crm, self.peer, wss(), security='bank.wss')
        self.assertIn('of type wss, which is for channels and outgoing_soap only', str(fault))

    def test_nothing_shows_the_password(self) -> None:
        """No repr on the way."""
        node = self.node(stored(bank(self.peer, security='bank.wss'), 'outgoing_soap'), wss())
        connection: Any = node.registries['outgoing_soap'].find('Bank', CID)
        for shown in (
            connection,
            connection.parts,
            connection.request_template,
            connection.request_template.make_token(),
        ):
            self.assertNotIn('pä<ss', repr(shown))


class RepeatingTests(Calling):
    async def test_what_reached_the_peer_is_not_sent_again(self) -> None:
        """POST is not, unless the call has an Idempotency-Key or the connection says that its peer bears it."""
        peer = self.listen(says(b'503 Busy'))
        await self.fault(self.bank(peer, retry=retried(())).post(ASK), BadStatus)
        self.assertEqual(len(peer.requests), 1)
        keyed = self.bank(peer, retry=retried(())).post(ASK, headers={'Idempotency-Key': 'x'})
        await self.fault(keyed, BadStatus)
        self.assertEqual(len(peer.requests), 4)

    async def test_faults_do_not_open_the_circuit(self) -> None:
        """A fault with status 500 is an answer; other errors count."""
        fault = '<s:Fault><faultcode>s:Client</faultcode><faultstring>no</faultstring></s:Fault>'
        breaker = CircuitBreakerSettings(failures=2, reset=60)
        soap = self.bank(self.listen(answer(fault, status=b'500 Oh')), circuit_breaker=breaker)
        for _ in range(4):
            await self.fault(soap.post(ASK), PeerFault)
        soap = self.bank(self.listen(says(b'500 Oh', b'no', b'Content-Type: text/html')), circuit_breaker=breaker)
        for _ in range(2):
            await self.fault(soap.post(ASK), BadStatus)
        cut = await self.fault(soap.post(ASK), ServiceUnavailable)
        self.assertEqual(str(cut), f'{TITLE} cannot be used: it is cut off by its circuit breaker')


class ConnectionTests(Calling):
    async def test_missing_and_inactive(self) -> None:
        """Each has its error, which names it; a REST connection of that name is none."""
        node = self.node(stored(bank(self.peer, is_active=False), 'outgoing_soap'))
        door = node.namespaces['soap'](Asking())
        self.assertEqual(str(self.assertRaises(Inactive, door.get, 'Bank')), '[Bank] is inactive')
        missing = self.assertRaises(NotFound, door.__getitem__, 'Other')
        self.assertEqual(str(missing), "There is no outgoing connection 'Other' of kind soap")

    async def test_ping(self) -> None:
        """By HEAD; any answer says that the peer is there."""
        peer = self.listen(raw(b'HTTP/1.1 405 No\r\nContent-Length: 0\r\n\r\n'))
        node = self.node(stored(bank(peer), 'outgoing_soap'))
        self.assertIn('Code: 405', await node.ping('outgoing_soap', 'Bank'))

    async def test_counted(self) -> None:
        """As all outgoing calls are, under the kind soap."""
        soap = self.bank(self.peer)
        await soap.post(ASK)
        self.assertEqual(self.slots().in_flight, 0)
        self.assertEqual((self.slots().count, self.slots().errors), (1, 0))
        fault = '<s:Fault><faultcode>s:Server</faultcode><faultstring>no</faultstring></s:Fault>'
        for answering, kind in ((answer(fault), PeerFault), (says(b'200 OK', b'x'), BadGateway),
                                (says(b'503 Busy'), BadStatus)):
            await self.fault(self.bank(self.listen(answering)).post(ASK), kind)
        self.assertEqual((self.slots().count, self.slots().errors), (4, 3))

    async def test_given_up(self) -> None:
        """A call that is cancelled leaves nothing behind."""
        peer = self.listen(silent)
        soap = self.bank(peer)
        calling = started(soap.post(ASK))
        await self.until(lambda: peer.requests)
        calling.addErrback(lambda failure: None)
        calling.cancel()
        await self.until(lambda: not peer.peers)
        self.assertEqual(self.slots().in_flight, 0)
