"""Tests of the request writer."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zatotx.wire.http1.header_fields import TOKEN_CHARACTERS
from zatotx.wire.http1.request_parser import HttpParserLimits, RequestHead, RequestParser
from zatotx.wire.http1.request_writer import (
    CHUNKED,
    CLOSE,
    CONTENT_LENGTH,
    EXPECT,
    NO_BODY,
    RESERVED_FIELDS,
    HeaderFields,
    write_request_head,
)


class HeadTests(SynchronousTestCase):
    def read(self, data: bytes) -> RequestHead:
        """Parses a head with the request parser."""
        parser = RequestParser(HttpParserLimits())
        parser.feed(data)
        head = parser.next()
        assert isinstance(head, RequestHead)
        self.assertEqual(parser.pending_bytes, 0)
        return head

    def test_a_head(self) -> None:
        """A head has the request line, Host, the fields in order, and the framing last."""
        data = write_request_head(
            'POST', b'/a?b', b'c:1', [(b'X', b'y'), (b'x', b'')], CLOSE + EXPECT + CONTENT_LENGTH % 3
        )
        self.assertEqual(data, b'POST /a?b HTTP/1.1\r\nHost: c:1\r\nX: y\r\nx: \r\nConnection: close\r\n'
                               b'Expect: 100-continue\r\nContent-Length: 3\r\n\r\n')
        head = self.read(data)
        self.assertEqual((head.length, head.keep_alive, head.expects), (3, False, b'100-continue'))

    def test_endings(self) -> None:
        """Each ending frames the body in its way."""
        for ending, length in ((NO_BODY, 0), (CONTENT_LENGTH % 7, 7), (CHUNKED, None)):
            self.assertEqual(self.read(write_request_head('POST', b'/', b'a', (), ending)).length, length)

    def test_host(self) -> None:
        """Host is written once; a Host field of the caller takes precedence."""
        head = self.read(write_request_head('GET', b'/', b'a', [(b'HOST', b'b')], NO_BODY))
        self.assertEqual(head.headers, {b'host': b'b'})

    def test_octets_of_values(self) -> None:
        """Values that could end a line are rejected without being shown; all others are unchanged."""
        for octet in range(256):
            value = b'secret' + bytes((octet,)) + b'x'
            if octet == 9 or (octet >= 32 and octet != 127):
                data = write_request_head('GET', b'/', b'a', [(b'A', value)], NO_BODY)
                self.assertEqual(self.read(data).headers[b'a'], value)
            else:
                error = self.assertRaises(ValueError, write_request_head, 'GET', b'/', b'a', [(b'A', value)], NO_BODY)
                self.assertEqual(str(error), 'The value of the field A has control characters')

    def test_a_pair_of_values_that_make_a_line_end(self) -> None:
        """Values are checked individually, not concatenated."""
        fields = [(b'A', b'x\r'), (b'\nB', b'y')]
        self.assertRaises(ValueError, write_request_head, 'GET', b'/', b'a', fields, NO_BODY)
        self.assertRaises(ValueError, write_request_head, 'GET', b'/', b'a', [(b'A', b'x\r\n'), (b'B', b'y')], NO_BODY)

    def test_fields_whose_names_are_known(self) -> None:
        """HeaderFields are written like pairs; each value is checked once, at creation or when sent."""
        pairs = ((b'X', b'y'), (b'Z', b'1'))
        self.assertEqual(tuple(HeaderFields.from_pairs(pairs)), pairs)
        for fields in (
            HeaderFields.from_pairs(pairs),
            HeaderFields((b'X', b'Z'), (b'y', b'1')),
            HeaderFields((b'X', b'Z'), (b'y', b'1'), 1),
        ):
            self.assertEqual(write_request_head('GET', b'/', b'a', fields, NO_BODY),
                             write_request_head('GET', b'/', b'a', pairs, NO_BODY))
            self.assertNotIn('y', repr(fields))
        for wrong in (b'secret\r\nEvil: 1', b'a\n', b'\x00'):
            error = self.assertRaises(ValueError, HeaderFields.from_pairs, [(b'X', b'y'), (b'Z', wrong)])
            self.assertEqual(str(error), 'The value of the field Z has control characters')
            error = self.assertRaises(ValueError, write_request_head, 'GET', b'/', b'a',
                                      HeaderFields((b'X', b'Z'), (b'y', wrong), 1), NO_BODY)
            self.assertEqual(str(error), 'The value of the field Z has control characters')

    def test_octets_of_names(self) -> None:
        """Names must be tokens."""
        for octet in range(256):
            fields = [(b'A' + bytes((octet,)), b'x')]
            if octet in TOKEN_CHARACTERS:
                self.read(write_request_head('GET', b'/', b'a', fields, NO_BODY))
            else:
                self.assertRaises(ValueError, write_request_head, 'GET', b'/', b'a', fields, NO_BODY)

    def test_octets_of_targets(self) -> None:
        """Targets must be visible ASCII; other characters must be percent-encoded."""
        for octet in range(256):
            target = b'/' + bytes((octet,))
            if 0x21 <= octet < 0x7F:
                self.assertIn(target, write_request_head('GET', target, b'a', (), NO_BODY))
            else:
                self.assertRaises(ValueError, write_request_head, 'GET', target, b'a', (), NO_BODY)

    def test_owned_fields(self) -> None:
        """Framing and connection-specific fields cannot be set by the caller."""
        self.assertEqual(sorted(RESERVED_FIELDS), [b'connection', b'content-length', b'expect', b'keep-alive', b'te',
                                                   b'trailer', b'transfer-encoding', b'upgrade'])  # fmt: skip
        for name in RESERVED_FIELDS:
            error = self.assertRaises(
                ValueError, write_request_head, 'GET', b'/', b'a', [(name.title(), b'x')], NO_BODY
            )
            self.assertIn('is written by the client and cannot be set', str(error))

    def test_host_twice(self) -> None:
        """A second Host field is rejected; no target is an error."""
        fields = [(b'Host', b'a'), (b'host', b'b')]
        error = self.assertRaises(ValueError, write_request_head, 'GET', b'/', b'a', fields, NO_BODY)
        self.assertEqual(str(error), 'The field Host stands twice')
        self.assertRaises(ValueError, write_request_head, 'GET', b'', b'a', (), NO_BODY)

    def test_number_of_fields(self) -> None:
        """Fields know their number, and show nothing else."""
        fields = HeaderFields.from_pairs([(b'X', b'y'), (b'%d', b'%b')])
        self.assertEqual((len(fields), fields.validated, repr(fields)), (2, 2, '<Named 2 fields>'))
        self.assertIn(b'X: y\r\n%d: %b\r\n', write_request_head('GET', b'/', b'a', fields, NO_BODY))
        self.assertEqual(HeaderFields((), ()).validated, 0)
        self.assertRaises(ValueError, list, HeaderFields((b'X',), ()))

    def test_methods(self) -> None:
        """Any token is accepted as a method."""
        self.assertTrue(write_request_head('PROPFIND', b'/', b'a', (), NO_BODY).startswith(b'PROPFIND / '))
        for method in ('', 'A B', 'A\r\nB', 'A\0', 'GÉT', 'A:'):
            self.assertRaises(ValueError, write_request_head, method, b'/', b'a', (), NO_BODY)
