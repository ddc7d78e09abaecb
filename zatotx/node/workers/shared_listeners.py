"""Listening ports over sockets that several processes share.

Twisted's own `adoptStreamPort` takes it that the socket is the process's alone: closing an adopted Unix port shuts the
socket down for everybody and removes its file. And a port that shares a socket has to leave something to the others.
The kernel wakes all of them for each connection, and the one that is awake already, because it has more to do, is the
first to accept: it would get ever more of what stays. So each says how many connections it has, and one that has
clearly more than another gives that one a moment before it takes the next. Only a moment: the other may stand still.
Connections that live for one request even out by themselves: while most are like that, nobody waits for anybody.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet import tcp, unix

from zatotx.node.endpoint_spec import EndpointSpec
from zatotx.node.workers.shared_counters import SharedCounterRow

AT_ONCE = 8  # connections accepted at one wake-up
SLACK = 4  # connections, and an eighth of what it has, that a worker may have more than another
MOMENT = 0.002  # seconds that another worker gets
BRIEF = 0.1  # seconds: a connection that lived no longer was for one request


class AcceptBalancer:
    """Whose turn it is to accept. Without `shared` it is always ours."""

    def __init__(self, shared: SharedCounterRow | None = None) -> None:
        self._shared = shared
        self._open = 0
        self._brief = 0.0  # the share of brief connections among those that went lately
        self.changed(0)

    def changed(self, by: int) -> None:
        """So many connections came or went. Others see one more than there are: 0 is who does not accept."""
        self._open += by
        if self._shared is not None:
            self._shared.publish(self._open + 1)

    def came(self, many: int) -> None:
        """So many connections were accepted."""
        self._brief -= self._brief * min(many, AT_ONCE) / 64  # what was seen of others fades
        self.changed(many)

    def went(self, lived: float) -> None:
        """A connection is gone, after so many seconds."""
        self._brief += ((lived < BRIEF) - self._brief) / 16
        self.changed(-1)

    def over(self) -> None:
        """We accept no more."""
        if self._shared is not None:
            self._shared.publish(0)
            self._shared = None

    def ours(self) -> bool:
        """Whether nobody has clearly fewer connections, of a kind that stays."""
        if self._shared is None or self._brief > 0.5:
            return True
        least = self._shared.least()
        return not least or self._open < least + SLACK + (self._open >> 3)


class _AtOnce:
    """`numberAccepts` of a shared port: Twisted adapts it to the traffic, here it stays."""

    def __get__(self, port: object, kind: object = None) -> int:
        return AT_ONCE

    def __set__(self, port: object, value: int) -> None:
        """Not taken over."""


class _Accepted(tcp.Server):
    """A connection that its port counts."""

    since = 0.0  # when it came, on the reactor's clock

    def startReading(self) -> None:
        if not self.since:  # the last that Twisted does with a new one
            self.since = _seconds(self.reactor)
        super().startReading()  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Any) -> None:
        port: Any = self.server
        port.turns.went(_seconds(self.reactor) - self.since)
        super().connectionLost(reason)


def _seconds(reactor: Any) -> float:
    seconds: float = reactor.seconds()
    return seconds


class SharedTCPPort(tcp.Port):
    """Leaves to the other workers what is theirs."""

    numberAccepts = _AtOnce()
    transport = _Accepted
    turns = AcceptBalancer()
    closed: Callable[[], None] | None = None  # called when it listens no more
    _waited = False

    def doRead(self) -> None:
        """Accept, or give another one a moment to."""
        if not self._waited and not self.turns.ours():
            self._waited = True
            reactor: Any = self.reactor
            self.stopReading()  # type: ignore[no-untyped-call]
            reactor.callLater(MOMENT, self._resume)
            return
        self._waited = False
        before = self.sessionno
        super().doRead()  # type: ignore[no-untyped-call]
        if self.sessionno != before:
            self.turns.came(self.sessionno - before)

    def _resume(self) -> None:
        if self.connected and not self.disconnecting:
            self.startReading()  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Any) -> None:
        self.turns.over()
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        if self.closed is not None:
            self.closed()


class SharedUNIXPort(unix.Port):
    """Leaves the socket and its file alone at its end: they are the parent's."""

    numberAccepts = _AtOnce()
    _shouldShutdown = False
    closed: Callable[[], None] | None = None  # called when it listens no more

    def connectionLost(self, reason: Any) -> None:
        tcp.Port.connectionLost(self, reason)
        if self.closed is not None:
            self.closed()


def adopt_tcp(
    reactor: Any, descriptor: int, family: int, factory: Any, shared: SharedCounterRow | None = None,
    closed: Callable[[], None] | None = None,
) -> Any:
    """A port over the descriptor, which stays open: it may be adopted again. `shared`: where the workers say how many
    connections they have. `closed` is called when the port listens no more."""
    adopted: Any = SharedTCPPort
    port = adopted._fromListeningDescriptor(reactor, descriptor, family, factory)
    port.turns = AcceptBalancer(shared)
    port.closed = closed
    port.startListening()
    return port


def adopt_unix(
    reactor: Any, descriptor: int, wanted: EndpointSpec, factory: Any, closed: Callable[[], None] | None = None
) -> Any:
    """Likewise for a Unix socket, without turns."""
    shared = socket.socket(fileno=os.dup(descriptor))
    port = SharedUNIXPort(shared.getsockname(), factory, wanted.backlog, wanted.mode, reactor)
    port._preexistingSocket = shared
    port.closed = closed
    port.startListening()  # type: ignore[no-untyped-call]
    return port
