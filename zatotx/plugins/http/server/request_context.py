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
