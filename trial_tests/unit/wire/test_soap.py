"""Tests of SOAP envelopes and actions."""

from __future__ import annotations

from typing import Any

from lxml import etree, objectify
from twisted.trial.unittest import SynchronousTestCase

from zatotx.wire.malformed import Malformed
from zatotx.wire.soap.envelope import (
    NS_11,
    NS_12,
    SOAP_11,
    SOAP_12,
    Envelope,
    SoapVersion,
    UnsupportedSoapVersion,
    is_envelope,
    mandatory_headers,
    read_envelope,
    write_envelope,
)  # fmt: skip
from zatotx.wire.soap.soap_action import (
    accepts_soap_content_type,
    is_unambiguously_soap,
    requested_soap_version,
    soap_action,
    unquote_action,
)
from zatotx.wire.xml import parser

VERSIONS = (SOAP_11, SOAP_12)


def envelope(inside: str, version: SoapVersion = SOAP_11) -> Any:
    """Returns the root of an envelope with this content; `s:` is the prefix of the version."""
    return parser.parse_document(f'<s:Envelope xmlns:s="{version.namespace}">{inside}</s:Envelope>'.encode())


def both(inside: str) -> list[Envelope]:
    return [read_envelope(envelope(inside, version)) for version in VERSIONS]


class ReadTests(SynchronousTestCase):
    def refused(self, root: Any) -> str:
        return str(self.assertRaises(Malformed, read_envelope, root))

    def test_the_parts(self) -> None:
        """Version, headers and body are returned; the payload is the first element of the body."""
        for found, version in zip(both('<s:Header><h xmlns="u:h"/></s:Header><s:Body><a xmlns="u:a"><b>1</b></a>'
                                       '<c xmlns="u:a"/></s:Body>'), VERSIONS, strict=True):
            self.assertIs(found.version, version)
            self.assertEqual([one.tag for one in found.headers], ['{u:h}h'])
            self.assertEqual(found.body.tag, version.body)
            assert found.payload is not None
            self.assertEqual((found.payload.tag, found.payload.b.text), ('{u:a}a', '1'))

    def test_no_header_and_an_empty_body(self) -> None:
        """An envelope without a header or with an empty body is valid and has no payload."""
        for inside in ('<s:Body/>', '<s:Body>\n</s:Body>', '<s:Header/>\n<s:Body/>\n'):
            for found in both(inside):
                self.assertEqual((found.headers, found.payload), ((), None))

    def test_refused(self) -> None:
        """Anything but an optional Header and one Body after it raises Malformed with one phrase."""
        body = '<s:Body><a/></s:Body>'
        for inside, why in (
            ('', 'has no Body'),
            ('<s:Header/>', 'has no Body'),
            (body + body, 'two Bodies'),
            (body + '<s:Header/>', 'the Header stands after the Body'),
            ('<s:Header/><s:Header/>' + body, 'a second Header before its Body'),
            ('<a/>' + body, 'the element a before its Body'),
            ('<Body><a/></Body>' + body, 'the element Body before its Body'),
            (body + '<a xmlns="u:x"/>', 'the element a after its Body'),
            ('text' + body, 'the Envelope has text of its own'),
            (body + 'text', 'the Envelope has text of its own'),
            ('<s:Header/>text' + body, 'the Envelope has text of its own'),
            ('<s:Body>text<a/></s:Body>', 'the Body has text of its own'),
            ('<s:Body><a/>text</s:Body>', 'the Body has text of its own'),
        ):  # fmt: skip
            for version in VERSIONS:
                self.assertIn(why, self.refused(envelope(inside, version)), inside)

    def test_messages_within_messages(self) -> None:
        """A body that contains an envelope, header or body of either version is rejected, since it could be confused
        with the real one."""
        for outer in VERSIONS:
            for inner in VERSIONS:
                for name in ('Envelope', 'Header', 'Body'):
                    hidden = f'<i:{name} xmlns:i="{inner.namespace}"><b/></i:{name}>'
                    for inside in (hidden, '<a/>' + hidden):
                        said = self.refused(envelope(f'<s:Body>{inside}</s:Body>', outer))
                        self.assertIn('a message within the message', said)

    def test_hidden_bodies_are_nobodys(self) -> None:
        """A Body element inside a header, or deeper in the payload, is data and does not change the payload."""
        for version in VERSIONS:
            hidden = f'<w xmlns="u:w"><i:Body xmlns:i="{version.namespace}"><evil/></i:Body></w>'
            for inside in (f'<s:Header>{hidden}</s:Header><s:Body><good/></s:Body>',
                           f'<s:Body><good>{hidden}</good></s:Body>'):  # fmt: skip
                found = read_envelope(envelope(inside, version))
                assert found.payload is not None
                self.assertEqual(found.payload.tag, 'good')

    def test_other_roots(self) -> None:
        """An Envelope in another namespace is an unsupported version; other roots are not an envelope."""
        for namespace in ('http://www.w3.org/2001/12/soap-envelope', 'urn:x', NS_11 + '/', NS_12[:-1]):
            root = parser.parse_document(f'<e:Envelope xmlns:e="{namespace}"><e:Body/></e:Envelope>'.encode())
            self.assertIn(NS_11, str(self.assertRaises(UnsupportedSoapVersion, read_envelope, root)))
        self.assertRaises(UnsupportedSoapVersion, read_envelope, parser.parse_document(b'<Envelope><Body/></Envelope>'))
        other = self.assertRaises(
            Malformed, read_envelope, parser.parse_document(f'<e:Body xmlns:e="{NS_11}"/>'.encode())
        )
        self.assertNotIsInstance(other, UnsupportedSoapVersion)

    def test_bodies_of_the_other_version(self) -> None:
        """The parts must be in the namespace of the envelope."""
        self.assertIn('the element Body', self.refused(envelope(f'<o:Body xmlns:o="{NS_12}"/>')))


class DemandedTests(SynchronousTestCase):
    def asked(self, attributes: str, version: SoapVersion) -> list[str]:
        root = envelope(f'<s:Header><h xmlns="u:h" {attributes}/></s:Header><s:Body/>', version)
        return [one.tag for one in mandatory_headers(read_envelope(root))]

    def test_must_understand(self) -> None:
        """mustUnderstand is set by 1 and true, not by 0, false or its absence; it is in the namespace of the
        version."""
        for version in VERSIONS:
            for value, expected in (('1', True), ('true', True), (' 1 ', True), ('0', False), ('false', False)):
                self.assertEqual(bool(self.asked(f's:mustUnderstand="{value}"', version)), expected, value)
            self.assertEqual(self.asked('', version), [])
            self.assertEqual(self.asked('mustUnderstand="1"', version), [])
            other = SOAP_12 if version is SOAP_11 else SOAP_11
            self.assertEqual(self.asked(f'xmlns:o="{other.namespace}" o:mustUnderstand="1"', version), [])

    def test_neither_yes_nor_no(self) -> None:
        """A value that is not a boolean is rejected: treating it as false would ignore the sender's demand."""
        for value in ('TRUE', 'yes', '', '2'):
            self.assertRaises(Malformed, self.asked, f's:mustUnderstand="{value}"', SOAP_12)

    def test_for_whom(self) -> None:
        """Only headers addressed to the ultimate receiver or the next node are mandatory."""
        next_11 = 'http://schemas.xmlsoap.org/soap/actor/next'
        for version, attribute, uri, ours in (
            (SOAP_11, 'actor', next_11, True), (SOAP_11, 'actor', '', True), (SOAP_11, 'actor', 'urn:gateway', False),
            (SOAP_11, 'role', 'urn:gateway', True),  # no attribute of 1.1
            (SOAP_12, 'role', f'{NS_12}/role/next', True), (SOAP_12, 'role', f'{NS_12}/role/ultimateReceiver', True),
            (SOAP_12, 'role', '', True), (SOAP_12, 'role', f'{NS_12}/role/none', False),
            (SOAP_12, 'role', 'urn:gateway', False), (SOAP_12, 'role', next_11, False),
        ):  # fmt: skip
            asked = self.asked(f's:mustUnderstand="1" s:{attribute}="{uri}"', version)
            self.assertEqual(bool(asked), ours, (version.number, uri))


class WriteTests(SynchronousTestCase):
    def test_read_back(self) -> None:
        """Elements and XML are written as content and as headers."""
        element = etree.fromstring('<a xmlns="u:a"><b>ż</b></a>')
        for version in VERSIONS:
            data = write_envelope(
                version, element, b'<c xmlns="u:c"/>', headers=[b'<h xmlns="u:h"/>', etree.Element('{u:i}i')]
            )
            found = read_envelope(parser.parse_document(data))
            self.assertIs(found.version, version)
            self.assertEqual([one.tag for one in found.headers], ['{u:h}h', '{u:i}i'])
            self.assertEqual([one.tag for one in found.body.iterchildren()], ['{u:a}a', '{u:c}c'])
            assert found.payload is not None
            self.assertEqual(found.payload.b.text, 'ż')

    def test_nothing(self) -> None:
        """The body may be empty; the header is omitted if there are no headers."""
        for version in VERSIONS:
            data = write_envelope(version)
            self.assertIsNone(read_envelope(parser.parse_document(data)).payload)
            self.assertNotIn(b'Header', data)

    def test_namespaces_go_along(self) -> None:
        """A part of a document is written with the namespaces in scope."""
        root = parser.parse_document(b'<x:a xmlns:x="u:x"><x:b kind="x:k"/></x:a>')
        found = read_envelope(parser.parse_document(write_envelope(SOAP_11, root.find('{u:x}b')))).payload
        assert found is not None
        self.assertEqual((found.tag, found.nsmap['x']), ('{u:x}b', 'u:x'))

    def test_notes_of_objectify_stay(self) -> None:
        """Annotations of lxml.objectify are not written."""
        made = objectify.Element('balance')
        made.amount = 10
        self.assertNotIn(b'pytype', write_envelope(SOAP_11, made))

    def test_whole_messages(self) -> None:
        """Envelopes are recognized by their root."""
        self.assertTrue(all(is_envelope(envelope('<s:Body/>', version)) for version in VERSIONS))
        self.assertFalse(is_envelope(etree.Element('Envelope')))


class ActionTests(SynchronousTestCase):
    def test_of_1_1(self) -> None:
        """SOAPAction is read with or without quotation marks."""
        for sent, expected in ((b'"urn:a"', 'urn:a'), (b'urn:a', 'urn:a'), (b'""', ''), (b'', ''), (b'" a "', 'a'),
                               ('"ż"'.encode(), 'ż')):  # fmt: skip
            self.assertEqual(soap_action({b'soapaction': sent, b'content-type': b'text/xml'}), expected)
        self.assertEqual(soap_action({b'content-type': b'text/xml; action="urn:a"'}), '')

    def test_of_1_2(self) -> None:
        """The action parameter of Content-Type is read at any position; SOAPAction is used if there is none."""
        for sent, expected in (
            (b'application/soap+xml;action="urn:a"', 'urn:a'), (b'application/soap+xml; action=urn:a', 'urn:a'),
            (b'Application/SOAP+XML; charset=utf-8; Action="a;b=\\"c\\""', 'a;b="c"'),
            (b'application/soap+xml; x="; action=no"; action="yes"', 'yes'), (b'application/soap+xml; action', ''),
            (b'application/soap+xml; action="', ''), (b'application/soap+xml; action=""', ''),
            (b'application/soap+xml; xaction="a"', ''),
        ):  # fmt: skip
            self.assertEqual(soap_action({b'content-type': sent}), expected, sent)
        self.assertEqual(soap_action({b'content-type': b'application/soap+xml', b'soapaction': b'"urn:b"'}), 'urn:b')
        both_ = {b'content-type': b'application/soap+xml; action="urn:a"', b'soapaction': b'"urn:b"'}
        self.assertEqual(soap_action(both_), 'urn:a')

    def test_no_text(self) -> None:
        """An action that is not UTF-8 is rejected."""
        self.assertRaises(Malformed, soap_action, {b'soapaction': b'"\xff"'})

    def test_quotation_marks(self) -> None:
        """The quotation marks around an action are removed."""
        for given, expected in (('"a"', 'a'), ('a', 'a'), ('"', '"'), ('""', ''), (' "a b" ', 'a b')):
            self.assertEqual(unquote_action(given), expected)

    def test_what_a_head_says(self) -> None:
        """Header fields determine whether a request is SOAP, in which version, and which bodies may be SOAP."""
        for headers, means, version, may in (
            ({}, False, '1.1', True), ({b'soapaction': b''}, True, '1.1', True),
            ({b'content-type': b'text/xml; charset=utf-8'}, False, '1.1', True),
            ({b'content-type': b'Application/Soap+XML; charset=utf-8'}, True, '1.2', True),
            ({b'content-type': b'application/xml'}, False, '1.1', True),
            ({b'content-type': b'application/json'}, False, '1.1', False),
            ({b'content-type': b'multipart/related; type="text/xml"'}, False, '1.1', False),
            ({b'content-type': b'text/xmlish'}, False, '1.1', False),
            ({b'content-type': b'application/x-www-form-urlencoded'}, False, '1.1', False),
            ({b'content-type': b'application/x-www-form-urlencoded', b'soapaction': b'a'}, True, '1.1', True),
        ):  # fmt: skip
            found = is_unambiguously_soap(headers), requested_soap_version(headers), accepts_soap_content_type(headers)
            self.assertEqual(found, (means, version, may), headers)
