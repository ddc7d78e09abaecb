"""Registry of sockets that outlive the configuration objects that use them. An edit that does not affect a socket keeps
the socket open, with its peers and queued messages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from zatotx.plugins.zmq.reactor_sockets import SocketError, SocketSpec

BIND_ATTEMPTS, BIND_PAUSE = 40, 0.05  # ZeroMQ's threads close a socket a moment after it was told to


class SharedSocket(Protocol):
    """The interface of a socket in the registry."""

    spec: SocketSpec

    def release_addresses(self) -> None:
        """Stop listening, because another socket is to use the addresses, or because nobody uses this one."""


S = TypeVar('S', bound=SharedSocket)


@define
class ReusableSockets(Generic[S]):
    """The sockets of one configuration object. There is one socket, or two while an edit replaces the socket.
    `open_socket` opens a socket."""

    open_socket: Callable[[SocketSpec], S]
    _users: list[S] = field(factory=list)  # each socket as often as it is used

    def acquire(self, spec: SocketSpec) -> S:
        """Return the socket of an object, opened now unless the version that is replaced has the same. Sockets of
        earlier versions which listen on the same addresses listen no more. Raises SocketError."""
        socket = next((each for each in self._users if each.spec == spec), None)
        if socket is None:
            if spec.is_bound:
                for each in self._users:
                    if not set(spec.addresses).isdisjoint(each.spec.addresses):
                        each.release_addresses()
            socket = self.open_socket(spec)
        self._users.append(socket)
        return socket

    def is_last_user(self, socket: S) -> bool:
        """Whether the socket has one user only, who is to close it."""
        return sum(each is socket for each in self._users) == 1

    @property
    def newest(self) -> S | None:
        """The socket that was opened last, of those that are used."""
        return self._users[-1] if self._users else None

    def release(self, socket: S) -> None:
        """A user does without the socket from now on."""
        index = next(index for index, each in enumerate(self._users) if each is socket)
        del self._users[index]


async def acquire_with_retry(registry: ReusableSockets[S], spec: SocketSpec, clock: IReactorTime, attempts: int) -> S:
    """Return the socket of a configuration object (see ReusableSockets.acquire). If the address is still in use, retry,
    because an address that this process has just released becomes free a moment later. Raises SocketError."""
    while True:
        try:
            return registry.acquire(spec)
        except SocketError:
            attempts -= 1
            if not spec.is_bound or attempts <= 0:
                raise
        await deferLater(clock, BIND_PAUSE)
