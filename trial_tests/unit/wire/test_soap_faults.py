"""Tests of SOAP faults in both versions."""

from __future__ import annotations

from typing import Any

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from zatotx.wire.soap.envelope import NS_11, NS_12, SOAP_11, SOAP_12, Envelope, SoapVersion, read_envelope
from zatotx.wire.soap.faults import (
    FaultElement,
    escape_text,
    not_understood_headers,
    read_fault,
    upgrade_header,
    write_fault,
)
from zatotx.wire.xml import parser

ENV = {'e': NS_12}


def written(version: SoapVersion, fault: FaultElement, *headers: bytes) -> Envelope:
    return read_envelope(parser.parse_document(write_fault(version, fault, headers)))


def qname(element: Any) -> str:
    """Returns the qualified name in the text, or the `qname` attribute, of an element."""
    given = element.get('qname') or element.text
    prefix, _, name = given.partition(':')
    return f'{{{element.nsmap[prefix]}}}{name}'


def fault_of(inside: str, version: SoapVersion = SOAP_11) -> FaultElement:
    root = parser.parse_document(f'<s:Fault xmlns:s="{version.namespace}">{inside}</s:Fault>'.encode())
    found = read_fault(root)
    assert found is not None
    return found


class WriteTests(SynchronousTestCase):
    def test_of_1_1(self) -> None:
        """A 1.1 fault has faultcode, faultstring, faultactor and detail in no namespace, in this order (§4.4)."""
        fault = FaultElement(
            code='Sender', reason='No <such> account', actor='urn:us', detail=(b'<d xmlns="u:d">1</d>',)
        )
        element = written(SOAP_11, fault).payload
        assert element is not None
        self.assertEqual(element.tag, f'{{{NS_11}}}Fault')
        self.assertEqual([one.tag for one in element.iterchildren()],
                         ['faultcode', 'faultstring', 'faultactor', 'detail'])  # fmt: skip
        self.assertEqual(qname(element.find('faultcode')), f'{{{NS_11}}}Client')
        self.assertEqual(element.find('faultstring').text, 'No <such> account')
        self.assertEqual(element.find('faultactor').text, 'urn:us')
        self.assertEqual(element.find('detail/{u:d}d').text, '1')

    def test_of_1_2(self) -> None:
        """A 1.2 fault has Code with nested Subcodes, Reason with a language, Node, Role, Detail (part 1 §5.4)."""
        fault = FaultElement(code='Sender', reason='No <such> account', subcodes=('{u:a}A', '{u:b}B'), node='urn:node',
                      actor='urn:us', detail=(b'<d xmlns="u:d">1</d>',))  # fmt: skip
        element = written(SOAP_12, fault).payload
        assert element is not None
        names = [etree.QName(one).localname for one in element.iterchildren()]
        self.assertEqual(names, ['Code', 'Reason', 'Node', 'Role', 'Detail'])
        codes = [qname(one) for one in element.iter(f'{{{NS_12}}}Value')]
        self.assertEqual(codes, [f'{{{NS_12}}}Sender', '{u:a}A', '{u:b}B'])
        self.assertIsNotNone(element.find('e:Code/e:Subcode/e:Subcode/e:Value', ENV))
        reason = element.find('e:Reason/e:Text', ENV)
        self.assertEqual((reason.text, reason.get('{http://www.w3.org/XML/1998/namespace}lang')),
                         ('No <such> account', 'en'))  # fmt: skip
        self.assertEqual(element.find('e:Detail/{u:d}d', ENV).text, '1')

    def test_codes(self) -> None:
        """Each code has its name in either version; 1.1, which has a single code, carries the last subcode."""
        for code, in_11 in (('Sender', 'Client'), ('Receiver', 'Server'), ('VersionMismatch', 'VersionMismatch'),
                            ('MustUnderstand', 'MustUnderstand')):  # fmt: skip
            for version, word in ((SOAP_11, in_11), (SOAP_12, code)):
                element = written(version, FaultElement(code=code, reason='x')).payload
                assert element is not None
                found = element.find('faultcode') if version is SOAP_11 else element.find('e:Code/e:Value', ENV)
                self.assertEqual(qname(found), f'{{{version.namespace}}}{word}')
        element = written(SOAP_11, FaultElement(code='Sender', reason='x', subcodes=('{u:a}A', '{u:b}B'))).payload
        assert element is not None
        self.assertEqual(qname(element.find('faultcode')), '{u:b}B')

    def test_headers_of_1_2(self) -> None:
        """The headers with names that were not understood, and supported envelopes, have their namespaces in scope."""
        found = written(
            SOAP_12, FaultElement(code='MustUnderstand', reason='x'), *not_understood_headers(['{u:h}H', 'plain'])
        ).headers
        self.assertEqual([one.tag for one in found], [f'{{{NS_12}}}NotUnderstood'] * 2)
        self.assertEqual(qname(found[0]), '{u:h}H')
        self.assertEqual(found[1].get('qname'), 'plain')
        (found,) = written(SOAP_12, FaultElement(code='VersionMismatch', reason='x'), upgrade_header()).headers
        self.assertEqual(found.tag, f'{{{NS_12}}}Upgrade')
        self.assertEqual([qname(one) for one in found.iterchildren()], [f'{{{NS_12}}}Envelope', f'{{{NS_11}}}Envelope'])

    def test_any_text(self) -> None:
        """Characters that XML cannot represent are replaced."""
        for version in (SOAP_11, SOAP_12):
            reason = 'a\x00b\x1b[1m\ud800\uffff\r\n<&>"ż'
            element = written(version, FaultElement(reason=reason)).payload
            found = read_fault(element)
            assert found is not None
            self.assertEqual(found.reason, 'a\ufffdb\ufffd[1m\ufffd\ufffd\r\n<&>"ż')
        self.assertEqual(escape_text('plain'), b'plain')


class ReadTests(SynchronousTestCase):
    def test_read_back(self) -> None:
        """Written faults are read back unchanged."""
        for version in (SOAP_11, SOAP_12):
            fault = FaultElement(
                code='Receiver', reason='Late', actor='urn:us', lang='' if version is SOAP_11 else 'en'
            )
            self.assertEqual(read_fault(written(version, fault).payload), fault)

    def test_no_fault(self) -> None:
        """Other elements are not faults."""
        self.assertIsNone(read_fault(parser.parse_document(b'<Fault/>')))

    def test_codes_of_1_1(self) -> None:
        """Client and Server are read with any prefix or none, with dotted suffixes; other codes are subcodes."""
        for code, expected in (
            ('<faultcode>s:Client</faultcode>', ('Sender', ())), ('<faultcode>Server</faultcode>', ('Receiver', ())),
            ('<faultcode>other:Client</faultcode>', ('Sender', ())),  # a prefix that is not declared
            ('<faultcode>s:Client.Authentication</faultcode>', ('Sender', (f'{{{NS_11}}}Client.Authentication',))),
            ('<faultcode xmlns:b="u:b">b:NoMoney</faultcode>', ('', ('{u:b}NoMoney',))),
            ('<faultcode>NoMoney</faultcode>', ('', ('NoMoney',))), ('<faultcode/>', ('', ())), ('', ('', ())),
        ):  # fmt: skip
            found = fault_of(code + '<faultstring> W<!-- -->h<i>y</i> </faultstring>')
            self.assertEqual((found.code, found.subcodes, found.reason), (*expected, 'Why'), code)

    def test_parts_of_1_2(self) -> None:
        """Subcodes are read in order, the English reason is preferred, and the detail elements are returned."""
        found = fault_of(
            '<s:Code><s:Value>s:Receiver</s:Value><s:Subcode xmlns:b="u:b"><s:Value>b:A</s:Value>'
            '<s:Subcode><s:Value>b:B</s:Value></s:Subcode></s:Subcode></s:Code>'
            '<s:Reason><s:Text xml:lang="pl">Nie</s:Text><s:Text xml:lang="en-GB">No</s:Text></s:Reason>'
            '<s:Node>urn:n</s:Node><s:Role>urn:r</s:Role><s:Detail><a/><b/></s:Detail>', SOAP_12,
        )  # fmt: skip
        self.assertEqual((found.code, found.subcodes, found.reason, found.lang, found.node, found.actor),
                         ('Receiver', ('{u:b}A', '{u:b}B'), 'No', 'en-GB', 'urn:n', 'urn:r'))  # fmt: skip
        self.assertEqual([one.tag for one in found.detail if not isinstance(one, bytes)], ['a', 'b'])

    def test_codes_of_1_2(self) -> None:
        """An unknown code becomes a subcode; a missing code is empty."""
        for code, expected in (
            ('<s:Code><s:Value xmlns:b="u:b">b:A</s:Value></s:Code>', ('', ('{u:b}A',))), ('<s:Code/>', ('', ())),
            ('', ('', ())),
        ):  # fmt: skip
            found = fault_of(code, SOAP_12)
            self.assertEqual((found.code, found.subcodes, found.reason), (*expected, ''))
