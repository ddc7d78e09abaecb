"""The data connections of an FTP server. Each data connection is opened for one transfer, by the client (PASV, EPSV) or
by the server (PORT, EPRT).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.interfaces import IAddress, IDelayedCall, IPullProducer
from twisted.internet.protocol import ClientFactory, Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from zatotx.plugins.ftp.server.command_syntax import FtpError
from zatotx.rules.security.login_throttle import unmap_ipv4

BLOCK = 256 * 1024  # bytes that are received before they are written
MAX_PORTS_TRIED = 1000  # passive ports that are tried for one connection
CONNECT_TIMEOUT = 30.0  # seconds for a data connection to be made

Write = Callable[[bytes], Deferred[Any]]
Read = Callable[[], Deferred[bytes]]


@implementer(IPullProducer)
class ServerDataConnection(Protocol):
    """A data connection of the server. It is paused until `receive` or `send` is called. Both methods return a Deferred
    that fires when the peer or the server has closed the connection cleanly. The Deferred fails with FtpError 426 if
    the connection was lost, timed out or was aborted, or with the error of `write` or `read`."""

    def __init__(self, reactor: Any, timeout: float, made: Callable[[ServerDataConnection], None]) -> None:
        """`timeout`: seconds without progress; `made` is called when the connection is made."""
        self._reactor, self._timeout, self._made = reactor, timeout, made
        self.done: Deferred[None] = Deferred()
        self._write: Write | None = None
        self._read: Read | None = None
        self._received: list[bytes] = []
        self._size = 0
        self._is_busy = False  # a thread writes or reads
        self._is_lost = False
        self._is_tls = False
        self._is_dropped = False  # what was received and not written yet is not needed
        self._error: BaseException | None = None
        self._timer: IDelayedCall | None = None

    # What the session calls

    def receive(self, write: Write, tls: Any = None) -> Deferred[None]:
        """Receive until the client ends the connection. `tls`: the context of a connection that is protected."""
        self._write = write
        self._start(tls)
        if not self._is_lost:
            self._transport.resumeProducing()
        return self.done

    def send(self, read: Read, tls: Any = None) -> Deferred[None]:
        """Send what `read` gives, until it gives b''."""
        self._read = read
        self._start(tls)
        if not self._is_lost:
            self._transport.resumeProducing()  # the end of the connection is seen by reading
            self._transport.registerProducer(self, False)
        return self.done

    def abort(self, text: str = 'The transfer was aborted') -> None:
        """Cut the connection."""
        self._failed(FtpError(426, text))

    def abort_after(self, delay: float) -> None:
        """Cut the connection unless it ends within so many seconds: a client that was killed has ended it too, and
        what it had sent is on its way."""
        if not self._is_lost:
            self._timeout = delay
            self._progressed()

    # Twisted

    @property
    def _transport(self) -> Any:
        return self.transport

    def connectionMade(self) -> None:
        if self._error is not None:
            self._transport.abortConnection()
            return
        self._transport.pauseProducing()
        self._made(self)

    def dataReceived(self, data: bytes) -> None:
        if self._write is None or self._is_dropped:
            return
        self._progressed()
        self._received.append(data)
        self._size += len(data)
        if self._size >= BLOCK:
            self._transport.pauseProducing()
        self._write_next()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._is_lost = True
        # Clients end TLS without a close_notify alert too, when they have everything.
        is_sent = self._is_tls and self._write is None and self._read is None
        if self._error is None and not is_sent and not reason.check(ConnectionDone):
            self._error = FtpError(426, 'The data connection was cut')
        if self._error is None and self._read is not None:  # it ended before everything was sent
            self._error = FtpError(426, 'The client ended the data connection')
        self._finish()

    def resumeProducing(self) -> None:
        """See IPullProducer."""
        if self._is_busy or self._read is None or self._error is not None:
            return
        self._is_busy = True
        self._progressed()
        self._read().addCallbacks(self._send_block, self._thread_failed)

    def stopProducing(self) -> None:
        """See IPullProducer."""

    # Receiving and sending

    def _start(self, tls: Any) -> None:
        if self._is_lost:
            self._finish()
            return
        self._progressed()
        if tls is not None:
            self._is_tls = True
            self._transport.startTLS(tls)

    def _write_next(self) -> None:
        if self._is_busy or not self._received:
            return
        assert self._write is not None
        block, self._received, self._size = b''.join(self._received), [], 0
        self._is_busy = True
        self._write(block).addCallbacks(self._written, self._thread_failed)

    def _written(self, _: object) -> None:
        self._is_busy = False
        self._progressed()
        self._write_next()
        if not self._is_lost and self._size < BLOCK:
            self._transport.resumeProducing()
        self._finish()

    def _send_block(self, block: bytes) -> None:
        self._is_busy = False
        if self._is_lost or self._error is not None:
            self._finish()
        elif block:
            self._progressed()
            self._transport.write(block)
        else:
            self._read = None
            self._transport.unregisterProducer()
            self._transport.loseConnection()

    def _thread_failed(self, failure: Failure) -> None:
        self._is_busy = False
        assert failure.value is not None
        self._failed(failure.value)

    def _failed(self, error: BaseException) -> None:
        if self._error is None:
            self._error = error
        self._received, self._is_dropped = [], True
        if self._is_lost:
            self._finish()
        elif self.transport is not None:
            self._transport.abortConnection()

    def _finish(self) -> None:
        """Fire when the connection has ended and everything is written."""
        if not self._is_lost or self._is_busy or self._received or self.done.called:
            return
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._error is None:
            self.done.callback(None)
        else:
            self.done.errback(self._error)

    def _progressed(self) -> None:
        if self._is_lost:
            return
        if self._timer is not None and self._timer.active():
            self._timer.reset(self._timeout)
        else:
            self._timer = self._reactor.callLater(self._timeout, self.abort, 'The transfer made no progress')


class DataSource:
    """Provides the data connection of the next transfer, by accepting or opening it. `connected` fires with the
    connection, or fails with FtpError 425, after at most CONNECT_TIMEOUT seconds."""

    def __init__(self, reactor: Any, timeout: float) -> None:
        self._reactor, self._timeout = reactor, timeout
        self.connected: Deferred[ServerDataConnection] = Deferred()
        self.connection: ServerDataConnection | None = None
        self._timer: IDelayedCall | None = None

    def wait(self) -> Deferred[ServerDataConnection]:
        """Wait for the connection from now on. To be called once."""
        if not self.connected.called:
            self._timer = self._reactor.callLater(CONNECT_TIMEOUT, self.failed, 'No data connection was made')
        return self.connected

    def made(self) -> ServerDataConnection:
        """Return the protocol of the connection, which is made now."""
        self.connection = ServerDataConnection(self._reactor, self._timeout, self._settle)
        return self.connection

    def failed(self, text: str) -> None:
        """There will be no connection."""
        self.close()
        if not self.connected.called:
            self.connected.errback(FtpError(425, text))

    def close(self) -> None:
        """Make no connection, and end one that was not used."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self.connection is not None:
            self.connection.done.addErrback(lambda failure: None)
            self.connection.abort()

    def _settle(self, connection: ServerDataConnection) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if not self.connected.called:
            self.connected.callback(connection)


class PassiveSource(DataSource):
    """Listens on a port for the passive data connection of one client. Connections from other addresses are closed."""

    def __init__(self, reactor: Any, timeout: float, client: str) -> None:
        super().__init__(reactor, timeout)
        self._client = unmap_ipv4(client)
        self._port: Any = None

    def listen(self, interface: str, ports: Sequence[int]) -> int:
        """Open one of the ports, any free one where none are given. Returns it. Raises FtpError 425."""
        factory, first = _SourceFactory(self), secrets.randbelow(len(ports)) if ports else 0
        for step in range(min(len(ports), MAX_PORTS_TRIED) or 1):
            port = ports[(first + step) % len(ports)] if ports else 0
            try:
                self._port = self._reactor.listenTCP(port, factory, backlog=4, interface=interface)
            except CannotListenError:
                continue
            return int(self._port.getHost().port)
        raise FtpError(425, 'No port is free for a data connection, try later')

    def accept(self, address: IAddress) -> ServerDataConnection | None:
        """Return the protocol of a connection; None for one that is not the client's."""
        if self.connection is not None or unmap_ipv4(getattr(address, 'host', '')) != self._client:
            return None
        self._stop_listening()
        return self.made()

    def close(self) -> None:
        """See DataSource."""
        self._stop_listening()
        super().close()

    def _stop_listening(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            port.stopListening()


class _SourceFactory(Factory):
    noisy = False

    def __init__(self, source: PassiveSource) -> None:
        self._source = source

    def buildProtocol(self, addr: IAddress) -> ServerDataConnection | None:  # type: ignore[override]
        return self._source.accept(addr)


class ActiveSource(DataSource):
    """Opens an active data connection to the client."""

    def __init__(self, reactor: Any, timeout: float, target: tuple[str, int]) -> None:
        super().__init__(reactor, timeout)
        self._target = target
        self._connector: Any = None

    def wait(self) -> Deferred[ServerDataConnection]:
        """See DataSource."""
        host, port = self._target
        self._connector = self._reactor.connectTCP(host, port, _ActiveFactory(self), CONNECT_TIMEOUT)
        return super().wait()

    def close(self) -> None:
        """See DataSource."""
        super().close()
        if self._connector is not None and self.connection is None:
            self._connector.stopConnecting()
            self._connector = None


class _ActiveFactory(ClientFactory):
    noisy = False

    def __init__(self, source: ActiveSource) -> None:
        self._source = source

    def buildProtocol(self, addr: IAddress) -> ServerDataConnection:  # type: ignore[override]
        return self._source.made()

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        self._source._connector = None
        self._source.failed('The data connection cannot be made')
