"""The way out of the client's connections: as the server's (`outlet`), and what only a client must know."""

from __future__ import annotations

from collections.abc import Callable
from socket import MSG_DONTWAIT, MSG_PEEK
from typing import Any, Protocol

from twisted.internet.tcp import Connection as TCPConnection

from zatotx.plugins.http.server.buffered_writer import BufferedWriter, DirectWriter
from zatotx.plugins.http.server.write_batch import WriteBatch


class ClientWriter(Protocol):
    """Where requests are written to. `behind` and `moved` as an Outlet has them."""

    behind: bool
    moved: float

    def holds(self, data: bytes) -> bool:
        """Whether this, which was written first, is here still: the peer cannot have seen any of it."""

    def write(self, data: bytes) -> None: ...

    def lose(self) -> None:
        """Close the connection in good order when all is out."""

    def discard(self) -> None:
        """Send nothing of what is here still: the connection ends."""

    def gone(self) -> bool:
        """Whether an idle connection is seen to be of no use, before the reactor has told so."""


class TcpClientWriter(DirectWriter):
    """Over plain TCP."""

    __slots__ = ('_refused',)

    def holds(self, data: bytes) -> bool:
        return (bool(self._aside) and self._aside[0] is data) or self._refused is data

    def discard(self) -> None:
        self._aside.clear()

    def _attach(self) -> None:
        super()._attach()
        self._refused: bytes | None = None  # what was to be written first, and was not taken

    def gone(self) -> bool:
        try:
            self._socket.recv(1, MSG_PEEK | MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True  # it was closed, or bytes came that nobody asked for

    def _broken(self) -> None:
        # The peer may have answered before it closed, as one does to whom a request is too long: its answer is still
        # to be read, and the end of the connection after it. Until then it is one that takes no more.
        self.behind = True
        self._refused = self._aside[0] if self._aside else None


class TransportClientWriter(BufferedWriter):
    """Over TLS, and whatever else."""

    __slots__ = ()

    def holds(self, data: bytes) -> bool:
        return False

    def discard(self) -> None:
        """What was handed to the transport is its to drop."""

    def gone(self) -> bool:
        return False


def client_writer_for(
    transport: Any, drained: Callable[[], None], seconds: Callable[[], float], burst: WriteBatch
) -> ClientWriter:
    """What fits a transport, by its exact nature: see `outlet_to`."""
    if isinstance(transport, TCPConnection) and not transport.TLS:
        return TcpClientWriter(transport, drained, seconds, burst)
    return TransportClientWriter(transport, drained, seconds)
