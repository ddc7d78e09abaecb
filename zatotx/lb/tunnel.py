"""A tunnel that passes bytes in both directions between a client and a server. Its connections are TCP connections or
upgraded HTTP connections.

Each side is read only while the other one accepts data, so that a tunnel holds little more than one read. When one side
ends its direction, the other one is told (half-close), and the tunnel ends when both have. Twisted's TLS has no
half-close: when the server ends its direction, a TLS client's connection ends; when the client does, a TLS server is
not told, and ends the tunnel after its response.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure


class TunnelWriter(Protocol):
    """The interface of the writer of one side of a tunnel (see BufferedWriter)."""

    is_backlogged: bool
    last_progress: float
    can_half_close: bool

    def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...
    def half_close(self) -> None: ...


class TunnelSide(Protocol):
    """The interface of both sides of a tunnel."""

    writer: Any  # TunnelWriter

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def abort(self) -> None: ...


class TunnelClient(TunnelSide, Protocol):
    """The interface of the client's side of a tunnel. `deadline` is the time at which `expire` is called."""

    deadline: float

    def end_tunnel(self) -> None: ...


class TunnelServer(TunnelSide, Protocol):
    """The interface of the server's side of a tunnel."""

    def close(self) -> None: ...


class Tunnel:
    """A tunnel between a client and a server. It ends after `timeout` seconds without a byte in either direction."""

    __slots__ = (
        '_client',
        '_client_closed',
        '_is_ended',
        '_on_end',
        '_seconds',
        '_server',
        '_server_closed',
        '_timeout',
        'received_bytes',
        'sent_bytes',
    )

    def __init__(
        self, client: TunnelClient, server: TunnelServer, *, timeout: float, seconds: Callable[[], float],
        on_end: Callable[[Tunnel, str], None],
    ) -> None:
        """`on_end` is called once, with the two letters of HAProxy's log that say who has ended the tunnel."""
        self._client = client
        self._server = server
        self._timeout = timeout
        self._seconds = seconds
        self._on_end = on_end
        self._is_ended = False
        self._client_closed = self._server_closed = False  # they have ended their direction
        self.received_bytes = self.sent_bytes = 0
        client.deadline = seconds() + timeout

    # Called by the client's side.

    def client_data(self, data: bytes) -> None:
        """Pass bytes on to the server."""
        self.received_bytes += len(data)
        self._pass(data, self._client, self._server)

    def _pass(self, data: bytes, source: TunnelSide, target: TunnelSide) -> None:
        """Pass bytes of one side on to the other one, and stop reading the first while the other does not accept
        more."""
        if data:
            self._client.deadline = self._seconds() + self._timeout
            target.writer.write(data)
            if target.writer.is_backlogged:
                source.pause()

    def client_half_closed(self) -> None:
        """Pass the end of the client's direction on."""
        self._client_closed = True
        if self._server_closed:
            self._finish('--')
        else:
            self._server.writer.half_close()

    def client_drained(self) -> None:
        """Read from the server again."""
        self._server.resume()

    def client_lost(self) -> None:
        """End: the client's connection is closed."""
        if not self._is_ended:
            self._is_ended = True
            self._server.close()
            self._on_end(self, '--' if self._client_closed or self._server_closed else 'CD')

    def expire(self, now: float) -> None:
        """End the tunnel after its timeout; called by the sweeper."""
        self._client.deadline = now + self._timeout
        if not self._is_ended:
            self._is_ended = True
            self._server.abort()
            self._client.abort()
            self._on_end(self, 'cD' if self._client.writer.is_backlogged else 'sD')

    # Called by the server's side.

    def backend_data(self, data: bytes) -> None:
        """Pass bytes on to the client."""
        self.sent_bytes += len(data)
        self._pass(data, self._server, self._client)

    def backend_half_closed(self) -> None:
        """Pass the end of the server's direction on."""
        self._server_closed = True
        if self._client_closed or not self._client.writer.can_half_close:
            self._finish('--')
        else:
            self._client.writer.half_close()

    def backend_drained(self) -> None:
        """Read from the client again."""
        self._client.resume()

    def backend_lost(self, reason: Failure) -> None:
        """End: the server's connection is closed."""
        if self._is_ended:
            return
        if reason.check(ConnectionDone):
            self._finish('--' if self._client_closed or self._server_closed else 'SD')
        else:
            self._is_ended = True
            self._client.abort()
            self._on_end(self, 'SD')

    def _finish(self, termination: str) -> None:
        """Close both sides when everything is written."""
        self._is_ended = True
        self._server.close()
        self._client.end_tunnel()
        self._on_end(self, termination)
