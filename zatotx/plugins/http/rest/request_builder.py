"""What goes out: a call as a service makes it, and what all requests of a connection have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from math import inf
from time import time
from typing import Any

import msgspec
from attrs import field, frozen

from zatotx.interfaces.outgoing import ICall
from zatotx.plugins.http.client.call import BodySource, Fields, HttpRequest, Origin, Timeouts
from zatotx.plugins.http.rest.request_body import Offload, encode_body
from zatotx.plugins.http.rest.timestamp_header import TimestampHeader
from zatotx.rules.resilience.retry import SAFE
from zatotx.rules.routing.url_template import UrlTemplate, encode_query
from zatotx.wire.http1.request_writer import NamedFields

MARGIN = 0.05  # seconds before its service's deadline that a call ends: so that the fault says whose answer was missing
CONSENT = 1.0  # seconds that a peer has to object before a body is sent that cannot be sent twice
_KEY = b'idempotency-key'
TYPED = (b'Content-Type',)
_TRACED = (b'traceparent',)
_STAMPS = (b'X-Zato-CID', b'X-Zato-Msg-TS', b'X-Zato-Deadline-Ms')  # the last two are of the moment it is sent
_NONE: frozenset[bytes] = frozenset()
_LONGEST = 86_400_000  # milliseconds, what a zatotx takes


class CallSpec(msgspec.Struct):
    """A call in the words of a service."""

    method: str  # in capitals; '' = the connection's
    data: Any = None
    params: Any = None  # a mapping or pairs; or a query as text, where the path has no parameters
    headers: Mapping[str, Any] | None = None  # instead of those that the connection sends; None = not at all
    timeout: float | None = None  # seconds; None = the connection's
    model: Any = None  # what `.data` of the answer is to be
    stream: bool = False  # the answer comes as soon as its head is here
    cid: str = ''  # that goes out; '' = the call's


class Request:
    """One call, ready to be sent, and to be sent again."""

    __slots__ = ('began', 'body', 'call', 'cid', 'credentials', 'due', 'given', 'keyed', 'method', 'model', 'names',
                 'own', 'patience', 'proof', 'seconds', 'stream', 'target', 'values')  # fmt: skip

    def __init__(self, wanted: CallSpec, call: ICall, usual: str = '') -> None:
        self.call = call
        self.method = wanted.method or usual
        self.model = wanted.model
        self.stream = wanted.stream
        self.target = b'/'
        self.body: bytes | BodySource | None = None
        self.cid = (wanted.cid or call.cid).encode('utf-8')
        self.names: tuple[bytes, ...] = ()  # of the fields that it has by itself
        self.values: tuple[bytes, ...] = ()  # of those, save what is of the moment it is sent
        self.own: Fields = ()  # fields that the service set, instead of those that it would have
        self.given = _NONE  # names of fields that the service set or left out, lower-case
        self.credentials: Fields = ()  # set by who has them
        self.proof: Any = None  # what they were made of, for who made them
        self.keyed = False  # has an Idempotency-Key
        self.began = 0.0  # when it was made ready, on the reactor's clock
        self.due = 0.0  # when it must be over, likewise
        self.patience = 0.0  # seconds that it may take, were there no hurry
        self.seconds = 0.0  # that it may take

    @property
    def repeatable(self) -> bool:
        """Whether its body can be sent again."""
        body = self.body
        return body is None or isinstance(body, bytes) or body.repeatable


@frozen(kw_only=True, eq=False)
class RequestForm:
    """What all requests of a connection have in common."""

    origin: Origin
    method: str  # of calls that name none
    template: UrlTemplate
    data_format: str
    content_type: bytes  # b'' = by the data
    common: NamedFields = field(repr=False)  # fields that each request has, those that say who we are too
    query: bytes = field(repr=False)  # that each target ends with; b'' = none
    timeout: float  # seconds
    connect_timeout: float
    most: int  # bytes of an answer
    offload: Offload
    seconds: Callable[[], float]  # the reactor's clock
    repeated: frozenset[str] = SAFE  # methods that may be sent twice
    asks_first: bool = False  # the peer may refuse a request before its body has come
    timeouts: Timeouts = field(init=False)
    _usual: bytes | None = field(init=False)  # the target of calls without params; None = it has holes for them
    _stamp: TimestampHeader = field(factory=TimestampHeader, init=False)

    @timeouts.default
    def _whole(self) -> Timeouts:
        """The deadline of the whole call bounds all stages."""
        return Timeouts(queue=inf, connect=self.connect_timeout, first_byte=inf, silence=inf, total=inf)

    @_usual.default
    def _without_params(self) -> bytes | None:
        return None if self.template.names else self._target(None)

    def request(self, wanted: CallSpec, call: ICall) -> Request:
        """The call made ready. Raises ValueError and TypeError, naming what is wrong with it. In any thread."""
        request = Request(wanted, call, self.method)
        params, usual = wanted.params, self._usual
        request.target = self._target(params) if params is not None or usual is None else usual
        request.body, content_type = encode_body(wanted.data, self.data_format, self.offload)
        if request.body is None:
            self._complete(request, wanted, (), ())
        else:
            self._complete(request, wanted, TYPED, (self.content_type or content_type,))
        return request

    def _complete(
        self, request: Request, wanted: CallSpec, names: tuple[bytes, ...], values: tuple[bytes, ...]
    ) -> None:
        """Give a request its fields, those of these names and those that all have, and its time."""
        call, common = request.call, self.common
        if call.trace:
            names, values = names + _TRACED, (*values, call.trace.encode('ascii'))
        request.names = _named(common.names, names)
        request.values = (*common.values, *values, request.cid)
        if wanted.headers:
            _overridden(request, wanted.headers)
        now = request.began = self.seconds()
        request.patience = seconds = self.timeout if wanted.timeout is None else wanted.timeout
        left = call.deadline - MARGIN - now
        request.seconds = seconds if seconds < left else max(0.0, left)
        request.due = now + request.seconds

    def ping(self, method: str, call: ICall) -> Request:
        """A request without a body that asks whether the peer is there."""
        wanted = CallSpec(method)
        request = Request(wanted, call)
        request.target = b'%b?%b' % (self.fixed, self.query) if self.query else self.fixed
        self._complete(request, wanted, (), ())
        return request

    @property
    def fixed(self) -> bytes:
        """The path that a ping asks for."""
        return self.template.fixed

    def outbound(self, request: Request) -> HttpRequest:
        """It, as it is sent now."""
        left = request.due - self.seconds()
        rounded = int(left * 1000) + 1
        if not 0 < rounded <= _LONGEST:
            rounded = min(max(1, rounded), _LONGEST)
        moment = self._stamp.of(time()), b'%d' % rounded
        usual = NamedFields(request.names, request.values + moment, self.common.known)
        fields = _mixed(request, usual) if request.given or request.credentials else usual
        stream = request.stream
        body = request.body
        return HttpRequest(
            request.method, self.origin, request.target, fields, body,
            self._staged(left, request.patience) if stream else self.timeouts,
            inf if stream and left > 0 else request.due,
            request.keyed or request.method in self.repeated,
            CONSENT if self.asks_first and body is not None and type(body) is not bytes else 0.0,
            stream, self.most,
        )  # fmt: skip

    def _target(self, params: Any) -> bytes:
        if params is None or isinstance(params, Mapping):
            target, left = self.template.fill(params)
            query = encode_query(left) if left else b''
        else:
            target, _ = self.template.fill(None)
            query = params.encode('ascii') if isinstance(params, str) else encode_query(params)
        if self.query:
            query = b'%b&%b' % (query, self.query) if query else self.query
        return b'%b%b%b' % (target, b'&' if b'?' in target else b'?', query) if query else target

    def _staged(self, left: float, patience: float) -> Timeouts:
        """Of an answer that is streamed, its beginning is bounded, and each pause within it; not the whole."""
        return Timeouts(
            queue=left, connect=min(left, self.connect_timeout), first_byte=left, silence=patience, total=inf
        )


@lru_cache(maxsize=256)
def _named(common: tuple[bytes, ...], names: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Of a request's fields. The same object each time: who writes heads knows it again."""
    return common + names + _STAMPS


def _overridden(request: Request, headers: Mapping[str, Any]) -> None:
    """The service's own fields in place of the connection's."""
    own = [(name.encode('ascii'), value) for name, value in headers.items()]
    request.given = frozenset(name.lower() for name, _ in own)
    request.own = [(name, _value(value)) for name, value in own if value is not None]
    request.keyed = any(name.lower() == _KEY for name, _ in request.own)


def _mixed(request: Request, fields: NamedFields) -> Fields:
    """All fields of a request that does not only have those of its connection."""
    given = request.given
    kept = [one for one in (*fields, *request.credentials) if one[0].lower() not in given]
    return [*kept, *request.own]


def _value(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode('utf-8')
