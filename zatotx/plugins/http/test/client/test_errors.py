"""Failing calls: peers that lie, disconnect or freeze at every stage. The error is right, and no state is left. Uses
sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from socket import SO_LINGER, SOL_SOCKET
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from trial_tests.support.answers_corpus import BAD, SHORT
from zatotx.plugins.http.client.errors import (
    BadResponse,
    CallFailed,
    ConnectRefused,
    PeerReset,
    ResponseStallTimeout,
    ResponseStartTimeout,
    ResponseTooLarge,
    TotalTimeout,
)
from zatotx.plugins.http.client.http_client import HttpClient
from zatotx.plugins.http.client.http_messages import HttpRequest, HttpResponse, Origin, Timeouts
from zatotx.plugins.http.client.request_writer import IteratorBody
from zatotx.plugins.http.test.scripted_peers import OK, Listener, Talk, WithCore, answers, pause, reactor, silent


def rst(talk: Talk) -> None:
    """Reset the connection, whatever is pending."""
    talk.transport.getHandle().setsockopt(SOL_SOCKET, SO_LINGER, b'\1\0\0\0\0\0\0\0')
    talk.reset()


class LiarTests(WithCore):
    async def test_bad_answers(self) -> None:
        """Malformed responses are rejected at once; each costs its connection only."""
        client = self.core(max_connections=1)
        for name, data in BAD.items():
            peer = self.listen(answers(data))
            error = await self.failed(client.send(self.call(peer)), BadResponse)
            self.assertTrue(error.reached_peer, name)
            self.clean(client)
            await self.until(lambda peer=peer: peer.talk.over)  # type: ignore[misc]

    async def test_answers_that_end_too_early(self) -> None:
        """Truncated responses are lost connections, whether closed or reset."""
        client = self.core(max_connections=1)
        for end in (Talk.close, rst):
            for name, data in SHORT.items():
                peer = self.listen(silent)
                sending = client.send(self.call(peer))
                await self.until(lambda peer=peer: peer.talks and peer.talk.heard)  # type: ignore[misc]
                peer.talk.say(data)
                await pause(0.01)
                end(peer.talk)
                error = await self.failed(sending, PeerReset)
                self.assertEqual((error.response_started, error.reached_peer), (True, True), name)
                self.clean(client)

    async def test_a_body_without_a_length_that_is_reset(self) -> None:
        """A body without a length ends only with an orderly close."""
        peer = self.listen(answers(b'HTTP/1.1 200 OK\r\n\r\nhalf'))
        client = self.core()
        sending = client.send(self.call(peer))
        await self.until(lambda: peer.talks and peer.talk.heard)
        await pause(0.01)
        rst(peer.talk)
        self.assertTrue((await self.failed(sending, PeerReset)).response_started)
        self.clean(client)

    async def test_longer_than_allowed(self) -> None:
        """A too large body is rejected by its length, or while it arrives; the connection is aborted."""
        for data in (b'HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n',
                     b'HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n' + bytes(1001),
                     b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n' + bytes(1001),
                     b'HTTP/1.1 200 OK\r\n\r\n' + bytes(1001)):
            peer = self.listen(answers(data))
            client = self.core()
            error = await self.failed(client.send(self.call(peer, max_body=1000)), ResponseTooLarge)
            self.assertEqual(str(error), 'the body of the answer is longer than the 1000 bytes that this call allows')
            await self.until(lambda peer=peer: peer.talk.over)  # type: ignore[misc]
            self.clean(client)

    async def test_more_than_the_answer(self) -> None:
        """Bytes after a response never become part of the next one."""
        peer = self.listen(answers(OK + b'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison'))
        client = self.core()
        for _ in range(3):
            self.assertEqual((await client.send(self.call(peer))).body, b'ok')
        self.assertEqual(len(peer.talks), 3)
        self.clean(client)

    async def test_more_in_the_next_packet(self) -> None:
        """Bytes that arrive on an idle connection make it unusable."""
        peer = self.listen(answers(OK))
        client = self.core()
        await client.send(self.call(peer))
        peer.talk.say(b'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison')
        await self.until(lambda: peer.talk.over)
        self.assertEqual((await client.send(self.call(peer))).body, b'ok')
        self.clean(client, idle=1)

    async def test_more_that_meets_the_next_request(self) -> None:
        """If bytes arrive before the request is sent, it is sent on another connection, also a POST."""
        peer = self.listen(answers(OK))
        client = self.core()
        await client.send(self.call(peer))
        [connection] = next(iter(client._pools.values()))._idle
        sending = client.send(self.call(peer, 'POST', body=b'once'))
        connection.dataReceived(b'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison')
        await self.until(lambda: len(peer.talks) == 2 and peer.talk.heard)
        peer.talk.say(OK)
        self.assertEqual((await sending).body, b'ok')
        self.assertNotIn(b'POST', peer.talks[0].heard)
        self.clean(client, idle=1)


class LossTests(WithCore):
    async def test_nobody_is_there(self) -> None:
        """The port is closed."""
        port = reactor.listenTCP(0, Listener(silent), interface='127.0.0.1')
        nobody = Origin('http', '127.0.0.1', port.getHost().port)
        await port.stopListening()
        client = self.core()
        error = await self.failed(client.send(HttpRequest('POST', nobody, body=b'{}')), ConnectRefused)
        self.assertEqual((str(error), error.reached_peer), ('nobody listens at the address', False))
        self.clean(client)

    async def test_no_answer_at_all(self) -> None:
        """A new connection that ends without a response: the peer may have processed the request."""
        for end in (Talk.close, rst):
            for method in ('GET', 'POST'):
                peer = self.listen(end)
                client = self.core()
                error = await self.failed(client.send(self.call(peer, method)), PeerReset)
                self.assertEqual((error.response_started, error.reached_peer, len(peer.talks)), (False, True, 1))
                self.clean(client)

    async def test_lost_while_the_request_goes_out(self) -> None:
        """The connection is lost in the middle of a body that exceeds the buffers."""
        for end in (Talk.close, rst):
            peer = self.listen(end)
            client = self.core()
            error = await self.failed(client.send(self.call(peer, 'POST', body=bytes(20_000_000))), PeerReset)
            self.assertTrue(error.reached_peer)
            self.clean(client)

    async def test_an_answer_before_the_request_was_heard(self) -> None:
        """A response to a request that the peer stopped reading is returned, and the connection is closed."""
        refusal = b'HTTP/1.1 413 Too Long\r\nContent-Length: 3\r\n\r\nno!'
        ends: list[Callable[[Talk], object]] = [lambda talk: None, Talk.close, Talk.freeze]
        for end in ends:
            peer = self.listen(silent)
            client = self.core()
            sending = client.send(self.call(peer, 'POST', body=bytes(20_000_000)))
            await self.until(lambda peer=peer: peer.talks and peer.talk.heard)  # type: ignore[misc]
            peer.talk.freeze()
            peer.talk.say(refusal)
            end(peer.talk)
            answer = await sending
            self.assertEqual((answer.status, answer.body), (413, b'no!'))
            self.clean(client)


    async def test_an_answer_of_one_who_has_left(self) -> None:
        """A response is read even if writing the next piece of the body fails: the end of the connection comes after
        it."""
        gate: Deferred[bytes] = Deferred()

        async def pieces() -> AsyncIterator[bytes]:
            yield b'one'
            yield await gate

        peer = self.listen(silent)
        client = self.core()
        sending = client.send(self.call(peer, 'POST', body=IteratorBody(pieces())))
        await self.until(lambda: peer.talks and peer.talk.heard.endswith(b'one\r\n'))
        [call] = client._environment.timeout_sweeper._watched
        transport = call.connection.transport  # type: ignore[attr-defined]  # a Call
        transport.pauseProducing()  # the reactor does not come to it before the write
        peer.talk.say(b'HTTP/1.1 413 Too Long\r\nContent-Length: 3\r\n\r\nno!')
        peer.talk.close()
        await self.until(lambda: peer.talk.over)
        transport.socket.send(b'1\r\nx\r\n')  # is answered by a reset, which the next one meets
        await pause(0.01)
        gate.callback(b'two')
        await pause(0.01)
        transport.resumeProducing()
        answer = await sending
        self.assertEqual((answer.status, answer.body), (413, b'no!'))
        self.clean(client)


class StaleTests(WithCore):
    """A reused connection turns out to be closed."""

    async def used(self, client: HttpClient) -> Listener:
        """Return a peer with one idle connection. The next request closes it without a response; later ones are
        answered."""
        peer = self.listen(answers())
        await client.send(self.call(peer))
        first = peer.talk

        def hear(talk: Talk) -> None:
            if talk is first:
                rst(talk)
            else:
                talk.say(b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')

        peer.hears = hear
        return peer

    async def test_what_may_be_done_twice(self) -> None:
        """An idempotent request is sent again on a new connection, invisibly for the caller."""
        for method, more in (('GET', {}), ('HEAD', {}), ('PUT', {'body': b'x'}), ('DELETE', {}), ('OPTIONS', {}),
                             ('POST', {'idempotent': True, 'body': b'y'})):
            client = self.core(max_connections=1)
            peer = await self.used(client)
            answer = await client.send(self.call(peer, method, **more))
            self.assertEqual((answer.status, len(peer.talks)), (200, 2), method)
            self.clean(client, idle=1)

    async def test_what_may_not(self) -> None:
        """Another request is not repeated: the peer may have processed it."""
        for method in ('POST', 'PATCH', 'LOCK'):
            client = self.core(max_connections=1)
            peer = await self.used(client)
            error = await self.failed(client.send(self.call(peer, method)), PeerReset)
            self.assertEqual((error.reached_peer, error.response_started, len(peer.talks)), (True, False, 1))
            self.clean(client)

    async def test_not_again_and_again(self) -> None:
        """A request is repeated once only: the new connection was not idle."""
        client = self.core(max_connections=1)
        peer = await self.used(client)
        peer.hears = rst
        await self.failed(client.send(self.call(peer)), PeerReset)
        self.assertEqual(len(peer.talks), 2)
        self.clean(client)

    async def test_not_after_a_byte_of_the_answer(self) -> None:
        """A request is not repeated after a byte of the response."""
        client = self.core(max_connections=1)
        peer = await self.used(client)

        def hear(talk: Talk) -> None:
            talk.say(b'H')
            talk.close()

        peer.hears = hear
        self.assertTrue((await self.failed(client.send(self.call(peer)), PeerReset)).response_started)
        self.assertEqual(len(peer.talks), 1)
        self.clean(client)

    async def test_a_peer_that_has_closed(self) -> None:
        """A closed idle connection is noticed before sending, even before the reactor notices: a POST uses a new
        one."""
        client = self.core(max_connections=2)
        peer = self.listen(answers())
        await client.send(self.call(peer))
        [connection] = next(iter(client._pools.values()))._idle
        connection.transport.pauseProducing()  # the reactor does not come to it
        connection.idle_since -= 5
        peer.talk.close()
        await self.until(lambda: peer.talks[0].over)
        await client.send(self.call(peer, 'POST'))
        self.assertEqual((len(peer.talks), peer.talks[0].asked), (2, 1))
        self.clean(client, idle=1)

    async def test_a_peer_that_is_there(self) -> None:
        """An idle connection is checked after a second, and reused."""
        client = self.core()
        peer = self.listen(answers())
        await client.send(self.call(peer))
        [connection] = next(iter(client._pools.values()))._idle
        connection.idle_since -= 5
        await client.send(self.call(peer, 'POST'))
        self.assertEqual(len(peer.talks), 1)
        self.clean(client, idle=1)

    async def test_the_socket_does_not_take_it(self) -> None:
        """If a reset is pending when the request is written, nothing was sent, and pending data of the peer is
        ignored."""
        client = self.core(max_connections=1)
        peer = self.listen(answers())
        await client.send(self.call(peer))
        [connection] = next(iter(client._pools.values()))._idle
        connection.transport.pauseProducing()  # the reactor does not come to it
        peer.talk.say(b'HTTP/1.1 408 Late\r\nContent-Length: 0\r\n\r\n')
        await pause(0.01)
        rst(peer.talk)
        await pause(0.01)
        sending = client.send(self.call(peer, 'POST'))
        await pause(0.01)
        connection.transport.resumeProducing()
        self.assertEqual((await sending).status, 200)
        self.assertEqual(([talk.asked for talk in peer.talks]), [1, 1])
        self.clean(client, idle=1)

    async def test_closed_in_the_same_turn(self) -> None:
        """If the connection's end is read before the request is sent, a POST is sent on another connection."""
        client = self.core(max_connections=1)
        peer = self.listen(answers())
        await client.send(self.call(peer))
        [connection] = next(iter(client._pools.values()))._idle
        sending = client.send(self.call(peer, 'POST'))
        connection.transport.connectionLost(Failure(ConnectionDone()))
        self.assertEqual((await sending).body, b'ok')
        self.assertEqual(len(peer.talks), 2)
        self.clean(client, idle=1)

    async def test_all_of_them(self) -> None:
        """Of twenty calls on idle connections to a restarted peer none fails."""
        client = self.core(max_connections=20)
        peer = self.listen(answers())
        for sending in [client.send(self.call(peer)) for _ in range(20)]:
            await sending
        stale = list(peer.talks)
        peer.hears = lambda talk: rst(talk) if talk in stale else talk.say(OK)
        for sending in [client.send(self.call(peer)) for _ in range(20)]:
            self.assertEqual((await sending).body, b'ok')
        self.clean(client, idle=20)


class FrozenTests(WithCore):
    """A peer that freezes at each stage. `test_client_deadlines` checks the exact times."""

    async def frozen(self, said: bytes, timeouts: Timeouts, error: type[CallFailed], **more: Any) -> None:
        def hear(talk: Talk) -> None:
            talk.say(said)
            talk.freeze()

        peer = self.listen(hear)
        client = self.core(max_connections=1)
        sending = client.send(self.call(peer, timeouts=timeouts, **more))
        waiting = client.send(self.call(peer))
        self.assertEqual(client.waiting, 1)
        await self.failed(sending, error)
        await self.until(lambda: len(peer.talks) == 2)
        self.assertEqual((client.active, client.waiting), (1, 0))
        waiting.cancel()
        await self.assertFailure(waiting, CancelledError)
        self.clean(client)

    async def test_before_the_answer(self) -> None:
        """The peer freezes before its response; the slot goes to the next waiting call, as in the tests below."""
        await self.frozen(b'', Timeouts(first_byte_timeout=0.5), ResponseStartTimeout)

    async def test_in_the_head(self) -> None:
        """The peer freezes in the middle of the head."""
        await self.frozen(OK[:20], Timeouts(read_timeout=0.5), ResponseStallTimeout)

    async def test_in_the_body(self) -> None:
        """The peer freezes one byte before the end of the body."""
        await self.frozen(OK[:-1], Timeouts(read_timeout=0.5), ResponseStallTimeout)

    async def test_in_the_chunks(self) -> None:
        """The peer freezes before the last chunk."""
        data = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n'
        await self.frozen(data, Timeouts(read_timeout=0.5), ResponseStallTimeout)

    async def test_in_all(self) -> None:
        """The total timeout applies."""
        await self.frozen(OK[:-1], Timeouts(total_timeout=0.5), TotalTimeout)

    async def test_taking_the_request(self) -> None:
        """The peer stops reading a body that exceeds the buffers."""
        await self.frozen(
            b'', Timeouts(first_byte_timeout=0.5), ResponseStartTimeout, method='POST', body=bytes(20_000_000)
        )


class CancelTests(WithCore):
    async def test_at_every_stage(self) -> None:
        """Cancelling in any stage aborts the connection at once, frees its slot, and the peer sees the end."""
        for said in (b'', OK[:10], OK[:-1], b'HTTP/1.1 100 Continue\r\n\r\n', b'HTTP/1.1 200 OK\r\n\r\n1'):
            for body in (b'', bytes(20_000_000)):
                await self.cancel_at(said, body)

    async def cancel_at(self, said: bytes, body: bytes) -> None:
        peer = self.listen(silent)
        client = self.core(max_connections=1)
        sending = client.send(self.call(peer, 'POST', body=body))
        await self.until(lambda: peer.talks and peer.talk.heard)
        peer.talk.say(said)
        await pause(0.01)
        await self.cancelled(sending)
        self.clean(client)
        await self.until(lambda: peer.talk.over)

    async def test_before_it_is_sent(self) -> None:
        """Cancelling in the same reactor iteration sends nothing."""
        peer = self.listen(answers())
        client = self.core()
        await client.send(self.call(peer))
        await self.cancelled(client.send(self.call(peer, 'POST')))
        await self.until(lambda: peer.talk.over)
        self.assertNotIn(b'POST', peer.talk.heard)
        self.clean(client)

    async def test_while_it_connects(self) -> None:
        """Cancelling while connecting opens nothing."""
        peer = self.listen(silent)
        client = self.core()
        await self.cancelled(client.send(self.call(peer)))
        self.clean(client)
        await pause(0.05)
        self.assertEqual([talk for talk in peer.talks if not talk.over], [])

    async def cancelled(self, sending: Deferred[HttpResponse]) -> None:
        sending.cancel()
        await self.assertFailure(sending, CancelledError)
