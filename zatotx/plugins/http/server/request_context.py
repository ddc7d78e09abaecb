"""The state of one request of a connection, from its head to the end of its response, and the result of its routing."""

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
    """Filters the responses to requests with one head."""

    def put_on(request: RequestContext, reply: Reply) -> None:  # noqa: N805 - an interface
        """Filter a response and pass it to `request.dressed`: at once, or when a thread has finished its part."""


class IResponseFilters(Interface):
    """The response filters of one channel."""

    cors: CorsRules | None = Attribute('The rules for preflight requests.')

    def of(head: RequestHead) -> IResponseFilter:  # noqa: N805 - an interface
        """Return the filter for responses to requests with this head."""


class ChannelTarget(msgspec.Struct, frozen=True):
    """The channel that a route leads to."""

    spec: ChannelSpec
    label: str  # the channel's name as the access log writes it
    is_active: bool = True
    any_method: bool = False  # of a channel that names no method
    meter: IChannelMeter = NO_METER  # of its requests
    dressing: IResponseFilters | None = None  # for its responses


class ChannelMatch(msgspec.Struct, frozen=True):
    """The channel found for a method and a target, and with SOAP for an action."""

    target: ChannelTarget
    service: str
    params: Mapping[str, str]
    path: str
    request: str  # method and target for the log
    forked: bool = False  # whether another SOAP action may lead elsewhere


class ResolvedRequest(msgspec.Struct, frozen=True):
    """The routing result for requests with a certain head, under certain routes, and from a certain client."""

    head: RequestHead
    routes: object  # the route table that was used
    label: str  # the channel's name for the log
    request: str  # the request line for the log
    agent: str  # the user agent for the log
    peer: str  # the client's address
    cid: str | None  # the caller's own correlation ID
    parent: bytes | None  # the caller's traceparent
    refusing: ErrorResult | None = None  # if set, the fields below have their defaults
    spec: ChannelSpec = _NO_CHANNEL
    service: str = ''
    view: HTTPView | None = None
    allowed: float = 0.0  # seconds until the request times out
    way: ChannelMatch | None = None
    form: str = ''  # format of errors: a version of SOAP, 'xml', or '' = JSON
    meter: IChannelMeter = NO_METER
    dress: IResponseFilter | None = None  # the filter for the channel's responses


class RequestContext:
    """One request, in the order in which its response must be written. The dispatcher calls `answered`."""

    __slots__ = ('_on_reply', 'began', 'body', 'cid', 'head', 'inbound', 'interim', 'lines', 'persist', 'place',
                 'reply', 'request_line', 'run')  # fmt: skip

    def __init__(self, head: RequestHead | None, began: float, ready: Callable[[RequestContext], None]) -> None:
        self.head = head  # None if the message was rejected before its head was complete
        self.began = began
        self._on_reply = ready
        self.persist = head is not None and head.keep_alive
        self.cid = ''
        self.place: ResolvedRequest | None = None  # how the head was routed
        self.request_line = b''  # as sent, if there is no head
        self.inbound: Message | None = None
        self.run: IPendingRequest | None = None
        self.body: RequestResources | None = None
        self.interim = False  # whether to send 100 (Continue) as soon as this request is the connection's first
        self.lines = b''  # header lines that its channel adds to the response
        self.reply: Reply | None = None

    @property
    def channel(self) -> str:
        """The channel's name, for the log."""
        return self.place.label if self.place is not None else '-'

    @property
    def service(self) -> str:
        """The service's name, for the log."""
        return self.place.service if self.place is not None else ''

    @property
    def safe(self) -> bool:
        """Whether other requests of the connection may run concurrently."""
        return self.head is not None and self.head.method in SAFE_METHODS

    def answered(self, reply: Reply) -> None:
        """Receive the response of the dispatcher, and pass it through the channel's response filter."""
        resolved = self.place
        if resolved is None or resolved.dress is None:  # the usual case
            self.reply = reply
            self._on_reply(self)
        else:
            resolved.dress.put_on(self, reply)

    def dressed(self, reply: Reply) -> None:
        """Receive the final response, as it is sent."""
        self.reply = reply
        self._on_reply(self)

    def abandon(self) -> None:
        """Cancel the request: the client has disconnected."""
        if self.run is not None:
            self.run.cancel()
        self.release()

    def release(self) -> None:
        """Release the resources of the request."""
        if self.body is not None:
            self.body.close()
            self.body = None


def error_response_to(turn: RequestContext, status: int, details: str) -> Reply:
    """Return an error response in the format of the channel that the request was routed to."""
    resolved = turn.place
    return error_response(status, turn.cid, details, form='' if resolved is None else resolved.form)
