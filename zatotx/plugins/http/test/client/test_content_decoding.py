"""Responses in gzip and deflate are decoded within limits, or rejected."""

from __future__ import annotations

import gzip
import random
import zlib

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from zatotx.plugins.http.client.errors import BadContentCoding, ResponseTooLarge
from zatotx.plugins.http.client.http_messages import BodyStream, HttpRequest
from zatotx.plugins.http.test.upstream_servers import Answering, WithPeers, get, raw, says
from zatotx.wire.http.decompression import DecompressionBomb, Decompressor

TEXT = b'{"name": "value"}' * 50
MIB = 1024 * 1024


def bare_deflate(data: bytes) -> bytes:
    """Compress with RFC 1951, without the header of RFC 1950."""
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush()


def coded(body: bytes, coding: bytes = b'gzip', status: bytes = b'200 OK') -> Answering:
    return says(status, body, b'Content-Encoding: ' + coding, b'X-More: 1')


def chunked(*pieces: bytes) -> Answering:
    body = b''.join(b'%x\r\n%b\r\n' % (len(piece), piece) for piece in pieces)
    head = b'HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n'
    return raw(head + body + b'0\r\n\r\n')


class CollectedTests(WithPeers):
    async def test_codings(self) -> None:
        """gzip with one or several members, and deflate with and without header, are decoded under all their names."""
        for coding, body in (
            (b'gzip', gzip.compress(TEXT)), (b'x-gzip', gzip.compress(TEXT)), (b'GZIP', gzip.compress(TEXT)),
            (b'gzip', gzip.compress(TEXT[:100]) + gzip.compress(TEXT[100:])),
            (b'deflate', zlib.compress(TEXT)), (b'deflate', bare_deflate(TEXT)),
        ):  # fmt: skip
            answer = await self.client().send(get(self.listen(coded(body, coding)).port))
            self.assertEqual(answer.body, TEXT)

    async def test_the_fields(self) -> None:
        """Fields about the coding are removed, all others stay; the next response with the same head is not
        affected."""
        upstream = self.listen(coded(gzip.compress(TEXT)))
        client = self.client()
        for _ in range(2):
            answer = await client.send(get(upstream.port))
            self.assertEqual(answer.headers, {b'x-more': b'1'})
            self.assertEqual(answer.raw_headers, [(b'X-More', b'1')])
            self.assertEqual((answer.head.length, upstream.accepted), (len(TEXT), 1))

    async def test_off(self) -> None:
        """A connection may return responses without decoding."""
        body = gzip.compress(TEXT)
        answer = await self.client(decode_content=False).send(get(self.listen(coded(body)).port))
        self.assertEqual((answer.body, answer.headers[b'content-encoding']), (body, b'gzip'))

    async def test_left_alone(self) -> None:
        """Unknown and multiple codings, partial responses, and responses without a body are left as they are."""
        body = gzip.compress(TEXT)
        for answering, expected in (
            (coded(b'br', b'br'), b'br'), (coded(body, b'gzip, gzip'), body), (coded(b'plain', b'identity'), b'plain'),
            (coded(body[:10], status=b'206 Partial Content'), body[:10]), (coded(b''), b''),
        ):  # fmt: skip
            answer = await self.client().send(get(self.listen(answering).port))
            self.assertEqual(answer.body, expected)
            self.assertIn(b'content-encoding', answer.headers)
        upstream = self.listen(raw(b'HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 99\r\n\r\n'))
        answer = await self.client().send(HttpRequest('HEAD', get(upstream.port).origin))
        self.assertEqual(answer.headers, {b'content-encoding': b'gzip', b'content-length': b'99'})

    async def test_large(self) -> None:
        """A large body is decoded in a thread, with the same result."""
        text = random.Random(1).randbytes(MIB)
        answer = await self.client().send(get(self.listen(coded(gzip.compress(text, 1))).port))
        self.assertEqual(answer.body, text)

    async def test_damaged(self) -> None:
        """Truncated, corrupt or wrongly labelled bodies are reported, and the connection is reused."""
        whole = gzip.compress(TEXT)
        for body in (whole[:-5], whole[:10] + b'?' * 20 + whole[30:], TEXT, b'\x1f'):
            upstream = self.listen(coded(body))
            client = self.client()
            for _ in range(2):
                why = await self.failed(client.send(get(upstream.port)), BadContentCoding)
                self.assertIn('body', why)
            self.assertEqual((client.client.active, client.client.idle, upstream.accepted), (0, 1, 1))

    async def test_a_bomb(self) -> None:
        """Decompression bombs are detected by ratio and by decoded size, before they are in memory, also in a
        thread."""
        bomb = gzip.compress(bytes(50 * MIB))
        self.assertGreater(len(bomb), 48 * 1024)
        for body, most, words in (
            (bomb, 100 * MIB, 'the body grows more than 100 times when it is decoded, the limit here'),
            (gzip.compress(bytes(2 * MIB)), 100 * MIB, 'the body grows more than 100 times when it is decoded'),
            (gzip.compress(random.Random(1).randbytes(1000) * 60), 50_000, 'the body is larger than the 50000 bytes'),
        ):  # fmt: skip
            upstream = self.listen(coded(body))
            client = self.client()
            self.assertIn(words, await self.failed(client.send(get(upstream.port, max_body=most)), BadContentCoding))
            self.assertEqual((client.client.active, client.client.waiting), (0, 0))

    async def test_too_large_as_it_comes(self) -> None:
        """The call's limit applies to the encoded body too: no more is collected, and the connection is closed."""
        upstream = self.listen(coded(gzip.compress(random.Random(1).randbytes(MIB))))
        client = self.client()
        await self.failed(client.send(get(upstream.port, max_body=1000)), ResponseTooLarge)
        self.assertEqual((client.client.active, client.client.idle), (0, 0))


class StreamedTests(WithPeers):
    async def stream(self, answering: Answering) -> BodyStream:
        answer = await self.client().send(get(self.listen(answering).port, is_streamed=True))
        self.assertNotIsInstance(answer.body, bytes)
        self.assertNotIn(b'content-encoding', answer.headers)
        return answer.body  # type: ignore[return-value]

    async def test_piece_by_piece(self) -> None:
        """A stream may be split anywhere."""
        body = gzip.compress(TEXT)
        stream = await self.stream(chunked(*[body[at:at + 7] for at in range(0, len(body), 7)]))
        self.assertEqual(b''.join([piece async for piece in stream]), TEXT)
        self.assertEqual(await stream.read(), b'')

    async def test_nothing(self) -> None:
        """An empty body stays empty."""
        stream = await self.stream(chunked())
        self.assertEqual(await stream.read(), b'')

    async def test_cut_off(self) -> None:
        """A truncated stream returns what arrived, then fails, also on every later read."""
        stream = await self.stream(chunked(gzip.compress(TEXT)[:-8]))
        got = await stream.read()
        self.assertTrue(TEXT.startswith(got))
        for _ in range(2):
            await self.failed_read(stream)

    async def test_a_bomb(self) -> None:
        """A stream may be long, but a decompression bomb in it closes its connection."""
        upstream = self.listen(chunked(*[gzip.compress(bytes(10 * MIB))] * 100))
        client = self.client()
        answer = await client.send(get(upstream.port, is_streamed=True))
        stream: BodyStream = answer.body  # type: ignore[assignment]
        given = 0
        try:
            while piece := await stream.read():
                given += len(piece)
            self.fail('it came to an end')
        except BadContentCoding:
            self.assertLess(given, 10 * MIB)
        self.assertEqual((client.client.active, client.client.idle), (0, 0))
        await self.until(lambda: not upstream.peers)

    async def test_closed(self) -> None:
        """Closing it closes the encoded stream."""
        upstream = self.listen(raw(b'HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1000\r\n\r\nxx'))
        client = self.client()
        answer = await client.send(get(upstream.port, is_streamed=True))
        answer.body.close()  # type: ignore[union-attr]
        self.assertEqual((client.client.active, client.client.idle), (0, 0))

    async def test_a_read_given_up(self) -> None:
        """Cancelling a read closes the stream, as without a coding."""
        upstream = self.listen(raw(b'HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1000\r\n\r\n'))
        client = self.client()
        answer = await client.send(get(upstream.port, is_streamed=True))
        reading: Deferred[bytes] = answer.body.read()  # type: ignore[union-attr]
        reading.addErrback(lambda failure: None)
        reading.cancel()
        self.assertEqual((client.client.active, client.client.idle), (0, 0))

    async def failed_read(self, stream: BodyStream) -> None:
        with self.assertRaises(BadContentCoding):
            await stream.read()


class BareTests(SynchronousTestCase):
    """Tests of wire.http.inflate with deflate that may lack its header."""

    def test_byte_by_byte(self) -> None:
        """The first byte decides, however the body is split."""
        for body in (zlib.compress(TEXT), bare_deflate(TEXT)):
            inflater = Decompressor('deflate', max_size=MIB, allow_raw=True)
            self.assertEqual(b''.join(inflater.feed(body[at:at + 1]) for at in range(len(body))), TEXT)
            inflater.finish()

    def test_bounded(self) -> None:
        """The same limits apply."""
        inflater = Decompressor('deflate', max_size=1000, allow_raw=True)
        self.assertRaises(DecompressionBomb, inflater.feed, bare_deflate(bytes(2000)))
