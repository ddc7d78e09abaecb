"""Peers that fail, freeze and lie: every call ends in time with an error that says what happened, and leaves nothing
behind. Of real sockets; certificates, names, proxies, redirections and bombs have tests of their own.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from twisted.internet.defer import gatherResults

from trial_tests.support.authority import Authority
from zatotx.plugins.http.client.call import HttpRequest, HttpResponse
from zatotx.plugins.http.client.credentials import TlsSettings
from zatotx.plugins.http.client.errors import (
    BadResponse,
    CallFailed,
    ConnectRefused,
    ConnectTimeout,
    FirstByteTimeout,
    PeerReset,
    SilenceTimeout,
    TooLarge,
    TotalTimeout,
)
from zatotx.plugins.http.client.factory import BuiltClient
from zatotx.plugins.http.client.pool import PoolLimits
from zatotx.plugins.http.test.upstream import (
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
    """The same for plain HTTP and for TLS, which a subclass adds."""

    scheme = 'http'

    def peer(self, answer: Answering) -> Upstream:
        return self.listen(answer)

    def caller(self, **settings: Any) -> BuiltClient:
        return self.client(**settings)

    def outbound(self, upstream: Upstream, **more: Any) -> HttpRequest:
        return get(upstream.port, scheme=self.scheme, **more)

    async def fails(self, answer: Answering, error: type[CallFailed], **more: Any) -> str:
        """What a call of a peer that answers so says, which must be over soon and leave nothing."""
        upstream = self.peer(answer)
        client = self.caller()
        began = reactor.seconds()
        why = await self.failed(client.send(self.outbound(upstream, **more)), error)
        self.assertLess(reactor.seconds() - began, FAR)
        self.assertEqual((client.core.active, client.core.idle, client.core.waiting), (0, 0, 0))
        await self.until(lambda: not upstream.peers)
        return why


class EndTests(FaultCase):
    """The connection ends before the answer does."""

    async def test_without_an_answer(self) -> None:
        """Closed and reset, before a byte of an answer."""
        for answer in (ends(b''), ends(b'', reset=True)):
            self.assertEqual(await self.fails(answer, PeerReset), 'the peer closed the connection without an answer')

    async def test_within_a_head(self) -> None:
        """Closed and reset, in the first line and in a field."""
        for data in (b'HT', b'HTTP/1.1 20', OK + b'Content-Le'):
            for reset in (False, True):
                await self.fails(ends(data, reset=reset), PeerReset)

    async def test_within_a_body(self) -> None:
        """Closed and reset, in a counted body, in chunks, and where only a good end of the connection would end it."""
        for data in (b'Content-Length: 10\r\n\r\nhello', b'Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n',
                     b'Transfer-Encoding: chunked\r\n\r\n5\r\nhel', b'Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n'):
            for reset in (False, True):
                why = await self.fails(ends(OK + data, reset=reset), PeerReset)
                self.assertEqual(why, 'the connection was lost within the answer')
        await self.fails(ends(OK + b'\r\nhello', reset=True), PeerReset)

    async def test_in_a_stream(self) -> None:
        """The reader has what came, and then the error."""
        upstream = self.peer(ends(OK + b'Content-Length: 10\r\n\r\nhello', reset=True))
        client = self.caller()
        answer = await client.send(self.outbound(upstream, stream=True))
        stream: Any = answer.body
        self.assertEqual(await stream.read(), b'hello')
        await self.failed(stream.read(), PeerReset)
        self.assertEqual((client.core.active, client.core.idle), (0, 0))

    async def test_all_of_many(self) -> None:
        """Calls that wait for a connection while others fail have theirs: each its own answer or its own error."""
        half = 0

        def every_other(peer: Peer, request: Request) -> None:
            nonlocal half
            half += 1
            cut = ends(OK + b'Content-Length: 9\r\n\r\nx', reset=True)
            (says(body=request.target) if half % 2 else cut)(peer, request)

        upstream = self.peer(every_other)
        client = self.caller(bounds=PoolLimits(connections=3))
        sending: list[Any] = []
        for number in range(30):
            target = b'/%d' % number
            sending.append(client.send(get(upstream.port, target, scheme=self.scheme)))
            sending[-1].addCallbacks(lambda answer, target=target: self.assertEqual(answer.body, target),
                                     lambda failure: failure.trap(PeerReset))  # fmt: skip
        await gatherResults(sending)
        self.assertEqual((len(upstream.requests), client.core.active, client.core.waiting), (30, 0, 0))


class FreezeTests(FaultCase):
    """The peer stops, and its connection stays."""

    async def test_before_the_answer(self) -> None:
        """Time to the first byte."""
        why = await self.fails(silent, FirstByteTimeout, timeouts=Timeouts(first_byte=SOON))
        self.assertEqual(why, 'the peer did not begin to answer within 0.3 s')

    async def test_within_a_head(self) -> None:
        """Time between two pieces, in the first line and in the fields."""
        for data in (b'H', OK + b'Content-'):
            why = await self.fails(raw(data), SilenceTimeout, timeouts=Timeouts(silence=SOON))
            self.assertEqual(why, 'the peer stopped for 0.3 s within its answer')

    async def test_within_a_body(self) -> None:
        """Likewise, however the body is framed."""
        for data in (b'Content-Length: 10\r\n\r\nhello', b'Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n',
                     b'Transfer-Encoding: chunked\r\n\r\n5', b'\r\nhello'):  # fmt: skip
            await self.fails(raw(OK + data), SilenceTimeout, timeouts=Timeouts(silence=SOON))

    async def test_a_drip(self) -> None:
        """A byte now and then: a head must be whole in the time of a silence, and a body in that of the whole call."""
        for start, error, timeouts in (
            (OK + b'X-A: ', SilenceTimeout, Timeouts(silence=SOON)),
            (OK + b'Content-Length: 1000\r\n\r\n', TotalTimeout, Timeouts(silence=10.0, total=1.5)),
        ):
            drip = Drip(start)
            await self.fails(drip, error, timeouts=timeouts)
            drip.stop()

    async def test_while_it_is_asked(self) -> None:
        """A peer that does not take a request's body is as late as one that does not answer."""
        upstream = self.peer(silent)
        upstream.deaf = True
        client = self.caller()
        outbound = post(upstream.port, bytes(32 * 1024 * 1024), scheme=self.scheme, timeouts=Timeouts(first_byte=SOON))
        began = reactor.seconds()
        await self.failed(client.send(outbound), FirstByteTimeout)
        self.assertLess(reactor.seconds() - began, FAR)
        self.assertEqual((client.core.active, client.core.idle), (0, 0))
        for peer in upstream.peers[:]:
            peer.reset()

    async def test_the_callers_deadline(self) -> None:
        """It counts wherever the call stands, and however long its stages may take."""
        for answer in (silent, raw(b'HT'), raw(OK + b'Content-Length: 10\r\n\r\nhello')):
            await self.fails(answer, TotalTimeout, deadline=reactor.seconds() + SOON)

    async def test_given_up_anywhere(self) -> None:
        """A caller who leaves closes the connection, wherever the call stands."""
        for answer in (silent, raw(b'HT'), raw(OK + b'Content-Length: 10\r\n\r\nhello')):
            upstream = self.peer(answer)
            client = self.caller()
            sending = client.send(self.outbound(upstream))
            sending.addErrback(lambda failure: None)
            await self.until(lambda upstream=upstream: upstream.requests)  # type: ignore[misc]  # bound now
            sending.cancel()
            self.assertEqual((client.core.active, client.core.idle), (0, 0))
            await self.until(lambda upstream=upstream: not upstream.peers)  # type: ignore[misc]


class LieTests(FaultCase):
    """Answers that are not what they say, or may be read in two ways: none is believed, and nothing follows them."""

    async def test_two_readings(self) -> None:
        """Of where the answer ends: a reader before us may have read it otherwise."""
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
        """Another protocol's, another version's, another status's."""
        for data in (b'SSH-2.0-OpenSSH\r\n', b'HTTP/2 200\r\n\r\n', b'HTTP/0.9 200 OK\r\n\r\n', b'<html>',
                     b'\x16\x03\x01', b'HTTP/1.1 99 Odd\r\n\r\n', b'HTTP/1.1 2000 OK\r\n\r\n',
                     b'HTTP/1.1  200 OK\r\n\r\n', b'\r\n' + OK,
                     b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n', b'ICY 200 OK\r\n\r\n'):  # fmt: skip
            await self.fails(raw(data), BadResponse)

    async def test_without_end(self) -> None:
        """A head in one line or in many, answers that announce an answer, the extensions and the trailers of chunks:
        each has its bound, whatever keeps coming."""
        for start, more in (
            (OK, b'X-A: b\r\n'), (OK + b'X-A: ', b'x' * 1024), (b'HTTP/1.1 200 ', b'x' * 1024),
            (b'', b'HTTP/1.1 103 Early Hints\r\n\r\n'),
            (OK + b'Transfer-Encoding: chunked\r\n\r\n5;', b'a=b;' * 100),
            (OK + b'Transfer-Encoding: chunked\r\n\r\n0\r\n', b'X-A: b\r\n'),
        ):
            await self.fails(flood(start, more), BadResponse)

    async def test_a_body_without_end(self) -> None:
        """Not more is collected than the call allows: by the length it names, by chunks, until the end."""
        for start, more in (
            (OK + b'Content-Length: 100000000\r\n\r\n', b'x' * 1024),
            (OK + b'Transfer-Encoding: chunked\r\n\r\n', b'400\r\n' + b'x' * 1024 + b'\r\n'),
            (OK + b'\r\n', b'x' * 1024),
        ):
            why = await self.fails(flood(start, more), TooLarge, most=100_000)
            self.assertEqual(why, 'the body of the answer is longer than the 100000 bytes that this call allows')

    async def test_more_than_it_said(self) -> None:
        """What follows an answer on its connection is nobody's: the next call has a new connection, and its own."""

        def answer(peer: Peer, request: Request) -> None:
            says(body=b'for ' + request.target)(peer, request)
            says(b'200 Smuggled', b'not yours')(peer, request)

        upstream = self.peer(answer)
        client = self.caller()
        for number in range(5):
            target = b'/%d' % number
            answered: HttpResponse = await client.send(get(upstream.port, target, scheme=self.scheme))
            self.assertEqual((answered.reason, answered.body), (b'OK', b'for ' + target))
            self.assertEqual((client.core.active, client.core.idle), (0, 0))
        self.assertEqual(upstream.accepted, 5)

    async def test_more_later(self) -> None:
        """The same where it comes while the connection is idle."""
        upstream = self.peer(says(body=b'mine'))
        client = self.caller()
        await client.send(self.outbound(upstream))
        self.assertEqual(client.core.idle, 1)
        upstream.peers[0].say(b'HTTP/1.1 200 Smuggled\r\nContent-Length: 0\r\n\r\n')
        await self.until(lambda: not client.core.idle)
        self.assertEqual((await client.send(self.outbound(upstream))).body, b'mine')
        self.assertEqual(upstream.accepted, 2)


def flood(start: bytes, more: bytes) -> Answering:
    """An answer that goes on for as long as it is taken."""

    def answer(peer: Peer, request: Request) -> None:
        transport: Any = peer.transport
        peer.say(start)
        transport.registerProducer(Flood(transport, more), False)

    return answer


class Drip:
    """An answer that comes a byte at a time."""

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
        """It was cut off."""


class SecureCase(FaultCase):
    """The same over TLS."""

    scheme = 'https'

    def setUp(self) -> None:
        ca = Authority(Path(self.mktemp()).absolute())
        self.server_tls = server_tls(ca.sign('server', '127.0.0.1'))
        self.tls = TlsSettings(ca=ca.path.read_text())

    def peer(self, answer: Answering) -> Upstream:
        return self.listen(answer, tls=self.server_tls)

    def caller(self, **settings: Any) -> BuiltClient:
        return self.client(tls=self.tls, **settings)


class SecureEndTests(SecureCase, EndTests):
    """EndTests over TLS."""


class SecureFreezeTests(SecureCase, FreezeTests):
    """FreezeTests over TLS."""


class SecureLieTests(SecureCase, LieTests):
    """LieTests over TLS."""


class ConnectTests(WithPeers):
    """Nobody answers the call for a connection."""

    async def test_refused(self) -> None:
        """Nobody listens: known at once, for one call as for many."""
        client = self.client(bounds=PoolLimits(connections=2))
        for _ in range(50):
            await self.failed(client.send(get(1)), ConnectRefused)
        self.assertEqual((client.core.active, client.core.waiting), (0, 0))

    async def test_not_accepted(self) -> None:
        """A peer whose queue of connections is full lets new ones wait in its kernel: the time for connecting ends."""
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
            why = await self.failed(client.send(get(port, timeouts=Timeouts(connect=SOON))), ConnectTimeout)
            self.assertEqual(why, f'127.0.0.1:{port} did not accept a connection within 0.3 s')
            self.assertLess(reactor.seconds() - began, FAR)
            self.assertEqual((client.core.active, client.core.idle, client.core.waiting), (0, 0, 0))
            for one in waiting:
                one.close()
