"""One request of a connection, from its head to the end of its answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from zatotx.interfaces.pipeline import IPendingRequest
from zatotx.model.message import Message, Reply
from zatotx.plugins.http.server.request_body import Held
from zatotx.wire.http1.request_parser import RequestHead

if TYPE_CHECKING:
    from zatotx.plugins.http.server.request_router import ResolvedRequest

# RFC 9110 9.2.1. Only these may run beside others of their connection (RFC 9112 9.3.2).
SAFE = frozenset({'GET', 'HEAD', 'OPTIONS', 'TRACE', 'QUERY', 'PROPFIND', 'REPORT', 'SEARCH'})


class RequestContext:
    """Keeps a request's place in the order of answers. `answered` is what the exchange calls."""

    __slots__ = ('_ready', 'began', 'body', 'cid', 'head', 'inbound', 'interim', 'lines', 'persist', 'place', 'reply',
                 'request_line', 'run')  # fmt: skip

    def __init__(self, head: RequestHead | None, began: float, ready: Callable[[RequestContext], None]) -> None:
        self.head = head  # None where the message was refused before its head was whole
        self.began = began
        self._ready = ready
        self.persist = head is not None and head.keep_alive
        self.cid = ''
        self.place: ResolvedRequest | None = None  # where the head leads
        self.request_line = b''  # as sent, where there is no head
        self.inbound: Message | None = None
        self.run: IPendingRequest | None = None
        self.body: Held | None = None
        self.interim = False  # 100 (Continue) is to be sent as soon as this is the first in line
        self.lines = b''  # of the answer's head, that its channel puts on it
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
        """Whether others may run beside it."""
        return self.head is not None and self.head.method in SAFE

    def answered(self, reply: Reply) -> None:
        """Here is the answer, as who made it wants it."""
        place = self.place
        if place is None or place.dress is None:  # as mostly
            self.reply = reply
            self._ready(self)
        else:
            place.dress.put_on(self, reply)

    def dressed(self, reply: Reply) -> None:
        """Here is the answer, as it goes out."""
        self.reply = reply
        self._ready(self)

    def abandon(self) -> None:
        """Nobody waits for the answer any more."""
        if self.run is not None:
            self.run.cancel()
        self.release()

    def release(self) -> None:
        """The exchange is over: give back what it held."""
        if self.body is not None:
            self.body.close()
            self.body = None
