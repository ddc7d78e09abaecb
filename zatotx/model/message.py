"""What travels: an Inbound (request, message or job run) on its way in, a Reply on its way out.

Both are plain slotted objects, made once a request on the hot path.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from zatotx.model.soap import SoapMessage, SoapSpec


class Principal(msgspec.Struct, frozen=True):
    """Who is calling: the security definition that admitted the request."""

    name: str
    username: str = ''
    kind: str = 'anonymous'
    claims: Mapping[str, Any] = {}
    roles: frozenset[str] = frozenset()


ANONYMOUS = Principal('anonymous')


class ChannelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What the exchange must know of the channel that brought a message, whatever its protocol."""

    name: str
    kind: str  # Zato's constant: 'http-soap', 'amqp', 'zmq', 'scheduler', 'invoke' …
    service: str  # '' where the message itself names it (Inbound.service)
    data_format: str = ''  # '' = raw bytes; 'json', 'form', 'xml', 'soap'
    security: str | None = None  # name of a security definition; None = open, unless there are groups
    groups: tuple[str, ...] = ()  # names of groups of definitions, any of which admits
    roles: tuple[str, ...] = ()  # one of which the caller must have; () = none
    beside: tuple[str, ...] = ()  # methods that other channels take on the same path, where this one takes the rest
    rates: tuple[str, ...] = ()  # names of the rate limits that hold here
    timeout: float = 60.0  # seconds
    internal_only: bool = False  # a door that leads to zato.* services only
    door: bool = False  # one of the broker's own doors: takes any method, with or without a body
    always_open: bool = False  # served while the node starts or drains, not counted as in flight
    max_in_flight: int = 0  # requests at once; 0 = no limit but its service's and the node's
    queue: int = 0  # requests over that which may wait for their turn
    queue_timeout: float = 10.0  # seconds they wait
    params_pri: str = 'channel-params-over-msg'
    merge_url_params: bool = True
    soap: SoapSpec | None = None  # set where data_format is 'soap'


class Body(Protocol):
    """A request body that is not there as it is: a spooled file, or one in a content coding. Closed when the exchange
    is over."""

    size: int  # bytes, as it came
    @property
    def most(self) -> int: ...  # bytes that `read` gives at most

    seekable: bool  # any part of it can be read at any time: `pieces` and `at` are there

    @property
    def quick(self) -> bool: ...  # `read` takes no time and waits for nothing: on the reactor, else in a thread

    def read(self) -> bytes: ...  # may raise a Fault
    def pieces(self, size: int) -> Iterator[bytes]: ...  # all of it, so many bytes at a time; in a thread
    def at(self, start: int, size: int) -> bytes: ...  # what is there, less at the end; from any thread
    def close(self) -> None: ...


class Charge(Protocol):
    """What a request is charged for the memory it takes: zatotx.rules.limits.byte_budget.BytesCharge. Closed by who
    brought it."""

    def add(self, size: int) -> bool: ...  # from any thread; False = there is no room
    def give_back(self, size: int) -> None: ...
    def known(self) -> None: ...  # the caller is authenticated


class HTTPView:
    """The HTTP side of a request, as `self.request.http` builds on it."""

    __slots__ = ('admitted_by', 'certificates', 'headers', 'method', 'own_url', 'params', 'path', 'peer', 'public_url',
                 'query', 'secure', 'target', 'version')  # fmt: skip

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
        own_url: str = '',
        public_url: str = '',
    ) -> None:
        self.method = method
        self.target = target  # as sent
        self.path = path  # percent-decoded
        self.query = query  # raw, without '?'
        self.headers = headers  # lower-case names; repeated fields joined by ', '
        self.params = params  # what the channel's pattern captured
        self.peer = peer  # the client's address, which trusted proxies may have told
        self.version = version
        self.certificates = certificates  # that the client sent, in DER, its own first; for the check of it only
        self.secure = secure  # the client sent it over TLS
        self.own_url = own_url  # scheme and authority of the listener that it came to
        self.public_url = public_url  # where clients reach us, as settings or a trusted proxy say; '' = nobody said
        # The check that has admitted this head. Requests of one connection whose heads are alike to the byte share
        # this object: with the same credentials there is nothing to compare again.
        self.admitted_by: object = None


class Message:
    """One message on its way to a service."""

    __slots__ = ('body', 'channel', 'charge', 'cid', 'deadline', 'delayed', 'expired', 'headers', 'http', 'parsed',
                 'principal', 'service', 'soap', 'standing', 'trace')  # fmt: skip
    charge: Charge  # set, and so there, only where the body is large enough to be charged for
    delayed: bool  # set, and so there, only when it has waited because of wrong credentials that came before
    expired: bool  # set, and so there, only when the caller was told that the deadline has passed
    parsed: Any  # set, and so there, only where the codec reads more than the payload: the root of an XML document,
    # or a tuple of the files of an upload (wire.multipart.Part)
    soap: SoapMessage  # set, and so there, only where a SOAP channel brought it and the codec has read it

    def __init__(
        self,
        cid: str,
        channel: ChannelSpec,
        service: str,
        headers: Mapping[bytes, bytes],
        body: bytes | Body,
        deadline: float,
        http: HTTPView | None = None,
        trace: str = '',
    ) -> None:
        self.cid = cid
        self.channel = channel
        self.service = service
        self.headers = headers
        self.body = body
        self.deadline = deadline  # seconds on the reactor's clock
        self.http = http
        self.trace = trace  # W3C traceparent to continue, or ''
        self.principal: Principal | None = None  # set by the guard; None = not checked yet
        self.standing: Any = None  # how it stands with rate limits: rules.rate_fields.Standing, once they were asked


class Reply:
    """The answer to an Inbound, before any protocol has framed it."""

    __slots__ = ('body', 'content_type', 'error', 'headers', 'status', 'stream')

    def __init__(
        self,
        status: int,
        body: bytes,
        content_type: bytes,
        headers: list[tuple[bytes, bytes]] | tuple[tuple[bytes, bytes], ...] = (),
        stream: AsyncIterator[bytes] | None = None,
        error: BaseException | None = None,
    ) -> None:
        self.status = status
        self.body = body
        self.content_type = content_type  # b'' = none
        self.headers = headers
        self.stream = stream  # where set, it is the body
        self.error = error  # why the exchange failed: message kinds nack by it


class Outcome:
    """What a service made of a request, before a codec has written it."""

    __slots__ = ('content_type', 'element', 'headers', 'internal', 'soap_headers', 'status', 'stream', 'value')

    def __init__(self, value: Any, *, element: str = '', status: int = 200, internal: bool = False) -> None:
        self.value = value  # str and bytes go out unchanged; anything else through the codec
        self.element = element  # classic SimpleIO's response_elem around it, or ''
        self.status = status
        self.internal = internal  # zato.* services carry zato_env beside the element
        self.content_type = ''  # set by the service, overrides the codec's
        self.headers: Mapping[str, str] = {}
        self.stream: AsyncIterator[bytes] | None = None
        self.soap_headers: Sequence[Any] = ()  # lxml elements, or XML
