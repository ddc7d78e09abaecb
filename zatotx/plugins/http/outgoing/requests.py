"""What goes out: a call as a service makes it, and what all requests of a connection have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil, inf
from time import time
from typing import Any

import msgspec
from attrs import field, frozen

from zatotx.interfaces.outgoing import ICall
from zatotx.plugins.http.client.call import BodySource, Fields, Origin, Outbound, Timeouts
from zatotx.plugins.http.outgoing.bodies import Offload, body_of
from zatotx.plugins.http.outgoing.stamp import Stamp
from zatotx.rules.retry import SAFE
from zatotx.rules.url_template import Template, query_of

MARGIN = 0.05  # seconds before its service's deadline that a call ends: so that the fault says whose answer was missing
CONSENT = 1.0  # seconds that a peer has to object before a body is sent that cannot be sent twice
_KEY = b'idempotency-key'
_CONTENT_TYPE = b'content-type'
_CID, _MOMENT, _LEFT = b'X-Zato-CID', b'X-Zato-Msg-TS', b'X-Zato-Deadline-Ms'
_NONE: frozenset[bytes] = frozenset()
_LONGEST = 86_400_000  # milliseconds, what a zatotx takes


class Wanted(msgspec.Struct):
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

    __slots__ = ('body', 'call', 'cid', 'credentials', 'due', 'fields', 'given', 'keyed', 'method', 'model', 'patience',
                 'proof', 'seconds', 'stream', 'target')  # fmt: skip

    def __init__(self, wanted: Wanted, call: ICall, usual: str = '') -> None:
        self.call = call
        self.method = wanted.method or usual
        self.model = wanted.model
        self.stream = wanted.stream
        self.target = b'/'
        self.body: bytes | BodySource | None = None
        self.cid = (wanted.cid or call.cid).encode('utf-8')
        self.fields: Fields = ()
        self.given = _NONE  # names of fields that the service set or left out, lower-case
        self.credentials: Fields = ()  # set by who has them
        self.proof: Any = None  # what they were made of, for who made them
        self.keyed = False  # has an Idempotency-Key
        self.patience = 0.0  # seconds that it may take, were there no hurry
        self.seconds = 0.0  # that it may take
        self.due = 0.0  # on the reactor's clock

    @property
    def repeatable(self) -> bool:
        """Whether its body can be sent again."""
        body = self.body
        return body is None or isinstance(body, bytes) or body.repeatable


@frozen(kw_only=True, eq=False)
class Form:
    """What all requests of a connection have in common."""

    origin: Origin
    method: str  # of calls that name none
    template: Template
    data_format: str
    content_type: bytes  # b'' = by the data
    common: Fields = field(repr=False)  # that each request has, those that say who we are too
    query: bytes = field(repr=False)  # that each target ends with; b'' = none
    timeout: float  # seconds
    connect_timeout: float
    most: int  # bytes of an answer
    offload: Offload
    seconds: Callable[[], float]  # the reactor's clock
    repeated: frozenset[str] = SAFE  # methods that may be sent twice
    asks_first: bool = False  # the peer may refuse a request before its body has come
    timeouts: Timeouts = field(init=False)
    _stamp: Stamp = field(factory=Stamp, init=False)

    @timeouts.default
    def _whole(self) -> Timeouts:
        """The deadline of the whole call bounds all stages."""
        return Timeouts(queue=inf, connect=self.connect_timeout, first_byte=inf, silence=inf, total=inf)

    def request(self, wanted: Wanted, call: ICall) -> Request:
        """The call made ready. Raises ValueError and TypeError, naming what is wrong with it. In any thread."""
        request = Request(wanted, call, self.method)
        request.body, content_type = body_of(wanted.data, self.data_format, self.offload)
        fields = [*self.common]
        if request.body is not None:
            fields.append((b'Content-Type', self.content_type or content_type))
        return self._completed(request, fields, wanted)

    def _completed(self, request: Request, fields: list[tuple[bytes, bytes]], wanted: Wanted) -> Request:
        """A request that has its body, with all the rest."""
        call = request.call
        request.target = self._target(wanted.params)
        if call.trace:
            fields.append((b'traceparent', call.trace.encode('ascii')))
        request.fields = fields
        if wanted.headers:
            _overridden(request, fields, wanted.headers)
        self._bound(request, wanted.timeout, call)
        return request

    def ping(self, method: str, call: ICall) -> Request:
        """A request without a body that asks whether the peer is there."""
        request = Request(Wanted(method), call)
        request.target = b'%b?%b' % (self.fixed, self.query) if self.query else self.fixed
        request.fields = self.common
        self._bound(request, None, call)
        return request

    @property
    def fixed(self) -> bytes:
        """The path that a ping asks for."""
        return self.template.fixed

    def outbound(self, request: Request) -> Outbound:
        """It, as it is sent now."""
        now = self.seconds()
        fields = [
            *request.fields,
            *request.credentials,
            (_CID, request.cid),
            (_MOMENT, self._stamp.of(time())),
            (_LEFT, b'%d' % min(max(1, ceil((request.due - now) * 1000)), _LONGEST)),
        ]
        if request.given:
            own = len(request.fields)
            fields[own:] = [one for one in fields[own:] if one[0].lower() not in request.given]
        stream = request.stream
        body = request.body
        return Outbound(
            request.method, self.origin, request.target, fields, body,
            self._staged(request.due - now, request.patience) if stream else self.timeouts,
            inf if stream and request.due > now else request.due,
            request.keyed or request.method in self.repeated,
            CONSENT if self.asks_first and not isinstance(body, bytes | None) else 0.0,
            stream, self.most,
        )  # fmt: skip

    def _bound(self, request: Request, timeout: float | None, call: ICall) -> None:
        """How long it may take."""
        now = self.seconds()
        request.patience = seconds = self.timeout if timeout is None else timeout
        left = call.deadline - MARGIN - now
        request.seconds = seconds if seconds < left else max(0.0, left)
        request.due = now + request.seconds

    def _target(self, params: Any) -> bytes:
        if params is None or isinstance(params, Mapping):
            target, left = self.template.fill(params)
            query = query_of(left) if left else b''
        else:
            target, _ = self.template.fill(None)
            query = params.encode('ascii') if isinstance(params, str) else query_of(params)
        if self.query:
            query = b'%b&%b' % (query, self.query) if query else self.query
        return b'%b%b%b' % (target, b'&' if b'?' in target else b'?', query) if query else target

    def _staged(self, left: float, patience: float) -> Timeouts:
        """Of an answer that is streamed, its beginning is bounded, and each pause within it; not the whole."""
        return Timeouts(
            queue=left, connect=min(left, self.connect_timeout), first_byte=left, silence=patience, total=inf
        )


def _overridden(request: Request, fields: list[tuple[bytes, bytes]], headers: Mapping[str, Any]) -> None:
    """The service's own fields in place of the connection's."""
    own = [(name.encode('ascii'), value) for name, value in headers.items()]
    request.given = given = frozenset(name.lower() for name, _ in own)
    sent = [(name, _value(value)) for name, value in own if value is not None]
    request.keyed = any(name.lower() == _KEY for name, _ in sent)
    request.fields = [one for one in fields if one[0].lower() not in given] + sent


def _value(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode('utf-8')
