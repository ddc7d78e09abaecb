"""Tests of WS-Security headers alone: what is read, every reason to reject one, and what is written."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha1
from typing import Any

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from zatotx.wire.malformed import Malformed
from zatotx.wire.soap.envelope import NS_12, SOAP_11, SOAP_12, SoapVersion
from zatotx.wire.soap.ws_security import (
    BASE64,
    DIGEST,
    TEXT,
    WSSE,
    WSU,
    SecurityHeader,
    Timestamp,
    UsernameToken,
    password_digest,
    read_security_header,
    write_security_header,
)

NAMESPACES = f'xmlns:w="{WSSE}" xmlns:u="{WSU}" xmlns:s="{SOAP_11.namespace}" xmlns:t="{NS_12}"'
TOKEN = '<w:UsernameToken><w:Username>joe</w:Username><w:Password>x</w:Password></w:UsernameToken>'
NEXT = 'http://schemas.xmlsoap.org/soap/actor/next'


def header(inside: str, attributes: str = '', name: str = 'w:Security') -> Any:
    return etree.fromstring(f'<{name} {NAMESPACES} {attributes}>{inside}</{name}>', etree.XMLParser())


def token(inside: str, password: str = '<w:Password>x</w:Password>') -> str:
    return f'<w:UsernameToken><w:Username>joe</w:Username>{password}{inside}</w:UsernameToken>'


class ReadTests(SynchronousTestCase):
    def read(self, inside: str) -> SecurityHeader:
        found = read_security_header([header(inside)], SOAP_11)
        assert found is not None
        return found

    def refused(self, inside: str, why: str) -> None:
        said = str(self.assertRaises(Malformed, read_security_header, [header(inside)], SOAP_11))
        self.assertIn(why, said, inside)

    def test_a_token(self) -> None:
        """All parts of a token are read; what is missing has its default."""
        self.assertEqual(self.read(TOKEN), SecurityHeader((UsernameToken('joe', 'x', False),)))
        parts = ' <u:Created>\n2026-01-31T12:00:00Z </u:Created>\n<w:Nonce>YW\nJj </w:Nonce>'
        self.assertEqual(self.read(token(parts, f'<w:Password Type="{DIGEST}"> y </w:Password>')).tokens[0],
                         UsernameToken('joe', ' y ', True, b'abc', '2026-01-31T12:00:00Z', 1769860800.0))  # fmt: skip
        self.assertFalse(self.read(token('', f'<w:Password Type="{TEXT}">y</w:Password>')).tokens[0].is_digest)
        empty = self.read(token('<u:Created/><w:Nonce/>', '<w:Password/>')).tokens[0]
        self.assertEqual(empty, UsernameToken('joe', '', False))
        self.assertEqual(repr(empty), "UsernameToken('joe', created='')")

    def test_a_timestamp(self) -> None:
        """A validity period may stand beside the tokens, before or after them."""
        stamp = '<u:Timestamp><u:Expires> 1970-01-01T00:00:02Z </u:Expires><u:Created>1970-01-01T00:00:01</u:Created>' \
                '</u:Timestamp>'  # fmt: skip
        for inside in (stamp + TOKEN, f'\n{TOKEN}\n{stamp}\n'):
            self.assertEqual(self.read(inside).timestamp, Timestamp(1.0, 2.0))
        self.assertEqual(self.read(TOKEN + '<u:Timestamp/>').timestamp, Timestamp())
        self.assertIsNone(self.read(TOKEN).timestamp)

    def test_times(self) -> None:
        """Times are xs:dateTime, UTC without an offset."""
        for text, seconds in (('1970-01-01T00:00:01', 1.0), ('1970-01-01T01:00:01+01:00', 1.0),
                              ('1970-01-01T00:00:00.5Z', 0.5), ('1970-01-01T00:00:00.000001+00:00', 0.000001)):
            self.assertEqual(self.read(token(f'<u:Created>{text}</u:Created>')).tokens[0].created_at, seconds)
        for text in ('1970-01-01', '1970-01-01 00:00:01', 'soon', '1970-01-01T00:00:61',
                     '1970-01-01T00:00:01.' + '1' * 21, '\u0661970-01-01T00:00:01'):  # fmt: skip
            for inside in (token(f'<u:Created>{text}</u:Created>'),
                           f'{TOKEN}<u:Timestamp><u:Expires>{text}</u:Expires></u:Timestamp>'):  # fmt: skip
                self.refused(inside, 'a time of the Security header is no xs:dateTime')

    def test_nonces(self) -> None:
        """Nonces are base64 of at most 512 bytes, written completely."""
        nonce = self.read(token(f'<w:Nonce EncodingType="{BASE64}">{"YWJj" * 128}</w:Nonce>')).tokens[0].nonce
        self.assertEqual(nonce, b'abc' * 128)
        for text, attributes, why in (
            ('YWJj' * 129, '', 'in an encoding that is not known here, or too long'),
            ('YWJj', 'EncodingType="x"', 'in an encoding that is not known here, or too long'),
            ('YWJ', '', 'no base64'), ('YQ=', '', 'no base64'), ('YQ===', '', 'no base64'), ('YW!j', '', 'no base64'),
            ('YW\u00e9j', '', 'no base64'), ('YQ==YQ==', '', 'no base64'),
        ):  # fmt: skip
            self.refused(token(f'<w:Nonce {attributes}>{text}</w:Nonce>'), f'the Nonce is {why}')

    def test_reasons(self) -> None:
        """What is not understood, or could have two meanings, is rejected."""
        text = 'has text of its own'
        for inside, why in (
            ('', 'the Security header has no UsernameToken, or more than 8'),
            (TOKEN * 9, 'the Security header has no UsernameToken, or more than 8'),
            ('<u:Timestamp/>', 'the Security header has no UsernameToken'),
            (TOKEN + '<u:Timestamp/><u:Timestamp/>', 'not known here, or a second Timestamp'),
            (TOKEN + '<w:BinarySecurityToken/>', 'not known here, or a second Timestamp'),
            ('x' + TOKEN, f'the Security {text}'), (TOKEN + 'x', f'the Security {text}'),
            (f'<w:UsernameToken>x{TOKEN[17:]}', f'the UsernameToken {text}'),
            (token('x'), f'the UsernameToken {text}'),
            (TOKEN + '<u:Timestamp>x</u:Timestamp>', f'the Timestamp {text}'),
            ('<w:UsernameToken><w:Username>joe</w:Username></w:UsernameToken>', 'has no Username, or no Password'),
            ('<w:UsernameToken><w:Password>joe</w:Password></w:UsernameToken>', 'has no Username, or no Password'),
            (token('', '<w:Password Type="x">x</w:Password>'), 'the Password is of a type that is not known here'),
            (token('<w:Username>jim</w:Username>'), 'the UsernameToken has an element that is not known here'),
            (token('<w:Salt/>'), 'the UsernameToken has an element that is not known here'),
            (TOKEN + '<u:Timestamp><w:Nonce/></u:Timestamp>', 'the Timestamp has an element that is not known here'),
            (token('', '<w:Password>a<b/>c</w:Password>'), 'a part of the Security header has elements in it'),
        ):  # fmt: skip
            self.refused(inside, why)
        self.assertEqual(len(self.read(TOKEN * 8).tokens), 8)

    def test_for_whom(self) -> None:
        """Headers for other nodes are ignored; two for this one are rejected."""
        for attributes, version, ours in (
            ('', SOAP_11, True), (f's:actor=" {NEXT} "', SOAP_11, True), ('s:actor="urn:x"', SOAP_11, False),
            (f't:role="{NS_12}/role/next"', SOAP_12, True), ('t:role="urn:x"', SOAP_12, False),
        ):  # fmt: skip
            found = read_security_header([header('', name='w:Other'), header(TOKEN, attributes)], version)
            self.assertEqual(found is not None, ours, attributes)
        twice = [header(TOKEN), header(TOKEN, f's:actor="{NEXT}"')]
        self.assertIn('several Security headers for us',
                      str(self.assertRaises(Malformed, read_security_header, twice, SOAP_11)))  # fmt: skip
        self.assertIsNone(read_security_header([], SOAP_11))


class WriteTests(SynchronousTestCase):
    def written(self, sent: UsernameToken, version: SoapVersion = SOAP_11) -> UsernameToken:
        data = write_security_header(sent, version)
        element = etree.fromstring(data, etree.XMLParser())
        self.assertEqual(element.get(f'{{{version.namespace}}}mustUnderstand'), '1')
        found = read_security_header([element], version)
        assert found is not None
        return found.tokens[0]

    def test_read_back(self) -> None:
        """Every form of a token is read back; only given parts are written."""
        for version in (SOAP_11, SOAP_12):
            plain = UsernameToken('jo<e>', 'a&"b', False)
            self.assertEqual(self.written(plain, version), plain)
            self.assertNotIn(b'Nonce', write_security_header(plain, version))
            self.assertNotIn(b'Created', write_security_header(plain, version))
            created = '2026-01-31T12:00:00Z'
            sent = UsernameToken('joe', 'x', True, b'abc', created, 1769860800.0)
            digest = b64encode(sha1(b'abc' + created.encode() + b'x').digest())
            self.assertEqual(password_digest(b'abc', created, b'x'), digest)
            self.assertEqual(self.written(sent, version),
                             UsernameToken('joe', digest.decode(), True, b'abc', created, 1769860800.0))  # fmt: skip
        self.assertEqual(self.written(UsernameToken('j\0', 'x\0', False)), UsernameToken('j\ufffd', 'x\ufffd', False))
