"""The state of one request of a connection, from its head to the end of its response."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from zatotx.interfaces.pipeline import IPendingRequest
from zatotx.model.message import Message, Reply
from zatotx.plugins.http.server.request_body import RequestResources
from zatotx.wire.http1.request_parser import RequestHead

if TYPE_CHECKING:
    from zatotx.plugins.http.server.request_router import ResolvedRequest

# RFC 9110 9.2.1. Only requests with these methods run concurrently with others of their connection (RFC 9112 9.3.2).
SAFE_METHODS = frozenset({'GET', 'HEAD', 'OPTIONS', 'TRACE', 'QUERY', 'PROPFIND', 'REPORT', 'SEARCH'})


class RequestContext:
    """One request, in the order in which its response must be written. The dispatcher calls `receive_reply`."""

    __slots__ = (
        '_on_reply',
        'cid',
        'head',
        'header_lines',
        'keep_alive',
        'message',
        'pending',
        'reply',
        'request_line',
        'resolved',
        'resources',
        'send_continue',
        'started_at',
    )

    def __init__(self, head: RequestHead | None, started_at: float, on_reply: Callable[[RequestContext], None]) -> None:
        self.head = head  # None if the message was rejected before its head was complete
        self.started_at = started_at
        self._on_reply = on_reply
        self.keep_alive = head is not None and head.keep_alive
        self.cid = ''
        self.resolved: ResolvedRequest | None = None  # how the head was routed
        self.request_line = b''  # as sent, if there is no head
        self.message: Message | None = None
        self.pending: IPendingRequest | None = None
        self.resources: RequestResources | None = None
        self.send_continue = False  # whether to send 100 (Continue) as soon as this request is the connection's first
        self.header_lines = b''  # header lines that its channel adds to the response
        self.reply: Reply | None = None

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
            self._on_reply(self)
        else:
            resolved.response_filter.apply(self, reply)

    def set_reply(self, reply: Reply) -> None:
        """Receive the final response, as it is sent."""
        self.reply = reply
        self._on_reply(self)

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
