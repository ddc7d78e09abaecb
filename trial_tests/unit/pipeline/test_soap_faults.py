"""SOAP faults and headers, as SOAP clients receive them."""

from __future__ import annotations

from typing import Any

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from trial_tests.support.soap import ACTION, PATH, ZATO, AdminGuard, Answered, SoapSide, rest
from zatotx import (
    BadRequest,
    Conflict,
    Forbidden,
    Int,
    NotFound,
    Service,
    ServiceUnavailable,
    SoapFault,
    Timeout,
    TooManyRequests,
    Unauthorized,
)
from zatotx.interfaces.pipeline import IAuthenticationPolicy
from zatotx.model.message import Message, Principal
from zatotx.service.metadata import InvalidServiceClass
from zatotx.service.service_entry import ServiceEntry
from zatotx.service.soap import SECURITY_HEADER
from zatotx.wire.malformed import Malformed
from zatotx.wire.soap.envelope import NS_11, NS_12, VERSIONS

SESSION, OTHER = '{urn:bank}Session', '{urn:bank}Other'


class Raises(Service):
    """Raises `what`."""

    name = 'crm.raises'
    what: Any = None

    async def handle(self) -> None:
        raise self.what


def raising(what: Exception, **channel: Any) -> SoapSide:
    return SoapSide(type('Raised', (Raises,), {'what': what, 'name': Raises.name}), **channel)


def said(answer: Answered) -> list[Any]:
    """Return the elements of the detail that the service added."""
    return [one for one in answer.fault.detail if getattr(one, 'tag', '') != f'{{{ZATO}}}error']


class FaultTests(SynchronousTestCase):
    def test_statuses(self) -> None:
        """Zato's errors keep their HTTP status and headers; client errors have the code Sender."""
        for error, status, code, header in (
            (BadRequest(None, 'Why'), 400, 'Sender', None),
            (Unauthorized(None, 'Why'), 401, 'Sender', b'www-authenticate'),
            (Forbidden(None, 'Why'), 403, 'Sender', None), (NotFound(None, 'Why'), 404, 'Sender', None),
            (Conflict(None, 'Why'), 409, 'Sender', None),
            (TooManyRequests(None, 'Why'), 429, 'Sender', b'retry-after'),
            (ServiceUnavailable(None, 'Why'), 503, 'Receiver', b'retry-after'),
            (Timeout(None, 'Why'), 504, 'Receiver', None),
        ):  # fmt: skip
            for version, namespace in (('1.1', NS_11), ('1.2', NS_12)):
                answer = raising(error).ask('<q/>', version=version)
                self.assertEqual((answer.status, answer.fault.code, answer.fault.reason), (status, code, 'Why'))
                self.assertEqual(answer.payload.tag, f'{{{namespace}}}Fault')
                self.assertIn(f'<cid>{answer.cid}</cid>'.encode(), answer.body)
                if header is not None:
                    self.assertIn(header, answer.headers)

    def test_nothing_leaks(self) -> None:
        """For any other exception, the caller sees the cid and a constant sentence."""
        for version in VERSIONS:
            answer = raising(KeyError('inside')).ask('<q/>', version=version)
            self.assertEqual((answer.status, answer.fault.code), (500, 'Receiver'))
            self.assertNotIn(b'inside', answer.body)
            self.assertNotIn(b'Traceback', answer.body)
            self.assertIn(answer.cid.encode(), answer.body)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 2)

    def test_any_text(self) -> None:
        """Characters that XML does not allow do not break a fault."""
        answer = raising(BadRequest(None, 'a\x00\x1b<b>]]>&\ud800')).ask('<q/>')
        self.assertEqual(answer.fault.reason, 'a\ufffd\ufffd<b>]]>&\ufffd')

    def test_soap_faults(self) -> None:
        """SoapFault sets code, reason, subcodes, actor and detail."""
        for code, word, status in (('Client', 'Sender', 400), ('Sender', 'Sender', 400), ('Server', 'Receiver', 500),
                                   ('Receiver', 'Receiver', 500), ('MustUnderstand', 'MustUnderstand', 400)):
            for version in VERSIONS:
                fault = SoapFault(code, 'No money', '<short xmlns="urn:bank">10</short>', actor='urn:bank')
                answer = raising(fault).ask('<q/>', version=version)
                found = answer.fault
                self.assertEqual((answer.status, found.code, found.reason), (status, word, 'No money'))
                self.assertEqual(found.actor, 'urn:bank')
                self.assertEqual([(one.tag, one.text) for one in said(answer)], [('{urn:bank}short', '10')])
                self.assertIn(answer.cid.encode(), answer.body)

    def test_subcodes(self) -> None:
        """1.2 contains all of them; in 1.1 the last one is the code."""
        fault = SoapFault('Client', 'No', subcodes=['{urn:bank}Refused', '{urn:bank}NoMoney'])
        self.assertEqual(raising(fault).ask('<q/>', version='1.2').fault.subcodes, tuple(fault.subcodes))
        self.assertEqual(raising(fault).ask('<q/>').fault.subcodes, ('{urn:bank}NoMoney',))

    def test_subcodes_that_are_no_names(self) -> None:
        """Invalid names are reported when the fault is created, since XML parsers would reject the response."""
        for wrong in ('', 'plain', '{', '{urn:a}', '{urn:a}a b', '{u"r<n}a', '{urn:ż}a', '{a b}a', '\x00'):
            self.assertIn('no subcode', str(self.assertRaises(ValueError, SoapFault, 'Client', subcodes=[wrong])))

    def test_details(self) -> None:
        """A detail is elements, XML, text, or several of them; invalid XML is sent as text."""
        for detail, expected in (
            (etree.fromstring('<a><b/></a>'), ['a']), ('<a/>', ['a']), (b'<a/>', ['a']), (['<a/>', '<b/>'], ['a', 'b']),
            ('just text', [f'{{{ZATO}}}text']), ('<a>', [f'{{{ZATO}}}text']), ('<!DOCTYPE a><a/>', [f'{{{ZATO}}}text']),
            ('</detail>', [f'{{{ZATO}}}text']), (None, []),
        ):  # fmt: skip
            answer = raising(SoapFault('Client', 'x', detail)).ask('<q/>')
            self.assertEqual([one.tag for one in said(answer)], expected, detail)
        self.assertEqual(said(raising(SoapFault('Client', 'x', 'a < b')).ask('<q/>'))[0].text, 'a < b')

    def test_unknown_codes(self) -> None:
        """They are reported when the fault is created."""
        self.assertIn('NoMoney', str(self.assertRaises(ValueError, SoapFault, 'NoMoney')))

    def test_on_other_channels(self) -> None:
        """On other channels, a SoapFault is an ordinary error."""
        channel = rest(9, 'r', '/r', Raises.name, data_format='json')
        side = raising(SoapFault('Client', 'No money'), channels=(channel,))
        answer = Answered(side.server.connect().ask(b'GET /r HTTP/1.1\r\nHost: a\r\n\r\n'))
        self.assertEqual((answer.status, b'"details":"No money"' in answer.body), (400, True))

    def test_fault_status(self) -> None:
        """With `fault_status: 500`, faults of services have the status of SOAP 1.1 §6.2; errors before the envelope is
        parsed keep their HTTP status."""

        class Typed(Plain):
            name = 'crm.typed'
            input = Int('id')

        for error in (
            BadRequest(None, 'x'), SoapFault('Client', 'x'), NotFound(None, 'x'), Conflict(None, 'x'),
            Timeout(None, 'x'), TooManyRequests(None, 'x'), ServiceUnavailable(None, 'x'), Unauthorized(None, 'x'),
        ):  # fmt: skip
            answer = raising(error, fault_status=500).ask('<q/>')
            self.assertEqual((answer.status, answer.fault.reason), (500, 'x'), error)
        refusing = SoapSide(Typed, fault_status=500, guard=Refusing())
        self.assertEqual(refusing.ask('<q><id>1</id></q>').status, 401)
        side = SoapSide(Typed, fault_status=500)
        self.assertEqual(side.ask('<q><id>x</id></q>').status, 500)
        self.assertEqual(side.send(b'<no').status, 500)


@implementer(IAuthenticationPolicy)
class Refusing(AdminGuard):
    """Rejects everyone."""

    def check(self, message: Message) -> Principal:
        raise Unauthorized(message.cid)

    check_body = check


@implementer(IAuthenticationPolicy)
class WssGuard(AdminGuard):
    """Admits everyone by a wsse:Security header."""

    def check(self, message: Message) -> Principal:
        return Principal('partner', 'partner', 'wss')

    check_body = check


class Plain(Service):
    name = 'crm.plain'

    async def handle(self) -> None:
        self.response.payload = '<ok/>'


class Understands(Plain):
    name = 'crm.understands'
    soap_understands = SESSION, 'Trace'


def block(tag: str, attributes: str = 's:mustUnderstand="1"') -> str:
    name = etree.QName(tag)
    return f'<h:{name.localname} xmlns:h="{name.namespace}" {attributes}>v</h:{name.localname}>'


class MustUnderstandTests(SynchronousTestCase):
    def test_not_understood(self) -> None:
        """400 MustUnderstand, and the service does not run; 1.2 names the headers in headers of the response
        (§5.4.8)."""
        for version in VERSIONS:
            answer = SoapSide(Plain).ask('<q/>', version=version, header=block(SESSION) + block(OTHER))
            self.assertEqual((answer.status, answer.fault.code), (400, 'MustUnderstand'))
            self.assertIn(SESSION, answer.fault.reason)
            self.assertIn(answer.cid.encode(), answer.body)
        names = [header.get('qname').rpartition(':')[2] for header in answer.envelope.headers]
        self.assertEqual(names, ['Session', 'Other'])
        self.assertTrue(all(header.tag == f'{{{NS_12}}}NotUnderstood' for header in answer.envelope.headers))

    def test_before_all_else(self) -> None:
        """Headers are checked before the input, whose meaning they may change."""

        class Typed(Plain):
            name = 'crm.typed'
            input = Int('id')

        self.assertEqual(SoapSide(Typed).ask('<q/>', header=block(SESSION)).fault.code, 'MustUnderstand')

    def test_what_a_service_understands(self) -> None:
        """A service lists full names, or local names in any namespace."""
        side = SoapSide(Understands)
        self.assertEqual(side.ask('<q/>', header=block(SESSION) + block('{urn:any}Trace')).status, 200)
        self.assertIn(OTHER, side.ask('<q/>', header=block(SESSION) + block(OTHER)).fault.reason)

    def test_what_is_not_asked_of_us(self) -> None:
        """Headers for other actors, and optional ones, are ignored."""
        side = SoapSide(Plain)
        for attributes in ('', 's:mustUnderstand="0"', 's:mustUnderstand="1" s:actor="urn:gateway"'):
            self.assertEqual(side.ask('<q/>', header=block(SESSION, attributes)).status, 200, attributes)
        self.assertEqual(side.ask('<q/>', header=block(SESSION, 's:mustUnderstand="perhaps"')).fault.code, 'Sender')

    def test_ws_security(self) -> None:
        """It is understood only if it authenticated the caller: an unchecked header must not appear checked."""
        self.assertEqual(SoapSide(Plain, guard=WssGuard()).ask('<q/>', header=block(SECURITY_HEADER)).status, 200)
        self.assertEqual(SoapSide(Plain).ask('<q/>', header=block(SECURITY_HEADER)).fault.code, 'MustUnderstand')

    def test_declared_wrongly(self) -> None:
        """A service with an invalid soap_understands is rejected on deployment."""
        for wrong in (5, ('a', 5), '', '{}'):
            made = type('Wrong', (Plain,), {'soap_understands': wrong})
            self.assertIn('soap_understands', str(self.assertRaises(InvalidServiceClass, ServiceEntry.for_class, made)))

    def test_zato_soap(self) -> None:
        """The broker's own services understand no headers."""
        answer = SoapSide(Plain).ask('<q/>', action='zato.ping', path='/zato/soap', header=block(SESSION))
        self.assertEqual(answer.status, 404)  # it is not there in this test


class HeaderTests(SynchronousTestCase):
    def test_read(self) -> None:
        """Services can read version, action and headers, by order and name."""
        seen: list[Any] = []

        class Reads(Service):
            name = 'crm.reads'

            async def handle(self) -> None:
                soap = self.request.soap
                seen.append((soap.version, soap.action, [one.tag for one in soap.headers],
                             soap.header(SESSION).text, soap.header('Other').get('id'), soap.header('{urn:x}Other'),
                             soap.header('None'), self.transport))  # fmt: skip

        side = SoapSide(Reads)
        for version in VERSIONS:
            side.ask('<q/>', version=version, header=block(SESSION, '') + block(OTHER, 'id="1"'))
            expected = version, ACTION, [SESSION, OTHER], 'v', '1', None, None, 'soap'
            self.assertEqual(seen.pop(), expected)

    def test_without_soap(self) -> None:
        """The same service on a REST channel finds none."""
        seen: list[Any] = []

        class Reads(Service):
            name = 'crm.reads'

            async def handle(self) -> None:
                soap = self.request.soap
                seen.append((soap.version, soap.action, soap.headers, soap.body, soap.header('a')))
                self.response.soap.add_header('<ignored/>')

        side = SoapSide(Reads, channels=(rest(9, 'r', '/r', 'crm.reads', data_format='json'),))
        answer = Answered(side.server.connect().ask(b'GET /r HTTP/1.1\r\nHost: a\r\n\r\n'))
        self.assertEqual((answer.status, seen), (200, [('', '', [], None, None)]))

    def test_written(self) -> None:
        """Elements and XML become headers of the response."""

        class Writes(Service):
            name = 'crm.writes'

            async def handle(self) -> None:
                self.response.soap.add_header(self.request.soap.headers[0])
                self.response.soap.add_header('<?xml version="1.0"?><t:Trace xmlns:t="urn:t">ż</t:Trace>')
                self.response.payload = '<ok/>'

        side = SoapSide(Writes)
        for version in VERSIONS:
            answer = side.ask('<q/>', version=version, header=block(SESSION, ''))
            found = [(one.tag, one.text) for one in answer.envelope.headers]
            self.assertEqual(found, [(SESSION, 'v'), ('{urn:t}Trace', 'ż')])
            self.assertEqual(answer.payload.tag, 'ok')

    def test_headers_that_are_none(self) -> None:
        """Invalid headers are an error of the service and do not break the envelope."""

        class Writes(Service):
            name = 'crm.writes'

            async def handle(self) -> None:
                self.response.soap.add_header('</s:Header>')

        self.assertEqual(SoapSide(Writes).ask('<q/>').status, 500)
        self.assertEqual(len(self.flushLoggedErrors(Malformed)), 1)


class ConnectionTests(SynchronousTestCase):
    def test_keep_alive(self) -> None:
        """The connection is kept after a fault."""
        client = raising(BadRequest(None, 'x')).server.connect()
        for _ in range(2):
            head = f'POST {PATH} HTTP/1.1\r\nHost: a\r\nSOAPAction: {ACTION}\r\nContent-Length: 2\r\n\r\n{{}}'
            self.assertEqual(client.ask(head.encode()).status, 400)
        self.assertFalse(client.closed)
