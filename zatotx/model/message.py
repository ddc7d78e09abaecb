"""Messages that are delivered to services, and the replies to them. A message is a request, a message from a broker, or
a job run.

One of each is created per request on the hot path. Structs are created in C, without the call of an __init__ in
Python: Message, Reply and ServiceResult took 5,000 of the 122,000 instructions of an echo more as classes with slots.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from zatotx.model.soap_message import SoapChannelSpec, SoapMessage


class Principal(msgspec.Struct, frozen=True):
    """The authenticated caller, which is the security definition whose credentials the request contains."""

    name: str
    username: str = ''
    kind: str = 'anonymous'
    claims: Mapping[str, Any] = {}
    roles: frozenset[str] = frozenset()


ANONYMOUS = Principal('anonymous')


class ChannelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a channel that the pipeline needs, independent of the channel's protocol."""

    name: str
    kind: str  # Zato's constant: 'http-soap', 'amqp', 'zmq', 'scheduler', 'invoke' …
    service: str  # '' if the message names the service itself (Message.service)
    data_format: str = ''  # '' = raw bytes; 'json', 'form', 'xml', 'soap'
    security: str | None = None  # name of a security definition; None = open, unless there are groups
    groups: tuple[str, ...] = ()  # names of groups of definitions, any of which may authenticate the caller
    roles: tuple[str, ...] = ()  # the caller must have one of them; () = no role required
    excluded_methods: tuple[
        str, ...
    ] = ()  # methods that other channels serve on the same path; this channel serves all others
    rate_limits: tuple[str, ...] = ()  # names of the rate limits that apply
    timeout: float = 60.0  # seconds
    internal_only: bool = False  # an endpoint that serves zato.* services only
    is_builtin_endpoint: bool = False  # a built-in endpoint: accepts any method, with or without a body
    serves_while_draining: bool = False  # served during startup and draining; not counted as in flight
    max_in_flight: int = 0  # concurrent requests; 0 = only the limits of its service and of the node apply
    queue: int = 0  # maximum number of requests that wait when max_in_flight is reached
    queue_timeout: float = 10.0  # seconds that a request may wait in the queue
    params_pri: str = 'channel-params-over-msg'
    merge_url_params: bool = True
    soap: SoapChannelSpec | None = None  # set where data_format is 'soap'


class Body(Protocol):
    """A request body that is not plain bytes in memory, but a spooled file or a body with a content coding. The body is
    closed when the request is complete."""

    size: int  # bytes as received
    @property
    def max_size(self) -> int: ...  # maximum number of bytes that `read` returns

    seekable: bool  # supports random access: `iter_chunks` and `read_at` are available

    @property
    def is_nonblocking(
        self,
    ) -> bool: ...  # `read` does not block, so that it may run on the reactor instead of in a thread

    def read(self) -> bytes: ...  # may raise a ServiceError
    def iter_chunks(
        self, size: int
    ) -> Iterator[bytes]: ...  # the whole body in chunks of `size` bytes; call in a thread
    def read_at(self, start: int, size: int) -> bytes: ...  # up to `size` bytes at an offset; thread-safe
    def close(self) -> None: ...


class MemoryCharge(Protocol):
    """The memory that is accounted to one request (see zatotx.rules.limits.memory_budget.MemoryReservation). The
    component that created the charge closes it."""

    def reserve(self, size: int) -> bool: ...  # thread-safe; False = the budget is exhausted
    def release(self, size: int) -> None: ...
    def mark_authenticated(self) -> None: ...  # marks the caller as authenticated


class HTTPView:
    """The HTTP attributes of a request, on which `self.request.http` is based."""

    __slots__ = (
        'authenticated_by',
        'certificates',
        'headers',
        'listener_url',
        'method',
        'params',
        'path',
        'peer',
        'public_url',
        'query',
        'secure',
        'target',
        'version',
    )  # fmt: skip

    def __init__(
        self,
        method: str,
        target: bytes,
        path: str,
        query: bytes,
        headers: Mapping[bytes, bytes],
        params: Mapping[str, str],
        peer: str,
        version: tuple[int, int] = (1, 1),
        certificates: Sequence[bytes] = (),
        secure: bool = False,
        listener_url: str = '',
        public_url: str = '',
    ) -> None:
        self.method = method
        self.target = target  # as sent
        self.path = path  # percent-decoded
        self.query = query  # raw, without '?'
        self.headers = headers  # lower-case names; repeated fields joined by ', '
        self.params = params  # the parameters captured by the channel's URL pattern
        self.peer = peer  # the client's address, possibly as reported by a trusted proxy
        self.version = version
        self.certificates = certificates  # the client's certificate chain in DER, leaf first, not yet verified
        self.secure = secure  # received over TLS
        self.listener_url = listener_url  # scheme and authority of the listener that accepted the request
        self.public_url = public_url  # the URL clients use, from settings or a trusted proxy; '' = unknown
        # The authenticator that accepted this request head. Requests of one connection with byte-identical heads share
        # this object, so that the same credentials are verified only once.
        self.authenticated_by: object = None


class Message(msgspec.Struct, eq=False):
    """A message to be processed by a service: its channel, headers, body and caller."""

    cid: str
    channel: ChannelSpec
    service: str
    headers: Mapping[bytes, bytes]
    body: bytes | Body
    deadline: float  # seconds on the reactor's clock
    http: HTTPView | None = None
    trace: str = ''  # W3C traceparent to continue, or ''
    principal: Principal | None = None  # set by the authentication policy; None = not authenticated yet
    rate_limit_state: Any = None  # a RateLimitState once the rate limits were checked
    memory_charge: MemoryCharge | None = None  # set if the body is large enough to be accounted
    was_throttled: bool = False  # whether the message was delayed because of earlier failed logins
    has_expired: bool = False  # whether the caller was notified that the deadline has passed
    # Set by codecs that read more than the payload: the root of an XML document, or a tuple of uploaded files
    # (zatotx.wire.http.multipart.Part).
    parsed: Any = None
    soap: SoapMessage | None = None  # set after the codec decoded a message of a SOAP channel
    reply: Reply | None = None  # set by the pipeline


class Reply(msgspec.Struct, eq=False):
    """The reply to a message, before it is encoded for a protocol."""

    status: int
    body: bytes
    content_type: bytes  # b'' = none
    headers: Sequence[tuple[bytes, bytes]] = ()
    stream: AsyncIterator[bytes] | None = None  # if set, replaces `body`
    error: BaseException | None = None  # why processing failed; messaging kinds reject the message because of it


class ServiceResult(msgspec.Struct, eq=False):
    """The result of a service, before a codec encodes it."""

    value: Any  # str and bytes are sent unchanged; other values are encoded by the codec
    element: str = ''  # the response_elem of a classic SimpleIO service, or ''
    internal: bool = False  # responses of zato.* services carry zato_env beside the element
    status: int = 200
    content_type: str = ''  # set by the service; overrides the codec's
    headers: Mapping[str, str] = {}
    stream: AsyncIterator[bytes] | None = None
    soap_headers: Sequence[Any] = ()  # lxml elements or XML text
