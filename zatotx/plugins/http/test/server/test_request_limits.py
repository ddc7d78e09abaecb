"""Requests over a limit and invalid HTTP get one response with their status, then the connection ends, and earlier
requests are not affected."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from zatotx.model.errors import StartError
from zatotx.plugins.http.settings import read_settings
from zatotx.plugins.http.test.server_doubles import Client, ScriptedExchange, Server, get, post


class LimitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.exchange = ScriptedExchange()
        self.server = Server(self.exchange, max_body=1000, max_head=2000, max_fields=10, max_field=500, max_target=300)

    def ended(self, data: bytes, status: int) -> Client:
        """Check that `data` gets one response in Zato's format, and the connection reads no more."""
        client = self.server.connect()
        client.send(data)
        (answer,) = client.answers()
        self.assertEqual((answer.status, answer.headers[b'connection']), (status, b'close'))
        said = json.loads(answer.body)['zato_env']
        self.assertEqual((said['result'], said['cid'].encode()), ('ZATO_ERROR', answer.headers[b'x-zato-cid']))
        self.assertTrue(said['details'])
        client.send(get('/zato/ping'))
        self.assertEqual(client.received(), b'')
        return client

    def test_target(self) -> None:
        """A target that is too long gets 414."""
        self.ended(get('/' + 'x' * 301), 414)

    def test_head(self) -> None:
        """A head that is too long gets 431."""
        self.ended(get('/zato/ping', *[f'X-{n}: {"x" * 400}' for n in range(6)]), 431)

    def test_fields(self) -> None:
        """Too many fields, and one that is too long, get 431."""
        self.ended(get('/zato/ping', *['X-A: 1'] * 10), 431)
        self.ended(get('/zato/ping', 'X-A: ' + 'x' * 500), 431)

    def test_announced_body(self) -> None:
        """A Content-Length over the limit gets 413 before the body is read."""
        self.ended(b'POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 100000000\r\n\r\n', 413)

    def test_chunked_body(self) -> None:
        """Chunks that exceed the limit get 413 immediately."""
        head = b'POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n'
        self.ended(head + b'1f4\r\n' + b'x' * 500 + b'\r\n1f5\r\n' + b'x' * 501 + b'\r\n', 413)
        self.ended(head + b'3e9\r\n' + b'x' * 1001 + b'\r\n', 413)

    def test_protocol_error(self) -> None:
        """Invalid HTTP gets one 400."""
        self.ended(b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n', 400)
        self.ended(b'POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n', 400)

    def test_protocol_error_in_a_body(self) -> None:
        """An invalid chunk gets 400 with the cid of its request, which is never delivered."""
        head = b'POST /echo HTTP/1.1\r\nHost: test\r\nX-Zato-CID: caller-001\r\nTransfer-Encoding: chunked\r\n\r\n'
        client = self.server.connect()
        client.send(head + b'zz\r\n')
        (answer,) = client.answers()
        self.assertEqual((answer.status, answer.headers[b'x-zato-cid']), (400, b'caller-001'))
        self.assertEqual(self.exchange.delivered, [])

    def test_requests_before_a_protocol_error_are_answered(self) -> None:
        """Requests before a protocol error are answered in order, also slow ones, and the 400 after them."""
        self.exchange.at_once = None
        client = self.server.connect()
        client.send(get() + get() + b'nonsense\r\n\r\n')
        self.assertEqual(client.received(), b'')
        for delivery in self.exchange.delivered:
            delivery.answer()
        self.assertEqual([answer.status for answer in client.answers()], [200, 200, 400])

    def test_a_refused_client_can_read_its_answer(self) -> None:
        """A connection lingers for a rejected client that is still sending."""
        client = self.ended(b'POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 100000000\r\n\r\n', 413)
        for _ in range(10):
            client.send(b'x' * 65536)
        self.assertFalse(client.closed)
        self.server.wait(5.5)
        self.assertTrue(client.closed)
        self.assertEqual(client.received(), b'')

    def test_a_lingering_client_that_closes_ends_it(self) -> None:
        """Lingering ends with the client's FIN."""
        client = self.ended(get('/' + 'x' * 301), 414)
        client.half_close()
        self.assertTrue(client.closed)

    def test_a_short_body_nobody_wants_is_skipped(self) -> None:
        """The small body of a request with 404 is skipped, and the connection continues."""
        client = self.server.connect()
        client.send(post('/nowhere', b'x' * 900) + post())
        self.assertEqual([answer.status for answer in client.answers()], [404, 200])
        self.assertFalse(client.closed)

    def test_a_skipped_body_may_come_late(self) -> None:
        """The response does not wait for a skipped body, and the next request is found after it."""
        client = self.server.connect()
        request = post('/nowhere', b'x' * 900)
        client.send(request[:-500])
        self.assertEqual([answer.status for answer in client.answers()], [404])
        client.send(request[-500:] + post())
        self.assertEqual([answer.status for answer in client.answers()], [200])

    def test_counters_tell(self) -> None:
        """Rejections are counted besides requests and responses by class."""
        self.ended(get('/' + 'x' * 301), 414)
        self.server.connect().ask(post())
        counters = self.server.site.counters
        self.assertEqual((counters.refused, counters.requests, counters.accepted, counters.open), (1, 2, 2, 2))
        self.assertEqual(counters.answers, [0, 0, 1, 0, 1, 0])


class SettingsTests(SynchronousTestCase):
    def test_all_mistakes_are_named_at_once(self) -> None:
        """Unknown names, wrong types and invalid values are all reported, in a sentence each."""
        error = self.assertRaises(StartError, read_settings, {'max_hed': 1, 'max_body': 'big', 'idle_timeout': 0})
        for name in ('max_hed', 'max_body', 'idle_timeout'):
            self.assertIn(name, str(error))

    def test_defaults(self) -> None:
        """An empty section has the documented defaults."""
        settings = read_settings({})
        self.assertEqual((settings.max_head, settings.limits.fields, settings.max_body), (32768, 100, 20971520))
