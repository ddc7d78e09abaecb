"""Writers for client connections. They extend the writers of `buffered_writer` with checks that only a client needs."""

from __future__ import annotations

from collections.abc import Callable
from socket import MSG_DONTWAIT, MSG_PEEK
from typing import Any, Protocol

from twisted.internet.tcp import Connection as TCPConnection

from zatotx.connectors.http.buffered_writer import BufferedWriter, SocketWriter, WriteBatch


class ClientWriter(Protocol):
    """The interface with which a client writes requests. `is_backlogged` and `last_progress` have the same meaning as
    in BufferedWriter."""

    is_backlogged: bool
    last_progress: float

    def has_unsent(self, data: bytes) -> bool:
        """Return whether `data`, which was written first, is still buffered here: the peer has not seen any of it."""

    def write(self, data: bytes) -> None: ...

    def close(self) -> None:
        """Close the connection in an orderly way when all data is written."""

    def discard(self) -> None:
        """Drop buffered data: the connection ends."""

    def is_stale(self) -> bool:
        """Return whether an idle connection is unusable, before the reactor reports it."""


class TcpClientWriter(SocketWriter):
    """A client writer for plain TCP connections."""

    __slots__ = ('_unsent',)

    def has_unsent(self, data: bytes) -> bool:
        return (bool(self._batched) and self._batched[0] is data) or self._unsent is data

    def discard(self) -> None:
        self._batched.clear()

    def _attach(self) -> None:
        super()._attach()
        self._unsent: bytes | None = None  # the first data, if the socket did not accept it

    def is_stale(self) -> bool:
        try:
            self._socket.recv(1, MSG_PEEK | MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True  # it was closed, or sent bytes without a request

    def _abort(self) -> None:
        # The peer may have answered before it closed, e.g. because a request was too long: its response still has to be
        # read, and then the end of the connection. Until then the connection counts as one that accepts no data.
        self.is_backlogged = True
        self._unsent = self._batched[0] if self._batched else None


class TransportClientWriter(BufferedWriter):
    """A client writer for TLS and other transports."""

    __slots__ = ()

    def has_unsent(self, data: bytes) -> bool:
        return False

    def discard(self) -> None:
        """Do nothing: the transport drops its own buffer."""

    def is_stale(self) -> bool:
        return False


def make_client_writer(
    transport: Any, on_drained: Callable[[], None], seconds: Callable[[], float], write_batch: WriteBatch
) -> ClientWriter:
    """Create the client writer for a transport. The exact type of the transport selects the writer (see
    `buffered_writer.make_writer`)."""
    if isinstance(transport, TCPConnection) and not transport.TLS:
        return TcpClientWriter(transport, on_drained, seconds, write_batch)
    return TransportClientWriter(transport, on_drained, seconds)
