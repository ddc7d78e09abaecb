"""Listening ports on sockets that several worker processes share.

Twisted's own `adoptStreamPort` assumes that the process owns the socket: closing an adopted Unix port shuts the socket
down for all processes and removes its file. In addition, ports that share a socket must balance the connections. The
kernel wakes all processes for each connection, and the busiest one, which is awake already, accepts first, so it would
get more and more of the long-lived connections. Therefore each worker publishes its number of connections, and one that
has clearly more than another waits a moment before it accepts the next; only a moment, because the other may be frozen.
Connections that live for one request only even out by themselves, so while most are short-lived, no worker waits.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any, cast

from twisted.internet import tcp, unix

from zatotx.interfaces.reactor import IReactor
from zatotx.processes.endpoint_spec import EndpointSpec
from zatotx.processes.workers.shared_counters import SharedCounterRow

ACCEPTS_PER_WAKEUP = 8  # connections accepted per wake-up
SLACK = 4  # connections, plus an eighth of its own, by which a worker may exceed another
YIELD_DELAY = 0.002  # seconds to wait for another worker to accept
SHORT_LIVED = 0.1  # seconds; a connection that lives no longer is taken to be for one request


class AcceptBalancer:
    """Decides whether this worker accepts the next connection, or leaves the connection to another worker. If `shared`
    is None, this worker always accepts."""

    def __init__(self, shared: SharedCounterRow | None = None) -> None:
        self._shared = shared
        self._open_count = 0
        self._brief_share = 0.0  # the share of short-lived connections among those closed recently
        self.adjust_count(0)

    def adjust_count(self, difference: int) -> None:
        """Adjust the number of open connections. The published value is one more: 0 means that the worker does not
        accept."""
        self._open_count += difference
        if self._shared is not None:
            self._shared.set_own(self._open_count + 1)

    def connections_accepted(self, count: int) -> None:
        """Record that connections were accepted."""
        self._brief_share -= (
            self._brief_share * min(count, ACCEPTS_PER_WAKEUP) / 64
        )  # the weight of earlier connections decays
        self.adjust_count(count)

    def connection_closed(self, duration: float) -> None:
        """Record that a connection was closed, and how many seconds it lived."""
        self._brief_share += ((duration < SHORT_LIVED) - self._brief_share) / 16
        self.adjust_count(-1)

    def stop(self) -> None:
        """Stop taking part: this worker no longer accepts."""
        if self._shared is not None:
            self._shared.set_own(0)
            self._shared = None

    def should_accept(self) -> bool:
        """Whether this worker should accept: no other has clearly fewer connections, or most connections are
        short-lived."""
        if self._shared is None or self._brief_share > 0.5:
            return True
        minimum = self._shared.minimum_of_others()
        return not minimum or self._open_count < minimum + SLACK + (self._open_count >> 3)


class _FixedAcceptCount:
    """A descriptor for `numberAccepts` of a shared port: keeps it constant, whereas Twisted adapts it to the traffic.
    """

    def __get__(self, port: object, kind: object = None) -> int:
        return ACCEPTS_PER_WAKEUP

    def __set__(self, port: object, value: int) -> None:
        """Ignore the value that Twisted computes."""


class _CountedConnection(tcp.Server):
    """A connection that reports its end to its port."""

    since = 0.0  # when it was accepted, on the reactor's clock

    def startReading(self) -> None:
        if not self.since:  # the last call that Twisted makes for a new connection
            self.since = cast(IReactor, self.reactor).seconds()
        super().startReading()  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Any) -> None:
        port: Any = self.server
        balancer: AcceptBalancer = port.balancer
        balancer.connection_closed(cast(IReactor, self.reactor).seconds() - self.since)
        super().connectionLost(reason)


class SharedTCPPort(tcp.Port):
    """A TCP port on a socket that several workers share. It leaves connections to less busy workers."""

    numberAccepts = _FixedAcceptCount()
    transport = _CountedConnection
    balancer = AcceptBalancer()
    closed: Callable[[], None] | None = None  # called when it has stopped listening
    _has_waited = False

    def doRead(self) -> None:
        """Accept connections, or first give another worker a moment to accept them."""
        if not self._has_waited and not self.balancer.should_accept():
            self._has_waited = True
            reactor = cast(IReactor, self.reactor)  # Twisted declares IReactorFDSet only
            self.stopReading()  # type: ignore[no-untyped-call]
            reactor.callLater(YIELD_DELAY, self._resume)
            return
        self._has_waited = False
        before = self.sessionno
        super().doRead()  # type: ignore[no-untyped-call]
        if self.sessionno != before:
            self.balancer.connections_accepted(self.sessionno - before)

    def _resume(self) -> None:
        if self.connected and not self.disconnecting:
            self.startReading()  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Any) -> None:
        self.balancer.stop()
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        if self.closed is not None:
            self.closed()


class SharedUNIXPort(unix.Port):
    """A Unix port on a socket that several workers share. When the port closes, the socket and its file remain, because
    they belong to the parent process."""

    numberAccepts = _FixedAcceptCount()
    _shouldShutdown = False
    closed: Callable[[], None] | None = None  # called when the port has stopped listening

    def connectionLost(self, reason: Any) -> None:
        tcp.Port.connectionLost(self, reason)
        if self.closed is not None:
            self.closed()


def adopt_tcp(
    reactor: IReactor, descriptor: int, family: int, factory: Any, shared: SharedCounterRow | None = None,
    closed: Callable[[], None] | None = None,
) -> Any:
    """Create a listening port on a duplicate of the descriptor, which stays open and can be adopted again. `shared`
    counts the connections of all workers; `closed` is called when the port has stopped listening."""
    adopted: Any = SharedTCPPort
    port = adopted._fromListeningDescriptor(reactor, descriptor, family, factory)
    port.balancer = AcceptBalancer(shared)
    port.closed = closed
    port.startListening()
    return port


def adopt_unix(
    reactor: IReactor, descriptor: int, spec: EndpointSpec, factory: Any, closed: Callable[[], None] | None = None
) -> Any:
    """Create a listening port on a duplicate of a Unix socket's descriptor, without balancing. `closed` is called when
    the port has stopped listening."""
    shared = socket.socket(fileno=os.dup(descriptor))
    port = SharedUNIXPort(shared.getsockname(), factory, spec.backlog, spec.mode, reactor)
    port._preexistingSocket = shared
    port.closed = closed
    port.startListening()  # type: ignore[no-untyped-call]
    return port
