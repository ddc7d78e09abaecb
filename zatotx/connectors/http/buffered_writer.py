"""Buffered writers for transports, which apply backpressure while a slow peer blocks the transport.

Data that the transport does not accept is queued, in order, and passed on in slices. So the memory used by a slow
client is bounded by what was written before `is_backlogged` became true, and the time since its last progress is known.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from socket import socket
from typing import Any, Protocol

from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.tcp import Connection as TCPConnection
from twisted.logger import Logger
from zope.interface import implementer

SLICE_SIZE = 64 * 1024
READ_SIZE, LARGE_READ_SIZE = 8 * 1024, 64 * 1024  # bytes read from the socket in one call
RELAY_READ_SIZE = 128 * 1024  # the same for what is only passed on: halves the CPU time that 64 KiB take, measured


class Flushable(Protocol):
    """A writer with batched output, which is flushed once per reactor iteration."""

    def flush(self) -> None: ...


class WriteBatch:
    """The set of writers to flush at the end of the current reactor iteration.

    Twisted's own write costs two changes of the epoll set and a reactor iteration per response; sending each at once
    wakes the peer for each, which is even more expensive on a busy machine. So plain TCP connections batch their
    output, and one call at the end of the iteration writes it all: the call of `set_in_round` with False where
    a ConnectionPoller reads the connections.
    """

    __slots__ = ('_clock', '_in_round', '_writers')
    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._writers: list[Flushable] = []
        self._in_round = False

    def add(self, writer: Flushable) -> None:
        """Flush this writer at the end of the iteration. Call it once per iteration."""
        if not self._writers and not self._in_round:
            self._clock.callLater(0, self._flush)
        self._writers.append(writer)

    def set_in_round(self, in_round: bool) -> None:
        """Begin a round of reading connections, or end it and flush the writers."""
        self._in_round = in_round
        if not in_round:
            self._flush()

    def _flush(self) -> None:
        writers, self._writers = self._writers, []
        for writer in writers:
            try:
                writer.flush()
            except Exception:  # an error of one connection must not delay the output of the others
                self._log.failure('The output of a connection could not be written')


@implementer(IPushProducer)
class BufferedWriter:
    """A buffered writer for any transport that pauses a push producer when its own buffer is full (TLS, Unix sockets).

    `is_backlogged`: the client has not received everything yet; callers should write only what they must.
    `can_half_close`: whether the transport supports `half_close`.
    `last_progress`: when it last accepted data, in seconds of the clock. `on_drained` is called when all queued data
    is written.
    """

    can_half_close = False
    __slots__ = (
        '_close_when_drained',
        '_on_drained',
        '_queue',
        '_seconds',
        '_transport',
        'is_backlogged',
        'last_progress',
    )

    def __init__(self, transport: Any, on_drained: Callable[[], None], seconds: Callable[[], float]) -> None:
        self._transport = transport
        self._on_drained = on_drained
        self._seconds = seconds
        self._queue: deque[memoryview] | None = None  # created when there is data to queue
        self._close_when_drained: Callable[[], None] | None = None
        self.is_backlogged = False
        self.last_progress = 0.0
        self._attach()

    def write(self, data: bytes) -> None:
        """Write data, now or as soon as the client accepts it."""
        if self._queue is not None:
            self._queue.append(memoryview(data))
            return
        sent = 0 if self.is_backlogged else self._send(data)
        if sent < len(data):
            self._queue = deque((memoryview(data)[sent:],))

    def close(self) -> None:
        """Close the connection in an orderly way when all data is written."""
        self._close_when_drained = self._close
        if not self.is_backlogged:
            self._close()

    def half_close(self) -> None:
        """Half-close the connection when all data is written, if the transport supports it. Reading continues."""
        self._close_when_drained = self._half_close
        if not self.is_backlogged:
            self._half_close()

    # IPushProducer, called by the transport.

    def pauseProducing(self) -> None:
        """Note that the transport's buffer is full."""
        if not self.is_backlogged:
            self.is_backlogged = True
            self.last_progress = self._seconds()

    def resumeProducing(self) -> None:
        """Write queued data: the transport has space again."""
        self.is_backlogged = False
        self.last_progress = self._seconds()
        queue = self._queue
        while queue and not self.is_backlogged:
            data = queue.popleft()
            sent = self._send(data)
            if sent < len(data):
                queue.appendleft(data[sent:])
        if queue:
            return
        self._queue = None
        if self.is_backlogged:
            return
        if self._close_when_drained is not None:
            self._close_when_drained()
        else:
            self._on_drained()

    def stopProducing(self) -> None:
        """Drop queued data: the connection is lost."""
        self._queue = None

    # Methods that depend on the transport.

    def _attach(self) -> None:
        self._transport.registerProducer(self, True)

    def _close(self) -> None:
        self._transport.unregisterProducer()
        self._transport.loseConnection()

    def _half_close(self) -> None:
        # TLS has no half-close: the response itself tells the client that it is the last one.
        return

    def _send(self, data: bytes | memoryview) -> int:
        """Write slices until the transport is full. Returns the number of bytes it accepted."""
        write = self._transport.write
        size = len(data)
        if size <= SLICE_SIZE:
            write(bytes(data))
            return size
        sent = 0
        while sent < size and not self.is_backlogged:
            write(bytes(data[sent : sent + SLICE_SIZE]))
            sent += SLICE_SIZE
        return min(sent, size)


@implementer(IPushProducer)
class SocketWriter(BufferedWriter):
    """A buffered writer for plain TCP connections that bypasses the transport: it writes directly to the socket, once
    per reactor iteration (see WriteBatch).

    Only what the socket does not accept goes through Twisted's buffer, with a pull producer that is asked for more when
    that buffer is empty.
    """

    can_half_close = True
    __slots__ = ('_batched', '_registering', '_size', '_socket', '_write_batch')

    def __init__(
        self, transport: Any, on_drained: Callable[[], None], seconds: Callable[[], float], write_batch: WriteBatch
    ) -> None:
        self._write_batch = write_batch
        self._batched: list[bytes] = []  # written at the end of this iteration
        self._size = 0
        super().__init__(transport, on_drained, seconds)

    def write(self, data: bytes) -> None:
        """Write data at the end of this reactor iteration, or as soon as the client accepts it."""
        if self.is_backlogged:
            super().write(data)
            return
        if not self._batched:
            self._write_batch.add(self)
        self._batched.append(data)
        self._size += len(data)
        if self._size > SLICE_SIZE:
            self.flush()

    def flush(self) -> None:
        """Write the batched data."""
        batched = self._batched
        if batched and self._transport.connected:
            data = batched[0] if len(batched) == 1 else b''.join(batched)
            sent = self._send(data)  # the queue is empty: while it is not, `write` does not batch
            batched.clear()
            self._size = 0
            if sent < len(data):
                self._queue = deque((memoryview(data)[sent:],))

    def close(self) -> None:
        """Close the connection in an orderly way when all data is written."""
        self.flush()
        super().close()

    def half_close(self) -> None:
        """Half-close the connection when all data is written. Reading continues."""
        self.flush()
        super().half_close()

    def _attach(self) -> None:
        self._registering = False
        self._socket: socket = self._transport.getHandle()
        # Twisted allocates 64 KiB before each read and shrinks the buffer to what arrived, often 300 bytes: that
        # fragments the heap and evicts hot data from the processor's caches. A peer that fills this size gets more:
        # `enlarge_reads`.
        self._transport.bufferSize = READ_SIZE

    def _close(self) -> None:
        self._transport.loseConnection()

    def _half_close(self) -> None:
        self._transport.loseWriteConnection()

    def _send(self, data: bytes | memoryview) -> int:
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._abort()
            return len(data)
        if sent == len(data):
            return sent
        self._use_transport_buffer(bytes(data[sent : sent + SLICE_SIZE]))
        return min(sent + SLICE_SIZE, len(data))

    def _abort(self) -> None:
        """Abort after a socket error: connectionLost follows."""
        self._transport.abortConnection()

    def _use_transport_buffer(self, data: bytes) -> None:
        self.pauseProducing()
        self._transport.write(data)
        if not self._registering:
            self._registering = True
            self._transport.registerProducer(self, False)  # this calls resumeProducing at once

    def resumeProducing(self) -> None:
        if self._registering:
            self._registering = False
            return
        self._transport.unregisterProducer()
        super().resumeProducing()


def enlarge_reads(transport: Any, size: int = LARGE_READ_SIZE) -> None:
    """Set the read buffer of a transport to `size` bytes, for a peer that sends unusually large messages."""
    transport.bufferSize = size


def make_writer(
    transport: Any, on_drained: Callable[[], None], seconds: Callable[[], float], write_batch: WriteBatch
) -> BufferedWriter:
    """Create the writer for a transport. Checks the transport's exact type, because a TLS transport forwards unknown
    attributes to the TCP transport below it, and must not be mistaken for one."""
    if isinstance(transport, TCPConnection) and not transport.TLS:
        return SocketWriter(transport, on_drained, seconds, write_batch)
    return BufferedWriter(transport, on_drained, seconds)
