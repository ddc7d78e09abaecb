"""Expect: 100-continue: the body is requested only when the request is admitted."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.defer import fail
from twisted.trial.unittest import SynchronousTestCase

from zatotx.model.message import Reply
from zatotx.plugins.http.server.connection import LINGER_TIMEOUT
from zatotx.plugins.http.test.server_doubles import JSON, Offloads, ScriptedExchange, Server, get, post

CONTINUE = b'HTTP/1.1 100 Continue\r\n\r\n'
CHUNKED = b'POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n'


def chunk(size: int) -> bytes:
    return b'%x\r\n%b\r\n' % (size, b'x' * size)


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
        """Check that the response is final, 100 is not sent, and the connection ends."""
        self.client.send(request)
        (answer,) = self.client.answers()
        self.assertEqual((answer.status, answer.headers[b'connection']), (status, b'close'))
        self.assertEqual(self.exchange.delivered, [])
        self.client.send(b'{}' + get('/zato/ping'))
        self.assertEqual(self.client.received(), b'')

    def test_the_body_is_asked_for(self) -> None:
        """After routing and admission 100 is sent, then the response to the whole request."""
        self.client.send(expecting())
        self.assertEqual(self.client.received(), CONTINUE)
        self.assertEqual(self.client.ask(b'{}').status, 200)

    def test_admission_is_waited_for(self) -> None:
        """100 is not sent before admission; a body that arrives early is kept."""
        self.exchange.admits = 'later'
        self.client.send(expecting() + b'{}')
        self.assertEqual((self.client.received(), self.exchange.delivered), (b'', []))
        self.exchange.asked[0].reply(None)
        data = self.client.received()
        self.assertTrue(data.startswith(CONTINUE + b'HTTP/1.1 200'))

    def test_admission_takes_none_of_the_clients_time(self) -> None:
        """However long admission takes, the client has its full 30 s to begin the body."""
        self.exchange.admits = 'later'
        self.client.send(expecting())
        self.server.wait(100)
        self.exchange.asked[0].reply(None)
        self.server.wait(29)
        self.assertEqual(self.client.received(), CONTINUE)
        self.server.wait(2)
        self.assertEqual([answer.status for answer in self.client.answers()], [408])

    def test_refused_by_security(self) -> None:
        """A rejection by the dispatcher is the response."""
        self.exchange.admits = Reply(401, b'{}', JSON, ((b'WWW-Authenticate', b'Basic realm="x"'),))
        self.refused(expecting(), 401)

    def test_refused_by_route(self) -> None:
        """An unknown path gets 404 without 100."""
        self.refused(expecting('/nowhere'), 404)

    def test_refused_by_size(self) -> None:
        """A too large body gets 413 without 100."""
        self.refused(expecting(length=1001), 413)

    def test_other_expectations(self) -> None:
        """Other expectations get 417."""
        self.refused(expecting(value='a-miracle'), 417)

    def test_http_1_0_has_no_expectations(self) -> None:
        """HTTP/1.0 requests ignore the field (RFC 9110 10.1.1)."""
        self.client.send(expecting(version='1.0') + b'{}')
        (answer,) = self.client.answers()
        self.assertEqual(answer.status, 200)

    def test_the_order_of_answers_holds_for_100_too(self) -> None:
        """A pipelined request gets 100 after the responses before it."""
        self.exchange.at_once = None
        self.client.send(get('/zato/ping') + expecting().replace(b'POST', b'QUERY'))
        self.assertEqual(self.client.received(), b'')
        self.exchange.delivered[0].answer()
        self.assertTrue(self.client.received().endswith(b'{}' + CONTINUE))

    def test_a_client_that_leaves_cancels_its_admission(self) -> None:
        """A client that disconnects during admission cancels it."""
        self.exchange.admits = 'later'
        self.client.send(expecting())
        self.client.wire.abortConnection()
        self.assertTrue(self.exchange.asked[0].cancelled)

    def test_large_bodies_are_admitted_first(self) -> None:
        """A body that will be spooled is not read before admission, with or without Expect."""
        server = Server(self.exchange, spool_above=10)
        self.exchange.admits = Reply(401, b'{}', JSON)
        client = server.connect()
        client.send(post(body=b'x' * 11))
        self.assertEqual([answer.status for answer in client.answers()], [401])
        self.assertEqual(self.exchange.delivered, [])


class UnknownLengthTests(SynchronousTestCase):
    """A chunked body does not announce its length: admission happens when it grows too large for memory."""

    def setUp(self) -> None:
        self.exchange = ScriptedExchange()
        self.offloads = Offloads()
        self.server = Server(self.exchange, offload=self.offloads, work_dir=self.mktemp(), spool_above=1000)
        Path(self.server.site.work_dir).mkdir()
        self.client = self.server.connect()

    def work(self) -> None:
        """Run all queued work of threads."""
        while self.offloads.waiting:
            self.offloads.work()

    def refused(self, request: bytes, status: int = 401) -> None:
        """Check for an immediate response, nothing written, lingering, and no further requests."""
        self.exchange.admits = Reply(status, b'{}', JSON)
        self.client.send(request)
        (answer,) = self.client.answers()
        self.assertEqual((answer.status, answer.headers[b'connection']), (status, b'close'))
        self.client.send(chunk(2000) * 200 + b'0\r\n\r\n' + get('/zato/ping'))
        self.assertEqual((self.client.received(), self.offloads.waiting, self.exchange.delivered), (b'', [], []))
        self.assertFalse(self.client.closed)
        self.server.wait(LINGER_TIMEOUT + 1)
        self.assertTrue(self.client.closed)

    def test_strangers_write_nothing(self) -> None:
        """Bodies of unauthenticated clients are not written to disk, in one piece or in many."""
        for pieces in ([chunk(2000)], [chunk(2000) * 400], [chunk(500)] * 3):
            self.client = self.server.connect()
            for piece in [CHUNKED, *pieces[:-1]]:
                self.client.send(piece)
            self.assertEqual(self.client.received(), b'')
            self.refused(pieces[-1])
        self.assertEqual(len(self.exchange.asked), 3)

    def test_what_stays_in_memory_asks_nobody(self) -> None:
        """Bodies below the threshold need no early admission."""
        self.assertEqual(self.client.ask(CHUNKED + chunk(600) + chunk(400) + b'0\r\n\r\n').body, b'x' * 1000)
        self.assertEqual(self.exchange.asked, [])

    def test_asked_once(self) -> None:
        """Admission happens once, however long the body becomes."""
        for fields in (b'', b'Expect: 100-continue\r\n'):
            self.exchange.asked.clear()
            self.client.send(CHUNKED.replace(b'Host', fields + b'Host'))
            for _ in range(10):
                self.client.send(chunk(100_000))
                self.work()
            self.client.send(b'0\r\n\r\n')
            self.work()
            self.assertEqual(len(self.client.received().removeprefix(CONTINUE).partition(b'\r\n\r\n')[2]), 1_000_000)
            self.assertEqual(len(self.exchange.asked), 1)

    def test_admission_is_waited_for(self) -> None:
        """Nothing is written before admission, and the client is paused without a timeout; then all of it arrives, and
        the next request follows."""
        self.exchange.admits = 'later'
        self.client.send(CHUNKED + chunk(300_000))
        self.client.send(chunk(100_000) + b'0\r\n\r\n' + get('/zato/ping'))
        self.assertEqual((self.client.wire.producerState, self.offloads.waiting), ('paused', []))
        self.server.wait(120)
        self.assertFalse(self.client.closed)
        self.exchange.asked[0].reply(None)
        self.work()
        self.assertEqual(self.client.wire.producerState, 'producing')
        self.assertEqual([len(answer.body) for answer in self.client.answers()], [400_000, 0])

    def test_the_time_to_send_is_the_clients(self) -> None:
        """The time for sending does not reduce the timeouts of admission and service."""
        self.exchange.at_once = None
        self.client.send(CHUNKED + chunk(900))
        self.server.wait(10)
        self.client.send(chunk(200))
        asked = self.exchange.asked[0].inbound
        self.assertEqual(asked.deadline, self.server.clock.seconds() + 60)
        self.server.wait(10)
        self.client.send(b'0\r\n\r\n')
        self.work()
        self.assertIs(self.exchange.delivered[0].inbound, asked)
        self.assertEqual(asked.deadline, self.server.clock.seconds() + 60)

    def test_a_client_that_leaves(self) -> None:
        """A client that disconnects during admission cancels it, and no state is left."""
        self.exchange.admits = 'later'
        self.client.send(CHUNKED + chunk(300_000))
        self.client.wire.abortConnection()
        self.assertTrue(self.exchange.asked[0].cancelled)
        self.assertEqual(self.offloads.waiting, [])

    def test_a_client_that_sends_no_more(self) -> None:
        """A client that half-closed after its body is answered after admission."""
        self.exchange.admits = 'later'
        self.client.send(CHUNKED + chunk(2000) + b'0\r\n\r\n')
        self.client.half_close()
        self.exchange.asked[0].reply(None)
        self.work()
        self.assertEqual([answer.status for answer in self.client.answers()], [200])
        self.assertTrue(self.client.closed)

    def test_cut_short(self) -> None:
        """A half-close within the body causes 400, whatever admission decides."""
        self.exchange.admits = 'later'
        self.client.send(CHUNKED + chunk(2000))
        self.client.half_close()
        self.exchange.asked[0].reply(None)
        self.work()
        self.assertEqual([answer.status for answer in self.client.answers()], [400])
        self.assertEqual(self.exchange.delivered, [])

    def test_over_the_largest(self) -> None:
        """A body over the maximum gets 413 before admission too."""
        server = Server(self.exchange, spool_above=1000, max_body=500)
        client = server.connect()
        client.send(CHUNKED + chunk(501))
        self.assertEqual([answer.status for answer in client.answers()], [413])
        self.assertEqual(self.exchange.asked, [])

    def test_the_order_of_answers_holds(self) -> None:
        """An early rejection is sent after the responses before it."""
        self.exchange.at_once = None
        self.exchange.admits = Reply(401, b'{}', JSON)
        self.client.send(get('/zato/ping') + CHUNKED.replace(b'POST', b'QUERY') + chunk(2000))
        self.assertEqual(self.client.received(), b'')
        self.exchange.delivered[0].answer()
        self.assertEqual([answer.status for answer in self.client.answers()], [200, 401])

    def test_a_disk_that_is_full(self) -> None:
        """After admission a full disk causes 503, as usual."""
        self.server.site.offload = lambda *_: fail(OSError(28, 'No space left on device'))
        self.client.send(CHUNKED + chunk(300_000) * 3)
        self.assertEqual([answer.status for answer in self.client.answers()], [503])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
