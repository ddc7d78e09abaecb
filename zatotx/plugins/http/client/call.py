"""One call over HTTP: what goes out, what comes back, and the two seams of the client.

    client.send(Outbound('GET', Origin('http', 'crm.example.com', 80), b'/customers?id=1')).addCallback(…)

`Sender` is what sends: the core's Client, and whatever is wrapped around it (redirects, inflating, proxies); `Dial` is
how the core gets a connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from math import inf
from typing import Protocol

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory

from zatotx.wire.http1.request_writer import NamedFields
from zatotx.wire.http1.response_parser import ResponseHead

Fields = Sequence[tuple[bytes, bytes]]
_PORTS = {'http': 80, 'https': 443}


class Origin(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """Where to: RFC 9110 §4.3.1. `host` in lower-case ASCII, an IPv6 address without its brackets."""

    scheme: str  # 'http' or 'https'
    host: str
    port: int
    redirected: bool = False  # a peer sent us there, and it is another origin than the call was for

    @property
    def authority(self) -> bytes:
        """What the field Host says: the port only where it is not the scheme's own."""
        host = f'[{self.host}]' if ':' in self.host else self.host
        return (host if self.port == _PORTS.get(self.scheme) else f'{host}:{self.port}').encode('ascii')


class BodySource(Protocol):
    """A request body that is made while it is sent, and no faster than the peer takes it."""

    @property
    def length(self) -> int | None:
        """In bytes; None = not known: it goes out in chunks."""

    @property
    def repeatable(self) -> bool:
        """Whether `pieces` may be called again, when the request must be sent a second time."""

    def pieces(self) -> AsyncIterator[bytes]:
        """The body. What it raises ends the call with BodyFailed; it is closed (`aclose`) when it is not needed."""


class ResponseStream(Protocol):
    """The body of an answer that comes piece by piece. What is not read makes the peer wait: about 64 KiB are held."""

    @property
    def trailers(self) -> Fields:
        """As sent, once the end was read."""

    def read(self) -> Deferred[bytes]:
        """The next piece, never empty; b'' at the end. Fails with CallFailed, again on every later call. One at a time.
        Cancelling it closes the stream."""

    def close(self) -> None:
        """Read no more. Where the body has not come whole yet, its connection is closed."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...


class Timeouts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How long each stage of a call may take, in seconds from when it begins. Shared by the calls of a connection.

    Each is met at most 20 ms late; an answer that begins after its time is none.
    """

    queue: float = 10.0  # for a place in the pool: QueueTimeout
    connect: float = 10.0  # name, TCP, proxy and TLS together: ConnectTimeout
    first_byte: float = 30.0  # from the last progress of the request to the first byte of the answer: FirstByteTimeout
    silence: float = 30.0  # between two pieces of an answer: SilenceTimeout
    total: float = 60.0  # from `send` to the end of the answer, a streamed one too: TotalTimeout; inf = no bound


class HttpRequest(msgspec.Struct):
    """One request. Never changed once it was sent, so that it may be sent again.

    The client writes Host (unless it stands in `headers`), Content-Length or Transfer-Encoding, Expect and Connection,
    which `headers` may not have. Names, values, method and target are checked when it is sent: ValueError.
    """

    method: str
    origin: Origin
    target: bytes = b'/'  # origin-form, percent-encoded; of a plain proxy the absolute form
    headers: Fields | NamedFields = ()
    body: bytes | BodySource | None = None  # b'' has a length of 0, None has none
    timeouts: Timeouts = Timeouts()
    deadline: float = inf  # of the caller, in seconds on the reactor's clock: TotalTimeout, as by `timeouts.total`
    idempotent: bool = False  # may be sent twice though its method does not say so (it has an Idempotency-Key)
    expect: float = 0.0  # seconds to wait for 100 Continue before the body is sent anyway; 0 = it is not asked for
    stream: bool = False  # the answer comes as soon as its head is here, with an ResponseStream as its body
    most: int = 20 * 1024 * 1024  # bytes of an answer's body that is collected, before it is inflated: TooLarge

    def __repr__(self) -> str:
        """Without what may be secret: fields, query, body."""
        path = self.target.partition(b'?')[0].decode('ascii', 'replace')
        return f'<Outbound {self.method} {self.origin.scheme}://{self.origin.authority.decode("ascii")}{path}>'


class HttpResponse(msgspec.Struct):
    """An answer, of whatever status. Read only."""

    head: ResponseHead
    body: bytes | ResponseStream
    trailers: Fields = ()  # of a collected answer

    def __repr__(self) -> str:
        """Without what may be secret."""
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
        """By lower-case name; repeated ones joined by ', ', of Set-Cookie the first."""
        return self.head.headers

    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """As sent, in order."""
        return self.head.raw_headers


class Sender(Protocol):
    """Sends requests."""

    def send(self, outbound: HttpRequest) -> Deferred[HttpResponse]:
        """Send it and have its answer. Fails with CallFailed; cancelling it closes its connection, or gives up its
        place in the queue. Raises ValueError, in a sentence, for a request that must not be sent."""


# Connects a protocol of the factory to an origin: (origin, factory, deadline in seconds on the reactor's clock). Gives
# the protocol once the way to the peer is ready for its first byte: after TLS, and after the proxy's consent. Fails
# with a CallFailed, or with what Twisted's endpoints fail with, which the core translates. The core cancels it when the
# deadline passes or nobody wants it any more: it must then leave nothing open.
Dial = Callable[[Origin, IProtocolFactory, float], Deferred[IProtocol]]

__all__ = [
    'BodySource',
    'Dial',
    'Fields',
    'HttpRequest',
    'HttpResponse',
    'Origin',
    'ResponseHead',
    'ResponseStream',
    'Sender',
    'Timeouts',
]  # fmt: skip
