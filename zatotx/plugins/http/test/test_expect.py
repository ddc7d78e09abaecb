"""Expect: 100-continue: the body is asked for when, and only when, somebody will take it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zatotx.model.message import Reply
from zatotx.plugins.http.test.support import JSON, ScriptedExchange, Server, get, post

CONTINUE = b'HTTP/1.1 100 Continue\r\n\r\n'


def expecting(path: str = '/echo', length: int = 2, *, value: str = '100-continue', version: str = '1.1') -> bytes:
    return (
        f'POST {path} HTTP/{version}\r\nHost: test\r\nContent-Length: {length}\r\nExpect: {value}\r\n\r\n'
    ).encode('ascii')


class ExpectTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.exchange = ScriptedExchange()
        self.server = Server(self.exchange, max_body=1000)
        self.client = self.server.connect()

    def refused(self, request: bytes, status: int) -> None:
        """The answer is final, no body is asked for, and the connection ends."""
        self.client.send(request)
        (answer,) = self.client.answers()
        self.assertEqual((answer.status, answer.headers[b'connection']), (status, b'close'))
        self.assertEqual(self.exchange.delivered, [])
        self.client.send(b'{}' + get('/zato/ping'))
        self.assertEqual(self.client.received(), b'')

    def test_the_body_is_asked_for(self) -> None:
        """With a route and admission: 100, then the answer to the whole request."""
        self.client.send(expecting())
        self.assertEqual(self.client.received(), CONTINUE)
        self.assertEqual(self.client.ask(b'{}').status, 200)

    def test_admission_is_waited_for(self) -> None:
        """No 100 before the exchange has admitted the head; a body that comes early is kept."""
        self.exchange.admits = 'later'
        self.client.send(expecting() + b'{}')
        self.assertEqual((self.client.received(), self.exchange.delivered), (b'', []))
        self.exchange.asked[0].reply(None)
        data = self.client.received()
        self.assertTrue(data.startswith(CONTINUE + b'HTTP/1.1 200'))

    def test_refused_by_security(self) -> None:
        """What the exchange says of the head is the answer."""
        self.exchange.admits = Reply(401, b'{}', JSON, ((b'WWW-Authenticate', b'Basic realm="x"'),))
        self.refused(expecting(), 401)

    def test_refused_by_route(self) -> None:
        """404 without asking for the body."""
        self.refused(expecting('/nowhere'), 404)

    def test_refused_by_size(self) -> None:
        """413 without asking for the body."""
        self.refused(expecting(length=1001), 413)

    def test_other_expectations(self) -> None:
        """417 for what nobody can meet."""
        self.refused(expecting(value='a-miracle'), 417)

    def test_http_1_0_has_no_expectations(self) -> None:
        """The field is ignored in a request of HTTP/1.0 (RFC 9110 10.1.1)."""
        self.client.send(expecting(version='1.0') + b'{}')
        (answer,) = self.client.answers()
        self.assertEqual(answer.status, 200)

    def test_the_order_of_answers_holds_for_100_too(self) -> None:
        """The body of a pipelined request is asked for after the answers before it."""
        self.exchange.at_once = None
        self.client.send(get('/zato/ping') + expecting().replace(b'POST', b'QUERY'))
        self.assertEqual(self.client.received(), b'')
        self.exchange.delivered[0].answer()
        self.assertTrue(self.client.received().endswith(b'{}' + CONTINUE))

    def test_a_client_that_leaves_cancels_its_admission(self) -> None:
        """Gone while it was being looked at: the exchange is told."""
        self.exchange.admits = 'later'
        self.client.send(expecting())
        self.client.wire.abortConnection()
        self.assertTrue(self.exchange.asked[0].cancelled)

    def test_large_bodies_are_admitted_first(self) -> None:
        """A body that will be spooled is not read before its sender is admitted, Expect or not."""
        server = Server(self.exchange, spool_above=10)
        self.exchange.admits = Reply(401, b'{}', JSON)
        client = server.connect()
        client.send(post(body=b'x' * 11))
        self.assertEqual([answer.status for answer in client.answers()], [401])
        self.assertEqual(self.exchange.delivered, [])
