"""The client as Twisted's IAgent: alone, with Twisted's tools, and with treq. Uses sockets."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from typing import Any

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionRefusedError, DNSLookupError, TimeoutError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web._newclient import WrongBodyLength
from twisted.web.client import (
    FileBodyProducer,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
    ResponseNeverReceived,
    readBody,
)
from twisted.web.error import SchemeNotSupported
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IBodyProducer, IClientRequest, IResponse
from zope.interface import implementer
from zope.interface.verify import verifyObject

from zatotx.plugins.http.client.agent_adapter import Agent
from zatotx.plugins.http.client.errors import (
    BadResponse,
    ConnectRefused,
    ConnectTimeout,
    NoSuchHost,
    ResponseStartTimeout,
    TlsFailed,
    TotalTimeout,
)
from zatotx.plugins.http.client.http_messages import Timeouts
from zatotx.plugins.http.test.memory_connections import Memory
from zatotx.plugins.http.test.scripted_peers import OK, Listener, Talk, WithCore, answers, pause, silent

CHUNKED = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'


class Taker(Protocol):
    """A protocol that collects a body."""

    transport: Any

    def __init__(self, takes: Callable[[Taker], object] = lambda taker: None) -> None:
        self.pieces: list[bytes] = []
        self.done: Deferred[list[Failure]] = Deferred()
        self._takes = takes

    def dataReceived(self, data: bytes) -> None:
        self.pieces.append(data)
        self._takes(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.done.callback([reason])  # a Failure alone would be an errback

    async def reason(self) -> Any:
        [reason] = await self.done
        return reason.value


@implementer(IBodyProducer)
class Producer:
    """A producer that writes when a test says so."""

    def __init__(self, length: Any = UNKNOWN_LENGTH) -> None:
        self.length = length
        self.consumer: Any = None
        self.done: Deferred[None] = Deferred()
        self.calls: list[str] = []

    def startProducing(self, consumer: Any) -> Deferred[None]:
        self.consumer = consumer
        return self.done

    def pauseProducing(self) -> None:
        self.calls.append('pause')

    def resumeProducing(self) -> None:
        self.calls.append('resume')

    def stopProducing(self) -> None:
        self.calls.append('stop')


class WithAgent(WithCore):
    def agent(self, **timeouts: float) -> Agent:
        self.client = self.core()
        return Agent(self.client, Timeouts(**timeouts))

    def url(self, peer: Listener, path: str = '/') -> bytes:
        return b'http://127.0.0.1:%d%b' % (peer.port, path.encode())

    async def response(self, said: bytes, method: bytes = b'GET') -> tuple[Any, Listener]:
        peer = self.listen(answers(said))
        return await self.agent().request(method, self.url(peer)), peer


class ResponseTests(WithAgent):
    async def test_interfaces(self) -> None:
        """Agent, response and its request provide their interfaces."""
        response, peer = await self.response(OK)
        verifyObject(IAgent, self.agent())
        verifyObject(IResponse, response)
        verifyObject(IClientRequest, response.request)
        self.assertEqual((response.request.method, response.request.absoluteURI), (b'GET', self.url(peer)))

    async def test_as_values(self) -> None:
        """As in Twisted, framing fields are not among the headers."""
        response, _ = await self.response(
            b'HTTP/1.1 404 Not Here\r\nContent-Length: 2\r\nX-A: b\r\nX-A: c\r\nConnection: keep-alive\r\n\r\nok')
        self.assertEqual((response.version, response.code, response.phrase), ((b'HTTP', 1, 1), 404, b'Not Here'))
        self.assertEqual(dict(response.headers.getAllRawHeaders()), {b'X-A': [b'b', b'c']})
        self.assertEqual((response.length, response.previousResponse), (2, None))
        response.setPreviousResponse(response)
        self.assertIs(response.previousResponse, response)

    async def test_lengths(self) -> None:
        """The length is a number if known; responses to HEAD have none, and keep Content-Length as a field."""
        response, peer = await self.response(CHUNKED)
        self.assertEqual(response.length, UNKNOWN_LENGTH)
        peer.talk.close()
        response, _ = await self.response(b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n', b'HEAD')
        self.assertEqual((response.length, response.headers.getRawHeaders('content-length')), (0, ['9']))

    async def test_a_body_that_is_here(self) -> None:
        """A body that is already received is delivered at once, with ResponseDone."""
        response, _ = await self.response(OK)
        taker = Taker()
        response.deliverBody(taker)
        self.assertTrue(taker.done.called)
        self.assertIsInstance(await taker.reason(), ResponseDone)
        self.assertEqual(taker.pieces, [b'ok'])
        self.assertRaises(RuntimeError, response.deliverBody, Taker())
        self.clean(self.client, idle=1)

    async def test_a_body_that_comes(self) -> None:
        """A body is delivered piece by piece."""
        response, peer = await self.response(CHUNKED)
        taker = Taker()
        response.deliverBody(taker)
        for n, piece in enumerate((b'one', b'two')):
            peer.talk.say(b'3\r\n%b\r\n' % piece)
            await self.until(lambda n=n: len(taker.pieces) == n + 1)  # type: ignore[misc]
        peer.talk.say(b'0\r\n\r\n')
        self.assertIsInstance(await taker.reason(), ResponseDone)
        self.assertEqual(taker.pieces, [b'one', b'two'])

    async def test_until_the_end(self) -> None:
        """If only the end of the connection ends a body, its end is PotentialDataLoss."""
        response, peer = await self.response(b'HTTP/1.1 200 OK\r\n\r\nall')
        taker = Taker()
        response.deliverBody(taker)
        peer.talk.close()
        self.assertIsInstance(await taker.reason(), PotentialDataLoss)
        self.assertEqual(taker.pieces, [b'all'])

    async def test_a_body_that_breaks_off(self) -> None:
        """An incomplete body ends with ResponseFailed, with the reasons and the response."""
        for said, error in ((b'', ConnectionDone), (b'nonsense\r\n', BadResponse)):
            response, peer = await self.response(CHUNKED + b'3\r\none\r\n')
            taker = Taker()
            response.deliverBody(taker)
            peer.talk.say(said)
            peer.talk.close()
            failed = await taker.reason()
            self.assertIsInstance(failed, ResponseFailed)
            self.assertIs(failed.response, response)
            reason = failed.reasons[0].value
            self.assertIsInstance(reason.__cause__ if error is ConnectionDone else reason, error)
            self.clean(self.client)

    async def test_pausing(self) -> None:
        """A paused protocol gets no data until it resumes."""
        response, peer = await self.response(CHUNKED)
        taker = Taker(lambda taker: taker.transport.pauseProducing())
        response.deliverBody(taker)
        peer.talk.say(b'3\r\none\r\n')
        await self.until(lambda: taker.pieces)
        peer.talk.say(b'3\r\ntwo\r\n0\r\n\r\n')
        await pause(0.02)
        self.assertEqual((taker.pieces, taker.done.called), ([b'one'], False))
        taker.transport.resumeProducing()
        self.assertEqual(taker.pieces, [b'one', b'two'])
        taker.transport.resumeProducing()
        self.assertIsInstance(await taker.reason(), ResponseDone)

    async def test_pausing_while_a_piece_is_awaited(self) -> None:
        """A piece that arrives during a pause is buffered."""
        response, peer = await self.response(CHUNKED)
        taker = Taker()
        response.deliverBody(taker)
        taker.transport.pauseProducing()
        peer.talk.say(b'3\r\none\r\n0\r\n\r\n')
        await pause(0.02)
        self.assertEqual(taker.pieces, [])
        taker.transport.resumeProducing()
        self.assertEqual(taker.pieces, [b'one'])
        self.assertIsInstance(await taker.reason(), ResponseDone)

    async def test_leaving(self) -> None:
        """A protocol that loses its connection gets ResponseFailed, and the connection is aborted, paused or not."""
        for paused in (False, True):
            for how in ('loseConnection', 'stopProducing', 'abortConnection'):
                response, peer = await self.response(CHUNKED + b'3\r\none\r\n')
                taker = Taker()
                response.deliverBody(taker)
                if paused:
                    taker.transport.pauseProducing()
                getattr(taker.transport, how)()
                self.assertIsInstance(await taker.reason(), ResponseFailed)
                await self.until(lambda peer=peer: peer.talk.over)  # type: ignore[misc]
                self.clean(self.client)

    async def test_a_protocol_that_raises(self) -> None:
        """A protocol that raises ends, and its error is logged."""
        response, _ = await self.response(CHUNKED + b'3\r\none\r\n')
        taker = Taker(lambda taker: 1 / 0)
        response.deliverBody(taker)
        self.assertIsInstance(await taker.reason(), ResponseFailed)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_a_body_in_a_thousand_pieces(self) -> None:
        """A body of a thousand available pieces causes no recursion."""
        response, peer = await self.response(CHUNKED)
        taker = Taker()
        response.deliverBody(taker)
        for _ in range(3000):
            self.assertFalse(taker.done.called)
            peer.talk.say(b'1\r\nx\r\n')
        peer.talk.say(b'0\r\n\r\n')
        self.assertIsInstance(await taker.reason(), ResponseDone)
        self.assertEqual(b''.join(taker.pieces), b'x' * 3000)

    async def test_read_body(self) -> None:
        """readBody of Twisted collects a body; cancelling it aborts the connection."""
        response, _ = await self.response(OK)
        self.assertEqual(await readBody(response), b'ok')
        response, peer = await self.response(CHUNKED)
        reading = readBody(response)
        reading.cancel()
        await self.assertFailure(reading, CancelledError, ResponseFailed)
        await self.until(lambda: peer.talk.over)


class RequestTests(WithAgent):
    async def heard(self, *args: Any, uri: str = '/') -> bytes:
        peer = self.listen(lambda talk: talk.say(OK) if talk.heard.endswith((b'\r\n\r\n', b'END')) else None)
        method, *more = args
        response = await self.agent().request(method, self.url(peer, uri), *more)
        await readBody(response)
        return bytes(peer.talk.heard.replace(b'127.0.0.1:%d' % peer.port, b'HOST'))

    async def test_heads(self) -> None:
        """Path, query and headers are sent as given; the fragment is not, and framing fields are the client's."""
        headers = Headers({'X-A': ['b', 'c'], 'Content-Length': ['99'], 'Connection': ['close']})
        heard = await self.heard(b'GET', headers, uri='/a%20b;c?d=e#f')
        self.assertEqual(heard, b'GET /a%20b;c?d=e HTTP/1.1\r\nHost: HOST\r\nX-A: b\r\nX-A: c\r\n\r\n')
        heard = await self.heard(b'POST', Headers({'Host': ['other']}), uri='')
        self.assertEqual(heard, b'POST / HTTP/1.1\r\nHost: other\r\nContent-Length: 0\r\n\r\n')

    async def test_bodies(self) -> None:
        """Bodies of known and unknown length may be written at once or in pieces."""
        heard = await self.heard(b'POST', None, FileBodyProducer(BytesIO(b'some END')))
        self.assertTrue(heard.endswith(b'\r\nContent-Length: 8\r\n\r\nsome END'))
        producer = Producer()
        peer = self.listen(lambda talk: talk.say(OK) if talk.heard.endswith(b'0\r\n\r\n') else None)
        sending = self.agent().request(b'POST', self.url(peer), None, producer)
        await self.until(lambda: producer.consumer)
        for piece in (b'one', b'', b'two'):
            producer.consumer.write(piece)
            await pause(0.01)
        producer.done.callback(None)
        await sending
        self.assertTrue(peer.talk.heard.endswith(b'\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n'))
        self.assertEqual(producer.calls, [])
        self.clean(self.client, idle=1)

    async def test_a_slow_peer(self) -> None:
        """A slow peer pauses and resumes the producer."""
        producer = Producer()
        peer = self.listen(lambda talk: talk.say(OK) if talk.heard.endswith(b'0\r\n\r\n') else None)
        sending = self.agent().request(b'POST', self.url(peer), None, producer)
        await self.until(lambda: peer.talks and peer.talk.heard)
        peer.talk.freeze()
        for _ in range(200):
            producer.consumer.write(bytes(100_000))
            await pause(0)
        await self.until(lambda: producer.calls and producer.calls[-1] == 'pause')
        peer.talk.transport.resumeProducing()
        await self.until(lambda: producer.calls[-1] == 'resume')
        producer.done.callback(None)
        await sending
        self.assertGreater(len(peer.talk.heard), 20_000_000)

    async def test_another_length_than_said(self) -> None:
        """A wrong length fails with RequestTransmissionFailed and WrongBodyLength; a producer that writes too much is
        stopped."""
        for piece, calls in ((b'12345', ['stop']), (b'123', [])):
            producer = Producer(4)
            peer = self.listen(silent)
            sending: Deferred[Any] = self.agent().request(b'POST', self.url(peer), None, producer)
            await self.until(lambda producer=producer: producer.consumer)  # type: ignore[misc]
            producer.consumer.write(piece)
            if not calls:
                producer.done.callback(None)
            error: Any = await self.assertFailure(sending, RequestTransmissionFailed)
            error.reasons[0].trap(WrongBodyLength)
            self.assertEqual(producer.calls, calls)
            self.clean(self.client)

    async def test_a_producer_that_fails(self) -> None:
        """A failing producer causes RequestTransmissionFailed with its reason."""
        for begin in ('fails', 'raises'):
            producer = Producer()
            peer = self.listen(silent)
            if begin == 'fails':
                producer.done.errback(ZeroDivisionError())
            else:
                producer.startProducing = lambda consumer: 1 / 0  # type: ignore[assignment, method-assign, return-value]
            error: Any = await self.assertFailure(
                self.agent().request(b'POST', self.url(peer), None, producer), RequestTransmissionFailed)
            error.reasons[0].trap(ZeroDivisionError)
            self.clean(self.client)

    async def test_an_answer_before_the_end(self) -> None:
        """An error response before the end of the body stops the producer."""
        producer = Producer()
        peer = self.listen(answers(b'HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n'))
        response = await self.agent().request(b'POST', self.url(peer), None, producer)
        self.assertEqual((response.code, producer.calls), (403, ['stop']))
        self.clean(self.client)

    async def test_cancelling(self) -> None:
        """A cancelled request fails with CancelledError; the producer is stopped, the connection aborted."""
        producer = Producer()
        peer = self.listen(silent)
        sending = self.agent().request(b'POST', self.url(peer), None, producer)
        await self.until(lambda: peer.talks and peer.talk.heard)
        sending.cancel()
        await self.assertFailure(sending, CancelledError)
        self.assertEqual(producer.calls, ['stop'])
        await self.until(lambda: peer.talk.over)
        self.clean(self.client)

    async def test_what_cannot_be_asked_for(self) -> None:
        """Unsupported schemes fail, invalid requests raise."""
        agent = self.agent()
        await self.assertFailure(agent.request(b'GET', b'ftp://a/'), SchemeNotSupported)
        for method, uri in ((b'G T', b'http://a/'), (b'G\xc3T', b'http://a/'), (b'GET', b'http://a b/'),
                            (b'GET', b'http://a/b c'), (b'GET', b'http://u:p@a/'), (b'GET', b'http:///'),
                            (b'GET', b'http://a\r\nb/'), (b'GET', b'http://\xc3\xa4/')):
            self.assertRaises(ValueError, agent.request, method, uri)


class ErrorTests(WithAgent):
    async def test_no_connection(self) -> None:
        """Connect errors are Twisted's where it has them, with ours as cause; otherwise ours."""
        for ours, theirs in ((ConnectRefused('x'), ConnectionRefusedError), (ConnectTimeout('x'), TimeoutError),
                             (NoSuchHost('x'), DNSLookupError), (TlsFailed('x'), TlsFailed)):
            agent = Agent(Memory(ours).client)
            got = self.failureResultOf(agent.request(b'GET', b'http://peer.example/'), theirs).value
            self.assertIs(got if theirs is TlsFailed else got.__cause__, ours)

    async def test_no_answer(self) -> None:
        """A call without a response fails with ResponseNeverReceived, an incomplete one with ResponseFailed; with
        reasons."""
        def close(talk: Talk) -> None:
            talk.close()

        for hears, error, reason in (
            (close, ResponseNeverReceived, ConnectionDone), (answers(b'nonsense'), ResponseFailed, BadResponse),
            (silent, ResponseNeverReceived, ResponseStartTimeout),
        ):
            peer = self.listen(hears)
            sending: Deferred[Any] = self.agent(first_byte_timeout=1).request(b'GET', self.url(peer))
            got: Any = await self.assertFailure(sending, error)
            got.reasons[0].trap(reason)
            self.clean(self.client)
        sending = self.agent(total_timeout=0.1).request(b'GET', self.url(self.listen(silent)))
        got = await self.assertFailure(sending, ResponseNeverReceived)
        got.reasons[0].trap(TotalTimeout)


class TreqTests(WithAgent):
    """treq on the client: cookies, redirects, content codings, collecting."""

    async def test_get_and_post(self) -> None:
        """JSON and text, parameters, forms and files are sent and received."""
        def hear(talk: Talk) -> None:
            head, end, body = talk.heard.partition(b'\r\n\r\n')
            length = next((int(line[16:]) for line in head.split(b'\r\n') if line.startswith(b'Content-Length: ')), 0)
            if end and len(body) == length:
                talk.heard = b''
                echo = json.dumps({'line': head.split(b'\r\n')[0].decode(), 'body': body.decode()}).encode()
                talk.say(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b' % (
                    len(echo), echo))

        peer = self.listen(hear)
        treq = HTTPClient(Agent(self.core()))
        url = self.url(peer).decode()
        response = await treq.get(url, params={'a': 'b c'})
        self.assertEqual(await response.json(), {'line': 'GET /?a=b+c HTTP/1.1', 'body': ''})
        response = await treq.post(url, json={'x': 1})
        self.assertEqual(await response.json(), {'line': 'POST / HTTP/1.1', 'body': '{"x":1}'})
        response = await treq.put(url, data={'x': '1'})
        self.assertEqual((await response.json())['body'], 'x=1')
        response = await treq.post(url, files={'f': ('name', BytesIO(b'content'))})  # type: ignore[arg-type]
        self.assertIn('content', (await response.json())['body'])
        self.assertIn('GET', await (await treq.get(url)).text())
        self.assertEqual(len(peer.talks), 1)

    async def test_redirections_and_cookies(self) -> None:
        """Redirects are followed and cookies kept as with Twisted's own agent."""
        def hear(talk: Talk) -> None:
            if not talk.heard.endswith(b'\r\n\r\n'):
                return
            if talk.asked == 1:
                talk.say(b'HTTP/1.1 302 Found\r\nLocation: /next\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n')
            else:
                talk.say(OK)

        peer = self.listen(hear)
        response = await HTTPClient(Agent(self.core())).get(self.url(peer).decode())
        self.assertEqual((await response.content(), len(response.history())), (b'ok', 1))
        self.assertIn(b'GET /next HTTP/1.1\r\n', peer.talk.heard)
        self.assertIn(b'cookie: a=b', peer.talk.heard.lower())

    async def test_unbuffered(self) -> None:
        """An unbuffered response is collected while it arrives."""
        peer = self.listen(answers(CHUNKED + b'3\r\none\r\n'))
        response = await HTTPClient(Agent(self.core())).get(self.url(peer).decode(), unbuffered=True)
        pieces: list[bytes] = []
        collecting = response.collect(pieces.append)
        self.assertEqual(pieces, [b'one'])
        peer.talk.say(b'3\r\ntwo\r\n0\r\n\r\n')
        await collecting
        self.assertEqual(pieces, [b'one', b'two'])

    async def test_a_timeout(self) -> None:
        """treq's timeout cancels the request."""
        peer = self.listen(silent)
        client = self.core()
        sending: Deferred[Any] = HTTPClient(Agent(client)).get(self.url(peer).decode(), timeout=0.1)
        await self.assertFailure(sending, CancelledError)
        self.clean(client)


