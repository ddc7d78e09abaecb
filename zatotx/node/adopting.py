"""Listening ports over sockets that several processes share.

Twisted's own `adoptStreamPort` takes it that the socket is the process's alone: closing an adopted Unix port shuts the
socket down for everybody and removes its file. And a port accepts up to a hundred connections at one wake-up, so that
the first worker to look would take a whole crowd.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet import tcp, unix

from zatotx.node.descriptions import Wanted


class _Few:
    """`numberAccepts` of a shared port: whatever Twisted makes of it, one connection at a wake-up."""

    def __get__(self, port: object, kind: object = None) -> int:
        return 1

    def __set__(self, port: object, value: int) -> None:
        """Twisted adapts the number to the traffic: here it stays."""


class SharedTCPPort(tcp.Port):
    """Leaves what it does not take now to the other workers."""

    numberAccepts = _Few()


class SharedUNIXPort(unix.Port):
    """Besides, leaves the socket and its file alone at its end: they are the parent's."""

    numberAccepts = _Few()
    _shouldShutdown = False

    def connectionLost(self, reason: Any) -> None:
        tcp.Port.connectionLost(self, reason)


def adopt_tcp(reactor: Any, descriptor: int, family: int, factory: Any) -> Any:
    """A port over the descriptor, which stays open: it may be adopted again."""
    adopted: Any = SharedTCPPort
    port = adopted._fromListeningDescriptor(reactor, descriptor, family, factory)
    port.startListening()
    return port


def adopt_unix(reactor: Any, descriptor: int, wanted: Wanted, factory: Any) -> Any:
    """Likewise for a Unix socket."""
    shared = socket.socket(fileno=os.dup(descriptor))
    port = SharedUNIXPort(shared.getsockname(), factory, wanted.backlog, wanted.mode, reactor)
    port._preexistingSocket = shared
    port.startListening()  # type: ignore[no-untyped-call]
    return port
