"""Probes whether a client that has closed its sending side is still connected and waits for its response.

TCP sends a FIN both when a client has disconnected and when it has only stopped sending; only when something is written
does a closed socket answer with a reset. So an interim response, 100 (Continue), is written once, which HTTP/1.1 allows
before any response (RFC 9110 §15.2), and the socket is then checked for a reset. The servers do the same for their own
clients; through a load balancer that ignores it they would work for clients that are gone.
"""

from __future__ import annotations

from collections.abc import Callable
from socket import SO_ERROR, SOL_SOCKET
from typing import Any

from zatotx.connectors.http.buffered_writer import BufferedWriter
from zatotx.interfaces.timeout_sweeper import TimeoutSweeper
from zatotx.wire.http1.response_writer import CONTINUE

PROBE_DELAY = 0.2  # seconds from the half-close to the interim response
CHECK_INTERVAL = 0.5  # seconds between two checks for a reset


class HalfClosedClientProbe:
    """Probes the half-closed client of one exchange. The sweeper calls the probe periodically. `is_waiting` returns
    whether the response has not begun yet, and `on_disconnect` is called if the client has disconnected."""

    __slots__ = ('_has_written', '_is_waiting', '_on_disconnect', '_sweeper', '_transport', '_writer', 'deadline')

    def __init__(
        self, transport: Any, writer: BufferedWriter, sweeper: TimeoutSweeper, *, is_waiting: Callable[[], bool],
        on_disconnect: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._writer = writer
        self._sweeper = sweeper
        self._is_waiting = is_waiting
        self._on_disconnect = on_disconnect
        self._has_written = False
        self.deadline = 0.0

    def start(self, now: float) -> None:
        """Start probing."""
        self.deadline = now + PROBE_DELAY
        self._sweeper.add(self)

    def expire(self, now: float) -> None:
        """Take the next step; called by the sweeper."""
        self.deadline = now + CHECK_INTERVAL
        if not self._is_waiting():
            self._sweeper.remove(self)
        elif not self._has_written:
            self._has_written = True
            self._writer.write(CONTINUE)
        elif self._transport.getHandle().getsockopt(SOL_SOCKET, SO_ERROR):
            self._sweeper.remove(self)
            self._on_disconnect()
