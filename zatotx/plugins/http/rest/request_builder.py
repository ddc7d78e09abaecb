"""Builds requests: the call of a service, combined with the settings that all requests of a connection share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from math import inf
from time import gmtime, strftime, time
from typing import Any

import msgspec
from attrs import field, frozen

from zatotx.interfaces.outgoing import IServiceCall
from zatotx.plugins.http.client.call import BodySource, Fields, HttpRequest, Origin, Timeouts
from zatotx.plugins.http.rest.request_body import Offload, encode_body
from zatotx.rules.resilience.retry import SAFE_METHODS
from zatotx.rules.routing.url_template import UrlTemplate, encode_query
from zatotx.wire.http1.request_writer import HeaderFields

_SECOND = '%Y-%m-%dT%H:%M:%S'
DEADLINE_MARGIN = (
    0.05  # seconds before the service's deadline at which a call times out, so that the error names the connection
)
EXPECT_TIMEOUT = 1.0  # seconds that a peer has to reject a request before an unrepeatable body is sent
_KEY = b'idempotency-key'
CONTENT_TYPE_NAMES = (b'Content-Type',)
_TRACED = (b'traceparent',)
_STAMPS = (b'X-Zato-CID', b'X-Zato-Msg-TS', b'X-Zato-Deadline-Ms')  # the last two depend on the time of sending
_NONE: frozenset[bytes] = frozenset()
_MAX_DEADLINE = 86_400_000  # milliseconds, the largest value that zatotx accepts


class TimestampFormatter:
    """Formats the header X-Zato-Msg-TS, the time of sending in Zato's format: ISO 8601 in UTC without a zone. Those
    within one second share a cached text."""

    __slots__ = ('_second', '_text')

    def __init__(self) -> None:
        self._second = -1
        self._text = b''

    def of(self, now: float) -> bytes:
        """Format `now`, seconds since the epoch, to the microsecond: b'2026-11-26T17:46:10.000123'."""
        second = int(now)
        if second != self._second:
            self._second, self._text = second, strftime(_SECOND, gmtime(second)).encode('ascii')
        return b'%b.%06d' % (self._text, int((now - second) * 1_000_000))


class CallSpec(msgspec.Struct):
    """The call of a service, with its arguments."""

    method: str  # in capitals; '' = the connection's
    data: Any = None
    params: Any = None  # a mapping or pairs; or a query as text, if the path has no parameters
    headers: Mapping[str, Any] | None = None  # replace those of the connection; None = omit the field
    timeout: float | None = None  # seconds; None = the connection's
    model: Any = None  # type of the response's `.data`
    stream: bool = False  # return the response when its head has arrived
    cid: str = ''  # sent as X-Zato-CID; '' = the call's


class OutgoingRequest:
    """One request that is ready to be sent, also repeatedly."""

    __slots__ = ('began', 'body', 'call', 'cid', 'credentials', 'due', 'given', 'keyed', 'method', 'model', 'names',
                 'own', 'patience', 'proof', 'seconds', 'stream', 'target', 'values')  # fmt: skip

    def __init__(self, spec: CallSpec, call: IServiceCall, default_method: str = '') -> None:
        self.call = call
        self.method = spec.method or default_method
        self.model = spec.model
        self.stream = spec.stream
        self.target = b'/'
        self.body: bytes | BodySource | None = None
        self.cid = (spec.cid or call.cid).encode('utf-8')
        self.names: tuple[bytes, ...] = ()  # of this request's own fields
        self.values: tuple[bytes, ...] = ()  # of those fields, except the ones that depend on the time of sending
        self.own: Fields = ()  # fields set by the service, which replace others
        self.given = _NONE  # names of fields that the service set or omitted, lower-case
        self.credentials: Fields = ()  # set by the authorizer
        self.proof: Any = None  # what the authorizer made them from
        self.keyed = False  # whether it has an Idempotency-Key
        self.began = 0.0  # when it was built, on the reactor's clock
        self.due = 0.0  # when it times out, on the reactor's clock
        self.patience = 0.0  # the configured timeout in seconds
        self.seconds = 0.0  # the timeout in seconds, limited by the service's deadline

    @property
    def repeatable(self) -> bool:
        """Whether the body can be sent again."""
        body = self.body
        return body is None or isinstance(body, bytes) or body.repeatable


@frozen(kw_only=True, eq=False)
class RequestTemplate:
    """The settings that all requests of a connection share."""

    origin: Origin
    method: str  # default method
    template: UrlTemplate
    data_format: str
    content_type: bytes  # b'' = determined by the data
    common: HeaderFields = field(repr=False)  # fields of every request, including static credentials
    query: bytes = field(repr=False)  # appended to every query; b'' = none
    timeout: float  # seconds
    connect_timeout: float
    most: int  # limit of a response's body in bytes
    offload: Offload
    seconds: Callable[[], float]  # the reactor's clock
    repeated: frozenset[str] = SAFE_METHODS  # methods that may be repeated
    asks_first: bool = False  # whether the peer may reject a request before its body is sent
    timeouts: Timeouts = field(init=False)
    _default_target: bytes | None = field(init=False)  # without params; None = the path has parameters
    _timestamp_header: TimestampFormatter = field(factory=TimestampFormatter, init=False)

    @timeouts.default
    def _default_timeouts(self) -> Timeouts:
        """All stages are limited by the timeout of the whole call."""
        return Timeouts(queue=inf, connect=self.connect_timeout, first_byte=inf, silence=inf, total=inf)

    @_default_target.default
    def _without_params(self) -> bytes | None:
        return None if self.template.names else self._target(None)

    def request(self, spec: CallSpec, call: IServiceCall) -> OutgoingRequest:
        """Build the request of a call. Raises ValueError and TypeError, with the reason. Callable in any thread."""
        request = OutgoingRequest(spec, call, self.method)
        params, default_target = spec.params, self._default_target
        request.target = self._target(params) if params is not None or default_target is None else default_target
        request.body, content_type = encode_body(spec.data, self.data_format, self.offload)
        if request.body is None:
            self._complete(request, spec, (), ())
        else:
            self._complete(request, spec, CONTENT_TYPE_NAMES, (self.content_type or content_type,))
        return request

    def _complete(
        self, request: OutgoingRequest, spec: CallSpec, names: tuple[bytes, ...], values: tuple[bytes, ...]
    ) -> None:
        """Set a request's fields, those named and those common to all, and its timeouts."""
        call, common = request.call, self.common
        if call.trace:
            names, values = names + _TRACED, (*values, call.trace.encode('ascii'))
        request.names = _field_names(common.names, names)
        request.values = (*common.values, *values, request.cid)
        if spec.headers:
            _apply_headers(request, spec.headers)
        now = request.began = self.seconds()
        request.patience = seconds = self.timeout if spec.timeout is None else spec.timeout
        remaining = call.deadline - DEADLINE_MARGIN - now
        request.seconds = seconds if seconds < remaining else max(0.0, remaining)
        request.due = now + request.seconds

    def ping(self, method: str, call: IServiceCall) -> OutgoingRequest:
        """Build a request without a body that checks the peer."""
        spec = CallSpec(method)
        request = OutgoingRequest(spec, call)
        request.target = b'%b?%b' % (self.fixed, self.query) if self.query else self.fixed
        self._complete(request, spec, (), ())
        return request

    @property
    def fixed(self) -> bytes:
        """The path of a ping request."""
        return self.template.fixed

    def outbound(self, request: OutgoingRequest) -> HttpRequest:
        """Return the HTTP request to send now."""
        remaining = request.due - self.seconds()
        milliseconds = int(remaining * 1000) + 1
        if not 0 < milliseconds <= _MAX_DEADLINE:
            milliseconds = min(max(1, milliseconds), _MAX_DEADLINE)
        timestamps = self._timestamp_header.of(time()), b'%d' % milliseconds
        default_fields = HeaderFields(request.names, request.values + timestamps, self.common.known)
        fields = _merge_fields(request, default_fields) if request.given or request.credentials else default_fields
        stream = request.stream
        body = request.body
        return HttpRequest(
            request.method, self.origin, request.target, fields, body,
            self._stream_timeouts(remaining, request.patience) if stream else self.timeouts,
            inf if stream and remaining > 0 else request.due,
            request.keyed or request.method in self.repeated,
            EXPECT_TIMEOUT if self.asks_first and body is not None and type(body) is not bytes else 0.0,
            stream, self.most,
        )  # fmt: skip

    def _target(self, params: Any) -> bytes:
        if params is None or isinstance(params, Mapping):
            target, query_params = self.template.fill(params)
            query = encode_query(query_params) if query_params else b''
        else:
            target, _ = self.template.fill(None)
            query = params.encode('ascii') if isinstance(params, str) else encode_query(params)
        if self.query:
            query = b'%b&%b' % (query, self.query) if query else self.query
        return b'%b%b%b' % (target, b'&' if b'?' in target else b'?', query) if query else target

    def _stream_timeouts(self, remaining: float, patience: float) -> Timeouts:
        """Return the timeouts of a streamed response: for its beginning, and for each pause, but not for the whole."""
        return Timeouts(
            queue=remaining, connect=min(remaining, self.connect_timeout), first_byte=remaining, silence=patience,
            total=inf,
        )


@lru_cache(maxsize=256)
def _field_names(common: tuple[bytes, ...], names: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Return the names of a request's fields. Returns the same object each time, because the head writer caches by
    identity."""
    return common + names + _STAMPS


def _apply_headers(request: OutgoingRequest, headers: Mapping[str, Any]) -> None:
    """Replace the connection's fields by those of the service."""
    fields = [(name.encode('ascii'), value) for name, value in headers.items()]
    request.given = frozenset(name.lower() for name, _ in fields)
    request.own = [(name, _value(value)) for name, value in fields if value is not None]
    request.keyed = any(name.lower() == _KEY for name, _ in request.own)


def _merge_fields(request: OutgoingRequest, fields: HeaderFields) -> Fields:
    """Return all fields of a request that has fields of its own."""
    given = request.given
    kept = [field for field in (*fields, *request.credentials) if field[0].lower() not in given]
    return [*kept, *request.own]


def _value(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode('utf-8')
