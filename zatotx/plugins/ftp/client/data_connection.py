"""The data connections of the FTP client. Each data connection receives or sends the data of one transfer, with
backpressure."""

from __future__ import annotations

import socket
from collections import deque
from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPullProducer, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from zatotx.plugins.ftp.client.errors import TransferFailed

RECEIVE_SIZE = 256 * 1024  # bytes of one read from the socket
NOTIFY_SIZE = 64 * 1024  # bytes that are worth to wake up their reader at once; records of TLS are smaller
HIGH_WATER, LOW_WATER = 2 * 1024 * 1024, 512 * 1024  # bytes received and not read yet: stop and resume reading
WRITE_SIZE = 1024 * 1024  # bytes of one write, which take the reactor about a millisecond with TLS
TLS_SIZE = 128 * 1024  # bytes that are encrypted at once: OpenSSL becomes slower where more wait in its memory
_TLS_GROWTH = TLS_SIZE // 32  # more than the headers of their records (RFC 8446 §5.2: 16 KiB have up to 261 bytes)
BUFFER_SIZE = 64 * 1024  # bytes that the transport keeps where the socket takes no more


@implementer(IPushProducer, IPullProducer)
class DataConnection(Protocol):
    """A data connection of the FTP client. `received` and `sent` are the numbers of bytes that were transferred so
    far."""

    transport: Any  # ITCPTransport, or that of TLS

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._is_notifying = False
        self.received = 0
        self.sent = 0
        self.is_closed = False
        self.is_clean = False  # it was closed in order, and not cut
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._is_input_paused = False
        self._is_output_paused = False
        self._waiting: Deferred[None] | None = None  # fires when something has changed
        self._socket: Any = None  # that takes what is written directly; None = it goes through the transport

    # Reading

    def wait(self) -> Deferred[None]:
        """Fires when there is data, when more can be written, or when the connection is closed."""
        if self._chunks or self.is_closed:
            return succeed(None)
        return self._wait()

    def take(self) -> bytes:
        """Return the data that has arrived; b'' if there is none."""
        chunks = self._chunks
        data = chunks[0] if len(chunks) == 1 else b''.join(chunks)
        chunks.clear()
        self._buffered = 0
        if self._is_input_paused and not self.is_closed:
            self._is_input_paused = False
            self.transport.resumeProducing()
        return data

    # Writing

    @property
    def is_writable(self) -> bool:
        """Whether the peer keeps up with what is written."""
        return not self._is_output_paused

    def write(self, data: memoryview) -> int:
        """Write data, where the connection is writable. Returns how many bytes were taken, WRITE_SIZE at most. Raises
        TransferFailed if the connection is closed."""
        if self.is_closed:
            raise TransferFailed('the data connection was closed')
        data = data[:WRITE_SIZE]
        taken = self._write_encrypted(data) if self._socket is None else self._write_directly(data)
        self.sent += taken
        return taken

    def _write_directly(self, data: memoryview) -> int:
        """Give data to the socket without copies. What it does not take wakes us up by way of the transport."""
        try:
            sent: int = self._socket.send(data)
        except OSError:  # it is full, or the transport will find out what is wrong with it
            sent = 0
        if sent < len(data):
            rest = bytes(data[sent : sent + BUFFER_SIZE])
            self._is_output_paused = True  # until the transport has written that: later data must not overtake it
            self.transport.write(rest)
            sent += len(rest)
        return sent

    def _write_encrypted(self, data: memoryview) -> int:
        """Encrypt data in large pieces, where Twisted takes out and passes on each record of 16 KiB by itself."""
        connection, transport = self.transport.getHandle(), self.transport.transport
        for start in range(0, len(data), TLS_SIZE):
            piece = data[start : start + TLS_SIZE]
            try:
                while piece:
                    piece = piece[connection.send(piece) :]
                transport.write(connection.bio_read(TLS_SIZE + _TLS_GROWTH))
            except SSL.Error:  # TLS waits for its peer, or has ended: the transport knows what to do then
                self.transport.write(bytes(piece))
        return len(data)

    def wait_writable(self) -> Deferred[None]:
        """Fires when more can be written, or when the connection is closed."""
        return succeed(None) if self.is_writable or self.is_closed else self._wait()

    def wait_closed(self) -> Deferred[None]:
        """Fires when the connection is closed."""
        return succeed(None) if self.is_closed else self._wait()

    def start_writing(self) -> None:
        """Be told when the peer is slower than what is written."""
        handle = self.transport.getHandle()
        if isinstance(handle, socket.socket):
            self._socket = handle
            self.transport.registerProducer(self, False)  # a pull producer: resumed whenever the buffer is empty
        else:
            self.transport.registerProducer(self, True)

    def finish(self) -> None:
        """Close in order, after everything that was written."""
        if not self.is_closed:
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def abort(self) -> None:
        """Cut the connection, so that the peer does not take what it has for the whole."""
        if not self.is_closed:
            self.transport.abortConnection()

    def enlarge_buffers(self) -> None:
        """Move more bytes with each system call, where the transport is a socket."""
        if hasattr(self.transport, 'bufferSize'):
            self.transport.bufferSize, self.transport.SEND_LIMIT = RECEIVE_SIZE, WRITE_SIZE

    # IPushProducer and IPullProducer, of the writing side

    def pauseProducing(self) -> None:
        self._is_output_paused = True

    def resumeProducing(self) -> None:
        self._is_output_paused = False
        self._notify()

    def stopProducing(self) -> None:
        self._is_output_paused = False

    # Protocol

    def dataReceived(self, data: bytes) -> None:
        self.received += len(data)
        self._chunks.append(data)
        self._buffered += len(data)
        if self._buffered > HIGH_WATER and not self._is_input_paused:
            self._is_input_paused = True
            self.transport.pauseProducing()
        if len(data) >= NOTIFY_SIZE:
            self._notify()
        elif not self._is_notifying:
            self._is_notifying = True
            self._clock.callLater(0, self._notify_later)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_closed = True
        self.is_clean = reason.check(ConnectionDone) is not None
        self._notify()

    def _wait(self) -> Deferred[None]:
        waiting: Deferred[None] = Deferred(self._abandon)
        self._waiting = waiting
        return waiting

    def _notify_later(self) -> None:
        self._is_notifying = False
        self._notify()

    def _notify(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def _abandon(self, cancelled: Deferred[None]) -> None:
        self._waiting = None
        cancelled.errback(CancelledError())
