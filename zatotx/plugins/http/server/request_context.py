"""The state of one request of a connection, from its head to the end of its response, and the types of routing
results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from zope.interface import Attribute, Interface

from zatotx.interfaces.meters import IChannelMeter, NullMeter
from zatotx.interfaces.pipeline import IPendingRequest
from zatotx.model.message import ChannelSpec, HTTPView, Message, Reply
from zatotx.plugins.http.server.error_responses import ErrorResult, error_response
from zatotx.plugins.http.server.request_body import RequestResources
from zatotx.rules.http.cors import CorsRules
from zatotx.wire.http1.request_parser import RequestHead

# RFC 9110 9.2.1. Only requests with these methods run concurrently with others of their connection (RFC 9112 9.3.2).
SAFE_METHODS = frozenset({'GET', 'HEAD', 'OPTIONS', 'TRACE', 'QUERY', 'PROPFIND', 'REPORT', 'SEARCH'})

_NO_CHANNEL = ChannelSpec(name='', kind='http-soap', service='')
NO_METER: Any = NullMeter()


class IResponseFilter(Interface):
    """The interface of a filter for the responses to requests with the same head."""

    def apply(request: RequestContext, reply: Reply) -> None:  # noqa: N805 - an interface
        """Filter a response and pass it to `request.dressed`: at once, or when a thread has finished its part."""


class IResponseFilters(Interface):
    """The interface of the response filters of one channel. It creates the filter for the head of a request."""

    cors: CorsRules | None = Attribute('The rules for preflight requests.')

    def filter_for(head: RequestHead) -> IResponseFilter:  # noqa: N805 - an interface
        """Return the filter for responses to requests with this head."""


class ChannelTarget(msgspec.Struct, frozen=True):
    """The channel to which a route leads, and the settings for its requests."""

    spec: ChannelSpec
    label: str  # the channel's name as the access log writes it
    is_active: bool = True
    any_method: bool = False  # of a channel that names no method
    meter: IChannelMeter = NO_METER  # of its requests
    response_filters: IResponseFilters | None = None  # for its responses


class ChannelMatch(msgspec.Struct, frozen=True):
    """The channel that matches a request's method and target, and for SOAP its action."""

    target: ChannelTarget
    service: str
    params: Mapping[str, str]
    path: str
    request: str  # method and target for the log
    forked: bool = False  # whether another SOAP action may lead elsewhere


class ResolvedRequest(msgspec.Struct, frozen=True):
    """The result of routing a request. It applies to all requests of the client with the same head, until the routes
    change."""

    head: RequestHead
    routes: object  # the route table that was used
    channel_label: str  # the channel's name for the log
    request_line: str  # the request line for the log
    user_agent: str  # the user agent for the log
    peer_address: str  # the client's address
    caller_cid: str | None  # the caller's own correlation ID
    traceparent: bytes | None  # the caller's traceparent
    error: ErrorResult | None = None  # if set, the fields below have their defaults
    spec: ChannelSpec = _NO_CHANNEL
    service: str = ''
    http_view: HTTPView | None = None
    timeout: float = 0.0  # seconds until the request times out
    route_match: ChannelMatch | None = None
    error_format: str = ''  # format of errors: a version of SOAP, 'xml', or '' = JSON
    meter: IChannelMeter = NO_METER
    response_filter: IResponseFilter | None = None  # the filter for the channel's responses


class RequestContext(msgspec.Struct, eq=False):
    """The state of one request. Responses are written in the order of the requests. The dispatcher calls
    `receive_reply`."""

    head: RequestHead | None  # None if the message was rejected before its head was complete
    started_at: float
    on_reply: Callable[[RequestContext], None]
    keep_alive: bool = False
    cid: str = ''
    resolved: ResolvedRequest | None = None  # how the head was routed
    request_line: bytes = b''  # as sent, if there is no head
    message: Message | None = None
    pending: IPendingRequest | None = None
    resources: RequestResources | None = None
    send_continue: bool = False  # whether to send 100 (Continue) as soon as this request is the connection's first
    header_lines: bytes = b''  # header lines that its channel adds to the response
    reply: Reply | None = None

    @property
    def channel(self) -> str:
        """The channel's name, for the log."""
        return self.resolved.channel_label if self.resolved is not None else '-'

    @property
    def service(self) -> str:
        """The service's name, for the log."""
        return self.resolved.service if self.resolved is not None else ''

    @property
    def is_safe(self) -> bool:
        """Whether other requests of the connection may run concurrently."""
        return self.head is not None and self.head.method in SAFE_METHODS

    def receive_reply(self, reply: Reply) -> None:
        """Receive the response of the dispatcher, and pass it through the channel's response filter."""
        resolved = self.resolved
        if resolved is None or resolved.response_filter is None:  # the usual case
            self.reply = reply
            self.on_reply(self)
        else:
            resolved.response_filter.apply(self, reply)

    def set_reply(self, reply: Reply) -> None:
        """Receive the final response, as it is sent."""
        self.reply = reply
        self.on_reply(self)

    def cancel(self) -> None:
        """Cancel the request: the client has disconnected."""
        if self.pending is not None:
            self.pending.cancel()
        self.release()

    def release(self) -> None:
        """Release the resources of the request."""
        if self.resources is not None:
            self.resources.close()
            self.resources = None


def error_response_to(request: RequestContext, status: int, details: str) -> Reply:
    """Create an error response in the format of the channel to which the request was routed."""
    resolved = request.resolved
    return error_response(status, request.cid, details, error_format='' if resolved is None else resolved.error_format)
