"""The interfaces between an exchange and its client connection."""

from __future__ import annotations

from typing import Any, Protocol

from zatotx.connectors.http.buffered_writer import BufferedWriter
from zatotx.lb.http.http_frontend_context import HttpFrontendContext
from zatotx.lb.http.request_rewriting import ClientConnectionInfo
from zatotx.wire.http1.request_parser import RequestParser


class ConnectionUser(Protocol):
    """The interface of an exchange or tunnel, to which a client connection passes its events."""

    def client_data(self, data: bytes) -> None:
        """Process bytes from the client."""

    def client_half_closed(self) -> None:
        """Note that the client sends no more."""

    def client_drained(self) -> None:
        """Continue: the client has received everything that was written."""

    def client_lost(self) -> None:
        """End: the client is gone."""

    def expire(self, now: float) -> None:
        """Enforce the timeout that has passed."""


class ExchangeClient(Protocol):
    """The interface of the client connection of an exchange."""

    runtime: HttpFrontendContext
    parser: RequestParser
    writer: BufferedWriter
    peer: ClientConnectionInfo
    peer_port: int
    deadline: float
    has_half_closed: bool
    head_began: float
    transport: Any

    def exchange_finished(self, now: float, *, keep_alive: bool, unread: bool) -> None: ...
    def become_tunnel(self, tunnel: ConnectionUser) -> None: ...
    def pause(self) -> None: ...
    def pause_if_full(self) -> None: ...
    def resume(self) -> None: ...
    def abort(self) -> None: ...
    def cut(self) -> None: ...
    def end_tunnel(self) -> None: ...
