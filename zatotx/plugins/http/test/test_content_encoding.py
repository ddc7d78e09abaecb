"""Request bodies in a content coding."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from random import Random
from tempfile import TemporaryFile

from twisted.trial.unittest import SynchronousTestCase

from zatotx.model.errors import BadRequest, ContentTooLarge
from zatotx.plugins.http.server.content_encoding import EncodedBody
from zatotx.plugins.http.server.request_body import SpooledBody
from zatotx.plugins.http.test.server_doubles import Offloads, ScriptedExchange, Server, echo, post, run_now

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
