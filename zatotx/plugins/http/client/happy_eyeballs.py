"""Connects to the first of several addresses that accepts (RFC 8305, happy eyeballs)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IAddress, IConnector
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.python.failure import Failure

ATTEMPT_DELAY = 0.25  # seconds after which the next address is tried concurrently (RFC 8305 §5)


class PlaceholderProtocol(Protocol):
    """The protocol of a connection until its real protocol is known. No byte is exchanged yet."""

    def connectionMade(self) -> None:
        assert isinstance(self.factory, _Attempt)
        self.factory.connected(self)


def connect_first(reactor: Any, addresses: Sequence[str], port: int) -> Deferred[Any]:
    """Return the transport of a TCP connection to one of the addresses. They are tried in order: the next one as soon
    as one has failed, or HEAD_START after the last was started. Replace its protocol before anything is read.

    Fails, when the last has failed, with the most informative ConnectError. The timeout is the caller's: cancelling
    leaves no socket open.
    """
    return _ConnectRace(reactor, addresses, port).result


class _ConnectRace:
    def __init__(self, reactor: Any, addresses: Sequence[str], port: int) -> None:
        self._reactor = reactor
        self._remaining: Iterator[str] = iter(addresses)
        self._port = port
        self._attempts: list[_Attempt] = []
        self._failures: list[Failure] = []
        self._timer: Any = None
        self.is_finished = False
        self.result: Deferred[Any] = Deferred(self._cancel)
        self._next()

    def _next(self) -> None:
        """Try the next address, if there is one."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        address = next(self._remaining, None)
        if address is not None:
            self._timer = self._reactor.callLater(ATTEMPT_DELAY, self._next)
            attempt = _Attempt(self)
            self._attempts.append(attempt)
            attempt.connector = self._reactor.connectTCP(address, self._port, attempt, None)
        elif not self._attempts and not self.is_finished:
            self._end().errback(_most_informative(self._failures))

    def attempt_connected(self, attempt: _Attempt, transport: Any) -> None:
        self._attempts.remove(attempt)
        self._end().callback(transport)

    def attempt_failed(self, attempt: _Attempt, reason: Failure) -> None:
        self._attempts.remove(attempt)
        self._failures.append(reason)
        if not self.is_finished:
            self._next()

    def _cancel(self, result: Deferred[Any]) -> None:
        self._end().errback(CancelledError())

    def _end(self) -> Deferred[Any]:
        """Stop: cancel the other attempts."""
        self.is_finished = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        for attempt in self._attempts[:]:
            attempt.cancel()
        return self.result


class _Attempt(ClientFactory):
    """The attempt to connect to one address."""

    noisy = False

    def __init__(self, race: _ConnectRace) -> None:
        self._race = race
        self.connector: IConnector | None = None

    def buildProtocol(self, addr: IAddress | None) -> PlaceholderProtocol | None:
        """Return None, so that Twisted closes the connection, if another attempt has won."""
        if self._race.is_finished:
            return None
        protocol = PlaceholderProtocol()
        protocol.factory = self
        return protocol

    def connected(self, protocol: PlaceholderProtocol) -> None:
        self._race.attempt_connected(self, protocol.transport)

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        self._race.attempt_failed(self, reason)

    def cancel(self) -> None:
        if self.connector is not None:
            self.connector.stopConnecting()


def _most_informative(failures: Sequence[Failure]) -> Failure:
    """Return a refusal if there is one, because it shows that the machine exists; the other errors may be caused by
    missing IPv6 on this machine."""
    return next((failure for failure in failures if failure.check(ConnectionRefusedError)), failures[0])
