"""Tests of the decoder of chunked bodies alone: positions, limits, and errors before the input ends."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zatotx.wire.http1.chunked_decoder import END, ChunkedDecoder, EndOfBody
from zatotx.wire.http1.message_limits import HttpMessageRejected, HttpParserLimits


class PositionTests(SynchronousTestCase):
    def test_anywhere_in_a_buffer(self) -> None:
        """The body may begin at any position, and what follows it stays unread."""
        body = b'3\r\nabc\r\n1;x=y\r\nd\r\n0\r\n\r\n'
        for start in range(4):
            for buffer in (bytes(start) + body + b'GET', bytearray(bytes(start) + body + b'GET')):
                decoder = ChunkedDecoder(HttpParserLimits())
                self.assertEqual(decoder.decode(buffer, start), (b'abcd', start + len(body)))
                self.assertIs(decoder.end, END)
                self.assertEqual(decoder.decode(buffer, start + len(body)), (b'', start + len(body)))

    def test_piece_by_piece(self) -> None:
        """Data is returned as soon as it is there; the end only once its line is."""
        decoder = ChunkedDecoder(HttpParserLimits())
        steps = ((b'3', b'', 0), (b'3\r', b'', 0), (b'3\r\na', b'a', 4), (b'bc\r', b'bc', 2), (b'\r\n0\r\n', b'', 5),
                 (b'A: b\r\n', b'', 6), (b'\r', b'', 0), (b'\r\n', b'', 2))  # fmt: skip
        for buffer, data, read in steps:
            self.assertIsNone(decoder.end)
            self.assertEqual(decoder.decode(buffer, 0), (data, read))
        self.assertEqual(decoder.end, EndOfBody(((b'A', b'b'),)))

    def test_shorter_lines_follow(self) -> None:
        """What was searched of an incomplete line says nothing about the next one."""
        decoder = ChunkedDecoder(HttpParserLimits())
        self.assertEqual(decoder.decode(b'xxx1;aaaaaaaa', 3), (b'', 3))
        self.assertEqual(decoder.decode(b'xxx1;aaaaaaaa\r\na\r\n0\r\n\r\n', 3), (b'a', 23))
        self.assertIs(decoder.end, END)


class ErrorTests(SynchronousTestCase):
    def check(self, data: bytes, status: int, reason: str, **limits: int) -> None:
        decoder = ChunkedDecoder(HttpParserLimits(**limits))
        refused = self.assertRaises(HttpMessageRejected, decoder.decode, data, 0)
        self.assertEqual((refused.status, refused.reason), (status, reason), data)

    def test_reasons(self) -> None:
        """Each error is found where it stands, without waiting for more input."""
        size, feed = 'The size of a chunk is not 1 to 16 hex digits', 'A line feed without a carriage return stands in '
        for data, reason in (
            (b'1\r\nab', 'A chunk is longer than its size says'),
            (b'1\r\na\rb', 'A chunk is longer than its size says'),
            (b'g\r\n', size), (b'\r\n', size), (b' 1\r\n', size), (b'0' * 17 + b'\r\n', size), (b';a\r\n', size),
            (b'1;\r\n', 'A chunk extension is not ;name, ;name=token or ;name="text"'),
            (b'1\n', f'{feed}the chunked framing'), (b'\n', f'{feed}the chunked framing'),
            (b'0\r\n\n', f'{feed}the chunked framing'),
            (b'0\r\nA\r\n', 'A field line has no name of legal characters followed at once by a colon'),
            (b'0\r\nA: \x01\r\n', 'A field value has a control character'),
            (b'0\r\nHost: a\r\n', 'The field host may not stand in a trailer'),
            (b'0\r\nX_Forwarded_For: a\r\n', 'The field x_forwarded_for may not stand in a trailer'),
        ):  # fmt: skip
            self.check(data, 400, reason)
        decoder = ChunkedDecoder(HttpParserLimits())
        self.assertEqual(decoder.decode(b'0' * 15 + b'1\r\na\r\n0\r\nX_Y: a\r\n\r\n', 0)[0], b'a')

    def test_endless_extensions(self) -> None:
        """A line of a size has at most 16 digits and the remaining bytes of extensions; a longer one is rejected before
        it ends."""
        reason = 'Chunk extensions are longer than 6 bytes'
        limits = HttpParserLimits(chunk_extensions=6)
        decoder = ChunkedDecoder(limits)
        self.assertEqual(decoder.decode(b'1;' + b'a' * 21, 0), (b'', 0))
        self.check(b'1;' + b'a' * 22, 400, reason, chunk_extensions=6)
        decoder = ChunkedDecoder(limits)
        self.assertEqual(decoder.decode(b'1;abcde\r\na\r\n', 0), (b'a', 12))
        self.check(b'1;abcdef\r\n', 400, reason, chunk_extensions=6)
        self.assertEqual(decoder.decode(b'0' * 17, 0), (b'', 0))
        self.assertRaises(HttpMessageRejected, decoder.decode, b'0' * 18, 0)
        self.check(b'1;a\r\na\r\n0;abcd\r\n', 400, reason, chunk_extensions=6)

    def test_data(self) -> None:
        """The limit of the body is exact over all chunks."""
        decoder = ChunkedDecoder(HttpParserLimits(body=4))
        self.assertEqual(decoder.decode(b'3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n', 0)[0], b'abcd')
        self.check(b'3\r\nabc\r\n2\r\n', 413, 'The body is longer than 4 bytes', body=4)
        self.check(b'5\r\n', 413, 'The body is longer than 4 bytes', body=4)

    def test_trailers(self) -> None:
        """The limits of the trailer section are exact, over all lines, and hold before a line ends. The empty line fits
        always."""
        reason = 'The trailers are longer than 12 bytes'
        decoder = ChunkedDecoder(HttpParserLimits(trailers=12))
        self.assertEqual(decoder.decode(b'0\r\nA: b\r\nB: c\r\n\r\n', 0)[1], 17)
        self.check(b'0\r\nA: b\r\nB: cd\r\n', 431, reason, trailers=12)
        decoder = ChunkedDecoder(HttpParserLimits(trailers=12))
        self.assertEqual(decoder.decode(b'0\r\nA: bcdefgh', 0), (b'', 3))
        self.assertEqual(decoder.decode(b'A: bcdefghi', 0), (b'', 0))
        self.assertRaises(HttpMessageRejected, decoder.decode, b'A: bcdefghij', 0)
        self.check(b'0\r\nA: bcdefghij', 431, reason, trailers=12)
        decoder = ChunkedDecoder(HttpParserLimits(trailers=0))
        self.assertEqual(decoder.decode(b'0\r\n\r', 0), (b'', 3))
        self.assertEqual(decoder.decode(b'\r\n', 0), (b'', 2))
        self.check(b'0\r\nA:', 431, 'The trailers are longer than 0 bytes', trailers=0)
        self.check(b'0\r\nA: b\r\nB: c\r\n', 431, 'There are more than 1 trailers', fields=1)
