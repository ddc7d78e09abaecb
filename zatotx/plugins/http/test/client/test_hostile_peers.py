"""Peers that fail, freeze and lie: every call ends in time with a meaningful error, and leaves no state. Uses sockets;
certificates, names, proxies, redirects and decompression bombs have tests of their own."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from twisted.internet.defer import gatherResults

from trial_tests.support.authority import Authority
from zatotx.connectors.tls_settings import TlsSettings
from zatotx.plugins.http.client.connection_pool import PoolLimits
from zatotx.plugins.http.client.errors import (
    BadResponse,
    CallFailed,
    ConnectRefused,
    ConnectTimeout,
    PeerReset,
    ResponseStallTimeout,
    ResponseStartTimeout,
    ResponseTooLarge,
    TotalTimeout,
)
from zatotx.plugins.http.client.http_client import HttpClientWithSenders
from zatotx.plugins.http.client.http_messages import HttpRequest, HttpResponse
from zatotx.plugins.http.test.upstream_servers import (
    Answering,
    Peer,
    Request,
    Timeouts,
    Upstream,
    WithPeers,
    ends,
    get,
    post,
    raw,
    reactor,
    says,
    server_tls,
    silent,
)

SOON = 0.3  # seconds that a stage may take in these tests
FAR = 100 * SOON  # well before this, they are over
OK = b'HTTP/1.1 200 OK\r\n'


class FaultCase(WithPeers):
    """Fault tests for plain HTTP; a subclass runs them with TLS."""

    scheme = 'http'

    def peer(self, answer: Answering) -> Upstream:
        return self.listen(answer)

    def caller(self, **settings: Any) -> HttpClientWithSenders:
        return self.client(**settings)

    def outbound(self, upstream: Upstream, **more: Any) -> HttpRequest:
        return get(upstream.port, scheme=self.scheme, **more)

    async def fails(self, answer: Answering, error: type[CallFailed], **more: Any) -> str:
        """Return the error of a call to a peer that responds like this; the call must end soon and leave no state."""
        upstream = self.peer(answer)
        client = self.caller()
        began = reactor.seconds()
        why = await self.failed(client.send(self.outbound(upstream, **more)), error)
        self.assertLess(reactor.seconds() - began, FAR)
        self.assertEqual((client.client.active, client.client.idle, client.client.waiting), (0, 0, 0))
        await self.until(lambda: not upstream.peers)
        return why


class EndTests(FaultCase):
    """The connection ends before the response does."""

    async def test_without_an_answer(self) -> None:
        """The connection is closed or reset before the response."""
        for answer in (ends(b''), ends(b'', reset=True)):
            self.assertEqual(await self.fails(answer, PeerReset), 'the peer closed the connection without an answer')

    async def test_within_a_head(self) -> None:
        """The connection is closed or reset within the head."""
        for data in (b'HT', b'HTTP/1.1 20', OK + b'Content-Le'):
            for reset in (False, True):
                await self.fails(ends(data, reset=reset), PeerReset)

    async def test_within_a_body(self) -> None:
        """The connection is closed or reset within a body of any framing."""
        for data in (b'Content-Length: 10\r\n\r\nhello', b'Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n',
                     b'Transfer-Encoding: chunked\r\n\r\n5\r\nhel', b'Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n'):
            for reset in (False, True):
                why = await self.fails(ends(OK + data, reset=reset), PeerReset)
                self.assertEqual(why, 'the connection was lost within the answer')
        await self.fails(ends(OK + b'\r\nhello', reset=True), PeerReset)

    async def test_in_a_stream(self) -> None:
        """A stream's reader gets what arrived, and then the error."""
        upstream = self.peer(ends(OK + b'Content-Length: 10\r\n\r\nhello', reset=True))
        client = self.caller()
        answer = await client.send(self.outbound(upstream, is_streamed=True))
        stream: Any = answer.body
        self.assertEqual(await stream.read(), b'hello')
        await self.failed(stream.read(), PeerReset)
        self.assertEqual((client.client.active, client.client.idle), (0, 0))

    async def test_all_of_many(self) -> None:
        """Calls that wait while others fail get their own response or their own error."""
        half = 0

        def every_other(peer: Peer, request: Request) -> None:
            nonlocal half
            half += 1
            cut = ends(OK + b'Content-Length: 9\r\n\r\nx', reset=True)
            (says(body=request.target) if half % 2 else cut)(peer, request)

        upstream = self.peer(every_other)
        client = self.caller(pool_limits=PoolLimits(max_connections=3))
        sending: list[Any] = []
        for number in range(30):
            target = b'/%d' % number
            sending.append(client.send(get(upstream.port, target, scheme=self.scheme)))
            sending[-1].addCallbacks(lambda answer, target=target: self.assertEqual(answer.body, target),
                                     lambda failure: failure.trap(PeerReset))  # fmt: skip
        await gatherResults(sending)
        self.assertEqual((len(upstream.requests), client.client.active, client.client.waiting), (30, 0, 0))


class FreezeTests(FaultCase):
    """The peer freezes with its connection open."""

    async def test_before_the_answer(self) -> None:
        """The first-byte timeout applies."""
        why = await self.fails(silent, ResponseStartTimeout, timeouts=Timeouts(first_byte_timeout=SOON))
        self.assertEqual(why, 'the peer did not begin to answer within 0.3 s')

    async def test_within_a_head(self) -> None:
        """The silence timeout applies within the head."""
        for data in (b'H', OK + b'Content-'):
            why = await self.fails(raw(data), ResponseStallTimeout, timeouts=Timeouts(read_timeout=SOON))
            self.assertEqual(why, 'the peer stopped for 0.3 s within its answer')

    async def test_within_a_body(self) -> None:
        """The silence timeout applies within a body of any framing."""
        for data in (b'Content-Length: 10\r\n\r\nhello', b'Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n',
                     b'Transfer-Encoding: chunked\r\n\r\n5', b'\r\nhello'):  # fmt: skip
            await self.fails(raw(OK + data), ResponseStallTimeout, timeouts=Timeouts(read_timeout=SOON))

    async def test_a_drip(self) -> None:
        """A dripping head must be complete within the silence timeout, a dripping body within the total timeout."""
        for start, error, timeouts in (
            (OK + b'X-A: ', ResponseStallTimeout, Timeouts(read_timeout=SOON)),
            (OK + b'Content-Length: 1000\r\n\r\n', TotalTimeout, Timeouts(read_timeout=10.0, total_timeout=1.5)),
        ):
            drip = Drip(start)
            await self.fails(drip, error, timeouts=timeouts)
            drip.stop()

    async def test_while_it_is_asked(self) -> None:
        """A peer that does not read the request's body times out like one that does not respond."""
        upstream = self.peer(silent)
        upstream.deaf = True
        client = self.caller()
        outbound = post(
            upstream.port, bytes(32 * 1024 * 1024), scheme=self.scheme, timeouts=Timeouts(first_byte_timeout=SOON)
        )
        began = reactor.seconds()
        await self.failed(client.send(outbound), ResponseStartTimeout)
        self.assertLess(reactor.seconds() - began, FAR)
        self.assertEqual((client.client.active, client.client.idle), (0, 0))
        for peer in upstream.peers[:]:
            peer.reset()

    async def test_the_callers_deadline(self) -> None:
        """The caller's deadline applies in every stage, whatever the stage's timeout."""
        for answer in (silent, raw(b'HT'), raw(OK + b'Content-Length: 10\r\n\r\nhello')):
            await self.fails(answer, TotalTimeout, deadline=reactor.seconds() + SOON)

    async def test_given_up_anywhere(self) -> None:
        """Cancelling closes the connection in every stage."""
        for answer in (silent, raw(b'HT'), raw(OK + b'Content-Length: 10\r\n\r\nhello')):
            upstream = self.peer(answer)
            client = self.caller()
            sending = client.send(self.outbound(upstream))
            sending.addErrback(lambda failure: None)
            await self.until(lambda upstream=upstream: upstream.requests)  # type: ignore[misc]  # bound now
            sending.cancel()
            self.assertEqual((client.client.active, client.client.idle), (0, 0))
            await self.until(lambda upstream=upstream: not upstream.peers)  # type: ignore[misc]


class LieTests(FaultCase):
    """Malformed and ambiguous responses are rejected, and the connection is not reused."""

    async def test_two_readings(self) -> None:
        """Responses whose end is ambiguous are rejected: an intermediary may have parsed them differently."""
        for fields in (
            b'Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
            b'Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello', b'Content-Length: 5, 5\r\n\r\nhello',
            b'Content-Length: +5\r\n\r\nhello', b'Content-Length: 0x5\r\n\r\nhello', b'Content-Length: -1\r\n\r\n',
            b'Content-Length:\r\n\r\n', b'Content-Length: 99999999999999999999\r\n\r\n',
            b'Content-Length : 5\r\n\r\nhello', b'Content_Length: 5\r\n\r\nhello',
            b'Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n', b'Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n',
            b'Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n',
            b'Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n', b'X-A: b\r\n folded: c\r\n\r\n',
            b'X-A: b\nX-C: d\r\n\r\n', b'X-A: b\x00\r\n\r\n', b'X A: b\r\n\r\n', b': b\r\n\r\n',
            b'Transfer-Encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n',
            b'Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n',
            b'Transfer-Encoding: chunked\r\n\r\n5\r\nhello!!0\r\n\r\n',
            b'Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n',
        ):
            await self.fails(raw(OK + fields), BadResponse)

    async def test_no_answer_at_all(self) -> None:
        """Other protocols, versions and invalid statuses are rejected."""
        for data in (b'SSH-2.0-OpenSSH\r\n', b'HTTP/2 200\r\n\r\n', b'HTTP/0.9 200 OK\r\n\r\n', b'<html>',
                     b'\x16\x03\x01', b'HTTP/1.1 99 Odd\r\n\r\n', b'HTTP/1.1 2000 OK\r\n\r\n',
                     b'HTTP/1.1  200 OK\r\n\r\n', b'\r\n' + OK,
                     b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n', b'ICY 200 OK\r\n\r\n'):  # fmt: skip
            await self.fails(raw(data), BadResponse)

    async def test_without_end(self) -> None:
        """Heads, interim responses, chunk extensions and trailers have limits."""
        for start, more in (
            (OK, b'X-A: b\r\n'), (OK + b'X-A: ', b'x' * 1024), (b'HTTP/1.1 200 ', b'x' * 1024),
            (b'', b'HTTP/1.1 103 Early Hints\r\n\r\n'),
            (OK + b'Transfer-Encoding: chunked\r\n\r\n5;', b'a=b;' * 100),
            (OK + b'Transfer-Encoding: chunked\r\n\r\n0\r\n', b'X-A: b\r\n'),
        ):
            await self.fails(flood(start, more), BadResponse)

    async def test_a_body_without_end(self) -> None:
        """No more of a body is collected than the call allows, whatever its framing."""
        for start, more in (
            (OK + b'Content-Length: 100000000\r\n\r\n', b'x' * 1024),
            (OK + b'Transfer-Encoding: chunked\r\n\r\n', b'400\r\n' + b'x' * 1024 + b'\r\n'),
            (OK + b'\r\n', b'x' * 1024),
        ):
            why = await self.fails(flood(start, more), ResponseTooLarge, max_body=100_000)
            self.assertEqual(why, 'the body of the answer is longer than the 100000 bytes that this call allows')

    async def test_more_than_it_said(self) -> None:
        """Bytes after a response are discarded: the next call uses a new connection."""

        def answer(peer: Peer, request: Request) -> None:
            says(body=b'for ' + request.target)(peer, request)
            says(b'200 Smuggled', b'not yours')(peer, request)

        upstream = self.peer(answer)
        client = self.caller()
        for number in range(5):
            target = b'/%d' % number
            answered: HttpResponse = await client.send(get(upstream.port, target, scheme=self.scheme))
            self.assertEqual((answered.reason, answered.body), (b'OK', b'for ' + target))
            self.assertEqual((client.client.active, client.client.idle), (0, 0))
        self.assertEqual(upstream.accepted, 5)

    async def test_more_later(self) -> None:
        """Bytes on an idle connection too."""
        upstream = self.peer(says(body=b'mine'))
        client = self.caller()
        await client.send(self.outbound(upstream))
        self.assertEqual(client.client.idle, 1)
        upstream.peers[0].say(b'HTTP/1.1 200 Smuggled\r\nContent-Length: 0\r\n\r\n')
        await self.until(lambda: not client.client.idle)
        self.assertEqual((await client.send(self.outbound(upstream))).body, b'mine')
        self.assertEqual(upstream.accepted, 2)


def flood(start: bytes, more: bytes) -> Answering:
    """Send a response for as long as the client reads."""

    def answer(peer: Peer, request: Request) -> None:
        transport: Any = peer.transport
        peer.say(start)
        transport.registerProducer(Flood(transport, more), False)

    return answer


class Drip:
    """Sends a response byte by byte."""

    def __init__(self, start: bytes) -> None:
        self._start = start
        self._next: Any = None

    def __call__(self, peer: Peer, request: Request) -> None:
        peer.say(self._start)
        self._drop(peer)

    def _drop(self, peer: Peer) -> None:
        peer.say(b'x')
        self._next = reactor.callLater(0.02, self._drop, peer)

    def stop(self) -> None:
        self._next.cancel()


class Flood:
    """A pull producer without end."""

    def __init__(self, transport: Any, more: bytes) -> None:
        self._transport = transport
        self._more = more

    def resumeProducing(self) -> None:
        self._transport.write(self._more * 8)

    def stopProducing(self) -> None:
        """Note that the connection was lost."""


class SecureCase(FaultCase):
    """Fault tests over TLS."""

    scheme = 'https'

    def setUp(self) -> None:
        ca = Authority(Path(self.mktemp()).absolute())
        self.server_tls = server_tls(ca.sign('server', '127.0.0.1'))
        self.tls = TlsSettings(ca=ca.path.read_text())

    def peer(self, answer: Answering) -> Upstream:
        return self.listen(answer, tls=self.server_tls)

    def caller(self, **settings: Any) -> HttpClientWithSenders:
        return self.client(tls=self.tls, **settings)


class SecureEndTests(SecureCase, EndTests):
    """EndTests over TLS."""


class SecureFreezeTests(SecureCase, FreezeTests):
    """FreezeTests over TLS."""


class SecureLieTests(SecureCase, LieTests):
    """LieTests over TLS."""


class ConnectTests(WithPeers):
    """Connections that nothing accepts."""

    async def test_refused(self) -> None:
        """A refused connection fails at once, for one call and for many."""
        client = self.client(pool_limits=PoolLimits(max_connections=2))
        for _ in range(50):
            await self.failed(client.send(get(1)), ConnectRefused)
        self.assertEqual((client.client.active, client.client.waiting), (0, 0))

    async def test_not_accepted(self) -> None:
        """If the peer's accept queue is full, the connect timeout applies."""
        with socket.socket() as full:
            full.bind(('127.0.0.1', 0))
            full.listen(0)
            port = full.getsockname()[1]
            waiting = [socket.socket() for _ in range(4)]
            for one in waiting:
                one.setblocking(False)
                one.connect_ex(('127.0.0.1', port))
            client = self.client()
            began = reactor.seconds()
            why = await self.failed(client.send(get(port, timeouts=Timeouts(connect_timeout=SOON))), ConnectTimeout)
            self.assertEqual(why, f'127.0.0.1:{port} did not accept a connection within 0.3 s')
            self.assertLess(reactor.seconds() - began, FAR)
            self.assertEqual((client.client.active, client.client.idle, client.client.waiting), (0, 0, 0))
            for one in waiting:
                one.close()
