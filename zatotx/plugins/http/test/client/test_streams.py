"""Streamed request and response bodies, no faster than the other side reads. Uses sockets."""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator, Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from zatotx.plugins.http.client.errors import (
    BadResponse,
    BodyClosedByReader,
    PeerReset,
    RequestBodyFailed,
    TotalTimeout,
)
from zatotx.plugins.http.client.http_messages import BodySource, BodyStream, HttpResponse, Timeouts
from zatotx.plugins.http.client.request_writer import IteratorBody
from zatotx.plugins.http.client.response_reader import MAX_BUFFERED
from zatotx.plugins.http.test.scripted_peers import OK, Listener, WithCore, answers, pause, silent

CHUNKED = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'


async def all_of(stream: BodyStream) -> bytes:
    return b''.join([piece async for piece in stream])


class DownTests(WithCore):
    async def begun(self, said: bytes) -> tuple[BodyStream, Listener]:
        """Return a stream of which this was sent."""
        peer = self.listen(answers(said))
        self.client = self.core(max_connections=1)
        stream = await self.streamed(self.client.send(self.call(peer, is_streamed=True)))
        return stream, peer

    async def test_piece_by_piece(self) -> None:
        """The response is returned with its head, each piece when it arrives, b'' at the end and from then on."""
        stream, peer = await self.begun(CHUNKED)
        reading = stream.read()
        await pause(0.02)
        self.assertFalse(reading.called)
        peer.talk.say(b'3\r\none\r\n')
        self.assertEqual(await reading, b'one')
        self.assertEqual(stream.trailers, ())
        peer.talk.say(b'3\r\ntwo\r\n0\r\nDigest: x\r\n\r\n')
        self.assertEqual([await stream.read(), await stream.read(), await stream.read()], [b'two', b'', b''])
        self.assertEqual(stream.trailers, ((b'Digest', b'x'),))
        self.clean(self.client, idle=1)

    async def test_all_here_at_once(self) -> None:
        """A body that arrives with its head frees the connection before it is read."""
        for said in (OK, CHUNKED + b'2\r\nok\r\n0\r\n\r\n', b'HTTP/1.1 204 No Content\r\n\r\n'):
            stream, _ = await self.begun(said)
            self.clean(self.client, idle=1)
            self.assertEqual(await all_of(stream), b'' if b'204' in said else b'ok')

    async def test_until_the_end(self) -> None:
        """A body without a length ends with an orderly close."""
        stream, peer = await self.begun(b'HTTP/1.1 200 OK\r\n\r\nbegin')
        self.assertEqual(await stream.read(), b'begin')
        peer.talk.say(b'end')
        peer.talk.close()
        self.assertEqual(await all_of(stream), b'end')
        self.clean(self.client)

    async def test_a_slow_reader(self) -> None:
        """A slow reader pauses the peer: a bounded amount is buffered, and all arrives in order."""
        body = array('I', range(2_000_000)).tobytes()
        peer = self.listen(answers(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n' % len(body) + body))
        client = self.core()
        stream = await self.streamed(client.send(self.call(peer, is_streamed=True)))
        await pause(0.1)
        self.assertTrue(peer.talk.transport.dataBuffer or peer.talk.transport._tempDataBuffer, 'the peer waits')
        first = await stream.read()
        self.assertLess(len(first), 3 * MAX_BUFFERED)
        self.assertTrue(first + await all_of(stream) == body)
        self.clean(client, idle=1)

    async def test_closing(self) -> None:
        """Closing before the end aborts the connection; closing after it is harmless."""
        stream, peer = await self.begun(CHUNKED + b'3\r\none\r\n')
        reading = stream.read()
        self.assertEqual(await reading, b'one')
        reading = stream.read()
        stream.close()
        await self.failed(reading, BodyClosedByReader)
        await self.failed(stream.read(), BodyClosedByReader)
        self.clean(self.client)
        await self.until(lambda: peer.talk.over)
        stream, _ = await self.begun(OK)
        stream.close()
        self.clean(self.client, idle=1)

    async def test_cancelling_a_read(self) -> None:
        """Cancelling a read closes the stream."""
        stream, peer = await self.begun(CHUNKED)
        reading = stream.read()
        reading.cancel()
        await self.assertFailure(reading, CancelledError)
        await self.failed(stream.read(), BodyClosedByReader)
        self.clean(self.client)
        await self.until(lambda: peer.talk.over)

    async def test_a_caller_that_closes_at_once(self) -> None:
        """A caller may close the stream in the callback that receives it."""
        peer = self.listen(answers(OK + b'x'))
        client = self.core()

        def close(answer: HttpResponse) -> None:
            assert not isinstance(answer.body, bytes)
            answer.body.close()

        await client.send(self.call(peer, is_streamed=True)).addCallback(close)
        self.clean(client)

    async def test_one_reader(self) -> None:
        """Two concurrent reads are an error of the caller."""
        stream, peer = await self.begun(CHUNKED)
        reading = stream.read()
        self.assertRaises(RuntimeError, stream.read)
        peer.talk.say(b'0\r\n\r\n')
        self.assertEqual(await reading, b'')

    async def test_what_goes_wrong_on_the_way(self) -> None:
        """An error fails the read after what arrived before it; the connection is not reused."""
        for said, error in ((b'3\r\none\r\nnonsense\r\n', BadResponse), (b'3\r\none\r\n5\r\ntw', PeerReset)):
            stream, peer = await self.begun(CHUNKED)
            peer.talk.say(said[:8])
            self.assertEqual(await stream.read(), b'one')
            peer.talk.say(said[8:])
            if error is PeerReset:
                self.assertEqual(await stream.read(), b'tw')
                peer.talk.close()
            await self.failed(stream.read(), error)
            await self.failed(stream.read(), error)
            self.clean(self.client)

    async def test_the_whole_call_is_late(self) -> None:
        """The total timeout covers the stream."""
        peer = self.listen(answers(CHUNKED))
        client = self.core()
        stream = await self.streamed(client.send(self.call(peer, is_streamed=True, timeouts=Timeouts(total_timeout=1))))
        await self.failed(stream.read(), TotalTimeout)
        self.clean(client)


class UpTests(WithCore):
    def setUp(self) -> None:
        self.given = 0
        self.closed = False

    async def made(self, count: int, size: int = 3, *, fails: bool = False) -> AsyncIterator[bytes]:
        try:
            for n in range(count):
                self.given = n + 1
                yield bytes((97 + n % 26,)) * size
                await pause(0)
            if fails:
                raise ZeroDivisionError('secret')
        finally:
            self.closed = True

    async def test_in_chunks(self) -> None:
        """A body of unknown length is sent in chunks; an empty piece does not end it."""
        async def pieces() -> AsyncIterator[bytes]:
            for piece in (b'one', b'', b'two'):
                yield piece

        peer = self.listen(answers())
        client = self.core()
        await client.send(self.call(peer, 'POST', body=IteratorBody(pieces())))
        head, _, body = peer.talk.heard.partition(b'\r\n\r\n')
        self.assertTrue(head.endswith(b'\r\nTransfer-Encoding: chunked'))
        self.assertEqual(body, b'3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n')
        self.clean(client, idle=1)

    async def test_with_its_length(self) -> None:
        """A body of known length is sent without chunks."""
        peer = self.listen(silent)
        client = self.core()
        sending = client.send(self.call(peer, 'PUT', body=IteratorBody(self.made(3), 9)))
        await self.until(lambda: peer.talks and peer.talk.heard.endswith(b'ccc'))
        peer.talk.say(OK)
        await sending
        self.assertTrue(peer.talk.heard.endswith(b'\r\nContent-Length: 9\r\n\r\naaabbbccc'))
        self.clean(client, idle=1)

    async def test_another_length_than_said(self) -> None:
        """A body of the wrong length is never completed, and cannot become the next request."""
        for length, said in ((8, 'more than the 8'), (10, '1 bytes before the 10')):
            peer = self.listen(silent)
            client = self.core()
            sending = client.send(self.call(peer, 'PUT', body=IteratorBody(self.made(3), length)))
            error = await self.failed(sending, RequestBodyFailed)
            self.assertIn(said, str(error))
            self.assertTrue(self.closed)
            await self.until(lambda peer=peer: peer.talks and peer.talk.over)  # type: ignore[misc]
            self.assertNotIn(b'ccc' if length == 8 else b'dd', peer.talk.heard)
            self.clean(client)

    async def test_a_source_that_fails(self) -> None:
        """A failing source fails the call with its error as the cause, and leaves the request incomplete."""
        peer = self.listen(silent)
        client = self.core()
        sending = client.send(self.call(peer, 'POST', body=IteratorBody(self.made(2, fails=True))))
        error = await self.failed(sending, RequestBodyFailed)
        self.assertIsInstance(error.__cause__, ZeroDivisionError)
        self.assertTrue(error.reached_peer)
        await self.until(lambda: peer.talks and peer.talk.over)
        self.assertFalse(peer.talk.heard.endswith(b'0\r\n\r\n'))
        self.clean(client)

    async def test_a_source_that_gives_nothing(self) -> None:
        """A source that fails before its first piece."""
        peer = self.listen(silent)
        client = self.core()
        source = Again(lambda: 1 / 0)  # type: ignore[arg-type, return-value]
        error = await self.failed(client.send(self.call(peer, 'POST', body=source)), RequestBodyFailed)
        self.assertIsInstance(error.__cause__, ZeroDivisionError)
        self.clean(client)

    async def test_pieces_that_are_no_bytes(self) -> None:
        """Pieces that are not bytes are an error of the source."""
        async def pieces() -> AsyncIterator[Any]:
            yield 'text'

        client = self.core()
        sending = client.send(self.call(self.listen(silent), 'POST', body=IteratorBody(pieces())))
        self.assertIsInstance((await self.failed(sending, RequestBodyFailed)).__cause__, TypeError)
        self.clean(client)

    async def test_a_peer_that_reads_slowly(self) -> None:
        """A peer that reads slowly pauses the source; then all arrives."""
        peer = self.listen(silent)
        client = self.core()
        sending = client.send(self.call(peer, 'POST', body=IteratorBody(self.made(300, 100_000), 30_000_000)))
        await self.until(lambda: peer.talks and peer.talk.heard)
        peer.talk.freeze()
        held = -1
        while held != self.given:  # the kernel's buffers are full
            held = self.given
            await pause(0.2)
        self.assertLess(held, 250)
        peer.talk.transport.resumeProducing()
        await self.until(lambda: len(peer.talk.heard) > 30_000_000)
        peer.talk.say(OK)
        await sending
        self.assertTrue(self.closed)
        self.clean(client, idle=1)

    async def test_a_no_before_the_end(self) -> None:
        """After an error response the source is closed, the response returned, and the connection closed."""
        peer = self.listen(silent)
        client = self.core()
        sending = client.send(self.call(peer, 'POST', body=IteratorBody(self.made(1_000_000))))
        await self.until(lambda: peer.talks and peer.talk.heard)
        peer.talk.say(b'HTTP/1.1 401 No\r\nContent-Length: 5\r\n\r\nwho')
        await self.until(lambda: self.closed)
        self.assertFalse(sending.called, sending)
        peer.talk.say(b'??')
        self.assertEqual((await sending).status, 401)
        await self.until(lambda: peer.talk.over)
        self.clean(client)

    async def test_a_yes_before_the_end(self) -> None:
        """A complete success response before the end of the body is returned; the connection is not reused."""
        peer = self.listen(silent)
        client = self.core()
        sending = client.send(self.call(peer, 'POST', body=IteratorBody(self.made(1_000_000))))
        await self.until(lambda: peer.talks and peer.talk.heard)
        peer.talk.say(OK)
        self.assertEqual(((await sending).body, self.closed), (b'ok', True))
        await self.until(lambda: peer.talk.over)
        self.clean(client)

    async def test_both_ways_at_once(self) -> None:
        """The start of a success response does not stop the body: the peer may be echoing it."""
        gates: list[Deferred[bytes]] = [Deferred(), Deferred()]

        async def pieces() -> AsyncIterator[bytes]:
            for gate in gates:
                yield await gate

        peer = self.listen(silent)
        client = self.core()
        sending = client.send(self.call(peer, 'POST', body=IteratorBody(pieces()), is_streamed=True))
        gates[0].callback(b'one')
        await self.until(lambda: peer.talks and peer.talk.heard.endswith(b'one\r\n'))
        peer.talk.say(CHUNKED + b'3\r\nONE\r\n')
        stream = await self.streamed(sending)
        self.assertEqual(await stream.read(), b'ONE')
        gates[1].callback(b'two')
        await self.until(lambda: peer.talk.heard.endswith(b'3\r\ntwo\r\n0\r\n\r\n'))
        peer.talk.say(b'3\r\nTWO\r\n0\r\n\r\n')
        self.assertEqual(await all_of(stream), b'TWO')
        self.clean(client, idle=1)

    async def test_giving_up(self) -> None:
        """Cancelling closes the source."""
        peer = self.listen(silent)
        client = self.core()
        sending = client.send(self.call(peer, 'POST', body=IteratorBody(self.made(1_000_000))))
        await self.until(lambda: peer.talks and peer.talk.heard)
        sending.cancel()
        await self.assertFailure(sending, CancelledError)
        self.assertTrue(self.closed)
        self.clean(client)

    async def test_a_source_that_was_begun_is_not_sent_again(self) -> None:
        """A source that was started is not sent again on a new connection."""
        sending, peer = await self.on_a_stale_connection(IteratorBody(self.made(1), 3))
        await self.failed(sending, PeerReset)
        self.assertEqual(len(peer.talks), 1)

    async def test_a_source_that_can_be_made_again(self) -> None:
        """A repeatable source is sent again."""
        source = Again(lambda: self.made(1))
        sending, peer = await self.on_a_stale_connection(source)
        self.assertEqual((await sending).status, 200)
        self.assertTrue(peer.talk.heard.endswith(b'aaa'))

    async def on_a_stale_connection(self, body: BodySource) -> tuple[Deferred[HttpResponse], Listener]:
        peer = self.listen(answers())
        client = self.core()
        await client.send(self.call(peer))
        first = peer.talk
        peer.hears = lambda talk: talk.reset() if talk is first else talk.say(OK)
        return client.send(self.call(peer, 'PUT', body=body)), peer


class Again:
    """A repeatable body."""

    length = 3
    repeatable = True

    def __init__(self, make: Callable[[], AsyncIterator[bytes]]) -> None:
        self.pieces = make
