"""Routes a request by its head: returns the message to process, or an error response. Does no I/O.

A client that keeps its connection usually sends identical heads, and the parser then returns the same RequestHead
again. So everything that follows from head and routes alone is computed once, as a `ResolvedRequest`; what differs
between requests (cid, deadline, span) is created for each. If only header fields differ (a request id, say), the last
ChannelMatch is still reused.
"""

from __future__ import annotations

from collections.abc import Mapping

from zatotx.interfaces.meters import IChannelMeter
from zatotx.model.cid import new_cid, validated_cid
from zatotx.model.message import ChannelSpec, HTTPView, Message, Reply
from zatotx.plugins.http.server import error_responses, soap_routing
from zatotx.plugins.http.server.access_log import QueryKeyNames, describe_request, escape_bytes
from zatotx.plugins.http.server.client_info import ClientInfo, ForwardedClients
from zatotx.plugins.http.server.error_responses import ErrorResult, error_response
from zatotx.plugins.http.server.request_context import (
    NO_METER,
    ChannelMatch,
    ChannelTarget,
    IResponseFilter,
    RequestContext,
    ResolvedRequest,
)
from zatotx.plugins.http.server.route_table import ChannelTable
from zatotx.rules.http.cors import CorsForbidden
from zatotx.rules.routing.route_table import MatchedRoute, MethodNotRouted
from zatotx.wire.http.decompression import parse_content_encoding
from zatotx.wire.http.traceparent import continue_trace
from zatotx.wire.http.urlencoded import Malformed, decode_path
from zatotx.wire.http1.request_parser import RequestHead
from zatotx.wire.soap.soap_action import (
    ACCEPTED_TYPES,
    accepts_soap_content_type,
    is_unambiguously_soap,
    requested_soap_version,
)

_VARY = b'Vary', b'Origin, Access-Control-Request-Method, Access-Control-Request-Headers'
_NO_PARAMS: Mapping[str, str] = {}
NO_CONTENT = 204
_SERVER_WIDE = ErrorResult(NO_CONTENT, '')  # the response to `OPTIONS *` (RFC 9110 §9.3.7)
_MAX_DEADLINE = 24 * 60 * 60 * 1000  # milliseconds, eight digits
_MAX_BUILTIN_TIMEOUT = 600.0  # seconds


def answer_preflight(routes: ChannelTable, head: RequestHead) -> tuple[ChannelTarget, ErrorResult] | None:
    """Return the channel and the response to a CORS preflight request (Fetch standard), from the head alone, without
    credentials and without invoking the service. Returns None if the request is not a preflight, or if no channel with
    CORS rules matches; the request is then processed like other requests."""
    headers = head.headers
    origin, method = headers.get(b'origin'), headers.get(b'access-control-request-method')
    if origin is None or method is None:
        return None
    try:
        match = routes.rest.find(method.decode('latin-1'), head.path)
    except Malformed:
        return None
    target = match.target if isinstance(match, MatchedRoute) else None
    if (
        target is None
        or not target.is_active
        or target.response_filters is None
        or target.response_filters.cors is None
    ):
        return None
    try:
        fields = target.response_filters.cors.preflight_headers(
            origin, method, headers.get(b'access-control-request-headers')
        )
    except CorsForbidden as error:
        return target, ErrorResult(403, f'{error}', (_VARY,))
    return target, ErrorResult(204, '', (*fields, _VARY))


class RequestRouter:
    """Routes requests by their heads. Each request is routed by the route table that is current when its head
    arrives."""

    __slots__ = ('_max_body', 'key_names', 'routes')

    def __init__(self, routes: ChannelTable, max_body: int) -> None:
        self.routes = routes
        self.key_names = QueryKeyNames()  # what the log masks; when the keys change, the routes must be replaced too
        self._max_body = max_body

    def resolve(self, head: RequestHead, client: ClientInfo, last_resolved: ResolvedRequest | None) -> ResolvedRequest:
        """Resolve a head. Returns `last_resolved`, the connection's last result, if nothing has changed."""
        match: ChannelMatch | ErrorResult | None = None
        peer = client.address
        if head.method == 'OPTIONS':
            if head.path == b'*':
                return self._resolve_error(head, peer, _SERVER_WIDE)
            if (preflight := answer_preflight(self.routes, head)) is not None:
                return self._resolve_error(head, peer, preflight[1], preflight[0], is_filtered=False)
        if last_resolved is not None and last_resolved.routes is self.routes:
            if last_resolved.head is head:
                return last_resolved
            if last_resolved.head.target == head.target and last_resolved.head.method == head.method:
                match = last_resolved.route_match
                if match is not None and match.forked and not soap_routing.same_action(last_resolved.head, head):
                    match = None
        if match is None:
            match = self._match(head)
        if isinstance(match, ErrorResult):
            return self._resolve_error(head, peer, match)
        spec = match.target.spec
        error = self._check(match.target, head)
        allowed = self._timeout(spec, head) if error is None else error
        if isinstance(allowed, ErrorResult):
            return self._resolve_error(head, peer, allowed, match.target)
        view = HTTPView(
            head.method, head.target, match.path, head.query, head.headers, match.params, peer, head.version,
            client.certificates, client.is_tls, client.listener_url, client.public_url,
        )  # fmt: skip
        request, agent, cid, parent = _request_fields(head, match.request)
        return ResolvedRequest(head, self.routes, match.target.label, request, agent, peer, cid, parent, None, spec,
                               match.service, view, allowed, match, _error_format(spec, head), match.target.meter,
                               _filter_for(match.target, head))  # fmt: skip

    def place_forwarded(
        self, clients: ForwardedClients, head: RequestHead, proxy: ClientInfo, last: ResolvedRequest | None
    ) -> ResolvedRequest:
        """Resolve a head as `resolve` does, for the client that a trusted proxy forwards."""
        if last is not None and last.head is head and last.routes is self.routes:
            return last
        return self.resolve(head, clients.client_for(head, proxy), last)

    def start_request(self, request: RequestContext, resolved: ResolvedRequest) -> Reply | None:
        """Assign the request its cid and its message. Returns the response if the dispatcher is not needed, else
        None."""
        error = resolved.error
        request.resolved = resolved
        if error is None:
            message = request.message = self.make_message(resolved, b'', request.started_at)
            request.cid = message.cid
            return None
        cid = request.cid = resolved.caller_cid or new_cid()
        resolved.meter.requests += 1
        if error.status == NO_CONTENT:
            return Reply(NO_CONTENT, b'', b'', error.headers)
        return error_response(error.status, cid, error.details, error.headers, resolved.error_format)

    def make_message(self, resolved: ResolvedRequest, body: bytes, started_at: float) -> Message:
        """Count a request without errors, and return its message, which has its cid."""
        resolved.meter.requests += 1
        parent = resolved.traceparent
        return Message(
            resolved.caller_cid or new_cid(),
            resolved.spec,
            resolved.service,
            resolved.head.headers,
            body,
            started_at + resolved.timeout,
            resolved.http_view,
            continue_trace(parent) if parent is not None else '',
        )

    def _resolve_error(
        self,
        head: RequestHead,
        peer: str,
        error: ErrorResult,
        target: ChannelTarget | None = None,
        *,
        is_filtered: bool = True,
    ) -> ResolvedRequest:
        label, form = '-', error.soap_version
        meter: IChannelMeter = NO_METER
        response_filter: IResponseFilter | None = None
        if target is not None:
            label, meter, response_filter = (
                target.label,
                target.meter,
                _filter_for(target, head) if is_filtered else None,
            )
            form = _error_format(target.spec, head)
        request, agent, cid, parent = _request_fields(
            head, describe_request(head.method, head.target, self.key_names.names)
        )
        return ResolvedRequest(head, self.routes, label, request, agent, peer, cid, parent, error, meter=meter,
                               error_format=form, response_filter=response_filter)  # fmt: skip

    def _match(self, head: RequestHead) -> ChannelMatch | ErrorResult:
        """Return the channel, the parameters that its pattern captured, and the decoded path; or an error."""
        by_action = is_unambiguously_soap(head.headers) or (self.routes.has_soap and soap_routing.is_wsdl_request(head))
        try:
            match = self.routes.find(head.method, head.path, soap_first=by_action)
            path = decode_path(head.path)
        except Malformed as error:
            return ErrorResult(400, f'The URL cannot be read: {error}')
        if not isinstance(match, MatchedRoute):
            return _routing_error(match, head, requested_soap_version(head.headers) if by_action else '')
        if not isinstance(match.target, ChannelTarget):
            return soap_routing.match_action(
                match, head, path, describe_request(head.method, head.target, self.key_names.names)
            )
        service, params = match.target.spec.service, match.params
        if not service:  # a built-in endpoint: its path names the service, which is no parameter of that service
            service, params = params['service'], _NO_PARAMS
        request = describe_request(head.method, head.target, self.key_names.names)
        return ChannelMatch(match.target, service, params, path, request, forked=self.routes.has_soap)

    def _check(self, target: ChannelTarget, head: RequestHead) -> ErrorResult | None:
        """Return the error if this channel cannot process a request with such a head."""
        if not target.is_active:
            return ErrorResult(404, error_responses.INACTIVE_CHANNEL)
        if head.method == 'TRACE' and target.any_method:  # it echoes a request (RFC 9110, §9.3.8): it must be enabled
            return ErrorResult(
                405,
                error_responses.METHOD_NOT_ALLOWED.format(method='TRACE'),
                ((b'Allow', error_responses.ALL_METHODS),),
            )
        if head.expects and head.expects != b'100-continue':
            return ErrorResult(417, error_responses.UNSUPPORTED_EXPECTATION)
        if parse_content_encoding(head.headers.get(b'content-encoding')) is None:
            return ErrorResult(
                415, error_responses.UNSUPPORTED_CONTENT_ENCODING, ((b'Accept-Encoding', b'gzip, deflate, identity'),)
            )
        if head.length is not None and head.length > self._max_body:
            return ErrorResult(413, error_responses.BODY_TOO_LARGE.format(limit=self._max_body))
        if (
            target.spec.soap is not None
            and not target.spec.is_builtin_endpoint
            and not accepts_soap_content_type(head.headers)
        ):
            return ErrorResult(415, error_responses.UNSUPPORTED_SOAP_TYPE, ((b'Accept', ACCEPTED_TYPES),))
        return None

    def _timeout(self, spec: ChannelSpec, head: RequestHead) -> float | ErrorResult:
        """Return the seconds from its head until a request times out: the channel's timeout, or the caller's if that is
        shorter. Callers of the built-in endpoints may ask for more, as large imports take longer."""
        field = head.headers.get(b'x-zato-deadline-ms')
        if field is None:
            return spec.timeout
        if not field.isdigit() or len(field) > 8 or not 0 < int(field) <= _MAX_DEADLINE:
            return ErrorResult(400, error_responses.INVALID_DEADLINE)
        longest = max(spec.timeout, _MAX_BUILTIN_TIMEOUT) if spec.is_builtin_endpoint else spec.timeout
        return min(longest, int(field) / 1000)


def _filter_for(target: ChannelTarget, head: RequestHead) -> IResponseFilter | None:
    return None if target.response_filters is None else target.response_filters.filter_for(head)


def _error_format(spec: ChannelSpec, head: RequestHead) -> str:
    """Return the format of a channel's errors."""
    if spec.soap is not None:
        return requested_soap_version(head.headers)
    return error_responses.XML if spec.data_format == error_responses.XML else ''


def _routing_error(match: MethodNotRouted | None, head: RequestHead, soap: str) -> ErrorResult:
    if match is None:
        return ErrorResult(404, error_responses.NOT_FOUND, soap_version=soap)
    allow = ', '.join(match.allow).encode('ascii')
    return ErrorResult(405, error_responses.METHOD_NOT_ALLOWED.format(method=head.method), ((b'Allow', allow),), soap)


def _request_fields(head: RequestHead, request: str) -> tuple[str, str, str | None, bytes | None]:
    """Return what the log and the dispatcher need of a head: request line, user agent, the caller's cid and
    traceparent."""
    headers = head.headers
    cid = headers.get(b'x-zato-cid')
    agent = headers.get(b'user-agent')
    return (
        f'{request} HTTP/1.{head.version[1]}', escape_bytes(agent) if agent else '-',
        validated_cid(cid.decode('latin-1')) if cid else None, headers.get(b'traceparent'),
    )  # fmt: skip
