"""Reads many TCP connections with one event of the reactor.

Twisted handles each event of a descriptor in a logging context of its own, which takes about 15,000 instructions, as
many as the response of a small request. ConnectionPoller has an epoll set of its own, which is one descriptor of the
reactor: when it is readable, at least one of its connections is. It reads them in turn and passes the data to their
protocols.

It handles only data. A connection that has ended or failed is given back to the reactor, which notices the same and
does what Twisted does then.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.internet.tcp import Connection as TCPConnection
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

_MAX_EVENTS = 256  # connections that are read before other descriptors of the reactor have their turn

# (recv of the socket, dataReceived of the protocol, the transport)
_Polled = tuple[Callable[[int], bytes], Callable[[bytes], None], Any]


@implementer(IReadDescriptor)
class ConnectionPoller:
    """Polls the connections that are added to it, and is a descriptor of the reactor while there are any.

    To its connections it is the reactor: it starts and stops their reading, and passes on all other calls.
    `on_round` is called with True before data is read, and with False when the data of this round is processed.
    """

    _log = Logger()

    def __init__(self, reactor: Any, on_round: Callable[[bool], None]) -> None:
        self._reactor = reactor
        self._on_round = on_round
        self._epoll: select.epoll | None = None  # open while there are connections
        self._polled: dict[int, _Polled] = {}

    def take_over(self, transport: Any) -> None:
        """Read a connected plain TCP transport from now on. Other transports are left to the reactor."""
        is_plain_tcp = isinstance(transport, TCPConnection) and not transport.TLS
        if is_plain_tcp and transport.reactor is self._reactor:
            transport.stopReading()
            transport.reactor = self
            transport.startReading()

    # The reactor of the connections.

    def addReader(self, transport: Any) -> None:
        """Start reading a connection. Idempotent."""
        descriptor = transport.fileno()
        if descriptor in self._polled:
            return
        if self._epoll is None:
            self._epoll = select.epoll()
            self._reactor.addReader(self)
        self._epoll.register(descriptor, select.EPOLLIN)
        self._polled[descriptor] = transport.socket.recv, transport.protocol.dataReceived, transport

    def removeReader(self, transport: Any) -> None:
        """Stop reading a connection. Idempotent."""
        self._reactor.removeReader(transport)  # it has those that were given back
        if self._polled.pop(transport.fileno(), None) is None:
            return
        assert self._epoll is not None
        self._epoll.unregister(transport.fileno())
        if not self._polled:
            self._reactor.removeReader(self)
            self._epoll.close()
            self._epoll = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    # IReadDescriptor, called by the reactor.

    def fileno(self) -> int:
        """Return the descriptor of the epoll set, or -1 if there are no connections."""
        return -1 if self._epoll is None else self._epoll.fileno()

    def logPrefix(self) -> str:
        """Return the name in Twisted's log messages."""
        return 'connections'

    def doRead(self) -> None:
        """Read the connections that have data."""
        assert self._epoll is not None
        polled, readable = self._polled, select.EPOLLIN
        self._on_round(True)
        try:
            for descriptor, event in self._epoll.poll(0, _MAX_EVENTS):
                if descriptor not in polled:  # an earlier event of this round has closed or paused it
                    continue
                receive, received, transport = polled[descriptor]
                try:
                    data = receive(transport.bufferSize) if event == readable else b''
                except BlockingIOError:
                    continue
                except OSError:
                    data = b''
                if data:
                    try:
                        received(data)
                    except BaseException:  # as in Twisted's reactors
                        self._disconnect(transport)
                else:
                    self._give_back(transport)
        finally:
            self._on_round(False)

    def connectionLost(self, reason: Failure) -> None:
        """Disconnect all connections: the reactor has stopped."""
        for _, _, transport in list(self._polled.values()):
            self._lose(transport, reason)

    def _give_back(self, transport: Any) -> None:
        self.removeReader(transport)
        self._reactor.addReader(transport)

    def _disconnect(self, transport: Any) -> None:
        failure = Failure()
        self._log.failure('The data of a connection could not be processed', failure)
        self._lose(transport, failure)

    def _lose(self, transport: Any, reason: Failure) -> None:
        """Disconnect one connection. The others must not be affected by an error of its protocol."""
        try:
            transport.connectionLost(reason)
        except BaseException:  # as in Twisted's reactors
            self._log.failure('The loss of a connection could not be processed')


def make_poller(reactor: Any, on_round: Callable[[bool], None]) -> ConnectionPoller | None:
    """Create a poller, or return None if the reactor has no descriptors or the system has no epoll."""
    if IReactorFDSet.providedBy(reactor) and hasattr(select, 'epoll'):
        return ConnectionPoller(reactor, on_round)
    return None
