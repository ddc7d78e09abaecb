"""Request bodies that are too large for memory are spooled to an unnamed file."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path
from random import Random
from tempfile import TemporaryFile
from threading import Thread
from typing import IO, cast

from twisted.internet.defer import fail
from twisted.trial.unittest import SynchronousTestCase

from zatotx.model.errors import BadRequest, ContentTooLarge
from zatotx.plugins.http.server.request_body import BATCH_SIZE, EncodedBody, SpooledBody
from zatotx.plugins.http.test.server_doubles import Client, Offloads, ScriptedExchange, Server, echo, get, post, run_now

SPOOL_ABOVE = 1024 * 1024
PIECE = 65536


class ClosedMeanwhile:
    """A file whose body is closed by another thread after a reader got its descriptor and before it reads."""

    body: SpooledBody

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.close = file.close
        self.closing = Thread(target=lambda: self.body.close())

    def fileno(self) -> int:
        number = self._file.fileno()
        if self.closing.ident is None:
            self.closing.start()
            self.closing.join(0.2)
        return number


class SpoolTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.exchange = ScriptedExchange(None)
        self.work_dir = self.mktemp()
        Path(self.work_dir).mkdir()
        self.offloads = Offloads()
        self.server = Server(self.exchange, offload=self.offloads, work_dir=self.work_dir)

    def sent(self, client: Client, data: bytes) -> None:
        """Send data in pieces as from a network, running the threads' work immediately."""
        for start in range(0, len(data), PIECE):
            client.send(data[start:start + PIECE])
            while self.offloads.waiting:
                self.offloads.work()

    def spooled(self, body: bytes) -> SpooledBody:
        client = self.client = self.server.connect()
        self.sent(client, post(body=body))
        found = self.exchange.delivered[-1].inbound.body
        assert isinstance(found, SpooledBody), 'the body stayed in memory'
        return found

    def test_a_large_body_is_a_file(self) -> None:
        """A large body reaches the dispatcher with its size and all bytes, and its file has no name on disk."""
        body = os.urandom(SPOOL_ABOVE + 300_000)
        spooled = self.spooled(body)
        self.assertEqual((spooled.size, spooled.read()), (len(body), body))
        self.assertEqual(list(Path(self.work_dir).iterdir()), [])

    def test_not_closed_under_a_reader(self) -> None:
        """A reader that runs while the request ends reads this body's bytes, never another file's; a later one gets an
        error."""
        with TemporaryFile(buffering=0) as file:
            file.write(b'content')
            read = ClosedMeanwhile(file)
            body = read.body = SpooledBody(cast('IO[bytes]', read), 7, run_now)
            self.assertEqual(body.read_at(0, 7), b'content')
            read.closing.join()
            self.assertTrue(file.closed)
            self.assertRaises(ValueError, body.read)

    def test_a_body_at_the_bound_stays_in_memory(self) -> None:
        """A body of exactly 1 MiB stays in memory."""
        client = self.server.connect()
        self.sent(client, post(body=b'x' * SPOOL_ABOVE))
        self.assertEqual(self.exchange.delivered[0].inbound.body, b'x' * SPOOL_ABOVE)

    def test_a_large_chunked_body_is_a_file(self) -> None:
        """A chunked body, whose length is not known in advance, moves to a file when it grows too large."""
        client = self.server.connect()
        chunks = b''.join(b'10000\r\n' + bytes((n,)) * PIECE + b'\r\n' for n in range(20))
        head = b'POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n'
        self.sent(client, head + chunks + b'0\r\n\r\n')
        body = self.exchange.delivered[0].inbound.body
        assert isinstance(body, SpooledBody)
        self.assertEqual(body.read(), b''.join(bytes((n,)) * PIECE for n in range(20)))

    def test_the_client_waits_for_the_disk(self) -> None:
        """While a write is in progress reading is paused after a bounded amount, and resumed after it."""
        client = self.server.connect()
        client.send(post(body=b'x' * 4 * SPOOL_ABOVE)[:200])
        for _ in range((SPOOL_ABOVE + BATCH_SIZE) // PIECE + 2):
            client.send(b'x' * PIECE)
        self.assertEqual(len(self.offloads.waiting), 1)
        self.assertEqual(client.wire.producerState, 'paused')
        self.server.wait(120)  # a slow disk is not the client's fault
        self.assertFalse(client.closed)
        self.offloads.work()
        self.assertEqual(client.wire.producerState, 'producing')

    def test_the_file_is_given_back(self) -> None:
        """The file is closed, in a thread, when the request has finished."""
        spooled = self.spooled(b'x' * 2 * SPOOL_ABOVE)
        self.exchange.delivered[0].answer()
        self.offloads.work()
        self.assertRaises(ValueError, spooled.read)
        self.assertEqual(self.client.answers()[0].status, 200)

    def test_a_client_that_leaves_gives_its_file_back(self) -> None:
        """A client that disconnects while its service runs releases its file."""
        spooled = self.spooled(b'x' * 2 * SPOOL_ABOVE)
        self.client.wire.abortConnection()
        self.offloads.work()
        self.assertRaises(ValueError, spooled.read)

    def test_a_client_that_leaves_in_the_middle(self) -> None:
        """If a client disconnects while a piece of its body is written, the file is closed after the write."""
        client = self.server.connect()
        client.send(post(body=b'x' * 4 * SPOOL_ABOVE)[:200])
        while not self.offloads.waiting:
            client.send(b'x' * PIECE)
        client.wire.abortConnection()
        self.offloads.work()
        self.assertEqual(len(self.offloads.waiting), 1)
        self.offloads.work()
        self.assertEqual((self.offloads.waiting, self.exchange.delivered), ([], []))

    def test_a_disk_that_is_full(self) -> None:
        """A full disk causes 503 with Retry-After, and the reason is logged."""
        server = Server(self.exchange, offload=lambda *_: fail(OSError(28, 'No space left on device')))
        client = server.connect()
        client.send(post(body=b'x' * 4 * SPOOL_ABOVE)[:200])
        for _ in range(SPOOL_ABOVE // PIECE + 5):
            client.send(b'x' * PIECE)
        (answer,) = client.answers()
        self.assertEqual((answer.status, answer.headers[b'retry-after']), (503, b'1'))
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertEqual(self.exchange.delivered, [])

    def test_the_next_request_follows(self) -> None:
        """A spooled body does not disturb the next request of its connection."""
        self.exchange.at_once = ScriptedExchange().at_once
        client = self.server.connect()
        body = os.urandom(2 * SPOOL_ABOVE)
        self.sent(client, post(body=body) + get('/zato/ping') + post(body=b'[]'))
        self.assertEqual([answer.body for answer in client.answers()], [body, b'', b'[]'])


TEXT = b'{"a": "' + b'x' * 50_000 + b'"}'


class CodedTests(SynchronousTestCase):
    def setUp(self) -> None:
        place = self.mktemp()
        Path(place).mkdir()
        self.exchange = ScriptedExchange(echo)
        self.threads = Offloads()
        self.server = Server(
            self.exchange, work_dir=place, offload=self.threads, max_body=100_000, spool_above=5_000
        )

    def test_a_small_body_is_decoded_where_it_is_read(self) -> None:
        """gzip and deflate are decoded when the body is read; the dispatcher sees a body that is quick to read."""
        for coding, body in (('gzip', gzip.compress(b'{"a": 1}')), ('deflate', zlib.compress(b'{"a": 1}'))):
            answer = self.server.connect().ask(post('/echo', body, f'Content-Encoding: {coding}'))
            self.assertEqual((answer.status, answer.body), (200, b'{"a": 1}'))

    def test_identity_and_no_body(self) -> None:
        """A body without a coding, or an empty one, is passed on as bytes."""
        for body, coding in ((b'{}', 'identity'), (b'', 'gzip')):
            answer = self.server.connect().ask(post('/echo', body, f'Content-Encoding: {coding}'))
            self.assertEqual((answer.status, answer.body), (200, body))

    def test_a_spooled_body_is_decoded_from_its_file(self) -> None:
        """A spooled body is not quick, and its file is closed when the request has finished."""
        noise = Random(1).randbytes(20_000)
        request = post('/echo', zlib.compress(noise), 'Content-Encoding: deflate')
        client = self.server.connect()
        for start in range(0, len(request), 7_000):
            client.send(request[start : start + 7_000])
            while self.threads.waiting:
                self.threads.work()
        (answer,) = client.answers()
        while self.threads.waiting:
            self.threads.work()
        self.assertTrue(answer.body == noise)
        body = self.exchange.delivered[0].inbound.body
        assert isinstance(body, EncodedBody)
        self.assertFalse(body.is_nonblocking)
        with self.assertRaisesRegex(ValueError, 'closed file'):
            body.read()

    def test_limits(self) -> None:
        """A body that exceeds max_body raises ContentTooLarge, a corrupt one BadRequest, with the reason."""
        large = EncodedBody(gzip.compress(TEXT), 'gzip', max_size=1_000, max_ratio=100)
        self.assertIn('1000 bytes', str(self.assertRaises(ContentTooLarge, large.read)))
        bomb = EncodedBody(gzip.compress(bytes(1_000_000)), 'gzip', max_size=2_000_000, max_ratio=10)
        self.assertIn('10 times', str(self.assertRaises(ContentTooLarge, bomb.read)))
        damaged = EncodedBody(gzip.compress(TEXT)[:-1], 'gzip', max_size=100_000, max_ratio=1_000)
        self.assertIn('ends too early', str(self.assertRaises(BadRequest, damaged.read)))

    def test_only_small_bodies_are_quick(self) -> None:
        """Only small bodies are quick; others must be decoded in a thread."""
        self.assertTrue(EncodedBody(b'x' * 8192, 'gzip', max_size=1, max_ratio=1).is_nonblocking)
        self.assertFalse(EncodedBody(b'x' * 8193, 'gzip', max_size=1, max_ratio=1).is_nonblocking)
        with TemporaryFile() as file:
            self.assertFalse(
                EncodedBody(SpooledBody(file, 10, run_now), 'gzip', max_size=1, max_ratio=1).is_nonblocking
            )
