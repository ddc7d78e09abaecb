"""Builds requests from the arguments of a service's call and from the settings that all requests of a connection
share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from math import inf
from time import gmtime, strftime, time
from typing import Any

import msgspec
from attrs import field, frozen

from zatotx.interfaces.outgoing import IServiceCall
from zatotx.plugins.http.client.http_messages import BodySource, Fields, HttpRequest, Origin, Timeouts
from zatotx.plugins.http.rest.outgoing_body import Offload, encode_body
from zatotx.rules.resilience.outgoing_retry import SAFE_METHODS
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


class MessageTimestampHeader:
    """Formats the header field X-Zato-Msg-TS, the time of sending, in Zato's format: ISO 8601 in UTC without a zone.
    Requests within one second share a cached text."""

    __slots__ = ('_second', '_text')

    def __init__(self) -> None:
        self._second = -1
        self._text = b''

    def format(self, now: float) -> bytes:
        """Format `now`, seconds since the epoch, to the microsecond: b'2026-11-26T17:46:10.000123'."""
        second = int(now)
        if second != self._second:
            self._second, self._text = second, strftime(_SECOND, gmtime(second)).encode('ascii')
        return b'%b.%06d' % (self._text, int((now - second) * 1_000_000))


class CallSpec(msgspec.Struct):
    """The arguments with which a service calls a connection."""

    method: str  # in capitals; '' = the connection's
    data: Any = None
    params: Any = None  # a mapping or pairs; or a query as text, if the path has no parameters
    headers: Mapping[str, Any] | None = None  # replace those of the connection; None = omit the field
    timeout: float | None = None  # seconds; None = the connection's
    model: Any = None  # type of the response's `.data`
    stream: bool = False  # return the response when its head has arrived
    cid: str = ''  # sent as X-Zato-CID; '' = the call's


class OutgoingRequest:
    """A request that is ready to be sent, once or repeatedly."""

    __slots__ = (
        'body',
        'call',
        'cid',
        'configured_timeout',
        'credentials',
        'deadline',
        'field_names',
        'field_values',
        'has_idempotency_key',
        'method',
        'model',
        'override_fields',
        'override_names',
        'sent_credentials',
        'started_at',
        'stream',
        'target',
        'timeout',
    )

    def __init__(self, spec: CallSpec, call: IServiceCall, default_method: str = '') -> None:
        self.call = call
        self.method = spec.method or default_method
        self.model = spec.model
        self.stream = spec.stream
        self.target = b'/'
        self.body: bytes | BodySource | None = None
        self.cid = (spec.cid or call.cid).encode('utf-8')
        self.field_names: tuple[bytes, ...] = ()  # of this request's own fields
        self.field_values: tuple[bytes, ...] = ()  # of those fields, except the ones that depend on the time of sending
        self.override_fields: Fields = ()  # fields set by the service, which replace others
        self.override_names = _NONE  # names of fields that the service set or omitted, lower-case
        self.credentials: Fields = ()  # set by the authorizer
        self.sent_credentials: Any = None  # what the authorizer made them from
        self.has_idempotency_key = False  # whether it has an Idempotency-Key
        self.started_at = 0.0  # when it was built, on the reactor's clock
        self.deadline = 0.0  # when it times out, on the reactor's clock
        self.configured_timeout = 0.0  # the configured timeout in seconds
        self.timeout = 0.0  # the timeout in seconds, limited by the service's deadline

    @property
    def is_repeatable(self) -> bool:
        """Whether the body can be sent again."""
        body = self.body
        return body is None or isinstance(body, bytes) or body.repeatable


@frozen(kw_only=True, eq=False)
class RequestTemplate:
    """Creates the requests of a connection from the settings that all of them share."""

    origin: Origin
    method: str  # default method
    url_template: UrlTemplate
    data_format: str
    content_type: bytes  # b'' = determined by the data
    common_fields: HeaderFields = field(repr=False)  # fields of every request, including static credentials
    fixed_query: bytes = field(repr=False)  # appended to every query; b'' = none
    timeout: float  # seconds
    connect_timeout: float
    max_response_size: int  # limit of a response's body in bytes
    offload: Offload
    seconds: Callable[[], float]  # the reactor's clock
    repeatable_methods: frozenset[str] = SAFE_METHODS  # methods that may be repeated
    requires_challenge: bool = False  # whether the peer may reject a request before its body is sent
    timeouts: Timeouts = field(init=False)
    _default_target: bytes | None = field(init=False)  # without params; None = the path has parameters
    _timestamp_header: MessageTimestampHeader = field(factory=MessageTimestampHeader, init=False)

    @timeouts.default
    def _default_timeouts(self) -> Timeouts:
        """All stages are limited by the timeout of the whole call."""
        return Timeouts(
            queue_timeout=inf,
            connect_timeout=self.connect_timeout,
            first_byte_timeout=inf,
            read_timeout=inf,
            total_timeout=inf,
        )

    @_default_target.default
    def _without_params(self) -> bytes | None:
        return None if self.url_template.names else self._target(None)

    def build_request(self, spec: CallSpec, call: IServiceCall) -> OutgoingRequest:
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
        call, common = request.call, self.common_fields
        if call.trace:
            names, values = names + _TRACED, (*values, call.trace.encode('ascii'))
        request.field_names = _field_names(common.names, names)
        request.field_values = (*common.values, *values, request.cid)
        if spec.headers:
            _apply_headers(request, spec.headers)
        now = request.started_at = self.seconds()
        request.configured_timeout = seconds = self.timeout if spec.timeout is None else spec.timeout
        remaining = call.deadline - DEADLINE_MARGIN - now
        request.timeout = seconds if seconds < remaining else max(0.0, remaining)
        request.deadline = now + request.timeout

    def build_ping(self, method: str, call: IServiceCall) -> OutgoingRequest:
        """Build a request without a body that checks the peer."""
        spec = CallSpec(method)
        request = OutgoingRequest(spec, call)
        request.target = b'%b?%b' % (self.ping_path, self.fixed_query) if self.fixed_query else self.ping_path
        self._complete(request, spec, (), ())
        return request

    @property
    def ping_path(self) -> bytes:
        """The path of a ping request."""
        return self.url_template.fixed_path

    def http_request(self, request: OutgoingRequest) -> HttpRequest:
        """Return the HTTP request to send now."""
        remaining = request.deadline - self.seconds()
        milliseconds = int(remaining * 1000) + 1
        if not 0 < milliseconds <= _MAX_DEADLINE:
            milliseconds = min(max(1, milliseconds), _MAX_DEADLINE)
        timestamps = self._timestamp_header.format(time()), b'%d' % milliseconds
        default_fields = HeaderFields(
            request.field_names, request.field_values + timestamps, self.common_fields.validated
        )
        fields = (
            _merge_fields(request, default_fields) if request.override_names or request.credentials else default_fields
        )
        stream = request.stream
        body = request.body
        return HttpRequest(
            request.method, self.origin, request.target, fields, body,
            self._stream_timeouts(remaining, request.configured_timeout) if stream else self.timeouts,
            inf if stream and remaining > 0 else request.deadline,
            request.has_idempotency_key or request.method in self.repeatable_methods,
            EXPECT_TIMEOUT if self.requires_challenge and body is not None and type(body) is not bytes else 0.0,
            stream, self.max_response_size,
        )  # fmt: skip

    def _target(self, params: Any) -> bytes:
        if params is None or isinstance(params, Mapping):
            target, query_params = self.url_template.fill(params)
            query = encode_query(query_params) if query_params else b''
        else:
            target, _ = self.url_template.fill(None)
            query = params.encode('ascii') if isinstance(params, str) else encode_query(params)
        if self.fixed_query:
            query = b'%b&%b' % (query, self.fixed_query) if query else self.fixed_query
        return b'%b%b%b' % (target, b'&' if b'?' in target else b'?', query) if query else target

    def _stream_timeouts(self, remaining: float, read_timeout: float) -> Timeouts:
        """Return the timeouts of a streamed response: for its beginning, and for each pause, but not for the whole."""
        return Timeouts(
            queue_timeout=remaining,
            connect_timeout=min(remaining, self.connect_timeout),
            first_byte_timeout=remaining,
            read_timeout=read_timeout,
            total_timeout=inf,
        )


@lru_cache(maxsize=256)
def _field_names(common: tuple[bytes, ...], names: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Return the names of a request's fields. Returns the same object each time, because the head writer caches by
    identity."""
    return common + names + _STAMPS


def _apply_headers(request: OutgoingRequest, headers: Mapping[str, Any]) -> None:
    """Replace the connection's fields by those of the service."""
    fields = [(name.encode('ascii'), value) for name, value in headers.items()]
    request.override_names = frozenset(name.lower() for name, _ in fields)
    request.override_fields = [(name, _value(value)) for name, value in fields if value is not None]
    request.has_idempotency_key = any(name.lower() == _KEY for name, _ in request.override_fields)


def _merge_fields(request: OutgoingRequest, fields: HeaderFields) -> Fields:
    """Return all fields of a request that has fields of its own."""
    given = request.override_names
    kept = [field for field in (*fields, *request.credentials) if field[0].lower() not in given]
    return [*kept, *request.override_fields]


def _value(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode('utf-8')
