"""Memory of bodies is charged to the process's budget, and always released."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

from twisted.internet.defer import fail
from twisted.trial.unittest import SynchronousTestCase

from zatotx.model.message import Message, Principal, Reply
from zatotx.plugins.http.server.request_body import SpooledBody
from zatotx.plugins.http.test.server_doubles import Client, Offloads, ScriptedExchange, Server, get, post
from zatotx.rules.limits.memory_budget import (
    EARLY_SPOOL_SIZE,
    MAX_UNACCOUNTED,
    UNAUTHENTICATED,
    MemoryBudget,
    MemoryReservation,
)

KB, MB = 1024, 1024 * 1024
PIECE = 64 * KB
LOGGED_IN = Principal('api.user', kind='basic_auth')
CHUNKED = b'POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n'


def head(length: int) -> bytes:
    return post(body=bytes(length)).partition(b'\r\n\r\n')[0] + b'\r\n\r\n'


class LoggedIn(ScriptedExchange):
    """Authenticates every request by its head."""

    def authenticate(self, message: Message, on_result: object) -> object:  # type: ignore[override]
        message.principal = LOGGED_IN
        return super().authenticate(message, on_result)  # type: ignore[arg-type]


class MemoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.use(ScriptedExchange(None))

    def use(self, exchange: ScriptedExchange, limit: int = 400 * MB, **settings: Any) -> None:
        self.exchange = exchange
        self.offloads = Offloads()
        work_dir = Path(self.mktemp())
        work_dir.mkdir()
        self.server = Server(exchange, offload=self.offloads, work_dir=str(work_dir), **settings)
        self.memory = self.server.site.byte_budget = MemoryBudget(limit)

    def work(self) -> None:
        while self.offloads.waiting:
            self.offloads.work()

    def sent(self, *pieces: bytes, work: bool = True) -> Client:
        """Return a client that has sent this, in pieces as from a network."""
        client = self.server.connect()
        for piece in pieces:
            self.more(client, piece, work=work)
        return client

    def more(self, client: Client, data: bytes, *, work: bool = True) -> None:
        for start in range(0, len(data), PIECE):
            client.send(data[start : start + PIECE])
            if work:
                self.work()

    def holds(self, least: int, most: int) -> None:
        self.assertTrue(least <= self.memory.used <= most, self.memory.used)

    def gives_back(self) -> None:
        self.work()
        self.assertEqual(self.memory.used, 0)

    # Every way that a body can end.

    def test_answered(self) -> None:
        """A body in any framing or coding is charged while its service runs."""
        coded = gzip.compress(bytes(100_000))
        for pieces in ((post(body=bytes(20_000)),), (head(200_000), bytes(200_000)),
                       (CHUNKED, b'4e20\r\n' + bytes(20_000) + b'\r\n0\r\n\r\n'),
                       (post('/echo', coded, 'Content-Encoding: gzip'),)):  # fmt: skip
            client = self.sent(*pieces)
            self.holds(len(coded), 200_000)
            self.exchange.delivered.pop().answer()
            self.assertEqual([answer.status for answer in client.answers()], [200])
            self.gives_back()

    def test_answered_from_a_file(self) -> None:
        """A spooled body is not charged; the rest of the request still may be."""
        self.sent(post(body=bytes(3 * MB)))
        delivery = self.exchange.delivered[0]
        self.assertIsInstance(delivery.inbound.body, SpooledBody)
        self.assertEqual(self.memory.used, 0)
        charge = delivery.inbound.memory_charge
        assert charge is not None
        self.assertTrue(charge.reserve(3 * MB))
        delivery.answer()
        self.gives_back()
        self.assertFalse(charge.reserve(1))

    def test_gone(self) -> None:
        """A client that disconnects at any stage releases its charge."""
        for pieces in ((head(200_000), bytes(100_000)), (head(3 * MB), bytes(300_000)), (post(body=bytes(200_000)),)):
            client = self.sent(*pieces, work=False)
            self.holds(100_000, 320_000)
            client.wire.abortConnection()
            self.assertEqual(self.memory.used > 0, bool(self.offloads.waiting))  # a batch is there until it is written
            self.gives_back()

    def test_refused(self) -> None:
        """Every kind of rejection releases the charge."""
        self.use(self.exchange, max_body=MB, spool_above=500_000)
        late = self.sent(head(200_000), bytes(100_000))
        self.server.wait(300)
        large = self.sent(CHUNKED, *[b'10000\r\n' + bytes(PIECE) + b'\r\n'] * 17)
        malformed = self.sent(CHUNKED, b'10000\r\n' + bytes(PIECE) + b'\r\nno size\r\n')
        cut = self.sent(head(200_000), bytes(100_000))
        cut.half_close()
        self.exchange.admits = Reply(401, b'{}', b'')
        unknown = self.sent(CHUNKED, *[b'10000\r\n' + bytes(PIECE) + b'\r\n'] * 10)
        self.exchange.admits = None
        self.server.site.offload = lambda *_: fail(OSError(28, 'No space left on device'))
        full = self.sent(head(MB), bytes(900_000))
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        clients = (late, large, malformed, cut, unknown, full)
        found = [[answer.status for answer in client.answers()] for client in clients]
        self.assertEqual(found, [[408], [413], [400], [400], [401], [503]])
        self.gives_back()

    # Where memory is scarce.

    def test_small_bodies_are_not_charged(self) -> None:
        """Small bodies are not charged: they are served with an exhausted budget."""
        self.use(ScriptedExchange(), limit=0)
        for pieces in ((post(body=bytes(MAX_UNACCOUNTED)),), (head(MAX_UNACCOUNTED), bytes(MAX_UNACCOUNTED))):
            self.assertEqual(self.sent(*pieces).answers()[0].status, 200)

    def test_no_room(self) -> None:
        """An exhausted budget causes 503 with Retry-After. A complete body costs its request only, an incomplete one
        its connection too."""
        self.use(self.exchange, limit=0)
        whole, pieces = self.sent(post(body=bytes(5_000)) + get('/zato/ping')), self.sent(head(9_000), bytes(5_000))
        for client, going_on in ((whole, True), (pieces, False)):
            answer = client.answers()[0]
            self.assertEqual((answer.status, answer.headers[b'retry-after']), (503, b'1'))
            self.assertIn(b'as many bytes of requests in memory as it may: try again later', answer.body)
            self.assertEqual(b'connection' not in answer.headers, going_on)
        self.assertEqual([delivery.inbound.channel.name for delivery in self.exchange.delivered], ['zato.ping'])
        self.assertEqual(self.memory.rejected, 2)
        self.gives_back()

    def press(self, size: int = 600 * KB) -> None:
        """Charge so much that bodies leave memory early: half of the budget for bodies."""
        self.assertTrue(MemoryReservation(self.memory).reserve(size))

    def test_early_files(self) -> None:
        """Under memory pressure a dripping body moves to a file long before its usual threshold, even without a further
        byte. Small ones stay."""
        self.use(self.exchange, limit=4 * MB)
        clients = [self.sent(head(900_000), bytes(120_000)), self.sent(CHUNKED, b'1d4c0\r\n' + bytes(120_000))]
        small = self.sent(head(900_000), bytes(EARLY_SPOOL_SIZE))
        self.assertEqual(self.exchange.asked, [])
        self.press(540 * KB)
        self.server.wait(0.5)
        self.work()
        self.holds(540 * KB + EARLY_SPOOL_SIZE, 540 * KB + EARLY_SPOOL_SIZE)
        self.assertEqual(len(self.exchange.asked), 2)
        self.more(clients[0], bytes(780_000))
        self.more(clients[1], b'\r\n0\r\n\r\n')
        self.more(small, bytes(900_000 - EARLY_SPOOL_SIZE))
        bodies = [delivery.inbound.body for delivery in self.exchange.delivered]
        self.assertEqual([len(body.read()) for body in bodies if isinstance(body, SpooledBody)],
                         [900_000, 120_000, 900_000])
        for delivery in self.exchange.delivered:
            delivery.answer()
        self.assertEqual(self.memory.used, 540 * KB)

    def test_strangers_are_refused_early(self) -> None:
        """Under memory pressure unauthorized clients are rejected before their body is complete: by the head of a new
        request, or at the next sweep."""
        self.use(self.exchange, limit=4 * MB)
        self.exchange.admits = Reply(401, b'{}', b'')
        client = self.sent(head(900_000), bytes(120_000))
        self.press()
        self.assertEqual([answer.status for answer in self.sent(head(100_000)).answers()], [401])
        self.assertEqual(client.received(), b'')
        self.server.wait(0.5)
        self.assertEqual([answer.status for answer in client.answers()], [401])
        self.assertEqual(self.memory.used, 600 * KB)

    def test_a_sweep_waits_for_nobody(self) -> None:
        """A sweep does not wait for the dispatcher or the disk, whose time is not the client's."""
        self.use(self.exchange, limit=4 * MB)
        self.exchange.admits = 'later'
        client = self.sent(head(900_000), bytes(120_000))
        self.press()
        self.server.wait(120)
        self.assertEqual(len(self.exchange.asked), 1)
        self.exchange.asked[0].reply(None)
        self.server.wait(120)
        self.assertEqual(len(self.offloads.waiting), 1)
        self.assertEqual((client.received(), client.closed), (b'', False))

    def test_nothing_more_is_read(self) -> None:
        """Under memory pressure nothing is read while the disk is waited for: read-ahead would not be charged."""
        self.use(self.exchange, limit=4 * MB)
        self.press()
        client = self.sent(head(900_000), bytes(EARLY_SPOOL_SIZE + 1), work=False)
        self.assertEqual((len(self.offloads.waiting), client.wire.producerState), (1, 'paused'))
        self.work()
        self.assertEqual(client.wire.producerState, 'producing')

    def test_callers_with_a_login_have_room(self) -> None:
        """Authenticated clients have memory left when unauthenticated ones have used theirs. Each is known by its
        head."""
        for exchange, status in ((ScriptedExchange(), 503), (LoggedIn(), 200)):
            self.use(exchange, limit=4 * MB)
            self.press(MB)
            self.assertTrue(MemoryReservation(self.memory, UNAUTHENTICATED).reserve(MB))
            for pieces in ((head(30_000), bytes(30_000)), (CHUNKED, b'7530\r\n' + bytes(30_000) + b'\r\n0\r\n\r\n')):
                found = [answer.status for answer in self.sent(*pieces).answers()]
                self.assertEqual(found, [status if pieces[0] != CHUNKED else 503], pieces)

    def test_one_batch_of_a_slow_disk(self) -> None:
        """During a slow write only its batch is in memory."""
        self.sent(head(3 * MB), bytes(2 * MB), work=False)
        self.holds(MB, MB + PIECE)
        self.assertEqual(len(self.offloads.waiting), 1)
