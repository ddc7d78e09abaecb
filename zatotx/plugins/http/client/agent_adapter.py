"""Adapts the HTTP client to Twisted's IAgent, for treq and other code written for `twisted.web.client.Agent`.

    treq.client.HTTPClient(Agent(sender)).get('http://crm.example.com/customers')

Only this file of the package imports twisted.web: import it only where it is used. Differences from Twisted's Agent: a
cancelled request always fails with CancelledError, and errors that twisted.web has no exception for (QueueTimeout,
TlsFailed …) are those of `errors`. The others have the original as their `__cause__`.
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

from zatotx.plugins.http.client.errors import (
    CallFailed,
    ConnectRefused,
    ConnectTimeout,
    NoSuchHost,
    NotReached,
    PeerReset,
    RequestBodyFailed,
    ResponseStartTimeout,
    TotalTimeout,
)
from zatotx.plugins.http.client.http_messages import BodyStream, HttpRequest, HttpResponse, Origin, Sender, Timeouts
from zatotx.plugins.http.client.response_reader import MAX_BUFFERED
from zatotx.wire.http1.request_writer import RESERVED_FIELDS, TARGET_CHARACTERS

# Fields that Twisted consumes and does not show among a response's headers.
_HOP_BY_HOP = RESERVED_FIELDS | {b'proxy-connection', b'trailers'}
_SCHEMES = {b'http': 'http', b'https': 'https'}
_DEFAULT = Timeouts()


@implementer(IAgent)
class Agent:
    """Implements IAgent. All requests are sent through `sender`, with the same `timeouts`. treq itself follows
    redirects and decodes content codings, so `sender` must do neither; pass `BuiltClient.bare`."""

    def __init__(self, sender: Sender, timeouts: Timeouts = _DEFAULT, *, redirected: bool = False) -> None:
        """`redirected`: for requests to locations that other peers redirect to, see Origin."""
        self._sender = sender
        self._timeouts = timeouts
        self._redirected = redirected

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[IResponse]:
        """See IAgent. Raises ValueError for a request that must not be sent, TypeError for a method that is not bytes.
        Framing fields in `headers` are ignored: the client writes them."""
        if not isinstance(method, bytes):
            raise TypeError(f'The method must be bytes, and is {type(method).__name__}')
        uri = uri.strip()
        if uri.translate(None, TARGET_CHARACTERS):  # urllib, which parses it, would silently drop line ends
            raise ValueError('The URI has a space or another character that must be percent-encoded')
        request_headers = Headers() if headers is None else headers
        parts = URI.fromBytes(uri)
        scheme = _SCHEMES.get(parts.scheme)
        if scheme is None:
            return fail(SchemeNotSupported(f'Unsupported scheme: {parts.scheme!r}'))
        origin = Origin(scheme, parts.host.decode('ascii', 'replace').lower(), parts.port, self._redirected)
        request = HttpRequest(
            method.decode('ascii', 'replace'),
            origin,
            parts.originForm,
            _header_fields(request_headers),
            None if bodyProducer is None else ProducerBody(bodyProducer),
            timeouts=self._timeouts,
            is_streamed=True,
        )
        sending: Deferred[Any] = self._sender.send(request)
        sent = AgentRequest(method, uri, request_headers, origin.authority)
        return sending.addCallbacks(AgentResponse, _translate_failure, (sent,))


@implementer(IClientRequest)
class AgentRequest:
    """The request, as it was sent, to which an AgentResponse belongs."""

    def __init__(self, method: bytes, uri: bytes, headers: Headers, host: bytes) -> None:
        self.method = method
        self.absoluteURI = uri
        self.headers = headers.copy()
        if not headers.hasHeader(b'host'):
            self.headers.addRawHeader(b'Host', host)


@implementer(IResponse)
class AgentResponse:
    """Implements Twisted's IResponse. The body can be delivered only once."""

    def __init__(self, response: HttpResponse, request: AgentRequest) -> None:
        head = response.head
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
        self._body = response.body
        self._has_length = head.length is not None or head.chunked
        self._delivered = False

    def deliverBody(self, protocol: IProtocol) -> None:
        """See IResponse. The protocol's connectionLost gets ResponseDone, PotentialDataLoss if only the end of the
        connection marked the end of the body, or ResponseFailed."""
        if self._delivered:
            raise RuntimeError('The body of a response is delivered to one protocol')
        self._delivered = True
        assert not isinstance(self._body, bytes)
        BodyDelivery(self, self._body, protocol, ResponseDone if self._has_length else PotentialDataLoss).start()

    def setPreviousResponse(self, response: IResponse) -> None:
        self.previousResponse = response


@implementer(ITransport, IPushProducer)
class BodyDelivery:
    """Delivers a response body to a protocol, and acts as the protocol's transport."""

    _log = Logger()
    disconnecting = False

    def __init__(self, response: AgentResponse, body: BodyStream, protocol: IProtocol, done: type[Exception]) -> None:
        self._response = response
        self._body = body
        self._protocol = protocol
        self._done = done
        self._paused = False
        self._pulling = False
        self._reading = False
        self._buffered = b''  # received while paused
        self._finished = False

    def start(self) -> None:
        """Deliver what is buffered, and continue as more arrives."""
        self._protocol.makeConnection(self)
        self._pull()

    # Called by the protocol.

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        buffered, self._buffered = self._buffered, b''
        if buffered:
            self._deliver(buffered)
        self._pull()

    def stopProducing(self) -> None:
        self.loseConnection()

    def loseConnection(self) -> None:
        """Stop reading: the protocol's connectionLost gets ResponseFailed."""
        self._body.close()
        self._paused, self._buffered = False, b''
        self._pull()

    abortConnection = loseConnection

    def write(self, data: bytes) -> None:
        """Do nothing: a response is read only."""

    def writeSequence(self, data: Any) -> None:
        """Do nothing: a response is read only."""

    def getPeer(self) -> Any:
        return None

    def getHost(self) -> Any:
        return None

    # Reading the body.

    def _pull(self) -> None:
        """Read on. Loops instead of recursing when pieces are available at once."""
        if self._pulling:
            return
        self._pulling = True
        while not (self._reading or self._paused or self._finished):
            self._reading = True
            self._body.read().addCallbacks(self._deliver_piece, self._failed)
        self._pulling = False

    def _deliver_piece(self, piece: bytes) -> None:
        self._reading = False
        if not piece:
            self._end(Failure(self._done()))
        elif self._paused:
            self._buffered = piece
        else:
            self._deliver(piece)
            self._pull()

    def _failed(self, failure: Failure) -> None:
        self._reading = False
        self._end(Failure(ResponseFailed([failure], self._response)))

    def _deliver(self, piece: bytes) -> None:
        try:
            self._protocol.dataReceived(piece)
        except Exception:  # as in Twisted, an error ends only this response, with a traceback in the log
            self._log.failure('A protocol could not take the body of a response')
            self.loseConnection()

    def _end(self, reason: Failure) -> None:
        if not self._finished:
            self._finished = True
            self._protocol.connectionLost(reason)


def _header_fields(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [
        (name, value)
        for name, values in headers.getAllRawHeaders()
        if name.lower() not in RESERVED_FIELDS
        for value in values
    ]


@implementer(IConsumer)
class ProducerBody:
    """A BodySource that reads from an IBodyProducer."""

    _log = Logger()
    repeatable = False

    def __init__(self, producer: IBodyProducer) -> None:
        self._producer = producer
        self.length: int | None = None if producer.length == UNKNOWN_LENGTH else producer.length
        self._buffered: list[bytes] = []
        self._size = 0
        self._paused = False
        self._ended = False
        self._failure: Failure | None = None
        self._wake: Deferred[None] | None = None

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield what the producer writes. Raises the producer's error, and WrongBodyLength."""
        sent = 0
        maybeDeferred(self._producer.startProducing, self).addCallbacks(self._producer_finished, self._producer_failed)
        try:
            while self._buffered or not self._ended:
                while self._buffered:
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

    # Called by the producer.

    def write(self, data: bytes) -> None:
        """See IConsumer."""
        if not data or self._ended:
            return
        self._buffered.append(data)
        self._size += len(data)
        if self._size >= MAX_BUFFERED and not self._paused:
            self._paused = True
            self._producer.pauseProducing()
        self._wake_reader()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Do nothing: the producer is known."""

    def unregisterProducer(self) -> None:
        """Do nothing: the Deferred of startProducing tells when it is finished."""

    def _take(self) -> bytes:
        data = b''.join(self._buffered)
        self._buffered.clear()
        self._size = 0
        if self._paused:
            self._paused = False
            self._producer.resumeProducing()
        return data

    def _producer_finished(self, result: object) -> None:
        self._ended = True
        self._wake_reader()

    def _producer_failed(self, failure: Failure) -> None:
        self._failure = failure
        self._producer_finished(None)

    def _wake_reader(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None and not wake.called:
            wake.callback(None)

    def _stop(self) -> None:
        if self._ended:
            return
        self._ended = True
        try:
            self._producer.stopProducing()
        except Exception:  # the request is over, whatever its producer raises
            self._log.failure('The producer of a request could not be stopped')


def _translate_failure(failure: Failure) -> Failure:
    """Translate the failure of a call into that of Twisted's agents."""
    error = failure.value
    if not isinstance(error, CallFailed):
        return failure
    translated = _twisted_error(error, failure)
    if translated is None:
        return failure
    translated.__cause__ = error
    return Failure(translated)


def _twisted_error(error: CallFailed, failure: Failure) -> Exception | None:
    cause = failure if error.__cause__ is None else Failure(error.__cause__)
    if isinstance(error, ConnectRefused):
        return twisted_error.ConnectionRefusedError(string=error.detail)
    if isinstance(error, ConnectTimeout):
        return twisted_error.TimeoutError(string=error.detail)
    if isinstance(error, NoSuchHost):
        return twisted_error.DNSLookupError(error.detail)
    if isinstance(error, NotReached):
        return None
    if isinstance(error, RequestBodyFailed):
        return RequestTransmissionFailed([cause])
    if isinstance(error, ResponseStartTimeout | TotalTimeout) or (
        isinstance(error, PeerReset) and not error.response_started
    ):
        return ResponseNeverReceived([cause])
    return ResponseFailed([cause])
