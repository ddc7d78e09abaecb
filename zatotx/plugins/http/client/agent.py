"""The client as Twisted's IAgent, for treq and whatever else is written against `twisted.web.client.Agent`.

    treq.client.HTTPClient(Agent(sender)).get('http://crm.example.com/customers')

The only file here that imports twisted.web: import it where it is used. What ends differently than with Twisted's own
agent: a request that is cancelled fails with CancelledError at every stage, and errors that have no name there
(QueueTimeout, TlsFailed …) are ours. Those that have one carry ours as their `__cause__`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from twisted.internet import error as twisted_error
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.interfaces import IConsumer, IProtocol, IPushProducer, ITransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web._newclient import WrongBodyLength
from twisted.web.client import URI, RequestTransmissionFailed, ResponseDone, ResponseFailed, ResponseNeverReceived
from twisted.web.error import SchemeNotSupported
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IBodyProducer, IClientRequest, IResponse
from zope.interface import implementer

from zatotx.plugins.http.client.call import HttpRequest, HttpResponse, Origin, ResponseStream, Sender, Timeouts
from zatotx.plugins.http.client.errors import (
    BodyFailed,
    CallFailed,
    ConnectRefused,
    ConnectTimeout,
    FirstByteTimeout,
    NoSuchHost,
    NotReached,
    PeerReset,
    TotalTimeout,
)
from zatotx.plugins.http.client.response_body import HELD
from zatotx.wire.http1.request_writer import OWNED, VISIBLE

# What Twisted keeps to itself and does not show among an answer's headers.
_HOP_BY_HOP = OWNED | {b'proxy-connection', b'trailers'}
_SCHEMES = {b'http': 'http', b'https': 'https'}
_DEFAULT = Timeouts()


@implementer(IAgent)
class Agent:
    """Sends requests through `sender`, each with the same `timeouts`. Redirections and codings are treq's to follow and
    to inflate, so `sender` had better leave them alone: `MadeClient.bare`."""

    def __init__(self, sender: Sender, timeouts: Timeouts = _DEFAULT, *, redirected: bool = False) -> None:
        """`redirected`: it is for what other peers send us to, see Origin."""
        self._sender = sender
        self._timeouts = timeouts
        self._redirected = redirected

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[IResponse]:
        """See IAgent. Raises ValueError for what must not be sent, TypeError for a method that is no bytes. Fields that
        frame the request are left out of `headers`: they are the client's to write."""
        if not isinstance(method, bytes):
            raise TypeError(f'The method must be bytes, and is {type(method).__name__}')
        uri = uri.strip()
        if uri.translate(None, VISIBLE):  # urllib, which takes it apart, would leave out line ends and go on
            raise ValueError('The URI has a space or another character that must be percent-encoded')
        given = Headers() if headers is None else headers
        parts = URI.fromBytes(uri)
        scheme = _SCHEMES.get(parts.scheme)
        if scheme is None:
            return fail(SchemeNotSupported(f'Unsupported scheme: {parts.scheme!r}'))
        origin = Origin(scheme, parts.host.decode('ascii', 'replace').lower(), parts.port, self._redirected)
        outbound = HttpRequest(
            method.decode('ascii', 'replace'),
            origin,
            parts.originForm,
            _fields(given),
            None if bodyProducer is None else ProducerBody(bodyProducer),
            timeouts=self._timeouts,
            stream=True,
        )
        sending: Deferred[Any] = self._sender.send(outbound)
        return sending.addCallbacks(Response, _translated, (ResponseRequest(method, uri, given, origin.authority),))


@implementer(IClientRequest)
class ResponseRequest:
    """The request of a response, as it was sent."""

    def __init__(self, method: bytes, uri: bytes, given: Headers, host: bytes) -> None:
        self.method = method
        self.absoluteURI = uri
        self.headers = given.copy()
        if not given.hasHeader(b'host'):
            self.headers.addRawHeader(b'Host', host)


@implementer(IResponse)
class Response:
    """See IResponse. Its body is delivered once."""

    def __init__(self, answer: HttpResponse, request: ResponseRequest) -> None:
        head = answer.head
        self.version = (b'HTTP', *head.version)
        self.code = head.status
        self.phrase = head.reason
        self.headers = Headers()
        for name, value in head.raw_headers:
            key = name.lower()
            if key not in _HOP_BY_HOP or (key == b'content-length' and request.method == b'HEAD'):
                self.headers.addRawHeader(name, value)
        self.length = UNKNOWN_LENGTH if head.length is None else head.length
        self.request = request
        self.previousResponse: Any = None
        self._body = answer.body
        self._whole = head.length is not None or head.chunked
        self._delivered = False

    def deliverBody(self, protocol: IProtocol) -> None:
        """See IResponse. The protocol ends with ResponseDone, with PotentialDataLoss where only the end of the
        connection ended the body, or with ResponseFailed."""
        if self._delivered:
            raise RuntimeError('The body of a response is delivered to one protocol')
        self._delivered = True
        assert not isinstance(self._body, bytes)
        BodyDelivery(self, self._body, protocol, ResponseDone if self._whole else PotentialDataLoss).begin()

    def setPreviousResponse(self, response: IResponse) -> None:
        self.previousResponse = response


@implementer(ITransport, IPushProducer)
class BodyDelivery:
    """Hands a body to a protocol, for which it is the transport."""

    _log = Logger()
    disconnecting = False

    def __init__(self, response: Response, body: ResponseStream, protocol: Any, done: type[Exception]) -> None:
        self._response = response
        self._body = body
        self._protocol = protocol
        self._done = done
        self._paused = False
        self._pulling = False
        self._reading = False
        self._held = b''  # came while it was paused
        self._over = False

    def begin(self) -> None:
        """Hand over what is here, and go on as more comes."""
        self._protocol.makeConnection(self)
        self._pull()

    # The protocol's side.

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        held, self._held = self._held, b''
        if held:
            self._hand_over(held)
        self._pull()

    def stopProducing(self) -> None:
        self.loseConnection()

    def loseConnection(self) -> None:
        """Read no more: the protocol is told that the response failed."""
        self._body.close()
        self._paused, self._held = False, b''
        self._pull()

    abortConnection = loseConnection

    def write(self, data: bytes) -> None:
        """Nothing can be written to a response."""

    def writeSequence(self, data: Any) -> None:
        """Nothing can be written to a response."""

    def getPeer(self) -> Any:
        return None

    def getHost(self) -> Any:
        return None

    # The body's side.

    def _pull(self) -> None:
        """Read on. Not by recursion, where pieces are here already."""
        if self._pulling:
            return
        self._pulling = True
        while not (self._reading or self._paused or self._over):
            self._reading = True
            self._body.read().addCallbacks(self._arrived, self._failed)
        self._pulling = False

    def _arrived(self, piece: bytes) -> None:
        self._reading = False
        if not piece:
            self._end(Failure(self._done()))
        elif self._paused:
            self._held = piece
        else:
            self._hand_over(piece)
            self._pull()

    def _failed(self, failure: Failure) -> None:
        self._reading = False
        self._end(Failure(ResponseFailed([failure], self._response)))

    def _hand_over(self, piece: bytes) -> None:
        try:
            self._protocol.dataReceived(piece)
        except Exception:  # as Twisted has it: it ends this one response, with its traceback in the log
            self._log.failure('A protocol could not take the body of a response')
            self.loseConnection()

    def _end(self, reason: Failure) -> None:
        if not self._over:
            self._over = True
            self._protocol.connectionLost(reason)


def _fields(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [
        (name, value) for name, values in headers.getAllRawHeaders() if name.lower() not in OWNED for value in values
    ]


@implementer(IConsumer)
class ProducerBody:
    """A BodySource of an IBodyProducer, for which it is the consumer."""

    _log = Logger()
    repeatable = False

    def __init__(self, producer: Any) -> None:
        self._producer = producer
        self.length: int | None = None if producer.length == UNKNOWN_LENGTH else producer.length
        self._held: list[bytes] = []
        self._size = 0
        self._paused = False
        self._ended = False
        self._failure: Failure | None = None
        self._wake: Deferred[None] | None = None

    async def pieces(self) -> AsyncIterator[bytes]:
        """What the producer writes. Raises what it fails with, and WrongBodyLength."""
        sent = 0
        maybeDeferred(self._producer.startProducing, self).addCallbacks(self._finished, self._broke_off)
        try:
            while self._held or not self._ended:
                while self._held:
                    piece = self._take()
                    sent += len(piece)
                    if self.length is not None and sent > self.length:
                        raise WrongBodyLength('too many bytes written')
                    yield piece
                if not self._ended:
                    self._wake = Deferred()
                    await self._wake
            if self._failure is not None:
                self._failure.raiseException()
            if self.length is not None and sent < self.length:
                raise WrongBodyLength('too few bytes written')
        finally:
            self._stop()

    # The producer's side.

    def write(self, data: bytes) -> None:
        """See IConsumer."""
        if not data or self._ended:
            return
        self._held.append(data)
        self._size += len(data)
        if self._size >= HELD and not self._paused:
            self._paused = True
            self._producer.pauseProducing()
        self._go_on()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """The producer is known."""

    def unregisterProducer(self) -> None:
        """Its Deferred says when it is done."""

    def _take(self) -> bytes:
        data = b''.join(self._held)
        self._held.clear()
        self._size = 0
        if self._paused:
            self._paused = False
            self._producer.resumeProducing()
        return data

    def _finished(self, result: object) -> None:
        self._ended = True
        self._go_on()

    def _broke_off(self, failure: Failure) -> None:
        self._failure = failure
        self._finished(None)

    def _go_on(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None and not wake.called:
            wake.callback(None)

    def _stop(self) -> None:
        if self._ended:
            return
        self._ended = True
        try:
            self._producer.stopProducing()
        except Exception:  # the request is over, whatever its producer thinks of it
            self._log.failure('The producer of a request could not be stopped')


def _translated(failure: Failure) -> Failure:
    """The failure of a call as Twisted's agents have it."""
    error = failure.value
    if not isinstance(error, CallFailed):
        return failure
    known = _in_words_of_twisted(error, failure)
    if known is None:
        return failure
    known.__cause__ = error
    return Failure(known)


def _in_words_of_twisted(error: CallFailed, failure: Failure) -> Exception | None:
    cause = failure if error.__cause__ is None else Failure(error.__cause__)
    if isinstance(error, ConnectRefused):
        return twisted_error.ConnectionRefusedError(string=error.detail)
    if isinstance(error, ConnectTimeout):
        return twisted_error.TimeoutError(string=error.detail)
    if isinstance(error, NoSuchHost):
        return twisted_error.DNSLookupError(error.detail)
    if isinstance(error, NotReached):
        return None
    if isinstance(error, BodyFailed):
        return RequestTransmissionFailed([cause])
    if isinstance(error, FirstByteTimeout | TotalTimeout) or (isinstance(error, PeerReset) and not error.begun):
        return ResponseNeverReceived([cause])
    return ResponseFailed([cause])
