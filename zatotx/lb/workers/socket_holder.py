"""Holds the listening sockets of a load balancer with workers. The parent process binds the sockets, keeps the
configured sockets open, and lends them to the workers.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import deferLater
from zope.interface import implementer

from zatotx.processes.workers.listening_sockets import BoundSocket, bind_listening_socket
from zatotx.processes.workers.slots import has_running_predecessor
from zatotx.processes.workers.socket_handover import SocketLender

_RELEASE_TIMEOUT = 15.0  # seconds that the workers of a killed parent may take to close their sockets
_RETRY_INTERVAL = 0.05


@define(eq=False)
class HeldSocketLender(SocketLender):
    """A SocketLender that keeps the configured sockets open, even if no worker uses them."""

    held: set[str] = field(factory=set, init=False)
    has_workers: bool = field(default=False, init=False)

    def connect_worker(self) -> socket.socket:
        self.has_workers = True
        return super().connect_worker()

    def hold(self, description: str) -> None:
        """Bind an address, unless it is bound. Raises what binding raises."""
        if description not in self.bound:
            self.bound[description] = bind_listening_socket(description)
        self.held.add(description)

    def take_over(self, description: str, bound: BoundSocket) -> None:
        """Hold a socket that an earlier process has bound."""
        self.bound[description] = bound
        self.held.add(description)

    def release(self, description: str) -> None:
        """Close a socket as soon as no worker uses it."""
        self.held.discard(description)
        if not self._users.get(description):
            self._close(description)

    def stop(self) -> None:
        self.held.clear()
        super().stop()

    def _close(self, description: str) -> None:
        if description not in self.held:
            super()._close(description)


@implementer(IListeningPort)
@define(eq=False)
class HeldPort:
    """A listening socket that this process holds open, but on which it does not accept connections."""

    _lender: HeldSocketLender
    _description: str

    def startListening(self) -> None:
        """Do nothing: the socket listens."""

    def stopListening(self) -> Deferred[None]:
        """Let the socket be closed."""
        self._lender.release(self._description)
        return succeed(None)

    def getHost(self) -> Any:
        """Return the description: the address is that of a socket of the workers."""
        return self._description


@define(eq=False)
class SocketHolder:
    """Opens the listening sockets in the parent process, on behalf of Frontends."""

    lender: HeldSocketLender
    work: Path

    def listen(self, description: str, factory: Any) -> Deferred[IListeningPort]:
        """Fire with a HeldPort, or fail with what binding raises. Workers of a parent that was killed end by themselves
        and close their sockets first, so this waits while such workers exist."""
        return Deferred.fromCoroutine(self._listen(description))

    async def _listen(self, description: str) -> IListeningPort:
        clock = self.lender.reactor
        deadline = clock.seconds() + _RELEASE_TIMEOUT
        while True:
            try:
                self.lender.hold(description)
                port: IListeningPort = HeldPort(self.lender, description)
                return port
            except OSError:
                if clock.seconds() >= deadline or self.lender.has_workers or not has_running_predecessor(self.work):
                    raise
            await deferLater(clock, _RETRY_INTERVAL)
