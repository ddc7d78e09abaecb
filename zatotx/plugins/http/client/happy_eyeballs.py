"""A TCP connection to the first of several addresses that answers (RFC 8305, happy eyeballs)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IAddress, IConnector
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.python.failure import Failure

HEAD_START = 0.25  # seconds that an address has before the next one is tried too (RFC 8305 §5)


class PlaceholderProtocol(Protocol):
    """The protocol of a connection until it is known whose it is. Nobody speaks yet."""

    def connectionMade(self) -> None:
        assert isinstance(self.factory, _Attempt)
        self.factory.won(self)


def race(reactor: Any, addresses: Sequence[str], port: int) -> Deferred[Any]:
    """The transport of a TCP connection to one of the addresses, tried in their order: the next one as soon as one has
    failed, or HEAD_START after it was begun. Its protocol is to be replaced before anything is read.

    Fails, when the last has, with Twisted's ConnectError of the one that told most. How long it may take is the
    caller's matter: cancelling it leaves nothing open.
    """
    return _Race(reactor, addresses, port).result


class _Race:
    def __init__(self, reactor: Any, addresses: Sequence[str], port: int) -> None:
        self._reactor = reactor
        self._left: Iterator[str] = iter(addresses)
        self._port = port
        self._running: list[_Attempt] = []
        self._failures: list[Failure] = []
        self._timer: Any = None
        self.over = False
        self.result: Deferred[Any] = Deferred(self._cancel)
        self._next()

    def _next(self) -> None:
        """Try one more address, where there is one."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        address = next(self._left, None)
        if address is not None:
            self._timer = self._reactor.callLater(HEAD_START, self._next)
            attempt = _Attempt(self)
            self._running.append(attempt)
            attempt.connector = self._reactor.connectTCP(address, self._port, attempt, None)
        elif not self._running and not self.over:
            self._end().errback(_telling(self._failures))

    def won(self, attempt: _Attempt, transport: Any) -> None:
        self._running.remove(attempt)
        self._end().callback(transport)

    def lost(self, attempt: _Attempt, reason: Failure) -> None:
        self._running.remove(attempt)
        self._failures.append(reason)
        if not self.over:
            self._next()

    def _cancel(self, result: Deferred[Any]) -> None:
        self._end().errback(CancelledError())

    def _end(self) -> Deferred[Any]:
        """No more attempts, and those under way are given up."""
        self.over = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        for attempt in self._running[:]:
            attempt.give_up()
        return self.result


class _Attempt(ClientFactory):
    """One address."""

    noisy = False

    def __init__(self, race: _Race) -> None:
        self._race = race
        self.connector: IConnector | None = None

    def buildProtocol(self, addr: IAddress | None) -> PlaceholderProtocol | None:
        """None, and Twisted closes the connection, where another one came first."""
        if self._race.over:
            return None
        lobby = PlaceholderProtocol()
        lobby.factory = self
        return lobby

    def won(self, lobby: PlaceholderProtocol) -> None:
        self._race.won(self, lobby.transport)

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        self._race.lost(self, reason)

    def give_up(self) -> None:
        if self.connector is not None:
            self.connector.stopConnecting()


def _telling(failures: Sequence[Failure]) -> Failure:
    """A refusal says that the machine is there; what the other attempts met may be this machine's lack of IPv6."""
    return next((one for one in failures if one.check(ConnectionRefusedError)), failures[0])
