"""The way out of a connection: bytes to a transport that a slow client may block at any time.

What the transport does not take waits here, in order, and is handed on in slices. So the memory of a slow client is
bounded by what was written before `behind` turned true, and the time since its last progress is known.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from socket import socket
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.tcp import Connection as TCPConnection
from zope.interface import implementer

from zatotx.plugins.http.server.write_batch import WriteBatch

SLICE = 64 * 1024
READ, LARGE_READ = 8 * 1024, 64 * 1024  # bytes that are read at once


@implementer(IPushProducer)
class BufferedWriter:
    """Writes to any transport that pauses a push producer when its own buffer is full (TLS, UNIX sockets).

    `behind`: the client has not taken all yet, write no more than must be. `moved`: when it last took something, in
    seconds of the clock. `drained` is called when it has caught up.
    """

    __slots__ = ('_drained', '_seconds', '_then', '_transport', '_waiting', 'behind', 'moved')

    def __init__(self, transport: Any, drained: Callable[[], None], seconds: Callable[[], float]) -> None:
        self._transport = transport
        self._drained = drained
        self._seconds = seconds
        self._waiting: deque[memoryview] | None = None  # made when there is something to wait
        self._then: Callable[[], None] | None = None
        self.behind = False
        self.moved = 0.0
        self._attach()

    def write(self, data: bytes) -> None:
        """Send, now or as soon as the client takes it."""
        if self._waiting is not None:
            self._waiting.append(memoryview(data))
            return
        sent = 0 if self.behind else self._send(data)
        if sent < len(data):
            self._waiting = deque((memoryview(data)[sent:],))

    def lose(self) -> None:
        """Close the connection in good order when all is out."""
        self._then = self._leave
        if not self.behind:
            self._leave()

    def half_close(self) -> None:
        """Say that no more comes when all is out, where the transport can; go on reading."""
        self._then = self._half_leave
        if not self.behind:
            self._half_leave()

    # The transport's side.

    def pauseProducing(self) -> None:
        """The transport is full."""
        if not self.behind:
            self.behind = True
            self.moved = self._seconds()

    def resumeProducing(self) -> None:
        """The transport has room again: hand on what waits."""
        self.behind = False
        self.moved = self._seconds()
        waiting = self._waiting
        while waiting and not self.behind:
            data = waiting.popleft()
            sent = self._send(data)
            if sent < len(data):
                waiting.appendleft(data[sent:])
        if waiting:
            return
        self._waiting = None
        if self.behind:
            return
        if self._then is not None:
            self._then()
        else:
            self._drained()

    def stopProducing(self) -> None:
        """The connection is lost: nothing of what waits can go out."""
        self._waiting = None

    # What depends on the transport.

    def _attach(self) -> None:
        self._transport.registerProducer(self, True)

    def _leave(self) -> None:
        self._transport.unregisterProducer()
        self._transport.loseConnection()

    def _half_leave(self) -> None:
        # TLS has no half-close: the client learns from the answer itself that it is the last.
        return

    def _send(self, data: bytes | memoryview) -> int:
        """Write slices until the transport is full; how many bytes it got."""
        write = self._transport.write
        size = len(data)
        if size <= SLICE:
            write(bytes(data))
            return size
        sent = 0
        while sent < size and not self.behind:
            write(bytes(data[sent : sent + SLICE]))
            sent += SLICE
        return min(sent, size)


@implementer(IPushProducer)
class DirectWriter(BufferedWriter):
    """Writes to a plain TCP connection: straight to the socket at the end of the reactor's turn, see `burst`.

    Only what the socket does not take goes the long way, with a pull producer that is asked for more when the
    transport's buffer has run empty.
    """

    __slots__ = ('_aside', '_burst', '_joining', '_size', '_socket')

    def __init__(
        self, transport: Any, drained: Callable[[], None], seconds: Callable[[], float], burst: WriteBatch
    ) -> None:
        self._burst = burst
        self._aside: list[bytes] = []  # goes out at the end of this turn
        self._size = 0
        super().__init__(transport, drained, seconds)

    def write(self, data: bytes) -> None:
        """Send at the end of this turn, or as soon as the client takes it."""
        if self.behind:
            super().write(data)
            return
        if not self._aside:
            self._burst.add(self)
        self._aside.append(data)
        self._size += len(data)
        if self._size > SLICE:
            self.flush()

    def flush(self) -> None:
        """Send what was put aside."""
        aside = self._aside
        if aside and self._transport.connected:
            data = aside[0] if len(aside) == 1 else b''.join(aside)
            sent = self._send(data)  # nothing waits: what is written while something does is not put aside
            aside.clear()
            self._size = 0
            if sent < len(data):
                self._waiting = deque((memoryview(data)[sent:],))

    def lose(self) -> None:
        """Close the connection in good order when all is out."""
        self.flush()
        super().lose()

    def half_close(self) -> None:
        """Say that no more comes when all is out; go on reading."""
        self.flush()
        super().half_close()

    def _attach(self) -> None:
        self._joining = False
        self._socket: socket = self._transport.getHandle()
        # Twisted makes room for 64 KiB before each read, and gives back what a message of 300 bytes leaves of it: that
        # tears the heap, and what was hot in the processor's caches goes. Whoever fills this gets more: `read_more`.
        self._transport.bufferSize = READ

    def _leave(self) -> None:
        self._transport.loseConnection()

    def _half_leave(self) -> None:
        self._transport.loseWriteConnection()

    def _send(self, data: bytes | memoryview) -> int:
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._broken()
            return len(data)
        if sent == len(data):
            return sent
        self._fall_behind(bytes(data[sent : sent + SLICE]))
        return min(sent + SLICE, len(data))

    def _broken(self) -> None:
        """The socket takes no more: connectionLost follows."""
        self._transport.abortConnection()

    def _fall_behind(self, data: bytes) -> None:
        self.pauseProducing()
        self._transport.write(data)
        if not self._joining:
            self._joining = True
            self._transport.registerProducer(self, False)  # which asks for more at once

    def resumeProducing(self) -> None:
        if self._joining:
            self._joining = False
            return
        self._transport.unregisterProducer()
        super().resumeProducing()


def enlarge_reads(transport: Any) -> None:
    """The peer sends more than messages of the usual size: read as much at once as Twisted does."""
    transport.bufferSize = LARGE_READ


def writer_for(
    transport: Any, drained: Callable[[], None], seconds: Callable[[], float], burst: WriteBatch
) -> BufferedWriter:
    """The outlet that fits a transport. By its exact nature: a TLS transport passes unknown attributes on to the TCP
    one below it, and must not be taken for it."""
    if isinstance(transport, TCPConnection) and not transport.TLS:
        return DirectWriter(transport, drained, seconds, burst)
    return BufferedWriter(transport, drained, seconds)
