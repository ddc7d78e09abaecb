"""What becomes of a request by its head alone: an Inbound for the exchange, or a refusal. Decides, does no I/O.

A client that keeps its connection mostly repeats its head to the byte, and the parser then gives the same RequestHead
again. So what follows from head and routes alone is a `ResolvedRequest`, decided once; what differs from request to
request (cid, deadline, span) is made for each. Where only fields differ (a request id, say), the way is still the last
one's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from zatotx.interfaces.meters import NoMeter
from zatotx.model.cid import accepted_cid, new_cid
from zatotx.model.message import ChannelSpec, HTTPView, Message, Reply
from zatotx.plugins.http.server import error_responses
from zatotx.plugins.http.server.access_log import QueryKeyNames, describe_request, escape_bytes
from zatotx.plugins.http.server.client_info import ClientInfo
from zatotx.plugins.http.server.cors_preflight import answer_preflight
from zatotx.plugins.http.server.error_responses import error_response
from zatotx.plugins.http.server.request_context import RequestContext
from zatotx.plugins.http.server.response_filters import ResponseFilter
from zatotx.plugins.http.server.route_match import ErrorResult, RouteMatch, Target
from zatotx.plugins.http.server.route_table import ChannelTable
from zatotx.plugins.http.soap import routing as soap_routing
from zatotx.rules.routing.route_table import Match, MethodNotRouted
from zatotx.wire.http.inflate import coding_of
from zatotx.wire.http.percent_encoding import Malformed, decode_path
from zatotx.wire.http.traceparent import continued
from zatotx.wire.http1.request_parser import RequestHead
from zatotx.wire.soap.action import ACCEPTED, is_soap_type, mentions_soap, requested_version

_NOWHERE: Mapping[str, str] = {}
_NO_CHANNEL = ChannelSpec(name='', kind='http-soap', service='')
_UNCOUNTED = NoMeter()
NO_CONTENT = 204
_SERVER_WIDE = ErrorResult(NO_CONTENT, '')  # the answer to `OPTIONS *` (RFC 9110 §9.3.7)
_LONGEST_DEADLINE = 24 * 60 * 60 * 1000  # milliseconds, eight digits


class ResolvedRequest(msgspec.Struct, frozen=True):
    """Where requests with a certain head lead, under certain routes, and for which client."""

    head: RequestHead
    routes: ChannelTable
    label: str  # the channel's name for the log
    request: str  # the request line for the log
    agent: str  # the client's program for the log
    peer: str  # the client's address
    cid: str | None  # the caller's own
    parent: bytes | None  # the caller's traceparent
    refusing: ErrorResult | None = None  # set = all that follows is nothing
    spec: ChannelSpec = _NO_CHANNEL
    service: str = ''
    view: HTTPView | None = None
    allowed: float = 0.0  # seconds
    way: RouteMatch | None = None
    form: str = ''  # of errors: a version of SOAP, 'xml', or '' = JSON
    meter: Any = _UNCOUNTED  # IChannelMeter
    dress: ResponseFilter | None = None  # what the channel puts on its answers


class RequestRouter:
    """Receives heads with the routes in force: a request goes by the table of the moment its head came."""

    __slots__ = ('_max_body', 'keys', 'routes')

    def __init__(self, routes: ChannelTable, max_body: int) -> None:
        self.routes = routes
        self.keys = QueryKeyNames()  # what the log must not show; where they change, so must the routes
        self._max_body = max_body

    def place(self, head: RequestHead, client: ClientInfo, last: ResolvedRequest | None) -> ResolvedRequest:
        """Where this head leads: `last`, the connection's last one, where nothing has changed."""
        way: RouteMatch | ErrorResult | None = None
        peer = client.address
        if head.method == 'OPTIONS':
            if head.path == b'*':
                return self._refusing(head, peer, _SERVER_WIDE)
            if (asked := answer_preflight(self.routes, head)) is not None:
                return self._refusing(head, peer, asked[1], asked[0], dressed=False)
        if last is not None and last.routes is self.routes:
            if last.head is head:
                return last
            if last.head.target == head.target and last.head.method == head.method:
                way = last.way
                if way is not None and way.forked and not soap_routing.same_action(last.head, head):
                    way = None
        if way is None:
            way = self._way(head)
        if isinstance(way, ErrorResult):
            return self._refusing(head, peer, way)
        spec = way.target.spec
        wrong = self._wrong(way.target, head)
        allowed = self._allowed(spec.timeout, head) if wrong is None else wrong
        if isinstance(allowed, ErrorResult):
            return self._refusing(head, peer, allowed, way.target)
        view = HTTPView(head.method, head.target, way.path, head.query, head.headers, way.params, peer, head.version,
                        client.certificates, client.secure, client.own_url, client.public_url)  # fmt: skip
        request, agent, cid, parent = _said(head, way.request)
        return ResolvedRequest(head, self.routes, way.target.label, request, agent, peer, cid, parent, None, spec,
                               way.service, view, allowed, way, _form(spec, head), way.target.meter,
                               _dress(way.target, head))  # fmt: skip

    def receive(self, turn: RequestContext, place: ResolvedRequest) -> Reply | None:
        """Give the turn its cid and its Inbound. Where there is nothing to do for the exchange: the answer."""
        cid = turn.cid = place.cid or new_cid()
        turn.place = place
        place.meter.requests += 1
        refusing = place.refusing
        if refusing is not None:
            if refusing.status == NO_CONTENT:
                return Reply(NO_CONTENT, b'', b'', refusing.headers)
            return error_response(refusing.status, cid, refusing.details, refusing.headers, place.form)
        parent = place.parent
        turn.inbound = Message(
            cid, place.spec, place.service, place.head.headers, b'', turn.began + place.allowed, place.view,
            continued(parent) if parent is not None else '',
        )  # fmt: skip
        return None

    def _refusing(
        self, head: RequestHead, peer: str, refusing: ErrorResult, target: Target | None = None, *, dressed: bool = True
    ) -> ResolvedRequest:
        label, meter, form, dress = '-', _UNCOUNTED, refusing.soap, None
        if target is not None:
            label, meter, dress = target.label, target.meter, _dress(target, head) if dressed else None
            form = _form(target.spec, head)
        request, agent, cid, parent = _said(head, describe_request(head.method, head.target, self.keys.names))
        return ResolvedRequest(head, self.routes, label, request, agent, peer, cid, parent, refusing, meter=meter,
                               form=form, dress=dress)  # fmt: skip

    def _way(self, head: RequestHead) -> RouteMatch | ErrorResult:
        """The channel, what its pattern captured, and the path as text."""
        by_action = mentions_soap(head.headers) or (self.routes.has_soap and soap_routing.asks_for_wsdl(head))
        try:
            match = self.routes.find(head.method, head.path, soap_first=by_action)
            path = decode_path(head.path)
        except Malformed as error:
            return ErrorResult(400, f'The URL cannot be read: {error}')
        if not isinstance(match, Match):
            return _nowhere(match, head, requested_version(head.headers) if by_action else '')
        if not isinstance(match.target, Target):
            return soap_routing.match_action(
                match, head, path, describe_request(head.method, head.target, self.keys.names)
            )
        service, params = match.target.spec.service, match.params
        if not service:  # a door: its path names the service, which is no parameter of that service
            service, params = params['service'], _NOWHERE
        request = describe_request(head.method, head.target, self.keys.names)
        return RouteMatch(match.target, service, params, path, request, forked=self.routes.has_soap)

    def _wrong(self, target: Target, head: RequestHead) -> ErrorResult | None:
        """What this channel cannot do for a request with such a head."""
        if not target.is_active:
            return ErrorResult(404, error_responses.INACTIVE)
        if head.method == 'TRACE' and target.any_method:  # it is for echoing a request (RFC 9110, §9.3.8): ask for it
            return ErrorResult(
                405, error_responses.NOT_SO.format(method='TRACE'), ((b'Allow', error_responses.METHODS),)
            )
        if head.expects and head.expects != b'100-continue':
            return ErrorResult(417, error_responses.NO_SUCH_EXPECTATION)
        if coding_of(head.headers.get(b'content-encoding')) is None:
            return ErrorResult(415, error_responses.NO_CODING, ((b'Accept-Encoding', b'gzip, deflate, identity'),))
        if head.length is not None and head.length > self._max_body:
            return ErrorResult(413, error_responses.TOO_MUCH.format(limit=self._max_body))
        if target.spec.soap is not None and not target.spec.door and not is_soap_type(head.headers):
            return ErrorResult(415, error_responses.NO_SOAP_TYPE, ((b'Accept', ACCEPTED),))
        return None

    def _allowed(self, timeout: float, head: RequestHead) -> float | ErrorResult:
        """Seconds from its head until a request is given up: the channel's, or less where the caller asks for less."""
        asked = head.headers.get(b'x-zato-deadline-ms')
        if asked is None:
            return timeout
        if not asked.isdigit() or len(asked) > 8 or not 0 < int(asked) <= _LONGEST_DEADLINE:
            return ErrorResult(400, error_responses.BAD_DEADLINE)
        return min(timeout, int(asked) / 1000)


def _dress(target: Target, head: RequestHead) -> ResponseFilter | None:
    return None if target.dressing is None else target.dressing.of(head)


def _form(spec: ChannelSpec, head: RequestHead) -> str:
    """In which form errors of a channel are told."""
    if spec.soap is not None:
        return requested_version(head.headers)
    return error_responses.XML if spec.data_format == error_responses.XML else ''


def _nowhere(match: MethodNotRouted | None, head: RequestHead, soap: str) -> ErrorResult:
    if match is None:
        return ErrorResult(404, error_responses.NOT_FOUND, soap=soap)
    allow = ', '.join(match.allow).encode('ascii')
    return ErrorResult(405, error_responses.NOT_SO.format(method=head.method), ((b'Allow', allow),), soap)


def _said(head: RequestHead, request: str) -> tuple[str, str, str | None, bytes | None]:
    """What the log and the exchange take from a head: request line, program, the caller's cid and traceparent."""
    headers = head.headers
    sent = headers.get(b'x-zato-cid')
    agent = headers.get(b'user-agent')
    return (
        f'{request} HTTP/1.{head.version[1]}', escape_bytes(agent) if agent else '-',
        accepted_cid(sent.decode('latin-1')) if sent else None, headers.get(b'traceparent'),
    )  # fmt: skip
