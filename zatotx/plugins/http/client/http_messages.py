"""The data types of the HTTP client: requests, responses, timeouts, and interfaces of bodies and senders.

    client.send(HttpRequest('GET', Origin('http', 'crm.example.com', 80), b'/customers?id=1')).addCallback(…)

`Sender` sends requests: the Client, and its wrappers (redirects, content decoding, proxies). `Dial` opens connections
for the Client.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from math import inf
from typing import Protocol

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory

from zatotx.rules.http.redirects import parse_redirect_target
from zatotx.wire.http1.request_writer import HeaderFields
from zatotx.wire.http1.response_parser import ResponseHead

Fields = Sequence[tuple[bytes, bytes]]
_PORTS = {'http': 80, 'https': 443}


class Origin(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """The origin of a URL (RFC 9110 §4.3.1): scheme, host and port. `host` is lower-case ASCII, or an IPv6 address
    without brackets."""

    scheme: str  # 'http' or 'https'
    host: str
    port: int
    redirected: bool = False  # the target of a redirect to another origin than the call's

    @property
    def authority(self) -> bytes:
        """The value of the Host field: the port only if it is not the scheme's default."""
        host = f'[{self.host}]' if ':' in self.host else self.host
        return (host if self.port == _PORTS.get(self.scheme) else f'{host}:{self.port}').encode('ascii')


def split_url(url: str) -> tuple[Origin, bytes]:
    """Split a URL into its origin and its path with the query. Raises RedirectError, a ValueError, if it is not an http
    or https URL."""
    parsed = parse_redirect_target(url)
    return Origin('https' if parsed.secure else 'http', parsed.host, parsed.port), parsed.target.encode('ascii')


class BodySource(Protocol):
    """A request body that is produced while it is being sent, with backpressure from the peer."""

    @property
    def length(self) -> int | None:
        """Bytes of the body; None = not known: it is sent in chunks."""

    @property
    def repeatable(self) -> bool:
        """Whether `pieces` may be called again if the request has to be sent a second time."""

    def pieces(self) -> AsyncIterator[bytes]:
        """Return the body. An exception that it raises fails the call with RequestBodyFailed; it is closed (`aclose`)
        when the rest is not needed."""


class BodyStream(Protocol):
    """A response body that is read in pieces. Reading applies backpressure to the peer, and about 64 KiB are
    buffered."""

    @property
    def trailers(self) -> Fields:
        """The trailer fields as sent, available at the end of the body."""

    def read(self) -> Deferred[bytes]:
        """Return the next piece, never empty; b'' at the end. Fails with CallFailed, also on every later call. Only one
        read at a time. Cancelling it closes the stream."""

    def close(self) -> None:
        """Stop reading. If the body is not complete yet, its connection is closed."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...


class Timeouts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The timeouts of the stages of a call, in seconds from the start of the call. All calls of a connection share one
    object.

    A timeout fires at most 20 ms late; a response that begins after the timeout is discarded.
    """

    queue_timeout: float = 10.0  # waiting for a free slot in the pool: QueueTimeout
    connect_timeout: float = 10.0  # DNS, TCP, proxy and TLS together: ConnectTimeout
    first_byte_timeout: float = (
        30.0  # from the last progress of the request to the response's first byte: ResponseStartTimeout
    )
    read_timeout: float = 30.0  # between two pieces of a response: ResponseStallTimeout
    total_timeout: float = (
        60.0  # from `send` to the end of the response, also a streamed one: TotalTimeout; inf = no limit
    )


class HttpRequest(msgspec.Struct):
    """One HTTP request. It must not be modified after it was sent, so that it can be sent again.

    The client writes Host (unless it is in `headers`), Content-Length or Transfer-Encoding, Expect and Connection,
    which `headers` must not contain. Names, values, method and target are checked when it is sent: ValueError.
    """

    method: str
    origin: Origin
    target: bytes = b'/'  # origin-form, percent-encoded; for a plain proxy the absolute form
    headers: Fields | HeaderFields = ()
    body: bytes | BodySource | None = None  # b'' has Content-Length 0, None has none
    timeouts: Timeouts = Timeouts()
    deadline: float = inf  # of the caller, on the reactor's clock: TotalTimeout, as for `timeouts.total`
    idempotent: bool = False  # may be sent twice although its method is not idempotent (it has an Idempotency-Key)
    expect_timeout: float = (
        0.0  # seconds to wait for 100 Continue before sending the body anyway; 0 = do not ask for it
    )
    is_streamed: bool = False  # return the response when its head has arrived, with a BodyStream as its body
    # largest response body that is collected, in bytes before decoding: ResponseTooLarge
    max_body: int = 20 * 1024 * 1024

    def __repr__(self) -> str:
        """Return a representation without secrets: no fields, no query, no body."""
        path = self.target.partition(b'?')[0].decode('ascii', 'replace')
        return f'<Outbound {self.method} {self.origin.scheme}://{self.origin.authority.decode("ascii")}{path}>'


class HttpResponse(msgspec.Struct):
    """An HTTP response, whatever its status. It must not be modified."""

    head: ResponseHead
    body: bytes | BodyStream
    trailers: Fields = ()  # of a collected response

    def __repr__(self) -> str:
        """Return a representation without secrets."""
        return f'<Answer {self.head.status}>'

    @property
    def status(self) -> int:
        return self.head.status

    @property
    def reason(self) -> bytes:
        return self.head.reason

    @property
    def version(self) -> tuple[int, int]:
        return self.head.version

    @property
    def headers(self) -> dict[bytes, bytes]:
        """Fields by lower-case name; repeated ones are joined by ', ', of Set-Cookie only the first."""
        return self.head.headers

    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """Fields as sent, in order."""
        return self.head.raw_headers


class Sender(Protocol):
    """The interface of an object that sends HTTP requests."""

    def send(self, request: HttpRequest) -> Deferred[HttpResponse]:
        """Send the request and return its response. Fails with CallFailed. Cancelling closes its connection, or removes
        it from the queue. Raises ValueError, with a message, for a request that must not be sent."""


# Connects a protocol of the factory to an origin: (origin, factory, deadline in seconds on the reactor's clock).
# Returns the protocol when the peer can receive the first byte: after TLS and the proxy's tunnel. Fails with a
# CallFailed, or with an error of Twisted's endpoints, which the Client translates. The Client cancels it at the
# deadline or when the call is cancelled: it must then leave no socket open.
Dial = Callable[[Origin, IProtocolFactory, float], Deferred[IProtocol]]

__all__ = [
    'BodySource',
    'BodyStream',
    'Dial',
    'Fields',
    'HttpRequest',
    'HttpResponse',
    'Origin',
    'ResponseHead',
    'Sender',
    'Timeouts',
    'split_url',
]  # fmt: skip
