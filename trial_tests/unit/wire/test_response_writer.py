"""Tests of heads, chunks and dates of responses."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zatotx.wire.http1.chunked_decoder import ChunkedDecoder, EndOfBody
from zatotx.wire.http1.request_parser import HttpParserLimits
from zatotx.wire.http1.response_writer import (
    CHUNKED,
    CONTINUE,
    LAST_CHUNK,
    RESERVED_FIELDS,
    HeadEndings,
    chunk_parts,
    http_date,
    write_chunk,
    write_field_lines,
    write_last_chunk,
    write_response_head,
)

NOW = 784111777.9  # RFC 9110 §5.6.7's example
STAMP = HeadEndings(NOW)


class HeadTests(SynchronousTestCase):
    def head(self, status: int = 200, content_type: bytes = b'text/plain', length: int | None = 3) -> list[bytes]:
        head = write_response_head(status, content_type, length, 'a1b2c3d4', STAMP.keep_alive)
        self.assertTrue(head.endswith(b'\r\n\r\n'))
        return head.split(b'\r\n')[:-2]

    def test_a_plain_answer(self) -> None:
        """A head has status line, type, length, cid, date and server, one per line, in this order."""
        self.assertEqual(self.head(), [
            b'HTTP/1.1 200 OK', b'Content-Type: text/plain', b'Content-Length: 3', b'X-Zato-CID: a1b2c3d4',
            b'Date: Sun, 06 Nov 1994 08:49:37 GMT', b'Server: zatotx',
        ])  # fmt: skip

    def test_framing(self) -> None:
        """The framing is a length, chunks, or neither; statuses without a body never have framing fields."""
        self.assertIn(b'Content-Length: 0', self.head(length=0))
        self.assertIn(b'Transfer-Encoding: chunked', self.head(length=CHUNKED))
        for status, length in ((200, None), (204, 3), (304, 0), (204, CHUNKED), (101, 1)):
            head = b'\n'.join(self.head(status, length=length))
            self.assertNotIn(b'Content-Length', head)
            self.assertNotIn(b'Transfer-Encoding', head)

    def test_statuses(self) -> None:
        """Known statuses have their reason phrase, others none; invalid ones are rejected."""
        self.assertEqual(self.head(404)[0], b'HTTP/1.1 404 Not Found')
        self.assertEqual(self.head(799)[0], b'HTTP/1.1 799 ')
        self.assertEqual(self.head(999)[0], b'HTTP/1.1 999 ')
        bodiless = [status for status in range(100, 1000) if b'Content-Length: 3' not in self.head(status)]
        self.assertEqual(bodiless, [*range(100, 200), 204, 304])
        for status in (0, 99, 1000, -1):
            self.assertRaises(ValueError, self.head, status)

    def test_no_content_type(self) -> None:
        """An empty content type omits the field."""
        self.assertEqual(self.head(content_type=b'')[1], b'Content-Length: 3')

    def test_connection(self) -> None:
        """The ending determines the Connection field: none, keep-alive for HTTP/1.0, or close."""
        self.assertNotIn(b'Connection', STAMP.keep_alive)
        self.assertIn(b'\r\nConnection: keep-alive\r\n\r\n', STAMP.keep_alive_1_0)
        self.assertIn(b'\r\nConnection: close\r\n\r\n', STAMP.close)

    def test_nothing_splits_an_answer(self) -> None:
        """CR, LF, NUL and other controls in a content type, cid, name or value are rejected."""
        for bad in ('a\r\nSet-Cookie: x', 'a\n', '\rb', 'a\0b', 'a\x7f'):
            octets = bad.encode()
            self.assertRaises(ValueError, write_response_head, 200, octets, 0, 'cid', STAMP.keep_alive)
            self.assertRaises(ValueError, write_response_head, 200, b'', 0, bad, STAMP.keep_alive)
            self.assertRaises(ValueError, write_field_lines, [(b'X', octets)])
            self.assertRaises(ValueError, write_field_lines, [(octets, b'x')])
        self.assertRaises(ValueError, write_response_head, 200, b'', 0, 'ci\xe9', STAMP.keep_alive)
        self.assertRaises(ValueError, write_field_lines, [(b'', b'x')])
        self.assertRaises(ValueError, write_field_lines, [(b'A b', b'x')])

    def test_other_fields(self) -> None:
        """Additional fields are written as given; reserved ones are rejected in any case."""
        self.assertEqual(write_field_lines([(b'Allow', b'GET, PUT'), (b'X-A', b'')]), b'Allow: GET, PUT\r\nX-A: \r\n')
        self.assertEqual(write_field_lines([]), b'')
        self.assertEqual(RESERVED_FIELDS, {b'connection', b'content-length', b'content-type', b'date', b'server',
                                           b'transfer-encoding'})  # fmt: skip
        for name in RESERVED_FIELDS:
            self.assertRaises(ValueError, write_field_lines, [(name.upper(), b'1')])

    def test_interim(self) -> None:
        """100 Continue is a head without fields."""
        self.assertEqual(CONTINUE, b'HTTP/1.1 100 Continue\r\n\r\n')

    def test_dates(self) -> None:
        """Dates are IMF-fixdate in GMT."""
        self.assertEqual(http_date(NOW), b'Sun, 06 Nov 1994 08:49:37 GMT')


class ChunkTests(SynchronousTestCase):
    def test_what_is_written_is_read_back(self) -> None:
        """The chunked decoder reads the chunks and trailers of the writer."""
        pieces = [b'a', b'', b'b' * 300, b'\r\n0\r\n\r\n']
        trailers = ((b'X-Sum', b'1'),)
        written = b''.join(map(write_chunk, pieces)) + write_last_chunk(trailers)
        decoder = ChunkedDecoder(HttpParserLimits())
        self.assertEqual(decoder.decode(written, 0), (b''.join(pieces), len(written)))
        self.assertEqual(decoder.end, EndOfBody(trailers))

    def test_forms(self) -> None:
        """No data gives no chunk; chunk_parts does not copy; the last chunk needs no trailers."""
        self.assertEqual(write_chunk(b''), b'')
        data = b'x' * 26
        self.assertEqual(write_chunk(data), b'1a\r\n' + data + b'\r\n')
        self.assertEqual(b''.join(chunk_parts(data)), write_chunk(data))
        self.assertIs(chunk_parts(data)[1], data)
        self.assertEqual(write_last_chunk(), LAST_CHUNK)
        self.assertRaises(ValueError, write_last_chunk, [(b'Content-Length', b'1')])
